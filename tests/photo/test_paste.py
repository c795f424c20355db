"""The whole photo: unchanged outside the face and for the still frame, true to the motion, without a seam."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from seam_step import SeamStep, seam_step

from micromotion import Animator
from micromotion.errors import MotionError, OptionError
from micromotion.face.alignment import align, as_aligned
from micromotion.face.crop import AlignedFace, crop_quad
from micromotion.photo.displacement import SIDE, grid, landmark_field, moved, refined, rigid_field, unfolded
from micromotion.photo.paste import Paste

pytestmark = pytest.mark.slow

FACES = Path(__file__).resolve().parents[2] / "docs" / "faces"
Scene = tuple[Image.Image, AlignedFace, dict[str, list[np.ndarray]]]
MOTIONS = ("smile", "angry", "aging", "eyesClose", "headsTurn")


def open_face(name: str) -> Image.Image:
    return Image.open(FACES / f"{name}.jpg").convert("RGB")


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


def hard_paste(photo: np.ndarray, aligned: AlignedFace, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The frame pasted unchanged (nearest pixels, no feathering, no colour matching), and its mask."""
    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]]
    at = (aligned.to_aligned(np.stack([x, y], axis=-1)) + 0.5) / aligned.image.width
    mask = np.all((at >= 0) & (at < 1), axis=-1)
    column, row = np.clip((at * len(frame)).astype(int), 0, len(frame) - 1).transpose(2, 0, 1)
    return np.where(mask[..., None], frame[row, column], photo), mask


@pytest.fixture(scope="module")
def animator() -> Animator:
    return Animator.load("avatar", device="cpu")


@pytest.fixture(scope="module")
def scene(animator: Animator) -> Scene:
    """A photo, its alignment, and two frames of each motion: the still frame, and nearly the full motion."""
    photo = open_face("grace-hopper")
    latent = animator.encode(photo)
    videos = {
        name: list(animator.animate(latent, name, strength=0.8, frames=2, view="model")) for name in MOTIONS
    }
    return photo, align(photo), videos


@pytest.fixture(scope="module")
def paste(scene: Scene) -> Paste:
    photo, aligned, frames = scene
    return Paste(photo, aligned, frames["smile"][0])


def bulged(side: int, centre: tuple[float, float], shift: tuple[float, float], width: float) -> torch.Tensor:
    """A field that moves one point of the unit square by `shift`, and its surroundings smoothly less."""
    points = grid(side)[0]
    near = torch.exp(-((points - torch.tensor(centre)) ** 2).sum(dim=-1) / (2 * width**2))
    return (near[..., None] * torch.tensor(shift)).movedim(-1, 0)[None]


def as_tensor(frame: np.ndarray) -> torch.Tensor:
    return torch.tensor(frame).movedim(-1, 0)[None] / 255


# --- what must be exact ---


def test_the_still_frame_is_the_photo(paste: Paste, scene: Scene) -> None:
    photo, _, frames = scene
    picture = paste(frames["smile"][0])
    assert paste.size == photo.size
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, pixels(photo))


@pytest.mark.parametrize("motion", MOTIONS)
def test_outside_the_mask_nothing_changes_and_inside_something_does(
    paste: Paste, scene: Scene, motion: str
) -> None:
    photo, aligned, frames = scene
    picture, before = paste(frames[motion][1]), pixels(photo)
    outside = paste.mask == 0
    np.testing.assert_array_equal(picture[outside], before[outside])
    _, crop = hard_paste(before, aligned, frames[motion][0])
    assert outside[~crop].all()
    left, top, right, bottom = aligned.box
    inside = picture[top:bottom, left:right].astype(int) - before[top:bottom, left:right]
    assert np.abs(inside).mean() > 1


def test_frames_do_not_depend_on_each_other(paste: Paste, scene: Scene) -> None:
    photo, _, frames = scene
    first = paste(frames["headsTurn"][1])
    paste(frames["smile"][1])
    np.testing.assert_array_equal(paste(frames["headsTurn"][1]), first)
    np.testing.assert_array_equal(paste(frames["smile"][0]), pixels(photo))


