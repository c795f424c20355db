"""Comparison pictures: photo, inversion and animation side by side; a motion at several strengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from micromotion.types import Frame, Strengths
from micromotion.video.contact_sheet import contact_sheet

_SMALLEST, _LARGEST = (
    256,
    512,
)  # pixels; smaller frames are scaled up; in a strip, larger ones are scaled down


class Comparison:
    """Puts the photo's crop, its still reconstruction, and the animation side by side.

    A `Finish` of a video. photo: uint8 [H, W, 3], of the size of the video's frames.
    """

    def __init__(self, photo: Frame) -> None:
        self._photo = photo

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a picture in pixels."""
        height, width = self._beside(self._photo, self._photo).shape[:2]
        return width, height

    def poses(self, strengths: Strengths) -> Strengths:
        """No strengths: no frame is needed in advance."""
        return strengths[:0]

    def begin(self, still: Frame, poses: Sequence[object]) -> Callable[[Frame, object], Frame]:
        """A function from a frame to its picture; all uint8 [H, W, 3]."""
        return lambda frame, strengths: self._beside(still, frame)

    def _beside(self, still: Frame, frame: Frame) -> Frame:
        sheet = contact_sheet(
            [self._photo, still, frame],
            labels=["photo", "inversion", "animation"],
            columns=3,
            tile=max(*self._photo.shape[:2], _SMALLEST),
        )
        return np.asarray(sheet)


def strength_strip(frames: Sequence[Frame], strengths: Sequence[float]) -> Image.Image:
    """Frames, uint8 [H, W, 3], side by side, each with its strength below; RGB."""
    labels = [f"{strength:g}" for strength in strengths]
    tile = min(max(*frames[0].shape[:2], _SMALLEST), _LARGEST)
    return contact_sheet(frames, labels=labels, columns=len(frames), tile=tile)
