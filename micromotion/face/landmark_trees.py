"""dlib's landmark model for many boxes of one picture at once: the same landmarks in a quarter of the time.

The model is a cascade of regression trees (Kazemi and Sullivan 2014, "One millisecond face alignment with an
ensemble of regression trees"): each stage reads pixels at places that follow the shape found so far, and
every tree of the stage adds one of its leaves to that shape. dlib goes through all trees for one box after
the other, waiting for memory at each of them, and lets no other thread run meanwhile. Here each tree serves
all boxes at once, in NumPy, which does. Sums keep dlib's order and its float32, so that the landmarks are
dlib's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from micromotion.errors import BundleError
from micromotion.face.tiles import Box
from micromotion.types import Floats, Frame

_POINTS = 68
_LEAF = re.compile(rb"\x81\x88\x81\x01")  # the header of a column of 2 · 68 numbers
_HEADER = 4  # its bytes
_TOGETHER = 64  # trees whose leaves are gathered together: as many as the processor's cache holds

_SPARE = 8  # bytes after the file's: an integer is read with those that follow it
_BYTES = np.array([(1 << 8 * size) - 1 for size in range(5)], np.uint32)  # masks of so many bytes

Integers = NDArray[np.int64]
Singles = NDArray[np.float32]
Pixels = NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class _Stage:
    """One stage of the cascade: t trees of s splits each, on f pixels.

    anchor: [f], the landmark that each pixel follows. offset: [2, f], (x, y) from there, on the mean shape.
    first, second: [s · t], the pixels that a split compares; the roots of all trees first, then their left
    children, and so on. above: [s · t, 1], the difference that must be exceeded to go left. leaves:
    [t · (s + 1), 136].
    """

    anchor: Integers
    offset: Singles
    first: Integers
    second: Integers
    above: Pixels
    leaves: Singles
    splits: int


class LandmarkTrees:
    """The cascade of a file. No state changes between readings: threads may share it."""

    def __init__(self, mean: Singles, stages: Sequence[_Stage]) -> None:
        """mean: [136], x and y of each landmark of the mean shape, in fractions of a box."""
        self._mean, self._stages = mean, stages
        points = mean.reshape(-1, 2).T.astype(np.float64)
        x, y = points - points.mean(axis=1, keepdims=True)
        self._onto = (x - 1j * y) / (x @ x + y @ y)

    def readings(self, gray: NDArray[np.uint8], boxes: Sequence[Box]) -> Floats:
        """The landmarks [n, 68, 2] of a face in each of n boxes of a picture; whole pixels, as in dlib.

        gray: [H, W], see `gray_as_dlib`. boxes: left, top, right, bottom, in pixels.
        """
        edges = np.array(boxes, np.float64)[..., None]
        corner, size = edges[:, :2], edges[:, 2:] - edges[:, :2]
        pixels = _Picture(gray)
        shape = np.repeat(self._mean[None], len(boxes), axis=0)
        for stage in self._stages:
            points = _points(shape)
            at = self._turned(points, stage.offset) + points[..., stage.anchor]
            values = pixels.at(_rounded(at * size + corner))
            shape = _summed(shape, stage.leaves, _leaves_reached(stage, values))
        return _rounded(_points(shape) * size + corner).transpose(0, 2, 1).astype(np.float64)

    def _turned(self, points: Singles, offset: Singles) -> Singles:
        """Offsets [2, f], turned and scaled as each shape [n, 2, 68] is against the mean: [n, 2, f]."""
        x, y = points.transpose(1, 0, 2).astype(np.float64)
        way = ((x + 1j * y) * self._onto).sum(axis=1)[:, None]  # whatever is added to all points cancels
        real, imaginary = way.real.astype(np.float32), way.imag.astype(np.float32)
        across, down = offset
        return np.stack([real * across - imaginary * down, imaginary * across + real * down], axis=1)


def gray_as_dlib(pixels: Frame) -> NDArray[np.uint8]:
    """RGB [H, W, 3] as dlib's landmark model sees it: the channels' mean, rounded down, [H, W]."""
    red, green, blue = (pixels[..., channel].astype(np.uint16) for channel in range(3))
    return ((red + green + blue) // 3).astype(np.uint8)


@cache
def landmark_trees(path: Path) -> LandmarkTrees:
    """The cascade in dlib's file of 68 landmarks, read in about a second.

    Raises BundleError if it is another file, or damaged.
    """
    try:
        data = bytearray(path.stat().st_size + _SPARE)
        with path.open("rb") as file:
            file.readinto(data)
        return _read(data)
    except (OSError, ValueError, IndexError) as error:
        raise BundleError(
            f"{str(path)!r} is not a dlib landmark model of 68 points: fetch it again."
        ) from error


class _Picture:
    """A picture [H, W] that is black beyond its border."""

    def __init__(self, gray: NDArray[np.uint8]) -> None:
        self._height, self._width = gray.shape
        self._values = np.append(gray.reshape(-1), np.uint8(0)).astype(np.int16)

    def at(self, points: Integers) -> Pixels:
        """The values at n sets of pixels [n, 2, f]: [f, n]."""
        x, y = points[:, 0], points[:, 1]
        inside = (x >= 0) & (x < self._width) & (y >= 0) & (y < self._height)
        return np.ascontiguousarray(self._values.take(np.where(inside, y * self._width + x, -1)).T)


def _points(shape: Singles) -> Singles:
    """Shapes [n, 136] as x and y [n, 2, 68]."""
    return shape.reshape(len(shape), _POINTS, 2).transpose(0, 2, 1)


def _rounded(points: Floats) -> Integers:
    return np.floor(points + 0.5).astype(np.int64)


def _leaves_reached(stage: _Stage, values: Pixels) -> Integers:
    """The row of each tree's leaf for pixels [f, n]: [t, n]."""
    differences = values.take(stage.first, axis=0)
    differences -= values.take(stage.second, axis=0)
    left = (differences > stage.above).reshape(stage.splits, -1, values.shape[1])
    chosen = np.negative(left.view(np.uint8))  # all bits, or none

    def leaf(node: int) -> NDArray[np.uint8] | np.uint8:
        if node >= stage.splits:
            return np.uint8(node - stage.splits)
        one, other = leaf(2 * node + 1), leaf(2 * node + 2)
        return other ^ (chosen[node] & (one ^ other))

    return leaf(0) + (stage.splits + 1) * np.arange(left.shape[1])[:, None]


