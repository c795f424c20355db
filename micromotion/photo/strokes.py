"""Strokes: drawing operations separate from the picture, so that its pixels are resampled once.

Each part of a face (a lid, the lips, the turning head) describes the sources of its result's pixels, and what
is painted over them, as a `Stroke`. `composed` merges any number of strokes into one: their geometry is
traced back to the photo, which is resampled once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
from numpy.typing import NDArray

from micromotion.photo.sampling import Picture, by_planes, sample, span

STILL = 0.02
"""Pixels: smaller shifts are invisible, but would resample half the photo."""


@dataclass(frozen=True, eq=False)
class Stroke:
    """One drawing operation, within a box of the picture; outside the box nothing changes.

    left, top: the box's first pixel. shift: float32 [h, w, 2], or None if nothing moves: a pixel (x, y)
    of the result is the pixel (x, y) + shift of the picture before the step. kept, added: float32
    [h, w, 1 or 3], or None: the moved pixel's colour is multiplied by `kept` (None: 1), then `added` is added
    (None: 0). On the box's border, where it is not the picture's, shift and added are 0 and kept is 1.
    """

    left: int
    top: int
    shift: Picture | None = None
    kept: Picture | None = None
    added: Picture | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the box."""
        for plane in (self.shift, self.kept, self.added):
            if plane is not None:
                return plane.shape[1], plane.shape[0]
        return 0, 0

    @cached_property
    def dimmed(self) -> tuple[slice, slice] | None:
        """The box's rows and columns in which `kept` is not 1; None if there are none."""
        return None if self.kept is None else span(differs(self.kept, 1))

    @cached_property
    def covered(self) -> tuple[slice, slice] | None:
        """The box's rows and columns in which `added` is not 0; None if there are none."""
        return None if self.added is None else span(differs(self.added, 0))

    @property
    def right(self) -> int:
        return self.left + self.size[0]

    @property
    def bottom(self) -> int:
        return self.top + self.size[1]


def composed(strokes: Sequence[Stroke], side: int) -> Stroke:
    """One stroke equivalent to these in sequence, on a square picture of that side.

    Its box is minimal; shift, kept and added are never None, [h, w, 2], [h, w, 1 or 3], [h, w, 3]. Shifts
    below STILL are set to 0.
    """
    strokes = [stroke for stroke in strokes if stroke.size != (0, 0)]
    if not strokes:
        nothing = np.zeros((0, 0, 3), np.float32)
        return Stroke(0, 0, nothing[..., :2], nothing, nothing)
    left, top = (max(0, min(getattr(stroke, edge) for stroke in strokes)) for edge in ("left", "top"))
    right, bottom = (
        min(side, max(getattr(stroke, edge) for stroke in strokes)) for edge in ("right", "bottom")
    )
    colours = max(1 if stroke.kept is None else stroke.kept.shape[2] for stroke in strokes)
    shape = (bottom - top, right - left)
    shift, kept, added = (
        by_planes((*shape, count), value) for count, value in ((2, 0), (colours, 1), (3, 0))
    )
    reach = 0.0
    for stroke in reversed(strokes):
        _put_before(stroke, Stroke(left, top, shift, kept, added), reach)
        if stroke.shift is not None and stroke is not strokes[0]:
            reach += float(max(stroke.shift.max(), -stroke.shift.min()))
    still = (np.abs(shift[..., 0]) < STILL) & (np.abs(shift[..., 1]) < STILL)
    np.copyto(shift, 0, where=still[..., None])
    return trimmed(Stroke(left, top, shift, kept, added))