@pytest.mark.parametrize("kind", ["turned", "border", "tiny", "huge", "gray", "alpha", "aligned"])
def test_the_still_frame_leaves_photos_of_any_mode_unchanged(scene: Scene, kind: str) -> None:
    _, _, frames = scene
    photo = open_face("berthe-morisot")
    shaped = {
        "turned": lambda: photo.rotate(35, Image.Resampling.BICUBIC, expand=True),
        "border": lambda: photo.crop((150, 0, 400, 331)),
        "tiny": lambda: photo.resize((103, 115), Image.Resampling.LANCZOS),
        "huge": lambda: photo.resize((1024, 1138), Image.Resampling.BICUBIC),
        "gray": lambda: photo.convert("L"),
        "alpha": lambda: photo.convert("RGBA"),
        "aligned": lambda: align(photo).image,
    }[kind]()
    aligned = as_aligned(shaped) if kind == "aligned" else align(shaped)
    paste = Paste(shaped, aligned, frames["smile"][0])
    before = pixels(shaped)
    np.testing.assert_array_equal(paste(frames["smile"][0]), before)
    picture = paste(frames["smile"][1])
    np.testing.assert_array_equal(picture[paste.mask == 0], before[paste.mask == 0])
    assert (picture != before).any()
    if kind == "gray":
        assert np.ptp(picture.astype(int), axis=-1).max() <= 1


def test_only_the_chosen_of_several_people_is_changed(scene: Scene) -> None:
    _, _, frames = scene
    hopper, washington = open_face("grace-hopper"), open_face("george-washington")
    photo = Image.new("RGB", (800, 620), (90, 100, 90))
    photo.paste(hopper, (0, 10))
    photo.paste(washington, (530, 150))
    for face, (left, right) in enumerate([(0, 500), (530, 800)]):
        aligned = align(photo, face=face)
        assert left < aligned.box[0] < right
        picture = Paste(photo, aligned, frames["smile"][0])(frames["smile"][1])
        changed = np.flatnonzero((picture != pixels(photo)).any(axis=(0, 2)))
        assert left <= changed.min()
        assert changed.max() < right


def test_a_larger_photo_has_the_same_pasted_pixels(scene: Scene) -> None:
    """The same face in a larger picture: the same pixels, the same amount of work."""
    photo, aligned, frames = scene
    large = Image.new("RGB", (photo.width + 700, photo.height + 500), (20, 120, 200))
    large.paste(photo, (300, 200))
    shift = np.array([300, 200])
    left, top, right, bottom = aligned.box
    box = left + 300, top + 200, right + 300, bottom + 200
    assert aligned.landmarks is not None
    there = AlignedFace(aligned.image, aligned.quad + shift, box, aligned.score, aligned.landmarks + shift)
    small, big = Paste(photo, aligned, frames["smile"][0]), Paste(large, there, frames["smile"][0])
    assert small._mask.shape == big._mask.shape
    left, top, right, bottom = 20, 20, photo.width - 20, photo.height - 20  # the border is inside the photo
    one = small(frames["smile"][1])[top:bottom, left:right].astype(int)
    other = big(frames["smile"][1])[top + 200 : bottom + 200, left + 300 : right + 300]
    assert np.abs(one - other).max() <= 1


# --- true to the motion ---


@pytest.mark.parametrize("turn", [0, 25])
@pytest.mark.parametrize("scale", [0.35, 1.0, 2.0])
def test_a_perfect_inversion_reproduces_its_frames(turn: float, scale: float) -> None:
    """If the inversion is exact, the crop of the pasted picture is the frame."""
    photo = open_face("grace-hopper").rotate(turn, Image.Resampling.BICUBIC, expand=True)
    photo = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.LANCZOS)
    aligned = align(photo)
    still = pixels(aligned.image)
    field = bulged(256, (0.5, 0.72), (0.0, -0.03), 0.07)
    frame = moved(as_tensor(still), field)[0].movedim(0, -1).mul(255).round().byte().numpy()
    frame[170:178, 118:138] = 240  # something new: teeth
    picture = Paste(photo, aligned, still)(frame)
    again = pixels(crop_quad(Image.fromarray(picture), aligned.quad, 256)).astype(int)
    where = np.s_[130:220, 70:186]
    moved_by = np.abs(frame[where].astype(int) - still[where]).mean()
    left = np.abs(again[where] - frame[where]).mean()
    assert moved_by > 5
    assert left < 0.4 * moved_by
    assert np.abs(again[171:177, 120:136] - 240).mean() < 25


def test_fine_detail_of_the_photo_moves_with_the_head(scene: Scene) -> None:
    """Detail too fine for a crop of 128 pixels remains when the head turns."""
    photo, aligned, frames = scene
    large = photo.resize((photo.width * 3, photo.height * 3), Image.Resampling.BICUBIC)
    noisy = pixels(large).astype(np.float64)
    noisy += np.random.default_rng(0).normal(0, 12, noisy.shape)
    large = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    aligned = align(large)
    picture = Paste(large, aligned, frames["headsTurn"][0])(frames["headsTurn"][1])
    left, top, right, bottom = aligned.box

    def grain(image: np.ndarray) -> float:
        part = image[top:bottom, left:right].astype(np.float64)
        return float(np.median(np.abs(np.diff(part, axis=1))))

    assert grain(picture) > 0.6 * grain(pixels(large))


