"""Natural cubic smoothing splines, compared to SciPy's, and their general properties."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline, make_smoothing_spline
from torch import Tensor

from micromotion.motion.spline import Spline, smoothing_spline

EVEN = torch.linspace(0, 1, 11, dtype=torch.float64)
UNEVEN = torch.tensor([-0.2, 0.0, 0.05, 0.3, 0.31, 0.5, 0.9, 1.0], dtype=torch.float64)
FINE = np.linspace(-0.7, 1.9, 131)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawn(spline: Spline, at: np.ndarray = FINE) -> np.ndarray:
    return torch.stack([spline(float(t)) for t in at]).numpy()


def straightened(reference: Any, knots: np.ndarray, derivative: Any) -> np.ndarray:
    """A reference's values at FINE, continued straight beyond its knots."""
    inside = np.clip(FINE, knots[0], knots[-1])
    return reference(inside) + derivative(inside) * (FINE - inside)[:, None]


@pytest.mark.parametrize("knots", [EVEN, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("smoothing", [1e-5, 1e-3, 0.1, 10.0])
def test_a_given_smoothing_agrees_with_scipy(knots: Tensor, smoothing: float) -> None:
    points = normal(len(knots), 3)
    spline = smoothing_spline(knots, points, smoothing)
    reference = make_smoothing_spline(knots.numpy(), points.numpy(), lam=smoothing)
    wanted = straightened(reference, knots.numpy(), reference.derivative())
    np.testing.assert_allclose(drawn(spline), wanted, atol=1e-8)


@pytest.mark.parametrize("knots", [EVEN, UNEVEN, UNEVEN[:3]], ids=["even", "uneven", "three"])
def test_without_smoothing_the_spline_interpolates(knots: Tensor) -> None:
    points = normal(len(knots), 2)
    spline = smoothing_spline(knots, points, 0.0)
    np.testing.assert_allclose(drawn(spline, knots.numpy()), points.numpy(), atol=1e-10)
    reference = CubicSpline(knots.numpy(), points.numpy(), bc_type="natural")
    wanted = straightened(reference, knots.numpy(), reference.derivative())
    np.testing.assert_allclose(drawn(spline), wanted, atol=1e-8)


def slow_choice(knots: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The fit of one column under GCV with Kim and Gu's factor, the hat matrix through SciPy."""
    n = len(knots)
    least, best = np.inf, None
    for exponent in np.arange(-12, 6, 0.05):
        smoother = make_smoothing_spline(knots, np.eye(n), lam=10**exponent)(knots)
        spare = n - 1.4 * np.trace(smoother)
        fit = smoother @ points
        score = np.sum((points - fit) ** 2) / spare**2
        if spare > 0 and score < least:
            least, best = score, fit
    assert best is not None
    return best


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_the_smoothing_is_chosen_by_cross_validation(seed: int) -> None:
    points = torch.sin(4 * EVEN)[:, None] + 0.15 * normal(11, 1, seed=seed)
    wanted = slow_choice(EVEN.numpy(), points.numpy()[:, 0])
    got = smoothing_spline(EVEN, points).values[:, 0].numpy()
    np.testing.assert_allclose(got, wanted, atol=0.01)  # both search a grid
    assert np.abs(got - points.numpy()[:, 0]).max() > 0.05, "it smooths at all"


@pytest.mark.parametrize("knots", [EVEN, UNEVEN, EVEN[:3], EVEN[:2]], ids=["even", "uneven", "three", "two"])
def test_points_on_a_line_give_that_line_everywhere(knots: Tensor) -> None:
    slopes = torch.tensor([3.0, -1.0, 0.0], dtype=torch.float64)
    spline = smoothing_spline(knots, 7 + knots[:, None] * slopes)
    np.testing.assert_allclose(drawn(spline), 7 + FINE[:, None] * slopes.numpy(), atol=1e-9)


def test_noise_alone_is_smoothed_away() -> None:
    values = smoothing_spline(EVEN, normal(11, 200)).values
    assert float(values.square().mean()) < 0.35


def test_a_smooth_curve_is_reproduced() -> None:
    points = torch.stack([EVEN**2, torch.sin(3 * EVEN), torch.sigmoid(8 * EVEN - 4)], dim=1)
    assert float((smoothing_spline(EVEN, points).values - points).abs().max()) < 0.01


def test_columns_are_independent_and_scale() -> None:
    points = torch.cat(
        [torch.sin(4 * EVEN)[:, None] + 0.1 * normal(11, 1), 1e6 * normal(11, 1, seed=1)], dim=1
    )
    both = smoothing_spline(EVEN, points).values
    alone = smoothing_spline(EVEN, -1e-6 * points[:, :1]).values
    torch.testing.assert_close(both[:, :1], -1e6 * alone, rtol=1e-6, atol=1e-9)


def test_it_is_smooth_at_the_knots_and_at_the_ends() -> None:
    spline = smoothing_spline(UNEVEN, normal(8, 1), 1e-4)
    step = 1e-5
    for knot in UNEVEN.tolist():
        before, at, after = (spline(knot + shift) for shift in (-step, 0.0, step))
        assert float(((after - at) - (at - before)).abs().max()) < 1e-5
