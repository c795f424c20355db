import numpy as np
import pytest

from micromotion.photo.sampling import MonotoneCurve, blur, edge_width, fine_grain, sample, smoothstep


def picture(seed: int = 0, shape: tuple[int, ...] = (23, 31, 3)) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def test_sampling_at_pixel_centres_returns_the_picture() -> None:
    pixels = picture()
    y, x = np.mgrid[:23, :31].astype(np.float32)
    np.testing.assert_allclose(sample(pixels, x, y), pixels, atol=2e-6)
    np.testing.assert_allclose(sample(pixels, x, y, bicubic=True), pixels, atol=1e-5)
    np.testing.assert_allclose(sample(pixels[..., 0], x, y), pixels[..., 0], atol=2e-6)


def test_sampling_interpolates_and_extends_or_zeroes_the_border() -> None:
    ramp = np.tile(np.arange(8, dtype=np.float32), (6, 1))
    x, y = np.array([[2.25, -3.0, 12.0]], np.float32), np.full((1, 3), 2.0, np.float32)
    np.testing.assert_allclose(sample(ramp, x, y), [[2.25, 0.0, 7.0]], atol=1e-6)
    np.testing.assert_allclose(sample(ramp, x, y, beyond="zeros"), [[2.25, 0.0, 0.0]], atol=1e-6)


def test_a_smooth_step_has_smooth_ends_and_may_fall() -> None:
    x = np.linspace(-1, 2, 301)
    rising, falling = smoothstep(0, 1, x), smoothstep(1, 0, x)
    assert rising[0] == 0
    assert rising[-1] == 1
    np.testing.assert_allclose(rising + falling, 1)
    assert np.abs(np.diff(rising, n=2)).max() < 7e-4  # no kink


@pytest.mark.parametrize("sigma", [0.8, 1.5, 3.0])
def test_the_width_of_a_blurred_edge_is_its_sigma(sigma: float) -> None:
    edge = np.zeros((60, 60), np.float32)
    edge[:, 30:] = 0.8
    assert edge_width(blur(edge, sigma)) == pytest.approx(np.hypot(sigma, 0.6), rel=0.16)


def test_grain_is_the_difference_to_a_blur() -> None:
    flat = np.full((40, 40, 3), 0.5, np.float32)
    noise = (0.05 * (picture(1, (40, 40, 3)) - 0.5)).astype(np.float32)
    assert np.abs(fine_grain(flat)).max() < 1e-6
    assert fine_grain(flat + noise).std() == pytest.approx(noise.std(), rel=0.1)


def test_a_monotone_curve_interpolates_without_overshoot() -> None:
    x = np.array([-1.0, -0.4, 0.0, 0.3, 1.0])
    y = np.array([[-2.0, 0.0], [-0.1, 0.0], [0.0, 0.0], [0.9, 0.5], [1.0, 2.0]])
    curve = MonotoneCurve(x, y)
    np.testing.assert_allclose(curve(x), y, atol=1e-12)
    fine = np.linspace(-1, 1, 2001)
    assert (np.diff(curve(fine), axis=0) >= -1e-12).all()
    assert curve(2.0)[0] - curve(1.5)[0] == pytest.approx(curve(2.5)[0] - curve(2.0)[0])  # straight beyond
    slopes = np.diff(curve(fine), axis=0)
    assert np.abs(np.diff(slopes, axis=0)).max() < 0.02 * np.abs(slopes).max()  # no kink
