"""Splits a large picture into overlapping tiles, and removes duplicates among what is found in them."""

import math
from collections.abc import Iterator, Sequence

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels."""

_SAME = 0.3
"""Boxes with an intersection over union above this show the same object."""


def tiles(size: tuple[int, int], pixels: int, overlap: int) -> Iterator[Box]:
    """Boxes that cover a picture of that width and height, row by row, each of about `pixels` at most.

    Neighbours share `overlap` pixels, or half their side if that is less, so that anything no larger is
    entirely inside one of them. The tiles of a long, thin picture are long, too.
    """
    longest = pixels // min(*size, math.isqrt(pixels))
    for top, bottom in _spans(size[1], longest, overlap):
        for left, right in _spans(size[0], longest, overlap):
            yield left, top, right, bottom


def distinct(boxes: Sequence[Box], scores: Sequence[float], known: Sequence[Box] = ()) -> list[int]:
    """Indices, best first, of the boxes that duplicate neither a known box nor one of a higher score."""
    taken, new = list(known), []
    for number in sorted(range(len(boxes)), key=lambda number: -scores[number]):
        if all(_shared(boxes[number], other) <= _SAME for other in taken):
            taken.append(boxes[number])
            new.append(number)
    return new


def scaled_size(size: tuple[float, float], scale: float) -> tuple[int, int]:
    """Width and height times `scale`, in whole pixels, at least one."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _spans(length: int, most: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Spans of up to `most` that cover 0 to `length`, all of equal length."""
    if most >= length:
        yield 0, length
        return
    overlap = min(overlap, most // 2)
    count = math.ceil((length - overlap) / (most - overlap))
    step = (length - overlap) / count
    for number in range(count):
        yield round(number * step), round((number + 1) * step) + overlap


def _shared(one: Box, other: Box) -> float:
    """The intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (one, other)]
    return width * height / (sum(areas) - width * height)