def _put_before(stroke: Stroke, whole: Stroke, reach: float) -> None:
    """Change the planes of `whole` so that it does what the stroke does first, and then what it did.

    reach: no shift of `whole` is larger, in pixels; 0 if it has none.
    """
    assert whole.shift is not None
    assert whole.kept is not None
    assert whole.added is not None
    near = _overlap(stroke, whole, math.ceil(reach) + 1)
    if near is None:
        return
    x = np.arange(near[1].start, near[1].stop, dtype=np.float32) + (whole.left - stroke.left)
    y = np.arange(near[0].start, near[0].stop, dtype=np.float32)[:, None] + (whole.top - stroke.top)
    at_x, at_y = x + whole.shift[near][..., 0], y + whole.shift[near][..., 1]
    width, height = stroke.size
    inside = (at_x >= -0.5) & (at_x <= width - 0.5) & (at_y >= -0.5) & (at_y <= height - 0.5)
    seen = span(inside)
    if seen is None:
        return
    rows, columns = (slice(a.start + b.start, a.start + b.stop) for a, b in zip(near, seen, strict=True))
    at_x, at_y, inside = at_x[seen], at_y[seen], inside[seen]

    def read(plane: Picture, neutral: float) -> Picture:
        if reach == 0:
            first_row, first_column = round(float(at_y[0, 0])), round(float(at_x[0, 0]))
            return plane[first_row : first_row + len(at_y), first_column : first_column + at_x.shape[1]]
        values = sample(plane, at_x, at_y)
        if not inside.all():
            np.copyto(values, neutral, where=~inside[..., None])
        return values

    if stroke.added is not None:
        whole.added[rows, columns] += whole.kept[rows, columns] * read(stroke.added, 0)
    if stroke.kept is not None:
        whole.kept[rows, columns] *= read(stroke.kept, 1)
    if stroke.shift is not None:
        whole.shift[rows, columns] += read(stroke.shift, 0)


def _overlap(stroke: Stroke, whole: Stroke, reach: int) -> tuple[slice, slice] | None:
    """The rows and columns of `whole` within `reach` pixels of a stroke's box; None if there are none."""
    rows = slice(
        max(stroke.top - reach, whole.top) - whole.top, min(stroke.bottom + reach, whole.bottom) - whole.top
    )
    columns = slice(
        max(stroke.left - reach, whole.left) - whole.left, min(stroke.right + reach, whole.right) - whole.left
    )
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def trimmed(stroke: Stroke) -> Stroke:
    """The same stroke in its smallest box."""
    touched = np.zeros(stroke.size[::-1], bool)
    for part in (stroke.dimmed, stroke.covered):
        if part is not None:
            touched[part] = True
    if stroke.shift is not None:
        touched |= differs(stroke.shift, 0)
    rows, columns = span(touched) or (slice(0, 0), slice(0, 0))
    planes = (
        None if plane is None else plane[rows, columns] for plane in (stroke.shift, stroke.kept, stroke.added)
    )
    return Stroke(stroke.left + columns.start, stroke.top + rows.start, *planes)


def drawn(picture: Picture, stroke: Stroke) -> Picture:
    """A picture [N, N, 3] with a stroke applied; a new array, clipped to 0…1."""
    result = picture.copy()
    width, height = stroke.size
    if not width:
        return result
    rows, columns = slice(stroke.top, stroke.top + height), slice(stroke.left, stroke.left + width)
    new = picture[rows, columns]
    if stroke.shift is not None:
        y, x = np.mgrid[rows, columns].astype(np.float32)
        new = sample(picture, x + stroke.shift[..., 0], y + stroke.shift[..., 1], bicubic=True)
        still = ~differs(stroke.shift, 0)
        new[still] = picture[rows, columns][still]
    if stroke.kept is not None:
        new = new * stroke.kept
    if stroke.added is not None:
        new = new + stroke.added
    result[rows, columns] = np.clip(new, 0, 1)
    return result


def differs(plane: Picture, value: float) -> NDArray[np.bool_]:
    """Where any channel of a plane [h, w, c] is not this value, [h, w]; ten times as fast as `np.any`."""
    return reduce(np.logical_or, (plane[..., channel] != value for channel in range(plane.shape[-1])))