def test_a_face_that_left_its_place_is_reported(paste: Paste, scene: Scene) -> None:
    _, _, frames = scene
    still = frames["smile"][0]
    with pytest.raises(MotionError, match="lower the strength"):
        paste(np.roll(still, len(still) // 2, axis=1))


def test_motions_are_steady(animator: Animator, scene: Scene) -> None:
    """The pasted face trembles no more than the frames do; dlib's landmarks alone jump by whole pixels."""
    photo, aligned, _ = scene
    frames = list(animator.animate(photo, "eyesClose", frames=14, strength=0.45, view="model"))
    paste = Paste(photo, aligned, frames[0])
    pictures = np.stack([paste(frame)[paste.mask > 0] for frame in frames]).astype(np.float64)
    once, twice = (np.abs(np.diff(pictures, order, axis=0)).mean() for order in (1, 2))
    assert twice < 1.2 * once  # 1.65 with landmarks alone


# --- the seam ---


def test_the_seam_is_measured() -> None:
    photo = np.zeros((40, 40, 3), np.uint8)
    photo[:, ::2] = 7
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    picture = photo.copy()
    picture[mask] += 40
    assert seam_step(photo, picture, mask) == SeamStep(40, 40, 7)
    assert seam_step(photo, photo, mask) == SeamStep(0, 0, 7)
    for none in (np.zeros((40, 40)), np.ones((40, 40))):
        with pytest.raises(ValueError, match="no seam"):
            seam_step(photo, photo, none)


@pytest.mark.parametrize("motion", MOTIONS)
def test_the_seam_does_not_show(paste: Paste, scene: Scene, motion: str) -> None:
    photo, aligned, frames = scene
    before = pixels(photo)
    step = seam_step(before, paste(frames[motion][1]), paste.mask)
    naive = seam_step(before, *hard_paste(before, aligned, frames[motion][1]))
    assert step.worst < step.own
    assert step.added < 0.05 * naive.added


# --- fields ---


def test_fields_follow_their_landmarks() -> None:
    rng = np.random.default_rng(1)
    at = rng.uniform(0.3, 0.7, (68, 2))
    field = landmark_field(at, np.tile([0.05, -0.02], (68, 1)))
    middle = field[0, :, SIDE // 2, SIDE // 2].numpy()
    np.testing.assert_allclose(middle, [0.05, -0.02], atol=0.005)
    assert field[..., 0].abs().max() < 0.005
    assert not landmark_field(at, np.zeros((68, 2))).any()


def test_a_rigid_motion_is_found_exactly() -> None:
    rng = np.random.default_rng(2)
    at = rng.uniform(0, 1, (20, 2))
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    field = rigid_field(at, at @ turn.T + (0.1, -0.2) - at, 16)
    points = grid(16)[0].numpy()
    wanted = points @ turn.T + (0.1, -0.2) - points
    np.testing.assert_allclose(field[0].movedim(0, -1).numpy(), wanted, atol=1e-6)


def test_a_displacement_field_is_found_from_the_pictures(scene: Scene) -> None:
    _, aligned, _ = scene
    before = as_tensor(pixels(aligned.image))
    true = bulged(SIDE, (0.5, 0.5), (0.02, 0.015), 0.12)
    after = moved(before, true)
    found = refined(torch.zeros_like(true), before, after, torch.ones(1, 1, SIDE, SIDE))
    middle = np.s_[..., 48:80, 48:80]
    assert (found - true)[middle].norm(dim=1).mean() < 0.25 * true[middle].norm(dim=1).mean()
    still = refined(torch.zeros_like(true), before, before, torch.ones(1, 1, SIDE, SIDE))
    assert not still.any()


def test_only_fields_that_fold_are_unfolded() -> None:
    gentle, wild = (bulged(SIDE, (0.5, 0.5), (size, 0.0), 0.05) for size in (0.02, 0.1))

    def narrowest(field: torch.Tensor) -> float:
        return float((1 + SIDE * field[:, 0].diff(dim=-1)).min())

    assert torch.equal(unfolded(gentle), gentle)
    assert narrowest(wild) < 0 < narrowest(unfolded(wild))


# --- what cannot be pasted ---


def test_frames_of_a_wrong_shape_or_dtype_are_refused(paste: Paste, scene: Scene) -> None:
    photo, aligned, frames = scene
    still = frames["smile"][0]
    wrong_ones: list[np.ndarray] = [still[:-1], still[..., :2], still[..., 0], still.astype(np.float32)]
    for wrong in (*wrong_ones, still[::2, ::2]):
        with pytest.raises(OptionError, match="frame to paste"):
            paste(wrong)
    with pytest.raises(OptionError, match="a square"):
        Paste(photo, aligned, still[:-3])
