"""Reading a still picture that a stranger sent: any mode in, RGB with 8 bits a channel out.

The file is untrusted. Its size and the size that its header claims are bounded before memory is taken, only
formats whose decoders run no other program are opened, and whatever goes wrong is told in one sentence.
"""

import mmap
import re
import stat
import warnings
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from micromotion.errors import ImageError

MAX_PIXELS = 50_000_000
"""Largest width × height, in pixels: the largest cameras in use, and about 150 MB once decoded."""

MIN_SIDE = 32
"""Shortest side, in pixels, in which a face could still be seen."""

MAX_BYTES = 256 * 2**20
"""Largest file, in bytes: an uncompressed picture of MAX_PIXELS fits."""

MAX_SCANS = 100
"""Most passes over its pixels that a JPEG may ask for; cameras and programs ask for 1 to 15.

Ten bytes ask for one more, which takes as long as there are pixels: 300 kB kept the decoder busy for minutes,
and it cannot be interrupted. (libtiff allows as many for the JPEGs in its files.)
"""

# Left out on purpose: EPS and WMF run other programs; PSD, ICO and the like hold several pictures.
FORMATS = (
    "JPEG",
    "PNG",
    "WEBP",
    "AVIF",
    "TIFF",
    "GIF",
    "BMP",
    "DIB",
    "JPEG2000",
    "PPM",
    "QOI",
    "SGI",
    "PCX",
    "TGA",
)

# A phone's JPEG with a second picture (depth, preview, HDR gain) behind the first: still a still picture.
_STILL_WITH_EXTRAS = ("MPO",)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_image(source: str | Path | bytes | BinaryIO | Image.Image) -> Image.Image:
    """Read a still picture into a new RGB image, uint8, upright.

    `source` is a path, the bytes of a file, a binary file object (read from its start) or a PIL image (which
    stays as it is). EXIF orientation is applied. Transparency is laid over white, the page on which people
    saw the picture; black would swallow dark hair. 16-bit gray is scaled, 65535 to 255; for 32-bit integers
    and floats see `gray_to_8_bits`. Of a phone's multi-picture JPEG the first picture is taken. Colour
    profiles are ignored.

    Raises `ImageError`, one sentence, if the picture is missing, unreadable, of an unknown format, damaged,
    animated, above `MAX_BYTES` or `MAX_PIXELS`, or narrower than `MIN_SIDE`. Raises `TypeError` for any other
    kind of `source`.
    """
    with warnings.catch_warnings():  # Pillow warns of large or odd files; what matters is an error below
        warnings.simplefilter("ignore")
        if isinstance(source, Image.Image):
            return _decode(source, "The picture")
        name, file = _open(source)
        with file:
            try:
                image = Image.open(file, formats=FORMATS)
            except UnidentifiedImageError as error:
                raise ImageError(
                    f"{name} cannot be read as a picture: save it as JPEG or PNG and try again."
                ) from error
            except Image.DecompressionBombError as error:
                raise ImageError(f"{name} has more than {_MEGAPIXELS}: make it smaller first.") from error
            except Exception as error:  # a decoder given hostile bytes may raise anything
                raise ImageError(_damaged(name)) from error
            if image.format in ("JPEG", *_STILL_WITH_EXTRAS):
                _check_scans(file, name)
            with image:
                return _decode(image, name)


def gray_to_8_bits(values: np.ndarray) -> np.ndarray:
    """Scale gray values of any number type to uint8, never clipping; same shape.

    uint16 maps 0…65535 to 0…255. Other types carry no range of their own, so the narrowest usual one that
    holds all values is taken: [0, 1] for floats, then 0…255, then 0…65535, else from the smallest value to
    the largest.
    Raises `ValueError` if a value is not finite.
    """
    if values.dtype == np.uint8:
        return values
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("gray values must be finite")
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        low, high = 0.0, 65535.0
    elif low >= 0 and high <= 65535:
        ranges = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
        low, high = 0.0, next(top for top in ranges if high <= top)
    if low == high:
        return np.zeros(values.shape, np.uint8)
    scaled = values.astype(np.float32)
    scaled -= low
    scaled *= 255.0 / (high - low)
    return np.rint(scaled, out=scaled).clip(0, 255, out=scaled).astype(np.uint8)


_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # neither a byte 255 among the pixels nor a restart
_MEGAPIXELS = f"{MAX_PIXELS // 1_000_000} million pixels"


