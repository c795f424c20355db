"""Comparisons: the order of the pictures, and that nothing else is shown."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from random_networks import RESOLUTION, zero_code

from micromotion import Animator, align
from micromotion.errors import MotionError, OptionError
from micromotion.types import Frame
from micromotion.video.comparison import Comparison, strength_strip

COLOURS = [(250, 20, 20), (20, 240, 20), (20, 20, 245)]


def plain(colour: tuple[int, int, int], side: int) -> Frame:
    return np.full((side, side, 3), colour, np.uint8)


def columns_of(picture: Frame, colour: tuple[int, int, int]) -> np.ndarray:
    """The columns in which a colour appears, which must form a square."""
    rows, columns = np.nonzero((picture == colour).all(axis=2))
    assert np.ptp(rows) == np.ptp(columns)
    assert len(rows) == (np.ptp(rows) + 1) ** 2
    return np.unique(columns)


@pytest.fixture(scope="module")
def animator(random_bundle: Path) -> Animator:
    return Animator.load(random_bundle, "cpu")


@pytest.mark.parametrize("side", [32, 256, 400])
def test_photo_inversion_and_animation_are_in_this_order(side: int) -> None:
    photo, still, frame = (plain(colour, side) for colour in COLOURS)
    comparison = Comparison(photo)
    picture = comparison.begin([(np.zeros(1), still)])(np.zeros(1), frame)
    assert picture.dtype == np.uint8
    assert picture.shape[1::-1] == comparison.size
    places = [columns_of(picture, colour) for colour in COLOURS]
    assert [len(place) for place in places] == [max(side, 256)] * 3
    assert places[0][-1] < places[1][0]
    assert places[1][-1] < places[2][0]


def test_a_strip_is_one_row_in_the_requested_order() -> None:
    frames = [plain((10 * i, 200, 0), 64) for i in range(9)]
    strip = np.asarray(strength_strip(frames, [i / 2 for i in range(9)]))
    places = [columns_of(strip, (10 * i, 200, 0)) for i in range(9)]
    assert all(a[-1] < b[0] for a, b in pairwise(places))
    assert strip.shape[0] < 400


def test_the_labels_are_the_strengths(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[list[str]] = []
    monkeypatch.setattr(
        "micromotion.video.comparison.contact_sheet", lambda *_, labels, **__: said.append(labels)
    )
    strength_strip([plain((0, 0, 0), 8)] * 4, [-1, 0, 0.25, 2.0])
    assert said == [["-1", "0", "0.25", "2"]]


@pytest.mark.slow
def test_a_video_compares_with_the_photos_own_crop(animator: Animator, astronaut: Image.Image) -> None:
    video = animator.animate(astronaut, frames=3, strength=2, compare=True, seed=1)
    crop = np.asarray(align(astronaut, RESOLUTION).image)
    latent = animator.encode(astronaut)
    frames = list(animator.animate(latent, frames=3, strength=2, seed=1))
    pictures = list(video)
    begun = Comparison(crop).begin([(np.zeros(1), frames[0])])
    assert all(np.array_equal(a, begun(np.zeros(1), b)) for a, b in zip(pictures, frames, strict=True))
    assert video.size == pictures[0].shape[1::-1]
    assert len(video) == 3


@pytest.mark.slow
def test_the_inversion_is_the_still_frame_whatever_comes_first(
    animator: Animator, astronaut: Image.Image
) -> None:
    still = next(iter(animator.animate(astronaut, frames=2, compare=True)))
    full = next(iter(animator.animate(astronaut, frames=1, compare=True)))
    two_thirds = 2 * still.shape[1] // 3
    assert np.array_equal(still[:, :two_thirds], full[:, :two_thirds])
    assert not np.array_equal(still[:, two_thirds:], full[:, two_thirds:])


@pytest.mark.slow
def test_a_sheet_of_a_comparison_shows_it(animator: Animator, astronaut: Image.Image, tmp_path: Path) -> None:
    video = animator.animate(astronaut, frames=3, compare=True)
    video.save(tmp_path / "video.gif", sheet=tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert np.array_equal(np.asarray(sheet), np.asarray(video.sheet()))


@pytest.mark.slow
def test_a_picture_that_is_cropped_already_is_compared_too(
    animator: Animator, astronaut: Image.Image
) -> None:
    crop = align(astronaut, RESOLUTION).image
    picture = next(iter(animator.animate(crop, aligned=True, compare=True, frames=1)))
    shown = Image.fromarray(picture).crop((9, 9, 265, 265)).resize((RESOLUTION, RESOLUTION))
    assert np.abs(np.asarray(shown).astype(int) - np.asarray(crop)).mean() < 4


@pytest.mark.slow
def test_a_strip_equals_videos_of_one_frame(animator: Animator, astronaut: Image.Image) -> None:
    latent = animator.encode(astronaut)
    motion = {"smile": 1, "headsTurn": -0.5}
    strengths = (-1, 0, 0.5, 2)
    frames = [next(iter(animator.animate(latent, motion, strength=s, frames=1, seed=3))) for s in strengths]
    assert animator.at_strengths(astronaut, motion, strengths, seed=3) == strength_strip(frames, strengths)
    assert animator.at_strengths(latent, "smile") == animator.at_strengths(latent)


def test_invalid_comparisons_are_refused(animator: Animator, astronaut: Image.Image) -> None:
    latent = zero_code(animator.bundle.generator)
    with pytest.raises(OptionError, match="photo"):
        animator.animate(latent, compare=True)
    with pytest.raises(MotionError, match="xyz"):
        animator.at_strengths("missing.jpg", "xyz")
    impossible: list[Any] = [(), [1] * 25, ["x"], [6]]
    for strengths in impossible:
        with pytest.raises(OptionError, match="strength"):
            animator.at_strengths("missing.jpg", strengths=strengths)
