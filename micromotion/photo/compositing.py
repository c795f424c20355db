"""A face's stroke, drawn in the photo itself: every pixel of the result is read from the photo once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from micromotion.photo.sampling import Picture, sample
from micromotion.photo.strokes import Stroke
from micromotion.types import Floats, Frame

_STRIP = 256  # rows of the photo that are worked on together, so that memory does not grow with the photo
_MARGIN = 3  # pixels of the photo around those read, for the bicubic kernel


class Canvas:
    """A photo in which strokes on the square around its face are drawn; all else stays as it is."""

    def __init__(self, photo: Frame, matrix: Floats) -> None:
        """photo: uint8 [H, W, 3]. matrix: [2, 3], from the square's pixels to the photo's."""
        self._photo = photo
        self._axes, self._origin = matrix[:, :2], matrix[:, 2]
        self._inverse = np.linalg.inv(self._axes)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the photo in pixels."""
        return self._photo.shape[1], self._photo.shape[0]

    def drawn(self, stroke: Stroke) -> Frame:
        """The photo [H, W, 3] after a stroke of the square, uint8; a new array."""
        picture = self._photo.copy()
        for rows, columns in self._strips(stroke):
            self._draw(stroke, rows, columns, picture)
        return picture

    def _draw(self, stroke: Stroke, rows: slice, columns: slice, picture: Frame) -> None:
        """Draw what a stroke does to these rows and columns of the photo into the picture."""
        y, x = np.mgrid[rows, columns].astype(np.float64)
        points = (np.stack([x, y], axis=-1) - self._origin) @ self._inverse.T - (stroke.left, stroke.top)
        at_x, at_y = points[..., 0].astype(np.float32), points[..., 1].astype(np.float32)
        width, height = stroke.size
        inside = (at_x > -0.5) & (at_x < width - 0.5) & (at_y > -0.5) & (at_y < height - 0.5)
        new = self._photo[rows, columns].astype(np.float32)
        touched = np.zeros_like(inside)
        if stroke.shift is not None:
            shift = sample(stroke.shift, at_x, at_y)
            touched |= (shift != 0).any(axis=-1)
            shift = shift @ self._axes.T.astype(np.float32)
            new = self._read(x.astype(np.float32) + shift[..., 0], y.astype(np.float32) + shift[..., 1])
        if stroke.kept is not None:
            kept = sample(stroke.kept, at_x, at_y)
            touched |= (kept != 1).any(axis=-1)
            new = new * kept
        if stroke.added is not None:
            added = sample(stroke.added, at_x, at_y)
            touched |= (added != 0).any(axis=-1)
            new = new + 255 * added
        changed = np.rint(new).clip(0, 255).astype(np.uint8)
        np.copyto(picture[rows, columns], changed, where=(inside & touched)[..., None])

    def _read(self, x: Picture, y: Picture) -> Picture:
        """The photo at points x, y [h, w]: float32 [h, w, 3] in 0…255."""
        width, height = self.size
        x, y = x.clip(0, width - 1), y.clip(0, height - 1)
        left, top = max(int(x.min()) - _MARGIN, 0), max(int(y.min()) - _MARGIN, 0)
        part = self._photo[top : int(y.max()) + _MARGIN + 1, left : int(x.max()) + _MARGIN + 1]
        return sample(part.astype(np.float32), x - left, y - top, bicubic=True)

    def _strips(self, stroke: Stroke) -> list[tuple[slice, slice]]:
        """The rows and columns of the photo that a stroke's box may reach, a few rows at a time."""
        corners: NDArray = np.array(
            [(x, y) for x in (stroke.left - 1, stroke.right) for y in (stroke.top - 1, stroke.bottom)]
        )
        at = corners @ self._axes.T + self._origin
        low = np.floor(at.min(axis=0)).astype(int).clip(0)
        high = np.minimum(np.ceil(at.max(axis=0)).astype(int) + 1, self.size)
        if not all(stroke.size) or (low >= high).any():
            return []
        columns = slice(int(low[0]), int(high[0]))
        return [
            (slice(first, min(first + _STRIP, int(high[1]))), columns)
            for first in range(int(low[1]), int(high[1]), _STRIP)
        ]
