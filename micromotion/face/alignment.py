"""From a photo to FFHQ's crop of a face, and the way back from the crop's pixels to the photo's.

The geometry is that of the FFHQ data set (Karras et al. 2019, arXiv 1812.04948; as code in
NVlabs/ffhq-dataset and omertov/encoder4editing): a square around eyes and mouth, found with dlib's 68
landmarks.

Points are (x, y) in pixels and whole numbers are pixel centres, as in dlib.
"""

import importlib.util
import math
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageFilter

from micromotion.errors import BundleError, NoFaceError, OptionError, OutputError
from micromotion.face.images import as_loaded
from micromotion.face.tiles import Box, distinct, tiles
from micromotion.runtime.folders import LANDMARKS, landmarks_file
from micromotion.runtime.forking import hold_for_forks

LANDMARKS_VARIABLE = "MICROMOTION_LANDMARKS"
"""Environment variable that may name another landmark file than the installed or the fetched one."""

DETECTION_SIDE = 3200
"""Faces are looked for at this long side at most, in pixels, which bounds time and memory."""

SECOND_LOOK = 48_000_000
"""Pixels in which small faces of a large photo are looked for when the first look did not do: twice the size
of a photo of 12 megapixels; about 6 s on a core, in no more memory than the first look."""

_SURE = 0.2  # least score of the second look, which sees ten times as much that might look like a face
_WINDOW = 80  # pixels: dlib's detector knows faces of this width and up
_FRAME = 0.3  # FFHQ's padding beyond the picture, as a part of the crop's side
_LOCK = threading.Lock()
"""dlib's detector writes into itself while it runs; and the model is read once, not twice."""

_UPRIGHT = 320
"""Pixels of the side of the square in which landmarks are read, twice the box."""

# dlib's box of an upright face in terms of its landmarks, measured: its width in units of their root mean
# square distance from their centre, and how far above that its own centre lies, in widths.
_BOX_WIDTH, _BOX_ABOVE = 2.9, 0.07
Moves = list[tuple[float, float, float]]
"""How boxes to take the mean over differ: to the right, down, larger to all sides, in parts of the width."""
_FOUR_BOXES = [(0.05 * x, 0.05 * y, 0.04 * x * y) for x, y in product((-1, 1), repeat=2)]
_SIXTEEN_BOXES = [
    (0.03 * x, 0.03 * y, 0.02 * ((x + 2 * y) % 8 - 4)) for x, y in product((-3, -1, 1, 3), repeat=2)
]


@dataclass(frozen=True)
class AlignedFace:
    """A face cut out of a photo, upright and centred.

    image: RGB, size × size. quad: [4, 2] float64, the crop's corners in the photo (top left, bottom left,
    bottom right, top right). box: left, top, right, bottom of the detector's box in the photo. score: the
    detector's confidence, above 0; 1 and more is a plain face. landmarks: [68, 2] float64 in the photo. A
    picture that was taken as it is has neither score nor landmarks (None).
    """

    image: Image.Image
    quad: np.ndarray
    box: Box
    score: float | None
    landmarks: np.ndarray | None

    @property
    def matrix(self) -> np.ndarray:
        """[2, 3] float64: source = matrix @ (x, y, 1) for a point (x, y) of the aligned image."""
        top_left, bottom_left, _, top_right = self.quad
        right, down = (top_right - top_left) / self.image.width, (bottom_left - top_left) / self.image.height
        return np.stack([right, down, top_left + 0.5 * (right + down)], axis=1)

    def to_source(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 2] of the aligned image, in the photo's pixels, float64."""
        return np.asarray(points, np.float64) @ self.matrix[:, :2].T + self.matrix[:, 2]

    def to_aligned(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 2] of the photo, in the aligned image's pixels, float64."""
        inverse = np.linalg.inv(self.matrix[:, :2])
        return (np.asarray(points, np.float64) - self.matrix[:, 2]) @ inverse.T


@dataclass(frozen=True)
class Detection:
    """A face that the detector found: left, top, right, bottom in the picture, and a confidence above 0."""

    box: Box
    score: float

    @property
    def rank(self) -> float:
        """Confidence × width: a large plain face before a small one, and before a false one of any size."""
        return self.score * (self.box[2] - self.box[0])


