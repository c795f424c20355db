"""Decodes the pixel layouts of TIFF that Pillow decodes wrongly.

Pillow silently misreads some: samples stored plane by plane, signed and 32-bit integers, 12 bits, 16-bit and
float gray where 0 is white. But it decodes each of their planes correctly as a separate gray picture, so such
a page is rewritten as a file of gray pages. The file is untrusted.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from micromotion.errors import ImageError
from micromotion.face.gray import scale_gray
from micromotion.face.tiff_pages import Buffer, Page, Tags

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_FILL_ORDER, _ORIENTATION, _SAMPLES, _ROWS, _PLANAR, _PREDICTOR = 266, 274, 277, 278, 284, 317
_STRIPS, _STRIP_SIZES, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_SIZES = 273, 279, 322, 323, 324, 325
_EXTRAS, _FORMAT, _SUBSAMPLING, _XMP, _PROFILE = 338, 339, 530, 700, 34675

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK, _YCBCR, _LAB = 0, 1, 2, 5, 6, 8
_COLOURS = {
    _WHITE_IS_ZERO: "L",
    _BLACK_IS_ZERO: "L",
    _RGB: "RGB",
    _CMYK: "CMYK",
    _YCBCR: "YCbCr",
    _LAB: "LAB",
}
_COPIED = (1, 5, 8, 32946, 32773, 34925, 50000)  # compressions of plain bytes, whatever they represent
_FORMATS = {1: "u", 2: "i", 3: "f"}


@dataclass(frozen=True)
class Layout:
    """How a page's pixels are stored.

    kind: NumPy's, such as "u2" (also for 12 bits); planes: the number of planes of one sample per pixel, or 1
    if a pixel's samples are interleaved.
    """

    kind: str
    bits: int
    photometric: int
    samples: int
    planes: int
    compression: int
    extras: tuple[int, ...]

    @classmethod
    def of(cls, page: Tags) -> Layout:
        samples = page.number(_SAMPLES, 1)
        bits, formats = set(page.numbers(_BITS).tolist()) or {1}, set(page.numbers(_FORMAT).tolist()) or {1}
        depth = bits.pop() if len(bits) == 1 else 0
        letter = _FORMATS.get(formats.pop(), "?") if len(formats) == 1 else "?"
        return cls(
            letter + {8: "1", 12: "2", 16: "2", 32: "4"}.get(depth, "?"),
            depth,
            page.number(_PHOTOMETRIC, 0),
            samples,
            samples if page.number(_PLANAR, 1) == 2 else 1,
            page.number(_COMPRESSION, 1),
            tuple(page.numbers(_EXTRAS)[:8].tolist()),
        )

    @property
    def is_misread(self) -> bool:
        """Whether Pillow decodes it wrongly."""
        if self.photometric == _YCBCR:
            return self.planes > 1 and self.compression == 1
        if self.planes > 1:
            return self.compression in _COPIED or self.bits != 8 or self.samples < 3
        if self.samples > 1 or self.photometric > _BLACK_IS_ZERO or self.bits < 8:
            return False
        return self.kind != "u1" and (self.kind, self.bits, self.photometric) != ("u2", 16, _BLACK_IS_ZERO)


def check_layout(page: Tags, name: str) -> bool:
    """Whether Pillow would misread the page, so that `read_misread` must decode it.

    Raises ImageError for uncompressed YCbCr with subsampled chroma, which is not supported.
    """
    layout = Layout.of(page)
    if layout.photometric == _YCBCR and layout.compression == 1:
        steps = page.numbers(_SUBSAMPLING).tolist() or [2, 2]
        if steps != [1, 1]:
            raise unsupported(page, name, "uncompressed YCbCr with subsampled colours")
    return layout.is_misread


def read_misread(data: Buffer, page: Page, name: str) -> Image.Image:
    """The picture of a page that `Layout.is_misread`: upright, of mode I;16, L or LA, RGB, RGBA, CMYK, ….

    Integers are scaled by their type's range, 12-bit ones by theirs; 32-bit gray and floats as by
    `scale_gray`. Its profile is in `info`. The caller has checked the size.
    Raises ImageError for an unsupported layout, and whatever Pillow raises for damaged data.
    """
    layout = Layout.of(page)
    mode = _mode(layout)
    gray = mode == "L" and layout.kind != "u1"
    needed = len(mode) if mode != "YCbCr" else 3
    swapped = page.is_big_endian and layout.bits == 32
    if (
        mode == ""
        or layout.kind not in ("u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4")
        or layout.compression not in _COPIED
        or page.number(_FILL_ORDER, 1) != 1
        or (swapped and page.number(_PREDICTOR, 1) == 2)
        or (not gray and layout.kind[0] == "f")
        or (mode in ("YCbCr", "LAB") and layout.kind != "u1")
    ):
        raise unsupported(page, name)
    try:
        opened = Image.open(BytesIO(_as_planes(data, page, layout, needed)), formats=["TIFF"])
    except UnidentifiedImageError as error:
        raise unsupported(page, name) from error
    with opened as image:
        profile = image.info.get("icc_profile")
        planes = []
        for number in range(needed):
            image.seek(number)
            values = _values(image, layout, swapped=swapped and page.number(_PREDICTOR, 1) != 3)
            planes.append(values if gray else _by_type(values, layout))
    if gray:
        picture = Image.fromarray(_gray_16(planes[0], layout))
    else:
        if layout.photometric == _WHITE_IS_ZERO:
            planes[0] = 255 - planes[0]
        if mode == "LAB":
            planes[1:] = [plane ^ 128 for plane in planes[1:]]  # signed in the file, about 128 in Pillow
        bands = [Image.fromarray(plane) for plane in planes]
        picture = bands[0] if mode == "L" else Image.merge(mode, bands)
    if profile:
        picture.info["icc_profile"] = profile
    return picture


def _mode(layout: Layout) -> str:
    """Pillow's mode for the colours and the opacity, if any; "" if it has none."""
    mode = _COLOURS.get(layout.photometric, "")
    colours = 3 if mode == "YCbCr" else len(mode)
    if mode == "" or layout.samples < colours:
        return ""
    if layout.samples > colours and {1, 2} & set(layout.extras) and mode not in ("L", "RGB"):
        return ""
    if mode in ("L", "RGB") and layout.samples > colours:
        first = (
            layout.extras[0] if layout.extras else 2 * (mode == "RGB")
        )  # RGB's fourth sample is assumed to be opacity
        mode += {1: "a", 2: "A"}.get(first, "")
    return mode


