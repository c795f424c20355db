"""dlib's 68 landmarks of a face, stabilised so that they do not jump when the face's box moves by a pixel.

Points are (x, y) in pixels and integers are pixel centres, as in dlib.
"""

import importlib.util
import os
import threading
from contextlib import suppress
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from micromotion.errors import BundleError, OutputError
from micromotion.face.crop import AlignedFace, crop_quad, ffhq_quad
from micromotion.face.tiles import Box
from micromotion.runtime.folders import LANDMARKS, landmarks_file
from micromotion.runtime.forking import hold_for_forks

LANDMARKS_VARIABLE = "MICROMOTION_LANDMARKS"
"""Environment variable that may name a landmark file to use instead of the installed or the fetched one."""

_LOCK = threading.Lock()
"""Ensures that the model is loaded only once."""

_UPRIGHT = 320
"""Side in pixels of the square in which landmarks are read, twice that of the box."""

# dlib's box of an upright face in terms of its landmarks, measured: its width in units of their root mean
# square distance from their centre, and the height of its own centre above theirs, in widths.
_BOX_WIDTH, _BOX_ABOVE = 2.9, 0.07
Moves = list[tuple[float, float, float]]
"""Changes of a box to average over: right, down, larger on all sides, as fractions of its width."""
_FOUR_BOXES = [(0.05 * x, 0.05 * y, 0.04 * x * y) for x, y in product((-1, 1), repeat=2)]
_SIXTEEN_BOXES = [
    (0.03 * x, 0.03 * y, 0.02 * ((x + 2 * y) % 8 - 4)) for x, y in product((-3, -1, 1, 3), repeat=2)
]


def find_landmarks(picture: Image.Image, box: Box, *, compatible: bool = False) -> np.ndarray:
    """dlib's 68 landmarks [68, 2], float64, of the face in `box` of an RGB picture.

    dlib finds boxes in steps of a tenth of their width, so that one pixel more at the picture's border may
    shift them by as much, and its landmarks, whole pixels, jump with the box. So they are read four more
    times, in an upright square around the landmarks themselves, which removes the influence of the detected
    box; each time as the mean over boxes that are shifted, enlarged and shrunk a little. `compatible` reads
    them once, in the box itself.
    """
    if compatible:
        return _read_landmarks(np.asarray(picture), box)
    landmarks = _mean_landmarks(picture, box, _FOUR_BOXES)
    for boxes in (*3 * [_FOUR_BOXES], _SIXTEEN_BOXES):
        landmarks = _read_upright(picture, landmarks, box, boxes)
    return landmarks


def _read_landmarks(pixels: np.ndarray, box: Box) -> np.ndarray:
    import dlib

    hold_for_forks(_LOCK)
    with _LOCK:
        predictor = _predictor(landmark_model())
    parts = predictor(pixels, dlib.rectangle(*box)).parts()
    return np.array([[part.x, part.y] for part in parts], np.float64)


def _mean_landmarks(picture: Image.Image, box: Box, moves: Moves) -> np.ndarray:
    """Landmarks [68, 2], the mean over a box that is moved and enlarged by fractions of its width."""
    mean: np.ndarray = landmark_readings(np.asarray(picture), box, moves).mean(axis=0)
    return mean


def landmark_readings(pixels: np.ndarray, box: Box, moves: Moves) -> np.ndarray:
    """Landmarks [moves, 68, 2] of a face in uint8 RGB [H, W, 3], one reading per move of the box.

    For some 20 or more, `landmark_trees` gives the same sooner.
    """
    return np.stack([_read_landmarks(pixels, moved) for moved in moved_boxes(box, moves)])


def moved_boxes(box: Box, moves: Moves) -> list[Box]:
    """A box after each of the moves, in whole pixels."""
    width, boxes = box[2] - box[0], []
    for right, down, larger in moves:
        away = width * np.array([right - larger, down - larger, right + larger, down + larger])
        left, top, right_edge, bottom = np.rint(box + away).astype(int).tolist()
        boxes.append((left, top, right_edge, bottom))
    return boxes


def _read_upright(picture: Image.Image, landmarks: np.ndarray, box: Box, moves: Moves) -> np.ndarray:
    """Landmarks [68, 2] read again in an upright square of fixed size around them; `box` is the detector's.

    The square is twice as wide as the box that dlib would find for such a face upright.
    """
    middle, half = landmarks.mean(axis=0), _BOX_WIDTH * np.sqrt(landmarks.var(axis=0).sum())
    left, top, right, bottom = box
    centre, width = np.array([left + right, top + bottom]) / 2, right - left
    # Without a face the landmarks may be anywhere, and must not move the square away.
    half = np.clip(half, width / 1.5, width * 1.5)
    middle = centre + (middle - centre).clip(-width / 2, width / 2)
    top_left, bottom_left, _, top_right = ffhq_quad(landmarks)
    across, down = (
        half * way / np.linalg.norm(way) for way in (top_right - top_left, bottom_left - top_left)
    )
    middle = middle - _BOX_ABOVE * down
    quad = middle + np.array([-across - down, -across + down, across + down, across - down])
    quarter = _UPRIGHT // 4
    inside = (quarter, quarter, 3 * quarter - 1, 3 * quarter - 1)
    upright = AlignedFace(crop_quad(picture, quad, _UPRIGHT), quad, inside, None, None)
    return upright.to_source(_mean_landmarks(upright.image, inside, moves))


@cache
def _predictor(path: Path) -> Any:
    import dlib

    try:
        return dlib.shape_predictor(str(path))
    except RuntimeError as error:
        raise BundleError(
            f"{str(path)!r} is not a dlib landmark model of 68 points: fetch it again."
        ) from error


def landmark_model() -> Path:
    """The path of dlib's model of 68 landmarks: named, else in the installed package, else fetched.

    The package face_recognition_models, which contains it, can no longer be imported, only located.
    """
    named = os.environ.get(LANDMARKS_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise BundleError(f"There is no landmark model {named!r}: correct {LANDMARKS_VARIABLE}.")
        return Path(named)
    candidates = []
    package = importlib.util.find_spec("face_recognition_models")
    if package is not None and package.origin is not None:
        candidates.append(Path(package.origin).parent / "models" / LANDMARKS)
    with suppress(OutputError):  # no home directory, so no cache
        candidates.append(landmarks_file())
    for path in candidates:
        if path.is_file():
            return path
    raise BundleError(
        "The landmark model is missing: run `micromotion weights fetch landmarks`, install the package "
        f"face_recognition_models, or name the file in {LANDMARKS_VARIABLE}."
    )