def align(
    image: str | Path | bytes | BinaryIO | Image.Image,
    size: int = 256,
    *,
    face: int = 0,
    compatible: bool = False,
) -> AlignedFace:
    """Cut one face out of a picture, FFHQ's way.

    `image` is whatever `load_image` reads, `size` the crop's side in pixels (16 to 1024), `face` which face:
    0 is the best (see `Detection.rank`), 1 the next. Beyond the picture's border the crop is filled with its
    blurred reflection. `compatible` does as the public code of e4e and ReStyle: landmarks are read once, in
    the detector's own box, so that the crop leaps with it, and pixels without smoothing, up to four of the
    photo's pixels apart, so that fine hair flickers.

    Raises `NoFaceError` if there is no face, or none with that number; `ImageError` if the picture cannot be
    read; `OptionError` if `size` or `face` is out of range; `BundleError` if the landmark model is missing.
    """
    _check_size(size)
    if face < 0:
        raise OptionError(f"face is {face}, but faces are counted from 0, the best.")
    picture = as_loaded(image)
    found = detect(picture, at_least=face + 1)
    if not found:
        raise NoFaceError(
            "No face was found in the picture: try a frontal, well-lit face, or --aligned if the picture"
            f" already is the crop of a face.{size_hint(picture.size)}"
        )
    if face >= len(found):
        count = "1 face was" if len(found) == 1 else f"{len(found)} faces were"
        raise NoFaceError(
            f"Only {count} found in the picture: face must be below {len(found)}, not {face}."
            f"{size_hint(picture.size)}"
        )
    chosen = found[face]
    landmarks = find_landmarks(picture, chosen.box, compatible=compatible)
    quad = ffhq_quad(landmarks)
    crop = crop_quad(picture, quad, size, compatible=compatible)
    return AlignedFace(crop, quad, chosen.box, chosen.score, landmarks)


def as_aligned(image: str | Path | bytes | BinaryIO | Image.Image, size: int = 256) -> AlignedFace:
    """Take a picture that already is the crop of a face: its central square, resized to `size`.

    Raises `ImageError` if it cannot be read, `OptionError` if `size` is out of range. No face is looked for.
    """
    _check_size(size)
    picture = as_loaded(image)
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    resized = picture.crop(box).resize((size, size), Image.Resampling.LANCZOS)
    x0, y0, x1, y1 = (edge - 0.5 for edge in box)  # pixel edges lie half a pixel before their centres
    quad = np.array([[x0, y0], [x0, y1], [x1, y1], [x1, y0]])
    return AlignedFace(resized, quad, box, None, None)


def detect(picture: Image.Image, *, at_least: int = 1) -> list[Detection]:
    """The faces in an RGB picture, best first (see `Detection.rank`).

    Looked for at twice the picture's size, as FFHQ does, in a small picture that shows no face then at four
    times, in a large one at no more than `DETECTION_SIDE`. If that shows fewer than `at_least`, a large one
    is looked at again, closer, up to `SECOND_LOOK`; faces found only then come after the others.
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


def smallest_face(size: tuple[int, int]) -> int:
    """How many pixels wide a face must be, at least, to be found in a picture of that width and height."""
    return 20 if 8 * max(size) <= DETECTION_SIDE else math.ceil(_WINDOW / _closest(size))


def size_hint(size: tuple[int, int]) -> str:
    """A sentence, after a space, on how wide a face must be; nothing where cropping would not change it."""
    if 8 * max(size) <= DETECTION_SIDE:
        return ""
    return (
        f" In a picture of {size[0]}×{size[1]} pixels a face must be at least {smallest_face(size)} pixels"
        " wide: crop the picture closely around a smaller one."
    )


def _closest(size: tuple[int, int]) -> float:
    """How much larger, or smaller, a picture is made at most before a face is looked for in it."""
    return min(2.0, math.sqrt(SECOND_LOOK / (size[0] * size[1])))


def _look_closer(picture: Image.Image, known: list[Box]) -> list[Detection]:
    """Faces that lie apart from the known ones, looked for in overlapping tiles, best first."""
    scale = _closest(picture.size)
    # What is wider than the first look's smallest face was seen by it: up to there, one tile has it whole.
    seen = 1.5 * _WINDOW * max(picture.size) / (DETECTION_SIDE * 5 // 6)
    boxes, scores = [], []
    for tile in tiles(picture.size, round((DETECTION_SIDE / scale) ** 2), round(min(seen, *picture.size))):
        size = _scaled((tile[2] - tile[0], tile[3] - tile[1]), scale)
        near = picture.resize(size, Image.Resampling.BILINEAR, box=tile)
        for box, score in zip(*_run_detector(near, 0), strict=True):
            edges = ((edge + 0.5) / scale - 0.5 for edge in box)
            left, top, right, bottom = (round(edge + tile[i % 2]) for i, edge in enumerate(edges))
            if score >= _SURE:
                boxes.append((left, top, right, bottom))
                scores.append(score)
    new = distinct(boxes, scores, known)
    return _ranked([boxes[i] for i in new], [scores[i] for i in new])


def _ranked(boxes: list[Box], scores: list[float]) -> list[Detection]:
    found = [Detection(box, score) for box, score in zip(boxes, scores, strict=True)]
    return sorted(found, key=lambda one: -one.rank)


def _detect_large(picture: Image.Image) -> tuple[list[Box], list[float]]:
    """Boxes and scores from a copy of at most `DETECTION_SIDE`.

    The copy is the step of dlib's own pyramid (of 5/6) that it would come to from twice the picture, so the
    boxes are those of the whole picture to within a pixel; the landmarks shift when the box does.
    """
    width, height = 2 * picture.width, 2 * picture.height
    growth = 1.0
    while max(width, height) > DETECTION_SIDE:
        width, height = max(1, width * 5 // 6), max(1, height * 5 // 6)
        growth *= 6 / 5
    boxes, scores = _run_detector(picture.resize((width, height), Image.Resampling.BILINEAR), 0)
    offset = 0.75 * (growth - 1) - 1  # dlib's, measured: its steps do not keep the pixels' centres

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


def find_landmarks(picture: Image.Image, box: Box, *, compatible: bool = False) -> np.ndarray:
    """dlib's 68 landmarks [68, 2], float64, of the face in `box` of an RGB picture.

    dlib finds boxes in steps of a tenth of their width, so that one pixel more at the picture's border may
    shift them by as much, and its landmarks, whole pixels, leap with the box. So they are read again, four
    times, where they lie themselves, turned upright, which leaves nothing of where the box was found; each
    time as the mean over boxes a little to all sides, a little larger and smaller. `compatible` reads them
    once, in the box itself.
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
        predictor = _predictor(_landmark_file())
    parts = predictor(pixels, dlib.rectangle(*box)).parts()
    return np.array([[part.x, part.y] for part in parts], np.float64)