def _as_planes(data: Buffer, page: Page, layout: Layout, needed: int) -> bytearray:
    """A copy of the file with a chain of gray pages that are the first planes of this page."""
    tiled = len(page.numbers(_TILES)) > 0
    offsets = page.numbers(_TILES if tiled else _STRIPS)
    sizes = page.numbers(_TILE_SIZES if tiled else _STRIP_SIZES)
    each = len(offsets) // layout.planes
    if each == 0 or len(offsets) != each * layout.planes or len(sizes) not in (0, len(offsets)):
        raise ValueError("strips or tiles that do not make planes")
    order = ">" if page.is_big_endian and layout.bits == 16 else "<"
    signed = (
        2 if layout.bits == 32 and layout.kind[0] == "u" else 1
    )  # the signedness that Pillow reads such bits with
    formats = {"u": signed, "i": 2 if layout.bits == 32 else 1, "f": 3 if layout.bits == 32 else 1}
    copied = (_WIDTH, _HEIGHT, _COMPRESSION, _ORIENTATION, _ROWS, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT)
    common = {tag: page.numbers(tag)[:1] for tag in copied if len(page.numbers(tag))}
    common |= {_BITS: _one(layout.bits), _PHOTOMETRIC: _one(_BLACK_IS_ZERO), _SAMPLES: _one(1)}
    common |= {_PLANAR: _one(1), _FORMAT: _one(formats[layout.kind[0]])}
    file = bytearray(data)
    file += bytes(len(file) % 2)
    file[:8] = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", len(file))
    for plane in range(needed):
        part = slice(plane * each, (plane + 1) * each)
        tags = common | {_TILES if tiled else _STRIPS: offsets[part]}
        if len(sizes):
            tags |= {_TILE_SIZES if tiled else _STRIP_SIZES: sizes[part]}
        blobs = {tag: page.raw(tag) for tag in (_XMP, _PROFILE) if page.raw(tag)}
        file += _table(tags, blobs, order, len(file), last=plane == needed - 1)
    return file


