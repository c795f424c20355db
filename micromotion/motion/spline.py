"""Natural cubic smoothing splines through noisy points, with an automatic choice of smoothing.

The function g that minimises Σ(y_i − g(t_i))² + λ·∫g″² is cubic between the points and straight beyond the
first and the last (Green and Silverman 1994, "Nonparametric Regression and Generalized Linear Models",
chapter 2). λ = 0 interpolates all points; λ = ∞ is the least-squares line.

Implemented here, rather than with `scipy.interpolate`, whose import delays every start and whose rounding
would change existing curves.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_ROUGHEST, _SMOOTHEST, _CHOICES = -6.0, 4.0, 81
_CAUTION = 1.4
_ROUNDING = 1e-20  # of the points' squared spread: smaller residuals are rounding errors


@dataclass(frozen=True, eq=False)
class Spline:
    """Natural cubic splines over the same knots, one per column.

    Attributes:
        knots: float64 [n], strictly increasing, n ≥ 2.
        values: float64 [n, k], the splines at the knots.
        bends: float64 [n, k], their second derivatives there; zero at both ends.
    """

    knots: Tensor
    values: Tensor
    bends: Tensor

    def __call__(self, t: float) -> Tensor:
        """The splines at t, float64 [k]; beyond the knots they continue straight with the end's slope."""
        if t < float(self.knots[0]):
            return self.values[0] + (t - self.knots[0]) * self._slope(0, 0)
        if t > float(self.knots[-1]):
            last = len(self.knots) - 2
            return self.values[-1] + (t - self.knots[-1]) * self._slope(last, 1)
        i = int(torch.searchsorted(self.knots, torch.tensor(t, dtype=torch.float64)).clamp(1)) - 1
        step = self.knots[i + 1] - self.knots[i]
        b = (t - self.knots[i]) / step
        a = 1 - b
        straight = a * self.values[i] + b * self.values[i + 1]
        bent = (a**3 - a) * self.bends[i] + (b**3 - b) * self.bends[i + 1]
        return straight + bent * step**2 / 6

    def _slope(self, i: int, end: int) -> Tensor:
        """The derivative at the left (0) or the right (1) end of the i-th piece."""
        step = self.knots[i + 1] - self.knots[i]
        rise = (self.values[i + 1] - self.values[i]) / step
        left, right = self.bends[i], self.bends[i + 1]
        return rise + step / 6 * (left + 2 * right if end else -2 * left - right)


def smoothing_spline(knots: Tensor, points: Tensor, smoothing: float | None = None) -> Spline:
    """The smoothing spline through each column of points.

    If no smoothing λ is given, generalised cross-validation chooses one per column (Craven and Wahba 1979):
    the minimum of n·RSS/(n − 1.4·df)², where df is the trace of the map from points to fit, over 81 values of
    λ in a wide range, and the straight line. The factor 1.4 is Kim and Gu's (2004, "Smoothing spline Gaussian
    regression"); without it the curve sometimes overfits few points, and its ends point anywhere. Of equally
    good values, up to rounding, the smoothest is chosen, so that points on a line give that line.

    Args:
        knots: [n], strictly increasing, n ≥ 2; any floating dtype.
        points: [n, k], likewise.
        smoothing: λ ≥ 0 of all columns, in units of the knots cubed; None to choose.

    Returns:
        Splines in float64. Two knots give the straight line between the points.
    """
    knots, points = knots.double(), points.double()
    steps = knots.diff()
    second, stiffness = _penalty(steps)
    roughness = second @ torch.linalg.solve(stiffness, second.T)  # ∫g″² = gᵀ·roughness·g
    stiff, modes = torch.linalg.eigh(roughness)  # ascending; the first two, constants and lines, are zero
    stiff[:2] = 0.0
    parts = modes.T @ points
    if smoothing is None:
        rounding = _ROUNDING * (points - points.mean(0)).square().sum(0)
        damping = _chosen_damping(stiff, parts, rounding)
    else:
        damping = 1 / (1 + smoothing * stiff[:, None])
    values = modes @ (damping * parts)
    bends = torch.zeros_like(values)
    bends[1:-1] = torch.linalg.solve(stiffness, second.T @ values)
    return Spline(knots, values, bends)


def _penalty(steps: Tensor) -> tuple[Tensor, Tensor]:
    """Q [n, n−2] and R [n−2, n−2] of Green and Silverman, (2.1): Qᵀ·g = R·g″ at the inner knots."""
    inner = len(steps) - 1
    second = steps.new_zeros(inner + 2, inner)
    at = torch.arange(inner)
    second[at, at] = 1 / steps[:-1]
    second[at + 1, at] = -1 / steps[:-1] - 1 / steps[1:]
    second[at + 2, at] = 1 / steps[1:]
    stiffness = torch.diag((steps[:-1] + steps[1:]) / 3)
    stiffness[at[1:], at[:-1]] = stiffness[at[:-1], at[1:]] = steps[1:-1] / 6
    return second, stiffness


def _chosen_damping(stiff: Tensor, parts: Tensor, rounding: Tensor) -> Tensor:
    """The damping of each mode in each column, [n, k], at the λ with the lowest GCV score, up to rounding
    [k].
    """
    n = len(stiff)
    if n == 2:
        return torch.ones_like(parts)
    choices = torch.logspace(_ROUGHEST, _SMOOTHEST, _CHOICES, dtype=torch.float64) / stiff[2]
    lost = choices[:, None] * stiff / (1 + choices[:, None] * stiff)  # [choices, n], rising with λ
    lost = torch.cat([lost, (stiff > 0).double()[None]])
    residual = lost.square() @ parts.square()  # [choices, k]
    spare = n - _CAUTION * (n - lost.sum(1, keepdim=True))
    score = torch.where(spare > 0, n * residual / spare.square(), torch.inf)
    least = score.min(0).values + rounding
    best = (score <= least).long().cumsum(0).argmax(0)  # the last that is no worse
    return 1 - lost[best].T
