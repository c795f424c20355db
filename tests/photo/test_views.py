"""The views of the photo's own pixels, end to end on the embedded model and real faces."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from micromotion import Animator
from micromotion.errors import OptionError
from micromotion.face.alignment import align
from micromotion.face.crop import crop_quad
from micromotion.motion.timeline_text import parse_timeline
from micromotion.options import AnimateOptions
from micromotion.photo.effects import Effects, Reading, states_effects
from micromotion.photo.views import (
    MovingPhoto,
    PhotoView,
    Stage,
    TwinPhoto,
    face_square,
    whole_photo,
)
from micromotion.types import Frame

FACES = Path(__file__).resolve().parents[2] / "docs" / "faces"
ALL = sorted(path.stem for path in FACES.glob("*.jpg"))
MOTIONS = ("aging", "angry", "eyesClose", "headsTurn", "smile")


@pytest.fixture(scope="module")
def animator() -> Animator:
    """The embedded model."""
    return Animator.load("avatar", "cpu")


def photo(name: str) -> Image.Image:
    return Image.open(FACES / f"{name}.jpg").convert("RGB")


def frames(animator: Animator, name: str, motion: object, **options: object) -> list[Frame]:
    return list(animator.animate(photo(name), motion, **options))  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eileen-collins", "mona-lisa"])
def test_the_photo_view_has_the_whole_photo_as_its_first_frame(animator: Animator, name: str) -> None:
    picture = np.asarray(photo(name))
    still, moved = frames(animator, name, "smile", frames=2)
    assert (still == picture).all()
    assert (moved != picture).any()
    below = round(align(photo(name)).quad[:, 1].max() * 1.2)  # the square around the face ends above
    assert (moved[below:] == picture[below:]).all()


@pytest.mark.slow
@pytest.mark.parametrize("motion", MOTIONS)
def test_every_motion_moves_only_the_face(animator: Animator, motion: str) -> None:
    picture = photo("eileen-collins")
    moved = frames(animator, "eileen-collins", motion, frames=1)[0]
    change = np.abs(moved.astype(int) - np.asarray(picture)).max(axis=-1)
    left, top, right, bottom = align(picture).box
    grown = 0.9 * (right - left)
    outside = np.ones(change.shape, bool)
    outside[
        max(0, int(top - grown)) : int(bottom + grown), max(0, int(left - grown)) : int(right + grown)
    ] = 0
    assert change[top:bottom, left:right].max() > 40
    assert change[outside].max() == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_large_strengths_are_accepted(animator: Animator, name: str) -> None:
    for motion in MOTIONS:
        for strength in (-1.0, 2.0):
            moved = frames(animator, name, motion, frames=1, strength=strength, view="face")[0]
            assert moved.dtype == np.uint8
    together = frames(animator, name, dict.fromkeys(MOTIONS, 2.0), frames=1, view="face")[0]
    assert np.isfinite(together).all()


@pytest.mark.slow
def test_auto_is_the_model_view_for_a_latent_and_a_comparison(animator: Animator) -> None:
    picture = photo("mona-lisa")
    side = animator.bundle.generator.resolution
    assert animator.animate(picture, frames=1).size == picture.size
    assert animator.animate(animator.encode(picture), frames=1).size == (side, side)
    assert animator.animate(picture, frames=1, view="model").size == (side, side)
    wide, _ = animator.animate(picture, frames=1, compare=True).size
    assert wide > 2 * side
    with pytest.raises(OptionError, match="photo"):
        animator.animate(animator.encode(picture), frames=1, view="face")
    with pytest.raises(OptionError, match="compare"):
        animator.animate(picture, frames=1, view="face", compare=True)


@pytest.mark.slow
def test_size_is_the_longest_side_and_nothing_is_enlarged(animator: Animator) -> None:
    small, large = photo("grace-hopper"), photo("grace-hopper").resize((1536, 1800))
    assert animator.animate(large, frames=1, size=300).size == (256, 300)
    assert animator.animate(small, frames=1, size=4000).size == small.size
    huge = small.resize((2560, 3000))
    assert animator.animate(huge, frames=1).size == (1638, 1920)
    assert animator.animate(huge, frames=1, size="full").size == huge.size
    wide, high = animator.animate(large, frames=1, view="face").size
    assert wide == high == 1002  # as many pixels as the photo has there, an even number
    assert animator.animate(large, frames=1, view="face", size=400).size == (400, 400)
    assert animator.animate(huge, frames=1, view="face").size == (1024, 1024)


def test_the_face_view_is_the_square_of_the_photo_and_moves_as_the_photo_does(animator: Animator) -> None:
    picture = photo("eileen-collins")
    face = align(picture)
    square, whole = face_square(picture, face), whole_photo(picture, face)
    effects = Effects(left_eye=1, right_eye=1)
    in_square, in_photo = (Stage(scene).drawn(effects).astype(float) for scene in (square, whole))
    cut = np.asarray(crop_quad(Image.fromarray(in_photo.astype(np.uint8)), face.quad, square.size[0]), float)
    still = np.asarray(crop_quad(picture, face.quad, square.size[0]), float)
    assert np.abs(in_square - cut).mean() < 0.5 * np.abs(cut - still).mean() + 1


@pytest.mark.slow
def test_a_mirrored_photo_gives_the_mirrored_result(animator: Animator) -> None:
    picture = photo("eileen-collins")
    mirror = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for effects, mirrored in (
        (Effects(smile=1, left_eye=0.7), Effects(smile=1, right_eye=0.7)),
        (Effects(yaw=15), Effects(yaw=-15)),
    ):
        one = Stage(whole_photo(picture, align(picture))).drawn(effects).astype(float)
        other = Stage(whole_photo(mirror, align(mirror))).drawn(mirrored).astype(float)[:, ::-1]
        assert np.abs(one - other).mean() < 0.1 * np.abs(one - np.asarray(picture)).mean() + 0.3


@pytest.mark.slow
def test_a_photo_turned_in_its_plane_gives_the_turned_result(animator: Animator) -> None:
    picture = photo("grace-hopper")
    turned = picture.rotate(-20, Image.Resampling.BICUBIC, expand=True)
    effects = Effects(smile=1, left_eye=1, right_eye=1)
    upright = Image.fromarray(Stage(face_square(picture, align(picture))).drawn(effects))
    level = Image.fromarray(Stage(face_square(turned, align(turned))).drawn(effects)).resize(upright.size)
    still = np.asarray(Image.fromarray(Stage(face_square(picture, align(picture))).drawn(Effects())), float)
    moved, other = np.asarray(upright, float), np.asarray(level, float)
    middle = np.s_[upright.height // 3 : -upright.height // 5, upright.width // 4 : -upright.width // 4]
    change, apart = np.abs(moved - still)[middle].mean(), np.abs(moved - other)[middle].mean()
    assert change > 4
    assert apart < 0.75 * change + 3  # the face of the turned photo is blurred by the turn


@pytest.mark.slow
def test_the_timeline_alive_plays_and_its_loop_closes(animator: Animator) -> None:
    clip = animator.animate(photo("mona-lisa"), parse_timeline("alive 2s"), fps=15, seed=3)
    shown = [frame.astype(int) for frame in clip]
    assert len(shown) == 30
    assert (shown[0] == np.asarray(photo("mona-lisa"))).all()
    steps = [np.abs(a - b).mean() for a, b in zip(shown, [*shown[1:], shown[0]], strict=True)]
    assert max(steps) > 0.01
    assert steps[-1] < 2 * np.median(steps) + 0.1


@pytest.mark.slow
def test_the_same_request_gives_the_same_frames(animator: Animator) -> None:
    one, other = (frames(animator, "mona-lisa", {"smile": 1, "headsTurn": 0.4}, frames=2) for _ in range(2))
    assert all((a == b).all() for a, b in zip(one, other, strict=True))


@pytest.mark.slow
def test_a_strip_shows_the_persons_own_face(animator: Animator) -> None:
    picture = photo("mona-lisa")
    strip = animator.at_strengths(picture, "smile", (0.0, 1.0))
    model = animator.at_strengths(picture, "smile", (0.0, 1.0), view="model")
    tile = np.asarray(strip.resize(model.size), float), np.asarray(model, float)
    assert np.abs(tile[0] - tile[1]).mean() > 5


@pytest.mark.slow
def test_effects_without_a_statement_are_read_from_the_models_frames(
    animator: Animator, tmp_path: Path
) -> None:
    """The smile without its stated effects: measured on this face, it is still a smile and no turn."""
    from micromotion.motion.anchors import Anchors

    anchors = Anchors.load(animator.bundle.motions["smile"])
    silent = {key: value for key, value in anchors.provenance.items() if not key.startswith("effects.")}
    path = tmp_path / "silent.safetensors"
    Anchors(anchors.w_plus, anchors.degrees, silent).save(path)
    stated, read = (
        frames(animator, "eileen-collins", motion, frames=1)[0].astype(float) for motion in ("smile", path)
    )
    still = np.asarray(photo("eileen-collins"), float)
    assert np.abs(stated - read).mean() < 0.6 * np.abs(stated - still).mean()
    assert np.abs(read - still).mean() > 0.3 * np.abs(stated - still).mean()


def _view(*, twin: bool, stated: bool = False) -> PhotoView:
    picture = photo("eileen-collins")
    scene = whole_photo(picture, align(picture))
    provenance = {"effects.strengths": "1", "effects.smile": "1"} if stated else {}
    assert states_effects(provenance) == stated

    def reader(still: Frame, seen: object) -> Reading:
        raise AssertionError("nothing is to be read")

    return PhotoView(scene, [provenance], reader, may_be_twin=twin)


@pytest.mark.slow
def test_a_twin_still_frame_gives_a_twin_photo() -> None:
    view = _view(twin=True)
    asked = view.looks_at(np.array([[0.0], [1.0]]))
    assert not asked[0].any()
    twin = np.asarray(align(photo("eileen-collins"), 256).image)
    assert isinstance(view.begin([(row, twin) for row in asked]), TwinPhoto)
    other_face = np.asarray(align(photo("grace-hopper"), 256).image)
    other = _view(twin=True, stated=True)
    begun = other.begin([(row, other_face) for row in other.looks_at(np.array([[1.0]]))])
    assert isinstance(begun, MovingPhoto)


@pytest.mark.slow
def test_a_motion_that_states_its_effects_needs_no_frames() -> None:
    assert len(_view(twin=False, stated=True).looks_at(np.array([[1.0]]))) == 0
    assert len(_view(twin=False).looks_at(np.array([[1.0]]))) == 6  # the still frame, and five strengths


def test_options_of_a_view_are_checked_by_name() -> None:
    for size in (10, 20000, "large", 1.5, None):
        with pytest.raises(OptionError, match="size"):
            AnimateOptions(size=size)  # type: ignore[arg-type]
    assert replace(AnimateOptions(), size="full").longest is None
