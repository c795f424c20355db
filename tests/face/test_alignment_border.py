"""Crops beyond the photo: how its mirrored continuation fades, and to what."""

import numpy as np
import pytest
from PIL import Image

from micromotion.face.crop import crop_quad

SIDE, BEYOND, BRIGHT, DARK = 300, 30, 200, 50


@pytest.fixture
def picture() -> Image.Image:
    """A dark picture that is bright near its left border, beyond which the crop extends."""
    values = np.full((900, 700, 3), DARK, np.uint8)
    values[:, :75] = BRIGHT
    return Image.fromarray(values)


@pytest.mark.parametrize("compatible", [False, True])
@pytest.mark.parametrize("size", [150, 300])
def test_beyond_the_border_it_fades_over_three_tenths_of_the_side(
    picture: Image.Image, size: int, compatible: bool
) -> None:
    """FFHQ's rule: the median colour from 0.3 of the side on, and a linear blend before that."""
    x0, y0 = -0.5 - BEYOND, 300.0
    x1, y1 = x0 + SIDE, y0 + SIDE
    quad = np.array([[x0, y0], [x0, y1], [x1, y1], [x1, y0]])
    crop = np.asarray(crop_quad(picture, quad, size, compatible=compatible)).astype(float)
    away = BEYOND - (np.arange(size) + 0.5) * SIDE / size
    expected = BRIGHT + (DARK - BRIGHT) * np.clip(away / (0.3 * SIDE), 0, 1)
    near = away > -20  # farther in the blur of the continuation ends, and the dark begins
    error = np.abs(crop - expected[:, None])[:, near]
    assert error.max() <= 4
    assert expected[0] < BRIGHT - 40


def test_beyond_the_border_it_is_blurred_by_a_fiftieth_of_the_side() -> None:
    """A line across the border: the blurred edge spans two sigmas from 16% to 84%."""
    values = np.full((900, 700, 3), DARK, np.uint8)
    values[:450] = BRIGHT
    x0, y0 = -0.5 - BEYOND, 299.5
    quad = np.array([[x0, y0], [x0, y0 + SIDE], [x0 + SIDE, y0 + SIDE], [x0 + SIDE, y0]])
    crop = np.asarray(crop_quad(Image.fromarray(values), quad, SIDE))[..., 0].astype(float)
    for column, width in ((BEYOND // 2, 2 * 0.02 * SIDE), (SIDE // 2, 1)):
        line = crop[100:200, column]
        part = (line - line.min()) / np.ptp(line)
        across = np.interp([0.16, 0.84], part[::-1], np.arange(100))
        assert np.diff(across)[0] == pytest.approx(width, rel=0.2, abs=0.5)


def quad_at(left: float, side: int) -> np.ndarray:
    """An upright crop whose left edge is `left` pixels right of the photo's, far below its top."""
    x0, y0 = left - 0.5, 299.5
    return np.array([[x0, y0], [x0, y0 + side], [x0 + side, y0 + side], [x0 + side, y0]])


def test_the_outermost_pixels_are_mirrored_once() -> None:
    """Mirrored about the border's column, which is not repeated."""
    values = np.full((900, 700, 3), DARK, np.uint8)
    values[:, 0] = 250
    crop = np.asarray(crop_quad(Image.fromarray(values), quad_at(-20, 100), 100)).astype(float)
    light = (crop[..., 0] - DARK).sum(axis=1).mean() / (250 - DARK)
    assert 0.6 < light < 1.4


@pytest.mark.parametrize(("left", "soft"), [(2, True), (8, False)])
def test_a_crop_that_only_just_stays_inside_is_softened_at_its_edge(left: int, soft: bool) -> None:
    """As in FFHQ's own code, where the blur begins inside the photo."""
    values = np.random.default_rng(2).integers(0, 256, (900, 700, 3)).astype(np.uint8)
    crop = np.asarray(crop_quad(Image.fromarray(values), quad_at(left, 200), 200)).astype(float)
    edge, middle = crop[:, :4].std(), crop[:, 90:110].std()
    assert (edge < 0.7 * middle) is np.bool_(soft)
