"""Videos are still at strength 0, straight in W+, and reproducible; photos, and wrong options."""

import math
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from random_networks import RESOLUTION, STYLE_DIM, STYLES, random_anchors
from shown import shown

from micromotion import Animator
from micromotion.errors import (
    ImageError,
    MotionError,
    NoFaceError,
    OptionError,
)
from micromotion.motion.playable import load_motion
from micromotion.motion.schedule import Motions
from micromotion.motion.timeline_text import parse_timeline


@pytest.fixture(scope="module")
def latent(animator: Animator, astronaut: Image.Image) -> torch.Tensor:
    return animator.encode(astronaut)


# Basic behaviour.


@pytest.mark.slow
def test_the_first_frame_is_the_inverted_latent(animator: Animator, latent: torch.Tensor) -> None:
    with torch.inference_mode():
        image = animator.bundle.generator.synthesize(latent)[0].double().numpy()
    expected = np.clip(np.rint((image + 1) * 127.5), 0, 255).transpose(1, 2, 0)
    first = next(iter(animator.animate(latent, frames=5)))
    assert first.dtype == np.uint8
    assert first.shape == (RESOLUTION, RESOLUTION, 3)
    assert np.abs(first - expected).max() <= 1  # a tie may round either way in float32
    assert np.mean(first == expected) > 0.999


def test_strength_0_is_a_still_picture(animator: Animator, latent: torch.Tensor) -> None:
    frames = list(animator.animate(latent, strength=0, frames=5))
    assert all(np.array_equal(frame, frames[0]) for frame in frames)
    assert np.ptp(frames[0]) > 50


def test_the_last_frame_is_the_full_motion(
    animator: Animator, latent: torch.Tensor, random_bundle: Path
) -> None:
    direction = load_motion(random_bundle / "anchors" / "smile.safetensors").direction
    first, *_, last = animator.animate(latent, "smile", strength=1.5, frames=7).latents()
    assert torch.equal(first, latent)
    assert torch.allclose(last, latent + 1.5 * direction, atol=1e-6)
    assert torch.equal(next(animator.animate(latent, strength=1.5, frames=1).latents()), last)


@pytest.mark.parametrize("strength", [-2.0, -1.0, 0.5, 3.0])
def test_strength_is_linear_in_the_latent_and_negative_plays_the_opposite(
    animator: Animator, latent: torch.Tensor, strength: float
) -> None:
    unit = torch.cat(list(animator.animate(latent, "headsTurn", frames=9).latents())) - latent
    change = (
        torch.cat(list(animator.animate(latent, "headsTurn", strength=strength, frames=9).latents())) - latent
    )
    assert torch.allclose(change, strength * unit, atol=1e-5)
    assert torch.allclose(change, torch.linspace(0, 1, 9)[:, None, None] * change[-1:], atol=1e-5)


@pytest.mark.slow
def test_the_same_call_gives_the_same_bytes(animator: Animator, astronaut_file: Path, tmp_path: Path) -> None:
    """Without credentials; with them, the same frames."""
    for name in ("a.mp4", "b.mp4", "signed.mp4", "signed-again.mp4"):
        animator.animate(astronaut_file, frames=6, seed=3).save(
            tmp_path / name, sheet=tmp_path / f"{name}.png", credentials=name.startswith("signed")
        )
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert (tmp_path / "a.mp4.png").read_bytes() == (tmp_path / "b.mp4.png").read_bytes()
    signed = [tmp_path / "signed.mp4", tmp_path / "signed-again.mp4"]
    assert signed[0].read_bytes() != signed[1].read_bytes()
    assert shown(signed[0]) == shown(signed[1]) == shown(tmp_path / "a.mp4")
    assert shown(tmp_path / "signed.mp4.png") == shown(tmp_path / "a.mp4.png")


def test_a_seed_changes_the_noise_once_per_video(animator: Animator, latent: torch.Tensor) -> None:
    def still(seed: int | None) -> list[np.ndarray]:
        return list(animator.animate(latent, strength=0, frames=3, seed=seed))

    one, two, fixed = still(1), still(2), still(None)
    assert all(np.array_equal(frame, one[0]) for frame in one)
    assert not np.array_equal(one[0], two[0])
    assert not np.array_equal(one[0], fixed[0])
    assert np.array_equal(one[0], still(1)[0])


def test_the_global_random_state_is_neither_read_nor_changed(
    animator: Animator, latent: torch.Tensor
) -> None:
    state = torch.random.get_rng_state()
    first = animator.animate(latent, seed=5).sheet(2)
    assert torch.equal(torch.random.get_rng_state(), state)
    with torch.random.fork_rng():
        torch.manual_seed(99)
        assert animator.animate(latent, seed=5).sheet(2) == first


# Several motions, timelines, loops.


