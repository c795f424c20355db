"""Draw a face's stroke in the photo itself, resampling the photo only once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from micromotion.photo.sampling import Picture, sample, span, turned
from micromotion.photo.strokes import Stroke, differs
from micromotion.types import Floats, Frame

_STRIP = 256  # rows of the photo processed together, so that memory does not grow with the photo
_LEAP = 1.0  # pixels: difference between neighbours' shifts that marks an outline
_REACH = (24, 16, 12, 8, 6, 4, 3, 2, 1)  # pixels to either side at which the two surfaces are looked for
_MARGIN = 3  # pixels of the photo around those read, for the bicubic kernel


class Canvas:
    """A photo on which strokes on the square around its face are drawn; the rest is unchanged."""

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
        """The photo [H, W, 3] with a stroke applied, uint8; a new array."""
        picture = self._photo.copy()
        for rows, columns in self._strips(stroke):
            self._draw(stroke, rows, columns, picture)
        return picture

    def _draw(self, stroke: Stroke, rows: slice, columns: slice, picture: Frame) -> None:
        """Apply a stroke to these rows and columns of the photo, writing into the picture."""
        first, last = max(rows.start - _REACH[0], 0), min(rows.stop + _REACH[0], self.size[1])
        inner = slice(rows.start - first, rows.stop - first)
        x = np.arange(columns.start, columns.stop, dtype=np.float32)[None]
        y = np.arange(first, last, dtype=np.float32)[:, None]
        at_x, at_y = self._in_box(stroke, x, y)
        if stroke.shift is None:
            new, touched = self._photo[rows, columns].astype(np.float32), np.zeros(at_x[inner].shape, bool)
        else:
            shift = sample(stroke.shift, at_x, at_y)
            touched = differs(shift[inner], 0)
            new = self._moved(turned(shift, self._axes), x, y, inner)
        at_x, at_y = at_x[inner], at_y[inner]
        width, height = stroke.size
        if stroke.kept is not None and (part := _within(stroke.dimmed, at_x, at_y)) is not None:
            new[part] *= sample(stroke.kept, at_x[part], at_y[part])
            touched[part] = True
        if stroke.added is not None and (part := _within(stroke.covered, at_x, at_y)) is not None:
            new[part] += 255 * sample(stroke.added, at_x[part], at_y[part])
            touched[part] = True
        touched &= (at_x > -0.5) & (at_x < width - 0.5) & (at_y > -0.5) & (at_y < height - 0.5)
        np.rint(new, out=new).clip(0, 255, out=new)
        for channel in range(3):
            np.copyto(picture[rows, columns, channel], new[..., channel], casting="unsafe", where=touched)

    def _in_box(self, stroke: Stroke, x: Picture, y: Picture) -> tuple[Picture, Picture]:
        """Where the photo's columns x [1, w] and rows y [h, 1] lie in the stroke's box: [h, w] each."""
        (xx, xy), (yx, yy) = self._inverse.tolist()
        left, top = self._inverse @ -self._origin - (stroke.left, stroke.top)
        at_x = np.float32(xx) * x + (np.float32(xy) * y + np.float32(left))
        at_y = np.float32(yx) * x + (np.float32(yy) * y + np.float32(top))
        return at_x, at_y

    def _moved(self, shift: Picture, x: Picture, y: Picture, inner: slice) -> Picture:
        """The photo's pixels [h, w, 3] of the inner rows, each read at its shift; see `_mix_outlines`.

        The rows above and below are considered too, so that outlines do not depend on where rows are split.
        """
        new = self._read(x + shift[inner][..., 0], y[inner] + shift[inner][..., 1])
        self._mix_outlines(new, shift, x, y, inner)
        return new

    def _mix_outlines(self, new: Picture, shift: Picture, x: Picture, y: Picture, inner: slice) -> None:
        """Draw the pixels along outlines, where shifts jump from the foreground to what it hides.

        new: [h, w, 3], of the inner rows of shift [H, w, 2]. x, y: the columns [1, w], the rows [H, 1].

        Shifts between the two belong to neither: they say how much of each a pixel shows. Each pixel is a
        blend of what the nearest pixels beyond the outline to the left, right, top and bottom would show in
        its place, weighted by how like their shifts are to the mean shift around it, and by nearness.
        """
        leap = _leaps(shift)
        row, column = np.nonzero(leap[inner])
        if not len(row):
            return
        row = row + inner.start
        beside, away = _beyond_outline(shift, leap, row, column)
        unlike = np.linalg.norm(beside - _mean_around(shift, row, column), axis=-1)
        nearest, farthest = (np.where(away > 0, unlike, bound) for bound in (np.inf, 0))
        apart = nearest.min(axis=0) + farthest.max(axis=0) + 1e-3
        known = away > 0
        _, pixel = np.nonzero(known)
        at = beside[known]
        seen, weights = np.zeros((*away.shape, 3), np.float32), np.zeros(away.shape, np.float32)
        seen[known] = self._read((x[0, column[pixel]] + at[:, 0])[None], (y[row[pixel], 0] + at[:, 1])[None])[
            0
        ]
        weights[known] = (1.02 - unlike[known] / apart[pixel]) / away[known]
        total, weight = (weights[..., None] * seen).sum(axis=0), weights.sum(axis=0)
        mixed = weight > 0
        new[row[mixed] - inner.start, column[mixed]] = total[mixed] / weight[mixed, None]

    def _read(self, x: Picture, y: Picture) -> Picture:
        """The photo at points x, y [h, w]: float32 [h, w, 3] in 0…255."""
        width, height = self.size
        x, y = x.clip(0, width - 1), y.clip(0, height - 1)
        left, top = max(int(x.min()) - _MARGIN, 0), max(int(y.min()) - _MARGIN, 0)
        part = self._photo[top : int(y.max()) + _MARGIN + 1, left : int(x.max()) + _MARGIN + 1]
        return sample(part.astype(np.float32), x - left, y - top, bicubic=True)

    def _strips(self, stroke: Stroke) -> list[tuple[slice, slice]]:
        """The rows and columns of the photo that a stroke's box may cover, a few rows at a time."""
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


