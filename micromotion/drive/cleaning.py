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

    window: frames of the running medians. sparse, spread: a frame is wrong if the size of robust PCA's sparse
    part exceeds its running median by so many of its deviations, and the boxes' spread exceeds its own by this
    factor; lips that part quickly have the first, but a spread of at most 1.2. odd, look: or if the sparse
    part exceeds fewer deviations, and the face's small picture differs by so many gray levels from its running
    median. region: as `odd`, for a region of a wrong frame to be bridged. most: if a larger share of the
    frames seems wrong, nothing is bridged; -1 turns cleaning off.
    """

    window: int = 15
    sparse: float = 6.0
    spread: float = 1.4
    odd: float = 2.5
    look: float = 12.0
    region: float = 2.5
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
        return dict.fromkeys((*REGIONS, "all"), none)
    sparse = _sparse_part(shapes)
    size = _deviations(sparse[:, _TELLING], config)
    unsure = _over_median(spread[:, _TELLING].mean(axis=1), config) > config.spread
    usual = ndimage.median_filter(looks, (config.window, 1, 1, 1), mode="nearest")
    different = np.abs(looks - usual).mean(axis=(1, 2, 3)) > config.look
    wrong = (unsure & (size > config.sparse)) | (different & (size > config.odd))
    if wrong.mean() > config.most:
        wrong = none
    flags = {
        name: wrong & (_deviations(sparse[:, np.intersect1d(index, _TELLING)], config) > config.region)
        for name, index in REGIONS.items()
        if name != "eyes"
    }
    around = flags["brows"] | flags["nose"]  # the lids alone may do anything
    return flags | {"eyes": around, "all": wrong}


def clean(shapes: Floats, wrong: Mapping[str, Flags]) -> Floats:
    """Shapes [n, 68, 2] with each region bridged where it is wrong."""
    cleaned = shapes.copy()
    for name, index in REGIONS.items():
        cleaned[:, index] = bridged(shapes[:, index], wrong[name])
    return cleaned


def _sparse_part(shapes: Floats) -> Floats:
    """Robust PCA's sparse part of landmarks over time, [n, 68, 2]; 0 for the lids and the jaw.

    These are left out: a blink would show in all others, too.
    """
    telling = shapes[:, _TELLING].reshape(len(shapes), -1)
    centred = torch.from_numpy(telling - np.median(telling, axis=0))
    sparse = np.zeros_like(shapes)
    sparse[:, _TELLING] = robust_pca(centred)[1].numpy().reshape(len(shapes), -1, 2)
    return sparse


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
