"""Find the frames of a track that are wrong, and bridge them.

A blurred or covered frame, or one that shows another face, gives landmarks that no motion explains. Robust
PCA over time takes such errors for its sparse part. As a signal its low-rank part would erase blinks, which
are as rare and as short, so it only tells which frames are wrong, and never by the lids alone. What it says
counts only if the reading itself was unsure: the landmarks of the boxes differ, or the face looks different.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from micromotion.drive.filters import bridged
from micromotion.motion.robust_pca import robust_pca
from micromotion.types import Floats

Flags = NDArray[np.bool_]

REGIONS: Mapping[str, list[int]] = {
    "brows": [*range(17, 27)],
    "eyes": [*range(36, 48)],
    "nose": [*range(27, 36)],
    "mouth": [*range(17), *range(48, 68)],
}
"""dlib's landmarks of each region that is bridged by itself. The jaw goes with the mouth."""

_TELLING = [*range(17, 36), *range(48, 68)]  # all but the lids, which blink, and the jaw, which is noisy


@dataclass(frozen=True)
class CleaningConfig:
    """Tuned constants.

    window: frames of the running medians. sparse: by how many of its deviations the size of robust PCA's
    sparse part must exceed its running median; lower finds more wrong frames and bridges more good ones.
    spread: by what factor the boxes' spread must exceed its own, or look: by how many gray levels the face's
    small picture must differ from its own. region: as `sparse`, for a region of a wrong frame to be bridged.
    most: if a larger share of the frames seems wrong, nothing is.
    """

    window: int = 15
    sparse: float = 8.0
    spread: float = 1.1
    look: float = 12.0
    region: float = 3.0
    most: float = 0.4


def wrong_frames(
    shapes: Floats, spread: Floats, looks: Floats, config: CleaningConfig | None = None
) -> dict[str, Flags]:
    """Which frames are wrong in each of REGIONS, and under "all" whichever is wrong in any; bool [n] each.

    shapes: landmarks [n, 68, 2] from the front in eye distances. spread: [n, 68]. looks: [n, s, s, 3], small
    pictures of the face in gray levels.
    """
    config = config or CleaningConfig()
    none = np.zeros(len(shapes), np.bool_)
    if len(shapes) < config.window:
        return {name: none for name in (*REGIONS, "all")}
    sparse = _sparse_part(shapes)
    unsure = _over_median(spread[:, _TELLING].mean(axis=1), config) > config.spread
    usual = ndimage.median_filter(looks, (config.window, 1, 1, 1), mode="nearest")
    different = np.abs(looks - usual).mean(axis=(1, 2, 3)) > config.look
    wrong = (_deviations(sparse[:, _TELLING], config) > config.sparse) & (unsure | different)
    if wrong.mean() > config.most:
        wrong = none
    flags = {
        name: wrong & (_deviations(sparse[:, index], config) > config.region)
        for name, index in REGIONS.items()
    }
    return flags | {"all": wrong}


def clean(shapes: Floats, wrong: Mapping[str, Flags]) -> Floats:
    """Shapes [n, 68, 2] with each region bridged where it is wrong."""
    cleaned = shapes.copy()
    for name, index in REGIONS.items():
        cleaned[:, index] = bridged(shapes[:, index], wrong[name])
    return cleaned


def _sparse_part(shapes: Floats) -> Floats:
    """Robust PCA's sparse part of landmarks over time, [n, 68, 2]."""
    centred = (shapes - np.median(shapes, axis=0)).reshape(len(shapes), -1)
    telling = [2 * index + axis for index in sorted({*_TELLING, *sum(REGIONS.values(), [])}) for axis in (0, 1)]
    sparse = np.zeros_like(centred)
    sparse[:, telling] = robust_pca(torch.from_numpy(np.ascontiguousarray(centred[:, telling])))[1].numpy()
    return sparse.reshape(shapes.shape)


def _deviations(sparse: Floats, config: CleaningConfig) -> Floats:
    """By how many robust deviations the sparse part's size [n] exceeds what is usual around."""
    size = np.sqrt(np.square(sparse).mean(axis=(1, 2)))
    ratio = _over_median(size, config)
    middle = np.median(ratio)
    deviation = 1.4826 * float(np.median(np.abs(ratio - middle)))
    return (ratio - middle) / max(deviation, 0.05)


def _over_median(values: Floats, config: CleaningConfig) -> Floats:
    median = ndimage.median_filter(values, config.window, mode="nearest")
    return values / np.maximum(median, 1e-6)
