"""The straight line is one of the candidate smoothings, and rounding errors do not bend a line."""

import torch
from draws import normal

from micromotion.motion.spline import smoothing_spline

KNOTS = torch.linspace(0, 1, 11, dtype=torch.float64)


def test_straight_points_give_a_line_and_not_a_stiff_curve() -> None:
    """For pure noise most columns are a line up to rounding."""
    spline = smoothing_spline(KNOTS, normal(11, 200, dtype=torch.float64))
    bent = spline.bends.abs().amax(0)
    assert (bent < 1e-9).float().mean() > 0.5
    assert (bent > 1e-2).any(), "some noise does look like a bend"


def test_rounding_errors_do_not_bend_a_line() -> None:
    """At twice the knots' range, a bend by rounding at the ends would show."""
    line = 7 + 3 * KNOTS[:, None]
    spline = smoothing_spline(KNOTS, line + 1e-11 * normal(11, 200, dtype=torch.float64))
    assert spline.bends.abs().max() < 1e-10
    assert (spline(3.0) - 16).abs().max() < 1e-9
