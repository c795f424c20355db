"""Find the lips in a photo: their outlines, the line between them, and whether they are apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from micromotion.photo.registration import Registration
from micromotion.photo.sampling import MonotoneCurve, Picture, blur, luminance, sample, turned
from micromotion.types import Floats

UPPER_OUTER, LOWER_OUTER = [49, 50, 51, 52, 53], [59, 58, 57, 56, 55]
UPPER_INNER, LOWER_INNER = [61, 62, 63], [67, 66, 65]
"""dlib's landmarks of the lips, from the picture's left to its right; 48 and 54 are the outer corners."""


@dataclass(frozen=True)
class LipConfig:
    """How the lips are found. Lengths in mouth widths unless stated otherwise."""

    reach: float = 0.09
    """How far the line may be from dlib's inner points, which are wrong by up to .06; more finds the nose's
    shadow or a beard's edge."""
    pull: float = 0.35
    """Cost, in standard deviations of luminance, of being .07 away from dlib's points."""
    bend: float = 0.25
    """Cost of going up or down by one step of `offsets` from one column to the next."""
    columns: int = 65
    offsets: int = 37
    smooth: float = 2.5
    """Columns: sigma with which the line found is smoothed; less follows the grain."""
    apart: float = 0.05
    """Inner lips nearer than this are closed: dlib's error is up to that."""
    teeth: float = 1.05
    """Luminance between the lips over that of the brighter lip above which teeth show…"""
    cavity: float = 0.5
    """…and over that of the darker lip below which a dark cavity does. Between the two, dlib mistook a closed
    mouth for an open one."""
    reversed: float = 0.03
    """If dlib's upper lip ends this far below the lower one, its inner points are meaningless."""
    upper_share: float = 0.42
    """The upper lip's share of both lips' height, used if only their outlines can be trusted."""


LIPS = LipConfig()


@dataclass(frozen=True, eq=False)
class MouthFrame:
    """A mouth's own coordinates: X from its left corner (0) to its right one (1), Y down, in mouth widths."""

    origin: Floats
    width: float
    axes: Floats
    """[2, 2]: right and down, unit vectors in the picture."""
    middle: float
    """X of the lips' middle: not .5 if the head is turned."""

    @classmethod
    def of(cls, landmarks: Floats) -> MouthFrame:
        """landmarks: [68, 2]."""
        across = landmarks[54] - landmarks[48]
        width = max(float(np.linalg.norm(across)), 1e-6)
        right = across / width
        centre = landmarks[[51, 57, 62, 66]].mean(axis=0) - landmarks[48]
        middle = float(np.clip(centre @ right / width, 0.2, 0.8))
        return cls(landmarks[48], width, np.array([right, (-right[1], right[0])]), middle)

    def inside(self, points: Floats) -> Floats:
        """Points [..., 2] of the picture -> the mouth's coordinates."""
        local: Floats = turned(points - self.origin, self.axes) / self.width
        return local

    def outside(self, points: Floats) -> Floats:
        """The inverse of `inside`."""
        return self.origin + self.width * turned(points, self.axes.T)

    def halves(self, x: Floats) -> Floats:
        """X mapped to -.5 at the left corner, 0 in the lips' middle, .5 at the right corner."""
        across: Floats = np.where(
            x < self.middle, (x - self.middle) / self.middle, (x - self.middle) / (1 - self.middle)
        )
        return 0.5 * across


class LipCurve:
    """A curve Y(X) over X in 0…1, constant beyond; a table, since it is read at every pixel."""

    _X = np.linspace(0, 1, 257)

    def __init__(self, curve: MonotoneCurve) -> None:
        self._y = curve(self._X)

    def __call__(self, x: Floats) -> Floats:
        found: Floats = np.interp(x, self._X, self._y)
        return found


@dataclass(frozen=True, eq=False)
class Lips:
    """The lips in their mouth's coordinates, each a curve Y(X) over X in 0…1.

    upper_edge, lower_edge: the lips' inner edges, the same line if they are closed.
    upper_outer, lower_outer: their outlines. parted: whether they are apart in the photo.
    """

    frame: MouthFrame
    upper_edge: LipCurve
    lower_edge: LipCurve
    upper_outer: LipCurve
    lower_outer: LipCurve
    parted: bool

    @classmethod
    def found(cls, registration: Registration, config: LipConfig = LIPS) -> Lips:
        landmarks = registration.landmarks
        frame = MouthFrame.of(landmarks)
        local = frame.inside(landmarks)
        outlines = _through(local[UPPER_OUTER]), _through(local[LOWER_OUTER])
        if lips_apart(registration, config) > 0:
            return cls(frame, _through(local[UPPER_INNER]), _through(local[LOWER_INNER]), *outlines, True)
        line = _line(registration.picture, frame, local, config)
        return cls(frame, line, line, *outlines, False)


