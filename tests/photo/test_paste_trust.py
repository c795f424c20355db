"""A frame's changes fade out at the border, and are weighted by the inversion's likeness to the photo."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from micromotion import Animator
from micromotion.face.alignment import align, as_aligned
from micromotion.face.crop import AlignedFace
from micromotion.photo.paste import Paste

pytestmark = pytest.mark.slow

FACES = Path(__file__).resolve().parents[2] / "docs" / "faces"
SIDE = 256


def open_face(name: str) -> Image.Image:
    return Image.open(FACES / f"{name}.jpg").convert("RGB")


def hazy(name: str) -> Image.Image:
    """A blurred face crop of medium brightness, so that any steep edge was added by pasting."""
    picture = align(open_face(name), SIDE).image.filter(ImageFilter.GaussianBlur(10))
    return picture.point(lambda level: 80 + level // 3)


def in_a_wide_photo(crop: Image.Image) -> tuple[Image.Image, AlignedFace]:
    """A photo with this crop in its middle, extended to the left and right by its border pixels."""
    wide = np.pad(np.asarray(crop), ((0, 0), (70, 70), (0, 0)), mode="edge")
    photo = Image.fromarray(wide)
    return photo, as_aligned(photo, SIDE)


def steepest(photo: Image.Image, picture: np.ndarray) -> float:
    """The largest step between neighbouring pixels of the change to a photo, in gray levels."""
    added = picture.astype(int) - np.asarray(photo)
    return max(float(np.abs(np.diff(added, axis=axis)).max()) for axis in (0, 1))


def largest(photo: Image.Image, picture: np.ndarray) -> int:
    """The largest change of a pixel, in gray levels."""
    return int(np.abs(picture.astype(int) - np.asarray(photo)).max())


def test_where_the_crop_ends_a_lighter_frame_fades_out() -> None:
    """A twin's frame is pasted directly; 40 levels lighter, it must not end in a line."""
    photo, aligned = in_a_wide_photo(hazy("mona-lisa"))
    still = np.asarray(aligned.image)
    picture = Paste(photo, aligned, still)(still + np.uint8(40))
    assert largest(photo, picture) >= 38
    assert steepest(photo, picture) < 10


@pytest.mark.parametrize("other", ["grace-hopper", "george-washington"])
def test_where_the_face_ends_a_darker_face_fades_out(other: str) -> None:
    """Of another face's frame the shading is used; it must not leave a line where the face ends."""
    photo, aligned = in_a_wide_photo(hazy("mona-lisa"))
    still = np.asarray(hazy(other))
    picture = Paste(photo, aligned, still)((0.7 * still).astype(np.uint8))
    assert largest(photo, picture) >= 20
    assert steepest(photo, picture) < 0.16 * largest(photo, picture)


@pytest.fixture(scope="module")
def pair() -> tuple[Image.Image, AlignedFace, np.ndarray, np.ndarray]:
    """A photo, its face, and two still frames: the face itself and the embedded model's inversion."""
    photo = open_face("mona-lisa")
    aligned = align(photo, SIDE)
    still = next(
        iter(Animator.load("avatar", device="cpu").animate(photo, frames=1, strength=0, view="model"))
    )
    model = np.asarray(Image.fromarray(still).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    return photo, aligned, np.asarray(aligned.image), model


def blended(own: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    return (share * own.astype(float) + (1 - share) * other).round().astype(np.uint8)


def blot_shows(photo: Image.Image, paste: Paste, still: np.ndarray) -> float:
    """How blue the photo's cheek becomes, in levels, from a blue blot in the frame."""
    frame = still.copy()
    frame[134:146, 159:171] = (20, 40, 220)
    change = paste(frame).astype(int) - np.asarray(photo)
    return float(change[..., 2].max())


def test_a_less_alike_inversion_contributes_less(
    pair: tuple[Image.Image, AlignedFace, np.ndarray, np.ndarray],
) -> None:
    """At a likeness of 0.7 a blot in the frame shows only faintly; from 0.85 on it shows as a twin's does."""
    photo, aligned, own, model = pair

    def shown(alike: float) -> float:
        """How a blot shows at this likeness, with a blend of the face and the model's picture."""
        low, high = 0.0, 1.0
        for _ in range(12):
            share = (low + high) / 2
            still = blended(own, model, share)
            paste = Paste(photo, aligned, still)
            if abs(paste.likeness - alike) < 0.015:
                return blot_shows(photo, paste, still)
            low, high = (share, high) if paste.likeness < alike else (low, share)
        raise AssertionError(f"no blend is {alike} alike")

    twin, other = (blot_shows(photo, Paste(photo, aligned, still), still) for still in (own, model))
    assert twin - other > 60
    assert shown(0.7) - other < 0.5 * (twin - other)
    assert shown(0.87) - other > 0.85 * (twin - other)
