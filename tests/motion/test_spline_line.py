"""The straight line is one of the smoothings to choose from, and what rounding alone bends is straight."""

import torch
from draws import normal

from micromotion.motion.spline import smoothing_spline

KNOTS = torch.linspace(0, 1, 11, dtype=torch.float64)


def test_what_does_not_bend_gets_a_line_and_no_stiff_curve() -> None:
    """Of noise alone most columns are a line to the last bit but rounding, and go on as one."""
    spline = smoothing_spline(KNOTS, normal(11, 200, dtype=torch.float64))
    bent = spline.bends.abs().amax(0)
    assert (bent < 1e-9).float().mean() > 0.5
    assert (bent > 1e-2).any(), "some noise does look like a bend"


def test_errors_of_rounding_bend_no_line() -> None:
    """Twice the knots' range away a bend of the ends by their rounding would be seen."""
    line = 7 + 3 * KNOTS[:, None]
    spline = smoothing_spline(KNOTS, line + 1e-11 * normal(11, 200, dtype=torch.float64))
    assert spline.bends.abs().max() < 1e-10
    assert (spline(3.0) - 16).abs().max() < 1e-9
