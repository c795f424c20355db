"""Filters over time that do not lag: bridging what is missing, and smoothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from micromotion.types import Floats


def bridged(values: Floats, missing: NDArray[np.bool_]) -> Floats:
    """Values [n, …] with the missing frames interpolated between their neighbours, held at the ends.

    If all are missing, they stay as they are.
    """
    if missing.all() or not missing.any():
        return values
    known = np.flatnonzero(~missing)
    gaps = np.flatnonzero(missing)
    after = np.searchsorted(known, gaps)
    left, right = known[np.maximum(after - 1, 0)], known[np.minimum(after, len(known) - 1)]
    share = np.where(right > left, (gaps - left) / np.maximum(right - left, 1), 0.0)
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    filled = values.copy()
    filled[gaps] = (1 - share) * values[left] + share * values[right]
    return filled


def savitzky_golay(values: Floats, width: float) -> Floats:
    """Values [n, …] smoothed by local cubics over about `width` frames, which keeps peaks and does not lag.

    Savitzky and Golay 1964. The window is odd; below five frames a parabola takes the cubic's place, and below
    that many values nothing is smoothed.
    """
    window = min(2 * round((width - 1) / 2) + 1, len(values) - 1 + len(values) % 2)
    if window < 3:
        return values
    smooth: Floats = savgol_filter(values, window, 3 if window >= 7 else min(2, window - 1), axis=0)
    return smooth
