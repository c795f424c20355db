"""Detects faces in a picture with dlib, best first, also small ones in large photos.

Boxes are in pixels and integers are pixel centres, as in dlib.
"""

import math
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from micromotion.face.tiles import Box, distinct, scaled_size, tiles
from micromotion.runtime.forking import hold_for_forks

DETECTION_SIDE = 3200
"""Longest side, in pixels, at which the first pass detects faces; it bounds time and memory."""

SECOND_LOOK = 48_000_000
"""Pixels of the second pass, which looks for small faces in a large photo if the first pass found too few:
a photo of 12 megapixels at twice its size; about 6 s on a core, in no more memory than the first pass."""

_SECOND_SCORE = 0.2  # least score in the second pass, which sees ten times as many possible false positives
_WINDOW = 80  # pixels: the smallest face width that dlib's detector finds
_LOCK = threading.Lock()
"""dlib's detector modifies its own state while it runs."""


@dataclass(frozen=True)
class Detection:
    """A detected face: left, top, right, bottom in the picture, and a confidence above 0."""

    box: Box
    score: float

    @property
    def rank(self) -> float:
        """Confidence × width: a large clear face before a small one, and before a false one of any size."""
        return self.score * (self.box[2] - self.box[0])


def detect(picture: Image.Image, *, at_least: int = 1) -> list[Detection]:
    """The faces in an RGB picture, best first (see `Detection.rank`).

    The picture is searched at twice its size, as FFHQ does; a small one without a face then at four times, a
    large one at no more than `DETECTION_SIDE`. If that finds fewer than `at_least` in a large one, it is
    searched again at a larger scale, up to `SECOND_LOOK`; faces found only then come after the others.
    """
    side = max(picture.size)
    if 2 * side > DETECTION_SIDE:
        boxes, scores = _detect_large(picture)
    else:
        boxes, scores = _run_detector(picture, 1)
        if not boxes and 8 * side <= DETECTION_SIDE:
            boxes, scores = _run_detector(picture, 2)
    found = _ranked(boxes, scores)
    if len(found) < at_least and 2 * side > DETECTION_SIDE:
        found += _look_closer(picture, [one.box for one in found])
    return found


def detect_once(picture: Image.Image) -> list[Detection]:
    """The faces of 80 pixels or more in an RGB picture, best first, in one pass at the picture's own size."""
    return _ranked(*_run_detector(picture, 0))


def smallest_face(size: tuple[int, int]) -> int:
    """The least width in pixels of a face that can be detected in a picture of that width and height."""
    return 20 if 8 * max(size) <= DETECTION_SIDE else math.ceil(_WINDOW / _closest(size))


def size_hint(size: tuple[int, int]) -> str:
    """A sentence, after a space, on how wide a face must be; empty where cropping would not change it."""
    if 8 * max(size) <= DETECTION_SIDE:
        return ""
    return (
        f" In a picture of {size[0]}×{size[1]} pixels a face must be at least {smallest_face(size)} pixels"
        " wide: crop the picture closely around a smaller one."
    )


def _closest(size: tuple[int, int]) -> float:
    """The largest scale, above or below 1, at which a picture is searched for faces."""
    return min(2.0, math.sqrt(SECOND_LOOK / (size[0] * size[1])))


def _look_closer(picture: Image.Image, known: list[Box]) -> list[Detection]:
    """Faces other than the known ones, detected in overlapping tiles, best first."""
    scale = _closest(picture.size)
    # The first pass finds faces wider than this; tiles overlap by it, so that one has any smaller face whole.
    seen = 1.5 * _WINDOW * max(picture.size) / (DETECTION_SIDE * 5 // 6)
    boxes, scores = [], []
    for tile in tiles(picture.size, round((DETECTION_SIDE / scale) ** 2), round(min(seen, *picture.size))):
        size = scaled_size((tile[2] - tile[0], tile[3] - tile[1]), scale)
        near = picture.resize(size, Image.Resampling.BILINEAR, box=tile)
        for box, score in zip(*_run_detector(near, 0), strict=True):
            edges = ((edge + 0.5) / scale - 0.5 for edge in box)
            left, top, right, bottom = (round(edge + tile[i % 2]) for i, edge in enumerate(edges))
            if score >= _SECOND_SCORE:
                boxes.append((left, top, right, bottom))
                scores.append(score)
    new = distinct(boxes, scores, known)
    return _ranked([boxes[i] for i in new], [scores[i] for i in new])


def _ranked(boxes: list[Box], scores: list[float]) -> list[Detection]:
    found = [Detection(box, score) for box, score in zip(boxes, scores, strict=True)]
    return sorted(found, key=lambda one: -one.rank)


def _detect_large(picture: Image.Image) -> tuple[list[Box], list[float]]:
    """Boxes and scores from a copy of at most `DETECTION_SIDE`.

    The copy is the level of dlib's own pyramid (of 5/6) that it would reach from twice the picture, so the
    boxes are those of the whole picture to within a pixel; the landmarks shift when the box does.
    """
    width, height = 2 * picture.width, 2 * picture.height
    growth = 1.0
    while max(width, height) > DETECTION_SIDE:
        width, height = max(1, width * 5 // 6), max(1, height * 5 // 6)
        growth *= 6 / 5
    boxes, scores = _run_detector(picture.resize((width, height), Image.Resampling.BILINEAR), 0)
    offset = 0.75 * (growth - 1) - 1  # dlib's, measured: its pyramid does not preserve the pixel centres

    def grown(edge: int) -> int:
        return round(edge * growth / 2 + offset)

    return [
        (grown(left), grown(top), grown(right), grown(bottom)) for left, top, right, bottom in boxes
    ], scores


def _run_detector(picture: Image.Image, doublings: int) -> tuple[list[Box], list[float]]:
    hold_for_forks(_LOCK)
    with _LOCK:
        rectangles, scores, _ = _detector().run(np.asarray(picture), doublings, 0.0)
    return [(r.left(), r.top(), r.right(), r.bottom()) for r in rectangles], list(scores)


@cache
def _detector() -> Any:
    import dlib

    return dlib.get_frontal_face_detector()
