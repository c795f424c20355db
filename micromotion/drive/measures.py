"""What landmarks tell of an expression, each as one number that is comparable between people."""

from __future__ import annotations

import numpy as np

from micromotion.types import Floats


def lid_ratios(landmarks: Floats) -> Floats:
    """Each eye's height over its width, [n, 2], of landmarks [n, 68, 2] (Soukupová and Čech 2016)."""
    return np.stack(
        [
            (_apart(landmarks, first + 1, first + 5) + _apart(landmarks, first + 2, first + 4))
            / (2 * _apart(landmarks, first, first + 3))
            for first in (36, 42)
        ],
        axis=1,
    )


def lip_gap(landmarks: Floats) -> Floats:
    """The opening between the lips over the mouth's width, [n]; upright landmarks [n, 68, 2]."""
    between = landmarks[:, [67, 66, 65], 1] - landmarks[:, [61, 62, 63], 1]
    gap: Floats = between.mean(axis=1) / _apart(landmarks, 48, 54)
    return gap


def mouth_width(landmarks: Floats) -> Floats:
    """The mouth's width [n]; landmarks [n, 68, 2] in eye distances, upright."""
    return _apart(landmarks, 48, 54)


def corner_lift(landmarks: Floats) -> Floats:
    """How far the mouth's corners are above its middle, [n]; landmarks as in `mouth_width`."""
    middle = (landmarks[:, 62, 1] + landmarks[:, 66, 1]) / 2
    lift: Floats = middle - (landmarks[:, 48, 1] + landmarks[:, 54, 1]) / 2
    return lift


def brow_height(landmarks: Floats) -> Floats:
    """The brows' height above the corners of the eyes, [n]; landmarks as in `mouth_width`."""
    corners = landmarks[:, [36, 39, 42, 45], 1].mean(axis=1)
    height: Floats = corners - landmarks[:, 17:27, 1].mean(axis=1)
    return height


def _apart(landmarks: Floats, one: int, other: int) -> Floats:
    distance: Floats = np.linalg.norm(landmarks[:, one] - landmarks[:, other], axis=1)
    return distance