def _mean_landmarks(picture: Image.Image, box: Box, moves: Moves) -> np.ndarray:
    """Landmarks [68, 2], the mean over a box moved and grown by parts of its width."""
    pixels, width, found = np.asarray(picture), box[2] - box[0], []
    for right, down, larger in moves:
        away = width * np.array([right - larger, down - larger, right + larger, down + larger])
        left, top, right_edge, bottom = np.rint(box + away).astype(int).tolist()
        found.append(_read_landmarks(pixels, (left, top, right_edge, bottom)))
    mean: np.ndarray = np.mean(found, axis=0)
    return mean


def _read_upright(picture: Image.Image, landmarks: np.ndarray, box: Box, moves: Moves) -> np.ndarray:
    """Landmarks [68, 2] read anew in the square about them, upright and of one size; `box` is the detector's.

    The square is twice as wide as the box in which dlib would see such a face upright.
    """
    middle, half = landmarks.mean(axis=0), _BOX_WIDTH * np.sqrt(landmarks.var(axis=0).sum())
    left, top, right, bottom = box
    centre, width = np.array([left + right, top + bottom]) / 2, right - left
    # Where there is no face landmarks lie anywhere, and must not lead the square away.
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


def ffhq_quad(landmarks: np.ndarray) -> np.ndarray:
    """FFHQ's crop for 68 landmarks [68, 2]: corners [4, 2], float64, in `AlignedFace.quad`'s order.

    Half the square's side is twice the distance of the eyes or 1.8 times that from eyes to mouth, whichever
    is more; its centre lies a tenth of the way from the eyes to the mouth; its tilt is the mean of the line
    of the eyes and the normal of the line from eyes to mouth.
    """
    left_eye, right_eye = landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)
    eyes = (left_eye + right_eye) / 2
    across = right_eye - left_eye
    down = (landmarks[48] + landmarks[54]) / 2 - eyes
    axis = across + np.array([down[1], -down[0]])
    axis /= np.linalg.norm(axis)
    half_x = axis * max(2.0 * np.linalg.norm(across), 1.8 * np.linalg.norm(down))
    half_y = np.array([-half_x[1], half_x[0]])
    centre = eyes + 0.1 * down
    return np.stack(
        [
            centre - half_x - half_y,
            centre - half_x + half_y,
            centre + half_x + half_y,
            centre + half_x - half_y,
        ]
    )


