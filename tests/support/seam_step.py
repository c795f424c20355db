"""Measure how visible a seam is in a photo that something was pasted into."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SeamStep:
    """Steps between neighbouring pixels across a seam, in gray levels: added by pasting, and the photo's own.

    added: the mean over the seam. worst: its 95th percentile. own: the photo's 90th percentile there.
    """

    added: float
    worst: float
    own: float


def seam_step(photo: NDArray[np.uint8], picture: NDArray[np.uint8], mask: NDArray[Any]) -> SeamStep:
    """Measure how visible a seam is: the steps that the pasted picture has and the photo has not.

    photo, picture: [H, W, 3] of one size. mask: [H, W] of any number type, 0 where the photo is unchanged.
    The seam is where one of two neighbours is inside the mask. Raises ValueError if there is none.
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
