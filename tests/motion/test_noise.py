"""Where small noise ends and a gross error begins, how far off a stray is, and that all anchors count."""

import pytest
import torch
from draws import normal
from torch import Tensor

from micromotion.motion.anchors import Anchors
from micromotion.motion.micromotion import _gross_errors, _median_slope, analyse

STYLES, DIM, COUNT = 2, 200, 11
DEGREES = torch.linspace(0, 1, COUNT).double()
NOISE = normal(STYLES, COUNT, DIM, seed=5, dtype=torch.float64)
"""Its standard deviation is 1."""


@pytest.mark.parametrize("degrees", [DEGREES, DEGREES**2])
@pytest.mark.parametrize(("deviations", "taken"), [(3.9, False), (6.5, True), (50.0, True)])
def test_an_error_is_gross_from_five_deviations_of_the_noise_on(
    degrees: Tensor, deviations: float, taken: bool
) -> None:
    """However wide the steps between the anchors; the motion itself, a line, is no noise."""
    erratic = NOISE.clone()
    erratic[:, 4, ::20] = deviations
    line = 30 * degrees[:, None] * normal(STYLES, 1, DIM, seed=6, dtype=torch.float64)
    found = _gross_errors(line + erratic, erratic, degrees)
    assert bool((found[:, 4, ::20] != 0).all()) == taken
    found[:, 4, ::20] = 0
    assert not found.any()


def performed(degrees: Tensor) -> Tensor:
    """A motion whose entries all are of the same size, [n, styles, dim]."""
    return degrees.float()[:, None, None] * torch.sign(normal(STYLES, DIM, seed=7))


@pytest.mark.parametrize(("off", "strays"), [(1.1, ()), (1.4, (5,)), (4.0, (5,))])
def test_an_anchor_is_left_out_from_a_quarter_farther_than_all_are_apart(off: float, strays: tuple) -> None:
    """The fifth is off by so many times the way from the second anchor to the last but one, all across."""
    w_plus = performed(DEGREES)
    w_plus[5] += 0.5 * off * 0.8 * torch.sign(normal(STYLES, DIM, seed=8))  # there and back: twice
    assert analyse(Anchors(w_plus, DEGREES)).strays == strays


def test_of_many_anchors_the_first_do_not_decide() -> None:
    """Of sixty, whose pairs are too many to be asked all, nine that are wrong leave the slope as it is."""
    degrees = torch.linspace(0, 1, 60).double()
    slope = normal(STYLES, DIM, seed=9, dtype=torch.float64)
    values = degrees[:, None] * slope[:, None]
    values[:, :9] += 20 * normal(STYLES, 9, DIM, seed=10, dtype=torch.float64)
    assert (_median_slope(values, degrees) - slope).abs().max() < 0.1
