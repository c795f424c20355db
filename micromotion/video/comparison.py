"""Comparison pictures: photo, inversion and animation side by side; a motion at several strengths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from micromotion.types import Frame, Pose, Row, Strengths
from micromotion.video.contact_sheet import contact_sheet

# Pixels; smaller frames are scaled up; in a strip, larger ones are scaled down.
_SMALLEST, _LARGEST = 256, 512


class Comparison:
    """Puts the photo's crop, its still reconstruction, and the animation side by side.

    It is a `Finish` of a video and, once it has the still frame, its `Drawing`.
    """

    needs_frames = True

    def __init__(self, photo: Frame, still: Frame | None = None) -> None:
        """photo: uint8 [H, W, 3], of the size of the model's frames."""
        self._photo, self._still = photo, photo if still is None else still

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a picture."""
        height, width = self._beside(self._photo).shape[:2]
        return width, height

    def needs_model(self, strengths: Strengths) -> bool:
        """Always True: it shows the model's frames."""
        return True

    def looks_at(self, strengths: Strengths) -> Strengths:
        """The still frame alone."""
        return np.zeros((1, strengths.shape[1]))

    def begin(self, seen: Sequence[Pose]) -> Comparison:
        """A comparison with the still frame, the first of `seen`."""
        return Comparison(self._photo, seen[0][1])

    def __call__(self, strengths: Row, frame: Frame | None) -> Frame:
        """The photo, the still frame and this frame side by side, uint8 [H, W, 3]."""
        assert frame is not None  # as needs_frames is True
        return self._beside(frame)

    def _beside(self, frame: Frame) -> Frame:
        sheet = contact_sheet(
            [self._photo, self._still, frame],
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
