"""The thresholds of gross errors and strays; and all anchors count."""

import pytest
import torch
from draws import normal
from torch import Tensor

from micromotion.motion.anchor_analysis import _gross_errors, _median_slope, analyse
from micromotion.motion.anchors import Anchors

STYLES, DIM, COUNT = 2, 200, 11
DEGREES = torch.linspace(0, 1, COUNT).double()
NOISE = normal(STYLES, COUNT, DIM, seed=5, dtype=torch.float64)
"""Noise of standard deviation 1."""


@pytest.mark.parametrize("degrees", [DEGREES, DEGREES**2])
@pytest.mark.parametrize(("deviations", "taken"), [(3.9, False), (6.5, True), (50.0, True)])
def test_an_error_above_five_deviations_of_the_noise_is_gross(
    degrees: Tensor, deviations: float, taken: bool
) -> None:
    """At any spacing of the anchors; the motion itself, a line, is not noise."""
    erratic = NOISE.clone()
    erratic[:, 4, ::20] = deviations
    line = 30 * degrees[:, None] * normal(STYLES, 1, DIM, seed=6, dtype=torch.float64)
    found = _gross_errors(line + erratic, erratic, degrees)
    assert bool((found[:, 4, ::20] != 0).all()) == taken
    found[:, 4, ::20] = 0
    assert not found.any()


def performed(degrees: Tensor) -> Tensor:
    """A motion whose entries all have the same magnitude, [n, styles, dim]."""
    return degrees.float()[:, None, None] * torch.sign(normal(STYLES, DIM, seed=7))


@pytest.mark.parametrize(("off", "strays"), [(1.1, ()), (1.4, (5,)), (4.0, (5,))])
def test_an_anchor_is_a_stray_above_1_25_times_the_largest_distance(off: float, strays: tuple) -> None:
    """Anchor 5 is off by a multiple of the distance between the second and the last but one anchor."""
    w_plus = performed(DEGREES)
    w_plus[5] += 0.5 * off * 0.8 * torch.sign(normal(STYLES, DIM, seed=8))  # there and back, so half of it
    assert analyse(Anchors(w_plus, DEGREES)).strays == strays


def test_the_first_of_many_anchors_do_not_dominate_the_slope() -> None:
    """With sixty anchors only some pairs are used; nine wrong anchors do not change the slope."""
    degrees = torch.linspace(0, 1, 60).double()
    slope = normal(STYLES, DIM, seed=9, dtype=torch.float64)
    values = degrees[:, None] * slope[:, None]
    values[:, :9] += 20 * normal(STYLES, 9, DIM, seed=10, dtype=torch.float64)
    assert (_median_slope(values, degrees) - slope).abs().max() < 0.1
