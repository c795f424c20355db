"""Reads an untrusted still picture of any mode as upright sRGB with 8 bits per channel.

The file's size and the size that its header claims are bounded before memory is allocated, only formats whose
decoders run no other program are opened, and every error is one sentence.
"""

import mmap
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, cast

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from micromotion.errors import ImageError
from micromotion.face.arrays import as_array, check_array, from_array, is_tensor
from micromotion.face.color_profile import Profile, gray_curve, read_profile, to_srgb
from micromotion.face.gray import gray_to_8_bits, scale_gray
from micromotion.face.png_color import SIGNATURE, without_color
from micromotion.face.tiff_layout import check_layout, read_misread, unsupported
from micromotion.face.tiff_pages import MAGICS, Tags, find_page, from_page

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

ImageSource: TypeAlias = "str | Path | bytes | BinaryIO | Image.Image | NDArray[Any] | Tensor"

MAX_PIXELS = 50_000_000
"""Largest width × height, in pixels: the largest cameras in use, and about 150 MB once decoded."""

MIN_SIDE = 32
"""Shortest side, in pixels, in which a face could still be visible."""

MAX_BYTES = 256 * 2**20
"""Largest file, in bytes: an uncompressed picture of MAX_PIXELS fits."""

MAX_SCANS = 100
"""Most scans (passes over its pixels) that a JPEG may have; cameras and programs write 1 to 15.

Ten bytes add one more, whose time grows with the number of pixels: 300 kB kept the decoder busy for minutes,
and it cannot be interrupted. (libtiff allows as many for the JPEGs in its files.)
"""

# Not included: EPS and WMF run other programs; PSD, ICO and the like hold several pictures.
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


def load_image(source: ImageSource) -> Image.Image:
    """Read a still picture into a new RGB image, uint8, upright, in sRGB, with an empty `info`.

    `source` is a path, the bytes of a file, a binary file object (read from its start), a PIL image (which is
    not changed), or an array or tensor [H, W, 3] in sRGB, uint8 or floats from 0 to 1. Loading the result
    again gives the same picture.

    EXIF orientation is applied. An embedded ICC profile is applied (see `color_profile`); a picture without
    one, or whose profile cannot be used, is taken to be sRGB. Then transparency is composited over white, as
    pictures are seen on a page; on black, dark hair would be lost. 16-bit gray is scaled, 65535 to 255; for
    32-bit integers and floats see `scale_gray`. Of a phone's multi-picture JPEG the first picture is used, of
    a TIFF the one page that is no thumbnail or mask.

    Raises `ImageError`, one sentence, if the picture is missing, unreadable, of an unknown format or layout,
    damaged, animated, a camera's raw file, above `MAX_BYTES` or `MAX_PIXELS`, or narrower than `MIN_SIDE`.
    Raises `TypeError` for any other kind of `source`.
    """
    with warnings.catch_warnings():  # Pillow warns of large or odd files; what matters is an error below
        warnings.simplefilter("ignore")
        if isinstance(source, Image.Image):
            return _read_image(source)
        if isinstance(source, np.ndarray) or is_tensor(source):
            return _read_array(source)
        name, file = _open(cast("str | Path | bytes | BinaryIO", source))
        with file:
            return _read_file(file, name)


def as_loaded(source: ImageSource) -> Image.Image:
    """`load_image`, but a picture that came from it is returned itself, uncopied: it must not be changed."""
    if type(source) is Image.Image and source.mode == "RGB" and not source.info:
        _check_size(source.size, "The picture")
        return source
    return load_image(source)


_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # neither a byte 255 in the pixel data nor a restart
_MEGAPIXELS = f"{MAX_PIXELS // 1_000_000} million pixels"


def _read_file(file: BinaryIO, name: str) -> Image.Image:
    """The picture in an opened file, whatever its format."""
    head = file.read(len(SIGNATURE))
    file.seek(0)
    if head[:4] in MAGICS:
        return _read_tiff(file, name)
    with _open_png(file, name) if head == SIGNATURE else _open_image(file, name) as image:
        if image.format in ("JPEG", *_STILL_WITH_EXTRAS):
            with _bytes_of(file) as data:
                _check_scans(data, name)
        return _decode(image, name)


def _read_tiff(file: BinaryIO, name: str) -> Image.Image:
    """The page that is the picture; decoded from its planes if Pillow would misread it."""
    with _bytes_of(file) as data:
        page = find_page(data, name)
        if check_layout(page, name):
            try:
                _check_size(page.size, name)
                return _finished(read_misread(data, page, name))
            except ImageError:
                raise
            except Exception as error:  # a decoder given hostile bytes may raise anything
                raise ImageError(_damaged(name)) from error
        other, unknown = None if page.is_first else BytesIO(from_page(data, page)), unsupported(page, name)
    try:
        image = _open_image(other or file, name)
    except ImageError as error:
        raise unknown if isinstance(error.__cause__, UnidentifiedImageError) else error from error.__cause__
    with image:
        return _decode(image, name, is_still=True)


def _read_array(source: object) -> Image.Image:
    """A picture from an array or a tensor, its shape checked first."""
    name, array = "The picture", as_array(source)
    _check_size(check_array(array, name), name)
    return from_array(array, name)


def _read_image(source: Image.Image) -> Image.Image:
    """A picture from a PIL image that the caller opened, decoded or made."""
    name = "The picture"
    if source.format == "TIFF" and isinstance(source, ImageFile.ImageFile):
        if source.tile and source.fp is not None:  # not decoded yet: as any other file
            position = source.fp.tell()
            _, file = _open(cast(BinaryIO, source.fp))
            source.fp.seek(position)
            with file:
                return _read_tiff(file, name)
        if check_layout(Tags.of(source), name):
            raise ImageError(
                f"{name} is a TIFF that Pillow has misread: give the file itself, not the PIL image."
            )
    return _decode(source, name)


