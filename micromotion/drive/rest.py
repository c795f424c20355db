"""Find the rest pose in a track: the frames in which the face does nothing.

The most frequent pose is not enough: a pout may be held. So a frame's score is also its distance from faces
at rest in general, with open eyes, closed lips, and the head as it is held most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from micromotion.drive.measures import brow_height, corner_lift, lid_ratios, lip_gap, mouth_width
from micromotion.types import Floats

_FEATURES = [*range(17, 27), *range(48, 68)]  # brows and mouth


@dataclass(frozen=True)
class RestConfig:
    """What faces at rest are like: (mean, deviation), lengths in eye distances, angles in degrees.

    lids: deviation of the lids' openness, whose mean is the usual one. gap: what is still closed, and the
    deviation beyond. most: so many deviations of mouth and brows count at most, as people differ by more.
    likeness: distance at which two expressions are the same. density: weight of the logarithm of how many
    frames show the same one. share: of the frames is rest. On clips of `benchmarks.drive`, with most = 2 and
    density = 4 no held frown and no turned head was taken for rest in five clips; before, in two of them.
    """

    width: tuple[float, float] = (0.83, 0.07)
    lift: tuple[float, float] = (0.012, 0.03)
    brows: tuple[float, float] = (0.32, 0.05)
    lids: float = 0.15
    gap: tuple[float, float] = (0.02, 0.03)
    yaw: float = 10.0
    pitch: float = 8.0
    most: float = 2.0
    likeness: float = 0.015
    density: float = 4.0
    share: float = 1 / 12


def usual_openness(ratios: Floats) -> Floats:
    """The aspect ratio of each open eye, [2], of its course [n, 2]; within what open eyes have."""
    usual: Floats = np.quantile(ratios, 0.85, axis=0).clip(0.24, 0.38)
    return usual


def find_rest(shapes: Floats, angles: Floats, config: RestConfig | None = None) -> NDArray[np.int64]:
    """The frames that show the face at rest, the best first: a twelfth of them, at least three if there are.

    shapes: landmarks [n, 68, 2] from the front in eye distances; angles: yaw and pitch [n, 2] in degrees.
    """
    config = config or RestConfig()
    score = _distance_from_rest(shapes, angles, config)
    features = shapes[:, _FEATURES].reshape(len(shapes), -1)
    unit = config.likeness * np.sqrt(len(_FEATURES))
    density = np.array([np.exp(-0.5 * _apart(features, one, unit)).sum() for one in features])
    score -= config.density * np.log(density)
    best = features[int(np.argmin(score))]
    score += _apart(features, best, unit)  # what is averaged must be one expression
    count = min(len(shapes), max(3, round(config.share * len(shapes))))
    return np.argsort(score, kind="stable")[:count]


def _distance_from_rest(shapes: Floats, angles: Floats, config: RestConfig) -> Floats:
    """Squared distance [n] from faces at rest, in deviations."""
    ratios = lid_ratios(shapes)
    open_ = (ratios / usual_openness(ratios)).min(axis=1).clip(max=1)
    closed, beyond = config.gap
    looks = [np.maximum(lip_gap(shapes) - closed, 0) / beyond]
    for values, (mean, deviation) in (
        (mouth_width(shapes), config.width),
        (corner_lift(shapes), config.lift),
        (brow_height(shapes), config.brows),
    ):
        looks.append((values - mean) / deviation)
    away = [(open_ - 1) / config.lids, *(np.clip(each, -config.most, config.most) for each in looks)]
    away += list((angles - np.median(angles, axis=0)).T / [[config.yaw], [config.pitch]])
    return np.square(away).sum(axis=0)


def _apart(features: Floats, one: Floats, unit: float) -> Floats:
    squares: Floats = np.square((features - one) / unit).sum(axis=1)
    return squares