def _table(
    tags: dict[int, np.ndarray], blobs: dict[int, bytes], order: str, start: int, *, last: bool
) -> bytes:
    """A page's table of tags, to be placed at `start` of a file, followed by the values that it refers to."""
    values = {tag: (4, len(numbers), numbers.astype(order + "u4").tobytes()) for tag, numbers in tags.items()}
    values |= {tag: (7, len(blob), blob) for tag, blob in blobs.items()}
    behind = start + 2 + 12 * len(values) + 4
    table, rest = struct.pack(order + "H", len(values)), b""
    for tag, (kind, count, value) in sorted(values.items()):
        if len(value) <= 4:
            field = value.ljust(4, b"\0")
        else:
            field = struct.pack(order + "I", behind + len(rest))
            rest += value + bytes(len(value) % 2)
        table += struct.pack(order + "HHI", tag, kind, count) + field
    return table + struct.pack(order + "I", 0 if last else behind + len(rest)) + rest


def _one(value: int) -> np.ndarray:
    return np.array([value])


def _values(image: Image.Image, layout: Layout, *, swapped: bool) -> np.ndarray:
    """The values of a plane as stored in the file."""
    image.load()
    values = np.asarray(image)
    if layout.bits == 32:
        values = values.byteswap() if swapped else values
    elif layout.bits > 8:
        values = values.astype(np.uint16)
    return values.view(layout.kind)


def _by_type(values: np.ndarray, layout: Layout) -> np.ndarray:
    """Integers as uint8, their type's range scaled to 0…255."""
    limits = np.iinfo(values.dtype)
    low, high = float(limits.min), 4095.0 if layout.bits == 12 else float(limits.max)
    if values.dtype == np.uint8:
        return values
    scaled = values.astype(np.float64 if values.itemsize > 2 else np.float32)
    np.subtract(scaled, low, out=scaled)
    np.multiply(scaled, 255 / (high - low), out=scaled)
    return np.rint(scaled, out=scaled).clip(0, 255, out=scaled).astype(np.uint8)


def _gray_16(values: np.ndarray, layout: Layout) -> np.ndarray:
    """Gray of more than 8 bits as uint16, black 0 and white 65535."""
    scaled = values.astype(np.float32) / 4095 if layout.bits == 12 else scale_gray(values)
    if layout.photometric == _WHITE_IS_ZERO:
        scaled = 1 - scaled
    return np.rint(65535 * scaled).clip(0, 65535).astype(np.uint16)


def unsupported(page: Tags, name: str, what: str = "") -> ImageError:
    """The error for an unsupported page; it names `what`, or else the whole layout."""
    layout = Layout.of(page)
    kind = {"u": "unsigned", "i": "signed", "f": "float"}.get(layout.kind[0], "mixed")
    samples = f"{layout.samples} {'planes' if layout.planes > 1 else 'samples'} a pixel"
    coding = f"photometric {layout.photometric}, compression {layout.compression}"
    what = what or f"{layout.bits} bits {kind}, {samples}, {coding}"
    return ImageError(
        f"{name} cannot be read as a picture, as its TIFF layout ({what}) is not supported: save it as JPEG"
        " or PNG and try again."
    )
