"""From a photo to FFHQ's crop of a face: detects the face, finds its landmarks and cuts the crop.

The modules `detection`, `landmarks` and `crop` do these steps.
"""

import numpy as np
from PIL import Image

from micromotion.errors import NoFaceError, OptionError
from micromotion.face.crop import AlignedFace, crop_quad, ffhq_quad
from micromotion.face.detection import Detection, detect, size_hint
from micromotion.face.images import ImageSource, as_loaded
from micromotion.face.landmarks import find_landmarks

MAX_ALIGNED = 100
"""Most faces that `align_all` cuts out, the clearest first; each takes some hundredths of a second."""


def align(
    image: ImageSource,
    size: int = 256,
    *,
    face: int = 0,
    compatible: bool = False,
) -> AlignedFace:
    """Cut one face out of a picture as FFHQ does.

    `image` is whatever `load_image` reads, `size` the crop's side in pixels (16 to 1024), `face` which face:
    0 is the best (see `Detection.rank`), 1 the next. Beyond the picture's border the crop is filled with its
    blurred reflection. `compatible` does as the public code of e4e and ReStyle: landmarks are read once, in
    the detector's own box, so that the crop jumps with it, and pixels are sampled without smoothing, up to
    four of the photo's pixels apart, so that fine hair flickers.

    Raises `NoFaceError` if there is no face, or none with that number; `ImageError` if the picture cannot be
    read; `OptionError` if `size` or `face` is out of range; `BundleError` if the landmark model is missing.

    >>> align("docs/face.jpg", 128).image.size
    (128, 128)
    """
    _check_size(size)
    if face < 0:
        raise OptionError(f"face is {face}, but faces are counted from 0, the best.")
    picture = as_loaded(image)
    return _cut(picture, _found(picture, face)[face], size, compatible=compatible)


def align_all(image: ImageSource, size: int = 256, *, last: int = 0) -> list[AlignedFace]:
    """The faces of a picture, 1 to MAX_ALIGNED, each as by `align`: the index is the number of the face.

    last: a number that must be among them, below MAX_ALIGNED. Raises as `align`.
    """
    _check_size(size)
    picture = as_loaded(image)
    return [_cut(picture, found, size) for found in _found(picture, last)[:MAX_ALIGNED]]


def _found(picture: Image.Image, last: int) -> list[Detection]:
    """The detected faces, more than `last`; raises NoFaceError if there are fewer."""
    found = detect(picture, at_least=last + 1)
    if not found:
        raise NoFaceError(
            "No face was found in the picture: try a frontal, well-lit face, or --aligned if the picture"
            f" already is the crop of a face.{size_hint(picture.size)}"
        )
    if last >= len(found):
        count = "1 face was" if len(found) == 1 else f"{len(found)} faces were"
        raise NoFaceError(
            f"Only {count} found in the picture: face must be below {len(found)}, not {last}."
            f"{size_hint(picture.size)}"
        )
    return found


def _cut(picture: Image.Image, found: Detection, size: int, *, compatible: bool = False) -> AlignedFace:
    landmarks = find_landmarks(picture, found.box, compatible=compatible)
    quad = ffhq_quad(landmarks)
    crop = crop_quad(picture, quad, size, compatible=compatible)
    return AlignedFace(crop, quad, found.box, found.score, landmarks)


def as_aligned(image: ImageSource, size: int = 256) -> AlignedFace:
    """Take a picture that already is the crop of a face: its central square, resized to `size`.

    Raises `ImageError` if it cannot be read, `OptionError` if `size` is out of range. No face is detected.
    """
    _check_size(size)
    picture = as_loaded(image)
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    resized = picture.crop(box).resize((size, size), Image.Resampling.LANCZOS)
    x0, y0, x1, y1 = (edge - 0.5 for edge in box)  # pixel edges are half a pixel before their centres
    quad = np.array([[x0, y0], [x0, y1], [x1, y1], [x1, y0]])
    return AlignedFace(resized, quad, box, None, None)


def _check_size(size: int) -> None:
    if not 16 <= size <= 1024:
        raise OptionError(f"size is {size}, but a crop is 16 to 1024 pixels wide.")
