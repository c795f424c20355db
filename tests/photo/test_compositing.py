import numpy as np
import pytest

from micromotion.photo.compositing import Canvas
from micromotion.photo.sampling import blur
from micromotion.photo.strokes import Stroke

SIDE = 120


@pytest.fixture
def photo() -> np.ndarray:
    noise = np.random.default_rng(3).random((300, 420, 3)).astype(np.float32)
    soft = blur(noise, 4.0)
    return (255 * (soft - soft.min()) / np.ptp(soft)).astype(np.uint8)


def matrix(scale: float, angle: float, x: float, y: float) -> np.ndarray:
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, x], [sin, cos, y]])


def bump(move: tuple[float, float], paint: float = 0.0) -> Stroke:
    """A stroke that moves and darkens the middle of the square, and leaves its border unchanged."""
    y, x = np.mgrid[:SIDE, :SIDE]
    near = np.exp(-(((x - 60) ** 2 + (y - 60) ** 2) / (2 * 16.0**2))).astype(np.float32)[..., None]
    near[near < 0.01] = 0
    return Stroke(0, 0, shift=near * np.array(move, np.float32), kept=1 - paint * near, added=None)


def test_pixels_outside_a_stroke_stay_bit_identical(photo: np.ndarray) -> None:
    canvas = Canvas(photo, matrix(1.3, 0.2, 100, 60))
    result = canvas.drawn(bump((3, 1), 0.4))
    assert result.dtype == np.uint8
    assert result.shape == photo.shape
    changed = np.argwhere((result != photo).any(axis=-1))
    middle = matrix(1.3, 0.2, 100, 60) @ [60, 60, 1]
    assert len(changed) > 1000
    assert np.hypot(*(changed[:, ::-1] - middle).T).max() < 1.3 * 16 * 3.1 + 2


def test_drawing_no_strokes_returns_a_copy(photo: np.ndarray) -> None:
    canvas = Canvas(photo, matrix(1.0, 0.0, 50, 50))
    for stroke in (Stroke(0, 0), bump((0, 0))):
        result = canvas.drawn(stroke)
        assert (result == photo).all()
        assert result is not photo


def test_displacements_are_in_the_squares_own_axes(photo: np.ndarray) -> None:
    """Upside down, what moves to the right in the square moves to the left in the photo."""
    whole = Stroke(0, 0, shift=np.full((SIDE, SIDE, 2), (-5, 0), np.float32))
    upright = Canvas(photo, matrix(1.0, 0.0, 100, 60)).drawn(whole)
    turned = Canvas(photo, matrix(1.0, np.pi, 219, 179)).drawn(whole)
    inner = np.s_[80:160, 120:200]
    np.testing.assert_allclose(upright[inner], photo[80:160, 115:195], atol=1)
    np.testing.assert_allclose(turned[inner], photo[80:160, 125:205], atol=1)


def test_displacements_scale_with_the_photo(photo: np.ndarray) -> None:
    """The same stroke on the same picture at twice the size."""
    large = np.repeat(np.repeat(photo, 2, axis=0), 2, axis=1)
    small = Canvas(photo, matrix(1.0, 0.0, 100, 60)).drawn(bump((4, -2), 0.3)).astype(float)
    big = Canvas(large, matrix(2.0, 0.0, 200.5, 120.5)).drawn(bump((4, -2), 0.3)).astype(float)
    halved = big.reshape(300, 2, 420, 2, 3).mean(axis=(1, 3))
    assert np.abs(halved - small).mean() < 0.3
    assert np.abs(halved - small).max() < 12


def test_a_square_partly_outside_the_photo_is_clipped(photo: np.ndarray) -> None:
    canvas = Canvas(photo, matrix(1.0, 0.0, -60, -60))
    result = canvas.drawn(bump((3, 3), 0.5))
    assert (result[:10, :10] != photo[:10, :10]).any()
    assert (result[120:, 120:] == photo[120:, 120:]).all()
    away = Canvas(photo, matrix(1.0, 0.0, 1000, 1000)).drawn(bump((3, 3), 0.5))
    assert (away == photo).all()


@pytest.mark.parametrize("angle", [0.0, 0.3])
def test_an_outline_does_not_smear_hidden_pixels(angle: float) -> None:
    """A green shape moves over a blue background; the red between them is hidden, and must not be sampled."""
    red, green, blue = (np.array(colour) for colour in ((230, 20, 20), (20, 200, 20), (20, 20, 200)))
    columns = np.arange(420)[:, None]
    row = np.where(columns < 200, green, np.where(columns < 230, red, blue))
    photo = np.broadcast_to(row, (300, 420, 3)).astype(np.uint8)
    place = matrix(1.3, angle, 140, 60)
    x, y = np.mgrid[:SIDE, :SIDE][::-1]
    across = place[0, 0] * x + place[0, 1] * y + place[0, 2]
    shift = np.where(across[..., None] < 245, (-50.0, 0.0), (0.0, 0.0)) @ np.linalg.inv(place[:, :2]).T
    result = Canvas(photo, place).drawn(Stroke(0, 0, shift=shift.astype(np.float32)))
    corners = place[:, :2] @ np.array([[30, 90, 30, 90], [30, 30, 90, 90]]) + place[:, 2:]
    seen = result[int(corners[1].min()) : int(corners[1].max()), 230:260].astype(int)
    inner = seen[20:-20]
    assert inner[..., 0].max() < 60, "no red"
    mixed = (inner[..., 1] > 60) & (inner[..., 2] > 60)
    assert mixed.any(axis=1).all(), "the outline is smooth in every row"
    assert mixed.sum(axis=1).max() <= 5, "and narrow"