def test_one_motion_is_the_same_in_all_notations(animator: Animator, latent: torch.Tensor) -> None:
    """Bit-identical also to the straight line before timelines existed."""
    direction = load_motion(animator.bundle.motions["smile"]).direction
    expected = [latent + 1.3 * (i / 6) * direction for i in range(7)]
    ways: list[Motions] = [
        "smile",
        ["smile"],
        {"smile": 1},
        animator.bundle.motions["smile"],
        str(animator.bundle.motions["smile"]),
    ]
    for motion in ways:
        latents = animator.animate(latent, motion, strength=1.3, frames=7).latents()
        assert all(torch.equal(a, b) for a, b in zip(latents, expected, strict=True)), motion


def test_motions_add_up(animator: Animator, latent: torch.Tensor) -> None:
    smile, turn = (
        load_motion(animator.bundle.motions[name]).direction.double() for name in ("smile", "headsTurn")
    )
    video = animator.animate(latent, {"headsTurn": -0.5, "smile": 2}, strength=1.5, frames=11)
    for i, moved in enumerate(video.latents()):
        expected = latent.double() + 1.5 * i / 10 * (2 * smile - 0.5 * turn)
        assert torch.allclose(moved.double(), expected, atol=1e-5)
        assert moved.dtype == torch.float32


def test_a_timeline_moves_the_latent(animator: Animator, latent: torch.Tensor) -> None:
    smile, turn = (
        load_motion(animator.bundle.motions[name]).direction.double() for name in ("smile", "headsTurn")
    )
    timeline = parse_timeline("0s headsTurn=1, 1s smile=2 headsTurn=0 smooth, 2s hold, 3s smile=0")
    video = animator.animate(latent, timeline, fps=4, strength=-1)
    assert (len(video), video.fps) == (13, 4)
    latents = list(video.latents())
    for i, (s, t) in {
        0: (0, 1),
        1: (2 * 0.15625, 1 - 0.15625),
        4: (2, 0),
        8: (2, 0),
        10: (1, 0),
        12: (0, 0),
    }.items():
        assert torch.allclose(latents[i].double(), latent.double() - s * smile - t * turn, atol=1e-5), i
    assert torch.equal(latents[12], latent)
    assert len(list(animator.animate(latent, parse_timeline("1s hold"), fps=2))) == 3


def test_motions_along_curves_follow_them(animator: Animator, latent: torch.Tensor, tmp_path: Path) -> None:
    anchors = random_anchors(3)
    drawn = torch.randn(STYLES, STYLE_DIM, generator=torch.Generator().manual_seed(4))
    bent = anchors.w_plus + anchors.degrees.square()[:, None, None] * drawn
    path = tmp_path / "bent.safetensors"
    type(anchors)(bent, anchors.degrees, {"path": "curve"}).save(path)
    curved, line = load_motion(path), load_motion(animator.bundle.motions["smile"])
    assert curved.curve is not None
    both: dict[str | Path, float] = {path: 1.0, "smile": 0.5}
    latents = list(animator.animate(latent, both, strength=2, frames=5).latents())
    for i, moved in enumerate(latents):
        expected = latent + curved.offset(2 * i / 4) + line.offset(i / 4)
        assert torch.allclose(moved, expected, atol=1e-5)
    straight = (latents[0] + latents[4]) / 2
    assert not torch.allclose(latents[2], straight, atol=0.1), "the middle of the way is no chord"


def test_pingpong_plays_the_frames_in_reverse(animator: Animator, latent: torch.Tensor) -> None:
    video = animator.animate(latent, frames=4, loop="pingpong", easing="smooth")
    frames = list(video)
    assert len(frames) == len(video) == 7
    assert all(np.array_equal(a, b) for a, b in zip(frames, frames[::-1], strict=True))
    held = list(animator.animate(latent, frames=4, loop="hold", easing="smooth"))
    assert all(np.array_equal(a, b) for a, b in zip(held, frames[:4] + frames[3:4] * 3, strict=True))
    assert not np.array_equal(frames[0], frames[3])


