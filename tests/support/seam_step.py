"""How far a seam shows in a photo that something was pasted into."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SeamStep:
    """Gray levels from a pixel to its neighbour across a seam: what pasting added, and the photo's own.

    added: mean over the seam. worst: its 95th percentile. own: the photo's own 90th percentile there.
    """

    added: float
    worst: float
    own: float


def seam_step(photo: NDArray[np.uint8], picture: NDArray[np.uint8], mask: NDArray[Any]) -> SeamStep:
    """Measure how far a seam shows: the steps that the pasted picture has and the photo has not.

    photo, picture: [H, W, 3] of one size. mask: [H, W] of any number type, 0 where the photo was left alone.
    The seam is where two neighbours are one inside and one outside of that.
    Raises ValueError if there is no such place.
    """
    added, own = [], []
    change = picture.astype(np.int16) - photo
    for axis in (0, 1):
        across = np.diff(mask > 0, axis=axis)
        added.append(np.abs(np.diff(change, axis=axis)[across]).mean(axis=-1))
        own.append(np.abs(np.diff(photo.astype(np.int16), axis=axis)[across]).mean(axis=-1))
    steps, theirs = np.concatenate(added), np.concatenate(own)
    if not len(steps):
        raise ValueError("the mask is zero everywhere or nowhere: there is no seam")
    return SeamStep(float(steps.mean()), float(np.percentile(steps, 95)), float(np.percentile(theirs, 90)))
