import numpy as np

from micromotion.photo.sampling import Picture, blur
from micromotion.photo.strokes import STILL, Stroke, composed, drawn

SIDE = 80


def smooth(seed: int, *, channels: int = 3, sigma: float = 5.0) -> Picture:
    noise = np.random.default_rng(seed).standard_normal((SIDE, SIDE, channels)).astype(np.float32)
    soft = blur(noise, sigma)
    return soft / np.abs(soft).max()


def stroke(seed: int, *, left: int = 10, top: int = 14, width: int = 50, height: int = 44) -> Stroke:
    """A stroke that moves and paints a little, and leaves its border unchanged."""
    y, x = np.mgrid[:height, :width]
    near = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y)) / 12
    window = np.clip(near, 0, 1)[..., None].astype(np.float32) ** 2
    cut = np.s_[top : top + height, left : left + width]
    return Stroke(
        left,
        top,
        shift=9 * window * smooth(seed, channels=2)[cut],
        kept=1 + 0.9 * window * smooth(seed + 1)[cut],
        added=0.3 * window * smooth(seed + 2)[cut],
    )


def test_a_stroke_moves_then_multiplies_then_adds() -> None:
    picture: Picture = (0.5 + 0.4 * smooth(0)).astype(np.float32)
    shift = np.zeros((SIDE, SIDE, 2), np.float32)
    shift[20:40, 20:40] = (5, -3)
    kept = np.ones((SIDE, SIDE, 1), np.float32)
    kept[20:40, 20:40] = 0.5
    added = np.zeros((SIDE, SIDE, 3), np.float32)
    added[20:40, 20:40] = (0.1, 0.0, 0.2)
    result = drawn(picture, Stroke(0, 0, shift, kept, added))
    np.testing.assert_allclose(
        result[20:40, 20:40], 0.5 * picture[17:37, 25:45] + np.array([0.1, 0.0, 0.2], np.float32), atol=1e-5
    )
    outside = np.ones((SIDE, SIDE), bool)
    outside[20:40, 20:40] = False
    assert (result[outside] == picture[outside]).all()


def test_a_composed_stroke_equals_its_strokes_in_sequence() -> None:
    picture: Picture = (0.5 + 0.4 * smooth(0, sigma=7)).astype(np.float32)
    strokes = [stroke(1), stroke(4, left=24, top=20), stroke(7, left=0, top=0, width=SIDE, height=SIDE)]
    apart = picture
    for each in strokes:
        apart = drawn(apart, each)
    together = drawn(picture, composed(strokes, SIDE))
    assert np.abs(together - apart).max() < 0.008  # it is read once, not three times
    assert np.abs(apart - picture).max() > 0.1


def test_the_order_of_strokes_matters() -> None:
    picture: Picture = (0.5 + 0.4 * smooth(0)).astype(np.float32)
    one, other = stroke(1), stroke(4)
    first, second = (drawn(picture, composed(each, SIDE)) for each in ([one, other], [other, one]))
    assert np.abs(first - second).max() > 0.01


def test_composing_no_strokes_changes_nothing() -> None:
    picture: Picture = (0.5 + 0.4 * smooth(0)).astype(np.float32)
    assert (drawn(picture, composed([], SIDE)) == picture).all()
    assert (drawn(picture, composed([Stroke(3, 4)], SIDE)) == picture).all()


def test_a_single_stroke_composes_to_its_nonzero_part() -> None:
    one = stroke(1)
    same = composed([one], SIDE)
    assert one.left <= same.left < same.right <= one.right
    assert one.top <= same.top < same.bottom <= one.bottom
    inside = np.s_[same.top - one.top : same.bottom - one.top, same.left - one.left : same.right - one.left]
    for plane, close in (("shift", STILL), ("kept", 1e-6), ("added", 1e-6)):
        np.testing.assert_allclose(getattr(same, plane), getattr(one, plane)[inside], atol=close)
    picture = 0.5 + 0.4 * smooth(0)
    assert np.abs(drawn(picture, same) - drawn(picture, one)).max() < 0.002


def test_tiny_displacements_leave_pixels_bit_identical() -> None:
    faint = Stroke(0, 0, shift=np.full((SIDE, SIDE, 2), 0.9 * STILL, np.float32))
    assert composed([faint], SIDE).size == (0, 0)


def test_a_stroke_does_not_affect_other_strokes_outside_its_box() -> None:
    mover = Stroke(0, 0, shift=np.full((SIDE, SIDE, 2), (0, 6), np.float32))
    painter = Stroke(30, 30, kept=np.full((10, 10, 1), 0.5, np.float32))
    together = composed([painter, mover], SIDE)
    assert together.kept is not None
    dark = np.argwhere(together.kept[..., 0] < 0.9)
    assert dark.min(axis=0).tolist() == [24, 30]  # moved six rows up
    assert dark.max(axis=0).tolist() == [33, 39]