def _open(source: str | Path | bytes | BinaryIO) -> tuple[str, BinaryIO]:
    """A name for messages, and the file opened for reading, its size checked."""
    if isinstance(source, str | Path):
        shown = str(source)
        name = repr(shown if len(shown) <= 120 else f"…{shown[-120:]}")
        return name, _open_path(Path(source), name)
    name = "The picture"
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
    elif hasattr(source, "read"):
        if source.seekable():
            source.seek(0)
        data = source.read(MAX_BYTES + 1)
        if not isinstance(data, bytes):
            raise TypeError("load_image needs a file opened in binary mode")
    else:
        raise TypeError(f"load_image takes a path, bytes, a file or a PIL image, not {type(source).__name__}")
    _check_bytes(len(data), name)
    return name, BytesIO(data)


def _open_path(path: Path, name: str) -> BinaryIO:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{name} is a folder: name a picture in it.")
        if not stat.S_ISREG(status.st_mode):  # before opening: a pipe would block, a device may act
            raise ImageError(f"{name} is not an ordinary file: name a picture.")
        _check_bytes(status.st_size, name)
        return path.open("rb")
    except FileNotFoundError as error:
        raise ImageError(f"There is no file {name}: check its name and folder.") from error
    except PermissionError as error:
        raise ImageError(f"{name} may not be read by you: change its permissions.") from error
    except (OSError, ValueError) as error:  # name too long, a zero byte in it, a failing disk
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{name} cannot be opened ({reason}): check its name.") from error


def _check_bytes(size: int, name: str) -> None:
    if size == 0:
        raise ImageError(f"{name} is empty: choose another picture.")
    if size > MAX_BYTES:
        raise ImageError(f"{name} is larger than {MAX_BYTES // 2**20} MB: make it smaller first.")


def _decode(image: Image.Image, name: str) -> Image.Image:
    """Check what the header says, then decode, turn to RGB and set upright."""
    _check_size(image.size, name)
    try:
        if image.format not in _STILL_WITH_EXTRAS and getattr(image, "is_animated", False):
            raise ImageError(
                f"{name} holds several frames or pages: a still picture is needed, save one of them."
            )
        image.load()
        _check_size(image.size, name)  # a hostile file may grow between header and pixels
        upright = _UPRIGHT.get(_orientation(image))
        rgb = _to_rgb(image)
        return rgb if upright is None else rgb.transpose(upright)
    except ImageError:
        raise
    except Exception as error:  # a decoder given hostile bytes may raise anything
        raise ImageError(_damaged(name)) from error


def _check_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name} is {width}×{height}, more than {_MEGAPIXELS}: make it smaller first.")
    if min(size) < MIN_SIDE:
        raise ImageError(f"{name} is {width}×{height}, but each side needs at least {MIN_SIDE} pixels.")


def _check_scans(file: BinaryIO, name: str) -> None:
    """Refuse a JPEG of too many scans, without decoding it."""
    if isinstance(file, BytesIO):
        with file.getbuffer() as data:
            count = _count_scans(data)
    else:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            count = _count_scans(data)
    if count > MAX_SCANS:
        raise ImageError(
            f"{name} asks for more than {MAX_SCANS} passes over its pixels, which none needs: save it again."
        )


def _count_scans(data: memoryview | mmap.mmap) -> int:
    """The scans of the first picture in a JPEG file; stops counting above MAX_SCANS (ITU T.81, annex B)."""
    count = place = 0
    while count <= MAX_SCANS and (found := _MARKER.search(data, place)):
        place, kind = found.end(), found[1]
        if kind == b"\xd9":  # the end of the picture
            break
        if kind == b"\xda":
            count += 1
        if kind not in (b"\x01", b"\xd8"):  # these two stand alone, after all others comes a length
            place += int.from_bytes(data[place : place + 2], "big")
    return count


def _damaged(name: str) -> str:
    return f"{name} is damaged or cut short and cannot be decoded: save or download it again."


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # broken EXIF says nothing about the pixels
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    """A new RGB image from a decoded one of any mode."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return Image.fromarray(gray_to_8_bits(np.asarray(image))).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB") if image.mode != "RGB" else image.copy()
    if image.mode == "La":  # Pillow goes from premultiplied gray only to plain gray
        image = image.convert("LA")
    rgba = image.convert("RGBA")
    page = Image.new("RGB", rgba.size, "white")
    page.paste(rgba, mask=rgba)
    return page