def lips_apart(registration: Registration, config: LipConfig = LIPS) -> float:
    """How far the lips are apart in the photo, in mouth widths; 0 if they are closed.

    dlib also parts the inner lips if they are thick or painted, so the picture must confirm it: the area
    between them is brighter (teeth) or much darker (a cavity) than the lips.
    """
    landmarks = registration.landmarks
    upper, lower = landmarks[UPPER_INNER], landmarks[LOWER_INNER]
    frame = MouthFrame.of(landmarks)
    gap = float(((lower - upper) @ frame.axes[1]).mean() / frame.width)
    if gap < config.apart:
        return 0.0
    part = np.linspace(0.25, 0.75, 9)[:, None, None]
    between = _read(registration.picture, upper + part * (lower - upper))
    above, below = landmarks[[50, 51, 52]], landmarks[[58, 57, 56]]
    lips = [
        float(np.median(_read(registration.picture, inner + part * (outer - inner))))
        for inner, outer in ((upper, above), (lower, below))
    ]
    light = float(np.median(between))
    return gap if light > config.teeth * max(lips) or light < config.cavity * min(lips) else 0.0


def _read(picture: Picture, points: Floats) -> Picture:
    return luminance(sample(picture, points[..., 0], points[..., 1]))


def _through(points: Floats) -> LipCurve:
    """The curve from corner to corner through points [n, 2], ordered from left to right."""
    x, y = np.concatenate([[[0.0, 0.0]], points, [[1.0, 0.0]]]).T
    # On a turned head they may be above one another.
    x = np.maximum.accumulate(x) + 1e-3 * np.arange(len(x))
    return LipCurve(MonotoneCurve(x, y))


def _line(picture: Picture, frame: MouthFrame, local: Floats, config: LipConfig) -> LipCurve:
    """The dark line between closed lips: the cheapest path through the columns of the mouth.

    local: the landmarks [68, 2] in the mouth's coordinates.
    """
    x = np.linspace(0.02, 0.98, config.columns)
    inner = local[UPPER_INNER], local[LOWER_INNER]
    if float((inner[1] - inner[0])[:, 1].mean()) > -config.reversed:
        expected = _through((inner[0] + inner[1]) / 2)(x)
    else:
        upper, lower = (_through(local[marks])(x) for marks in (UPPER_OUTER, LOWER_OUTER))
        expected = upper + config.upper_share * (lower - upper)
    offsets = np.linspace(-config.reach, config.reach, config.offsets)
    grid = np.stack(np.broadcast_arrays(x[:, None], expected[:, None] + offsets), axis=-1)
    at = frame.outside(grid)
    light = blur(luminance(picture), max(0.6, 0.008 * frame.width))
    dark = sample(light, at[..., 0], at[..., 1]).astype(np.float64)
    cost = (dark - dark.mean(axis=1, keepdims=True)) / (dark.std() + 1e-3)
    cost += config.pull * (offsets / 0.07) ** 2
    y = expected + _smoothed(offsets[_cheapest(cost, config.bend)], config.smooth)
    ends = np.concatenate([[-0.02], x, [1.02]]), np.concatenate([[y[0] / 2], y, [y[-1] / 2]])
    return LipCurve(MonotoneCurve(*ends))


def _cheapest(cost: Floats, bend: float) -> list[int]:
    """The row of each column [columns, rows] on the path of least cost, one row up or down at most between
    neighbours (dynamic programming)."""
    total, came = cost.copy(), np.zeros(cost.shape, int)
    rows = np.arange(cost.shape[1])
    for column in range(1, len(cost)):
        before = np.pad(total[column - 1], 1, constant_values=np.inf)
        ways = np.stack([before[:-2] + bend, before[1:-1], before[2:] + bend])
        best = ways.argmin(axis=0)
        total[column] += ways[best, rows]
        came[column] = rows + best - 1
    path = [int(total[-1].argmin())]
    for column in range(len(cost) - 1, 0, -1):
        path.append(int(came[column][path[-1]]))
    return path[::-1]


def _smoothed(values: Floats, sigma: float) -> Floats:
    smooth: Floats = ndimage.gaussian_filter1d(values, sigma, mode="nearest")
    return smooth