def test_a_sheet_is_labelled_with_the_strengths(
    animator: Animator, latent: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[list[str]] = []
    monkeypatch.setattr("micromotion.animation.contact_sheet", lambda frames, labels: said.append(labels))
    animator.animate(latent, strength=-2, frames=3).sheet()
    animator.animate(latent, parse_timeline("1s smile=0.5, 2s headsTurn=-1, 3s smile=0"), fps=1).sheet()
    assert said == [
        ["0%", "-100%", "-200%"],
        ["0%", "smile 50%", "smile 50%, headsTurn -100%", "headsTurn -100%"],
    ]


# Half precision.


@pytest.mark.slow
def test_half_precision_networks_play_the_same_video(random_bundle: Path, astronaut: Image.Image) -> None:
    animator, half = (Animator.load(random_bundle, "cpu") for _ in range(2))
    half.bundle.generator.use_half()
    half.bundle.inverter.use_half()
    latent = half.encode(astronaut)
    assert latent.dtype == torch.float32
    assert torch.allclose(latent, animator.encode(astronaut), atol=0.02)
    for seed in (None, 1):
        videos = [each.animate(latent, frames=3, seed=seed) for each in (animator, half)]
        for exact, rough in zip(*videos, strict=True):
            assert rough.dtype == np.uint8
            assert np.abs(exact.astype(int) - rough).max() <= 4
            assert np.mean(exact != rough) < 0.2


# Photos.


@pytest.mark.slow
def test_a_photo_may_be_given_in_any_form(
    animator: Animator, latent: torch.Tensor, astronaut: Image.Image, tmp_path: Path
) -> None:
    path = tmp_path / "photo.png"
    astronaut.save(path)
    for photo in (path, str(path), path.read_bytes(), BytesIO(path.read_bytes())):
        assert torch.equal(animator.encode(photo), latent)


@pytest.mark.slow
def test_aligned_uses_the_picture_unchanged(animator: Animator, astronaut: Image.Image) -> None:
    from micromotion import align

    crop = align(astronaut, 256).image
    assert torch.allclose(animator.encode(crop, aligned=True), animator.encode(astronaut), atol=1e-5)
    grey = Image.new("RGB", (256, 256), "grey")
    assert animator.encode(grey, aligned=True).shape == (1, STYLES, STYLE_DIM)
    with pytest.raises(NoFaceError):
        animator.encode(grey)


@pytest.mark.slow
def test_face_selects_another_face(animator: Animator, astronaut: Image.Image, latent: torch.Tensor) -> None:
    two = Image.new("RGB", (1024, 512))
    two.paste(astronaut, (0, 0))
    two.paste(astronaut.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (512, 0))
    first, second = animator.encode(two), animator.encode(two, face=1)
    assert not torch.allclose(first, second, atol=1e-2)
    with pytest.raises(NoFaceError):
        animator.encode(astronaut, face=9)


# Wrong options are refused before the photo is opened.


@pytest.mark.parametrize(
    "options",
    [
        {"strength": math.nan},
        {"strength": math.inf},
        {"strength": 5.01},
        {"strength": "1"},
        {"strength": 10**400},
        {"frames": 0},
        {"frames": 10**9},
        {"frames": 2.5},
        {"fps": 0},
        {"fps": 61},
        {"fps": math.nan},
        {"face": -1},
        {"seed": -1},
        {"seed": 2**64},
        {"seed": "x"},
        {"loop": "bounce"},
        {"easing": "bouncy"},
    ],
)
def test_options_are_checked_first(animator: Animator, options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(OptionError, match=f"^{name} must be .*not "):
        animator.animate("missing.jpg", **options)


def test_an_unknown_motion_is_refused_with_the_known_ones(animator: Animator) -> None:
    with pytest.raises(MotionError, match=r"did you mean 'smile'\?.*headsTurn, smile\."):
        animator.animate("missing.jpg", "Smlie")
    with pytest.raises(MotionError, match=r"'xyz'; this model has headsTurn, smile\.$"):
        animator.animate("missing.jpg", "xyz")
    for several in (["smile", "xyz"], {"xyz": 0}, parse_timeline("1s smile xyz")):
        with pytest.raises(MotionError, match="'xyz'"):
            animator.animate("missing.jpg", several)


def test_a_motion_of_another_model_is_refused(
    animator: Animator, latent: torch.Tensor, tmp_path: Path
) -> None:
    anchors = random_anchors(0)
    path = tmp_path / "smile.safetensors"
    type(anchors)(anchors.w_plus[:, :-2].contiguous(), anchors.degrees, anchors.provenance).save(path)
    other = Animator(
        type(animator.bundle)(**{**vars(animator.bundle), "motions": {"smile": path}})  # the same networks
    )
    with pytest.raises(MotionError, match="another model"):
        other.animate(latent)


def test_a_bad_photo_is_refused(animator: Animator) -> None:
    with pytest.raises(ImageError):
        animator.animate("missing.jpg")


@pytest.mark.parametrize("shape", [(STYLES, STYLE_DIM), (2, STYLES, STYLE_DIM), (1, STYLES + 1, STYLE_DIM)])
def test_a_latent_of_another_model_is_refused(animator: Animator, shape: tuple[int, ...]) -> None:
    with pytest.raises(OptionError, match="latent"):
        animator.animate(torch.zeros(shape))


@pytest.fixture(scope="module")
def avatar() -> Animator:
    return Animator.load("avatar", "cpu")


# The embedded avatar.


@pytest.mark.slow
def test_the_avatar_plays_every_motion_on_a_real_photo(avatar: Animator, astronaut: Image.Image) -> None:
    latent = avatar.encode(astronaut)
    for motion in avatar.motions:
        video = avatar.animate(latent, motion, frames=3)
        first, _, last = (frame.astype(float) for frame in video)
        assert first.std() > 20, "a picture, not a flat colour"
        assert np.abs(last - first).max() > 40, f"{motion} is not seen"
        assert np.abs(last - first).mean() < 40, f"{motion} leaves another picture"


def test_the_old_name_of_video_is_deprecated() -> None:
    import micromotion

    with pytest.warns(DeprecationWarning, match="micromotion.Clip is now Video"):
        assert micromotion.Clip is micromotion.Video


@pytest.mark.slow
def test_a_latent_may_be_changed(animator: Animator, astronaut_file: Path) -> None:
    latent = animator.encode(astronaut_file)
    latent[:, 1:] = 0
    assert list(animator.animate(latent, frames=1))