def crop_quad(picture: Image.Image, quad: np.ndarray, size: int, *, compatible: bool = False) -> Image.Image:
    """Resample the square `quad` [4, 2] of an RGB picture to size × size: anti-aliased, or see `align`."""
    side = float(np.linalg.norm(quad[3] - quad[0]))
    samples = 2 * size
    if compatible:
        samples = size
        whole = max(1, int(0.5 * side / size))
        if whole > 1:
            picture = picture.resize(_scaled(picture.size, 1 / whole), Image.Resampling.LANCZOS)
            quad, side = quad / whole, side / whole
    border = max(round(0.1 * side), 3)
    low = np.floor(quad.min(axis=0)).astype(int) - border
    high = np.ceil(quad.max(axis=0)).astype(int) + border
    region = _clip_box((*low, *high), picture.size)
    # At twice the output's resolution the four neighbours that are sampled below cover every pixel.
    shrink = 1.0 if compatible else max(1.0, side / samples)
    small_size = _scaled((region[2] - region[0], region[3] - region[1]), 1 / shrink)
    small = (
        picture.resize(small_size, Image.Resampling.LANCZOS, box=region)
        if shrink > 1
        else picture.crop(region)
    )
    ratio = np.array(small.size) / (region[2] - region[0], region[3] - region[1])
    # From here on pixel edges are whole numbers, as in Pillow.
    corners = (quad + 0.5 - region[:2]) * ratio
    beyond = np.maximum(np.array([*-low, *(high - picture.size)]), 0)  # left, top, right, bottom
    if beyond.max() > border - 4:
        pad = np.maximum(np.rint(beyond / shrink), max(1, round(_FRAME * side / shrink))).astype(int).tolist()
        small = _pad(small, pad, 0.02 * side / shrink)
        corners += pad[:2]
    read = small.transform(
        (samples, samples), Image.Transform.QUAD, corners.ravel().tolist(), Image.Resampling.BILINEAR
    )
    return read if compatible else read.resize((size, size), Image.Resampling.LANCZOS)


def _pad(picture: Image.Image, pad: list[int], blur: float) -> Image.Image:
    """FFHQ's continuation beyond the border: mirrored, increasingly blurred, fading to the median colour.

    `pad` is left, top, right, bottom and `blur` the Gaussian's sigma, both in pixels.
    """
    left, top, right, bottom = pad
    mirrored = np.pad(np.asarray(picture), ((top, bottom), (left, right), (0, 0)), mode="reflect")
    blurred = np.asarray(Image.fromarray(mirrored).filter(ImageFilter.GaussianBlur(blur)))
    height, width = mirrored.shape[:2]
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    # 1 at the new border, 0 at the old one, negative inside.
    outside_x = 1 - np.minimum(x / left, (width - 1 - x) / right)
    outside_y = 1 - np.minimum(y / top, (height - 1 - y) / bottom)
    outside = np.maximum(outside_x, outside_y)
    blurring, fading = np.clip(3 * outside + 1, 0, 1), np.clip(outside, 0, 1)
    for channel in range(3):  # one by one: a third of the memory
        values = mirrored[..., channel].astype(np.float32)
        values += (blurred[..., channel] - values) * blurring
        values += (np.median(values) - values) * fading
        mirrored[..., channel] = np.rint(values).clip(0, 255)
    return Image.fromarray(mirrored)


def _check_size(size: int) -> None:
    if not 16 <= size <= 1024:
        raise OptionError(f"size is {size}, but a crop is 16 to 1024 pixels wide.")


def _scaled(size: tuple[float, float], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _clip_box(box: tuple[float, ...], size: tuple[int, int]) -> Box:
    """The part of a box that lies inside a picture of that size, in whole pixels."""
    left, top, right, bottom = (int(edge) for edge in box)
    return max(left, 0), max(top, 0), min(right, size[0]), min(bottom, size[1])


@cache
def _detector() -> Any:
    import dlib

    return dlib.get_frontal_face_detector()


@cache
def _predictor(path: Path) -> Any:
    import dlib

    try:
        return dlib.shape_predictor(str(path))
    except RuntimeError as error:
        raise BundleError(
            f"{str(path)!r} is not a dlib landmark model of 68 points: fetch it again."
        ) from error


def _landmark_file() -> Path:
    """Where dlib's model of 68 landmarks lies: named, else in the installed package, else fetched.

    The package face_recognition_models, which brings it, cannot be imported any more, only found.
    """
    named = os.environ.get(LANDMARKS_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise BundleError(f"There is no landmark model {named!r}: correct {LANDMARKS_VARIABLE}.")
        return Path(named)
    places = []
    package = importlib.util.find_spec("face_recognition_models")
    if package is not None and package.origin is not None:
        places.append(Path(package.origin).parent / "models" / LANDMARKS)
    with suppress(OutputError):  # no home, no cache: then nothing is in it
        places.append(landmarks_file())
    for place in places:
        if place.is_file():
            return place
    raise BundleError(
        "The landmark model is missing: run `micromotion weights fetch landmarks`, install the package "
        f"face_recognition_models, or name the file in {LANDMARKS_VARIABLE}."
    )