def _summed(shape: Singles, leaves: Singles, rows: Integers) -> Singles:
    """Shapes [n, 136] plus their leaves, rows [t, n] of [·, 136], tree after tree."""
    terms = np.empty((1 + _TOGETHER, *shape.shape), np.float32)
    for start in range(0, len(rows), _TOGETHER):
        some = rows[start : start + _TOGETHER]
        terms[0] = shape
        np.take(leaves, some, axis=0, out=terms[1 : 1 + len(some)], mode="clip")
        shape = np.add.reduce(terms[: 1 + len(some)], axis=0)
    return shape


def _read(content: bytearray) -> LandmarkTrees:
    """The cascade of a file's bytes.

    dlib writes a list as its length and its elements, and numbers as integers of variable length: where one
    ends is known when it is read. Leaves, nearly all of the file, have headers that tell where they begin, so
    that all those of a stage are read in step.
    """
    data = np.frombuffer(content, np.uint8)
    heads = np.array([found.end() for found in _LEAF.finditer(content)])
    mean, end = _integers(data, heads[:1], 4 * _POINTS)
    stages, end = _integers(data, end, 1)
    forests = []
    for leaves_at in heads[1:].reshape(int(stages[0, 0]), -1):
        forest, end = _read_forest(data, end, leaves_at)
        forests.append(forest)
    anchors, end = _read_lists(data, end, 1)
    offsets, end = _read_lists(data, end, 4)
    return LandmarkTrees(
        _real(mean)[0],
        [
            _Stage(anchor, np.ascontiguousarray(_real(offset).reshape(-1, 2).T), *forest)
            for anchor, offset, forest in zip(anchors, offsets, forests, strict=True)
        ],
    )


_Forest: TypeAlias = tuple[Integers, Integers, Pixels, Singles, int]


def _read_forest(data: NDArray[np.uint8], at: Integers, leaves_at: Integers) -> tuple[_Forest, Integers]:
    """All but the first two fields of a stage that begins at [1], and where it ends.

    leaves_at: where the numbers of its leaves begin, in order.
    """
    trees, at = _integers(data, at, 1)
    leaves, ends = _integers(data, leaves_at, 4 * _POINTS)
    per_tree = len(leaves_at) // int(trees[0, 0])
    starts = np.append(at, ends[per_tree - 1 : -1 : per_tree])
    numbers, ends_of_splits = _integers(data, starts, 4 * per_tree - 2)
    if not np.array_equal(ends_of_splits, leaves_at[::per_tree] - _HEADER):
        raise ValueError("the leaves are not where the splits end")
    splits = numbers[:, 1:-1].reshape(len(starts), per_tree - 1, 4).transpose(1, 0, 2).reshape(-1, 4)
    first, second = (np.ascontiguousarray(splits[:, column]) for column in (0, 1))
    above = np.floor(_real(splits[:, 2:])).clip(-256, 255).astype(np.int16)
    return (first, second, above, _real(leaves), per_tree - 1), ends[-1:]


def _read_lists(data: NDArray[np.uint8], at: Integers, per_element: int) -> tuple[list[Integers], Integers]:
    """A list of lists of elements, each some integers, that begins at [1], and where it ends."""
    count, at = _integers(data, at, 1)
    lists = []
    for _ in range(int(count[0, 0])):
        length, at = _integers(data, at, 1)
        numbers, at = _integers(data, at, per_element * int(length[0, 0]))
        lists.append(numbers[0])
    return lists, at


def _integers(data: NDArray[np.uint8], starts: Integers, count: int) -> tuple[Integers, Integers]:
    """So many integers from each of n starts on, [n, count], and where they end, [n].

    An integer is a byte with its sign and its number of bytes, and these bytes, the lowest first.
    """
    if not 0 <= count * len(starts) < len(data):
        raise ValueError("more integers than bytes")
    at = np.empty((count + 1, len(starts)), np.int64)
    at[0] = starts
    for step in range(count):
        np.add(at[step] + 1, data[at[step]] & 15, out=at[step + 1])
    heads = data[at[:-1]]
    sizes = heads & 15
    if sizes.max(initial=0) > 4:
        raise ValueError("an integer of more than four bytes")
    words = np.ndarray((len(data) - 3,), "<u4", data, strides=(1,))  # the four bytes from each one on
    values = (words[at[:-1] + 1] & _BYTES[sizes]).astype(np.int32)
    np.negative(values, out=values, where=heads > 127)
    return np.ascontiguousarray(values.T), at[-1]


def _real(numbers: Integers) -> Singles:
    """Mantissas and exponents [..., 2 · n] as numbers [..., n]."""
    return np.ldexp(numbers[..., 0::2].astype(np.float32), numbers[..., 1::2])
