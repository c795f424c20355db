"""dlib's landmarks on a mean face seen from its front, over which the lines of age are drawn.

Units are distances between the eyes' centres, x to the picture's right, y down from the midpoint.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from micromotion.types import Floats

Point = tuple[float, float]

# dlib's 68 landmarks on a mean face, its right half as the picture shows it (the other half mirrors it): the
# mean of faces seen from their front, rounded.
JAW = [
    (0, 1.82),
    (0.29, 1.78),
    (0.54, 1.64),
    (0.77, 1.45),
    (0.95, 1.21),
    (1.06, 0.93),
    (1.12, 0.63),
    (1.15, 0.34),
    (1.16, 0.03),
]
BROW = [(0.18, -0.26), (0.37, -0.34), (0.57, -0.37), (0.77, -0.33), (0.91, -0.20)]
BRIDGE = [(0, -0.02), (0, 0.19), (0, 0.40), (0, 0.61)]
NOSTRILS = [(0, 0.80), (0.12, 0.77), (0.24, 0.73)]
EYE = [(0.31, 0.03), (0.43, -0.07), (0.57, -0.07), (0.69, 0.0), (0.58, 0.06), (0.44, 0.06)]
UPPER_LIP = [(0, 1.03), (0.12, 1.0), (0.27, 1.02), (0.43, 1.08)]
LOWER_LIP = [(0.28, 1.20), (0.13, 1.25), (0, 1.26)]
INNER_LIPS = [(0, 1.10), (0.12, 1.09), (0.37, 1.08), (0.12, 1.13), (0, 1.14)]


def mean_landmarks() -> Floats:
    """The mean face's landmarks, [68, 2], in dlib's order."""

    def mirrored(points: Sequence[Point]) -> list[Point]:
        return [(-x, y) for x, y in points]

    middle, side, corner, lower, low = INNER_LIPS
    outer_lips = [*mirrored(UPPER_LIP[:0:-1]), *UPPER_LIP, *LOWER_LIP, *mirrored(LOWER_LIP[-2::-1])]
    inner_lips = [*mirrored([corner, side]), middle, side, corner, lower, low, *mirrored([lower])]
    parts = [
        *(*mirrored(JAW[:0:-1]), *JAW),
        *(*mirrored(BROW[::-1]), *BROW),
        *(*BRIDGE, *mirrored(NOSTRILS[:0:-1]), *NOSTRILS),
        *(*mirrored([EYE[i] for i in (3, 2, 1, 0, 5, 4)]), *EYE),
    ]
    return np.array([*parts, *outer_lips, *inner_lips])