def _leaps(shift: Picture) -> NDArray[np.bool_]:
    """Mask [h, w] of both neighbours wherever their shifts [h, w, 2] differ by more than _LEAP."""
    leap = np.zeros(shift.shape[:2], bool)
    across, down = _far(shift[:, 1:] - shift[:, :-1]), _far(shift[1:] - shift[:-1])
    leap[:, 1:] |= across
    leap[:, :-1] |= across
    leap[1:] |= down
    leap[:-1] |= down
    if (box := span(leap)) is not None:
        leap[box] |= ndimage.binary_closing(leap[box], np.ones((3, 3), bool))  # single pixels between two
    return leap


def _far(step: Picture) -> NDArray[np.bool_]:
    """Whether either component of a step [h, w, 2] is larger than _LEAP; faster than `np.any`."""
    far: NDArray[np.bool_] = (np.abs(step[..., 0]) > _LEAP) | (np.abs(step[..., 1]) > _LEAP)
    return far


def _beyond_outline(
    shift: Picture, leap: NDArray[np.bool_], row: NDArray, column: NDArray
) -> tuple[Picture, Picture]:
    """The nearest shifts [4, n, 2] that do not leap, to the right, left, bottom and top of n pixels, and how
    far away they are [4, n]: 0 where there is none."""
    height, width = leap.shape
    beside, far = np.zeros((4, len(row), 2), np.float32), np.zeros((4, len(row)), np.float32)
    for each, (down, right) in enumerate(((0, 1), (0, -1), (1, 0), (-1, 0))):
        left = np.arange(len(row))  # the pixels for which none was found yet
        for away in _REACH[::-1]:
            i = (row[left] + away * down).clip(0, height - 1)
            j = (column[left] + away * right).clip(0, width - 1)
            clear = ~leap[i, j]
            found = left[clear]
            beside[each, found], far[each, found] = shift[i[clear], j[clear]], away
            left = left[~clear]
    return beside, far


def _mean_around(shift: Picture, row: NDArray, column: NDArray) -> Picture:
    """The mean of the 3 × 3 shifts around n pixels, [n, 2]."""
    height, width = shift.shape[:2]
    near = [
        shift[(row + down).clip(0, height - 1), (column + right).clip(0, width - 1)]
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    ]
    mean: Picture = np.mean(near, axis=0)
    return mean


def _within(box: tuple[slice, slice] | None, x: Picture, y: Picture) -> tuple[slice, slice] | None:
    """The rows and columns of all points x, y [h, w] within a box; None if there are none."""
    if box is None:
        return None
    rows, columns = box
    across, down = (x > columns.start - 1) & (x < columns.stop), (y > rows.start - 1) & (y < rows.stop)
    return span(across & down)