def _open_png(file: BinaryIO, name: str) -> Image.Image:
    """Open a PNG, also if Pillow refuses its colour chunks."""
    try:
        return _open_image(file, name)
    except ImageError:
        file.seek(0)
        rest, profile = without_color(file.read())
        image = _open_image(BytesIO(rest), name)
        image.info["icc_profile"] = profile
        return image


def _open_image(file: BinaryIO, name: str) -> Image.Image:
    """Open a picture; only its header is read."""
    try:
        return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} cannot be read as a picture: save it as JPEG or PNG and try again."
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} has more than {_MEGAPIXELS}: make it smaller first.") from error
    except Exception as error:  # a decoder given hostile bytes may raise anything
        raise ImageError(_damaged(name)) from error


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
        raise TypeError(
            f"load_image takes a path, bytes, a file, a PIL image or an array, not {type(source).__name__}"
        )
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
        raise ImageError(f"{name} may not be read: change its permissions.") from error
    except (OSError, ValueError) as error:  # name too long, a zero byte in it, a failing disk
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{name} cannot be opened ({reason}): check its name.") from error


def _check_bytes(size: int, name: str) -> None:
    if size == 0:
        raise ImageError(f"{name} is empty: choose another picture.")
    if size > MAX_BYTES:
        raise ImageError(f"{name} is larger than {MAX_BYTES // 2**20} MB: make it smaller first.")


def _decode(image: Image.Image, name: str, *, is_still: bool = False) -> Image.Image:
    """Check the header, then decode and convert."""
    _check_size(image.size, name)
    try:
        if image.format not in _STILL_WITH_EXTRAS and not is_still and getattr(image, "is_animated", False):
            raise ImageError(
                f"{name} holds several frames or pages: a still picture is needed, save one of them."
            )
        image.load()
        _check_size(image.size, name)  # a hostile file may grow between header and pixels
        return _finished(image)
    except ImageError:
        raise
    except Exception as error:  # a decoder given hostile bytes may raise anything
        raise ImageError(_damaged(name)) from error


def _finished(image: Image.Image) -> Image.Image:
    """A decoded picture of any mode as a new one: RGB, sRGB, upright, without metadata."""
    upright = _UPRIGHT.get(_orientation(image))
    rgb = _to_rgb(image)
    if upright is not None:
        rgb = rgb.transpose(upright)
    rgb.info = {}
    return rgb


def _check_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name} is {width}×{height}, more than {_MEGAPIXELS}: make it smaller first.")
    if min(size) < MIN_SIDE:
        raise ImageError(f"{name} is {width}×{height}, but each side needs at least {MIN_SIDE} pixels.")


@contextmanager
def _bytes_of(file: BinaryIO) -> Iterator[memoryview | mmap.mmap]:
    """The bytes of an opened file, without reading them all into memory."""
    if isinstance(file, BytesIO):
        with file.getbuffer() as view:
            yield view
    else:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield mapped


def _check_scans(data: memoryview | mmap.mmap, name: str) -> None:
    """Refuse a JPEG with too many scans, without decoding it."""
    if _count_scans(data) > MAX_SCANS:
        raise ImageError(
            f"{name} asks for more than {MAX_SCANS} passes over its pixels, which none needs: save it again."
        )


def _count_scans(data: memoryview | mmap.mmap) -> int:
    """The scans of the first picture in a JPEG file; stops counting above MAX_SCANS (ITU T.81, annex B)."""
    count = position = 0
    while count <= MAX_SCANS and (found := _MARKER.search(data, position)):
        position, kind = found.end(), found[1]
        if kind == b"\xd9":  # the end of the picture
            break
        if kind == b"\xda":
            count += 1
        if kind not in (b"\x01", b"\xd8"):  # these two have no length; all others do
            position += int.from_bytes(data[position : position + 2], "big")
    return count


def _damaged(name: str) -> str:
    return f"{name} is damaged or cut short and cannot be decoded: save or download it again."


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # broken EXIF says nothing about the pixels
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    """A new RGB image, in sRGB and over white, from a decoded one of any mode."""
    profile = read_profile(image.info.get("icc_profile"))
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        values, curve = np.asarray(image), gray_curve(profile) if profile else None
        if curve is None:
            return Image.fromarray(gray_to_8_bits(values)).convert("RGB")
        return Image.fromarray(curve[np.rint(65535 * scale_gray(values)).astype(np.uint16)]).convert("RGB")
    opacity = None
    if image.has_transparency_data:
        if image.mode == "La":  # Pillow converts premultiplied gray only to LA
            image = image.convert("LA")
        opacity = image.convert("RGBA").getchannel("A")
    rgb = _colours(image, profile)
    if opacity is None:
        return rgb
    page = Image.new("RGB", rgb.size, "white")
    page.paste(rgb, mask=opacity)
    return page


def _colours(image: Image.Image, profile: Profile | None) -> Image.Image:
    """The colours of a decoded image as a new one: RGB, in sRGB, without transparency."""
    if image.mode in ("1", "L", "LA"):
        curve = gray_curve(profile) if profile else None
        gray = image.convert("L")
        return (gray if curve is None else gray.point(curve[::257].tolist())).convert("RGB")
    if image.mode == "CMYK" and profile:
        image = to_srgb(image, profile)
    if image.mode == "RGB":
        return to_srgb(image.copy(), profile) if profile else image.copy()
    is_rgb = image.mode not in ("CMYK", "LAB")
    rgb = image.convert("RGBA").convert("RGB") if image.has_transparency_data else image.convert("RGB")
    return to_srgb(rgb, profile) if profile and is_rgb else rgb
