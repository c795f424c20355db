"""The pages of a TIFF, and which of them is the picture.

A TIFF is a chain of pages (IFDs), each a table of tags that may have sub-pages. A camera's raw file is one
too, whose first page is a preview; a thumbnail is a page like any other. Only tables are read.

From TIFF 6.0 (Adobe, 1992), the DNG specification and BigTIFF; the file is untrusted.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from PIL import Image

from micromotion.errors import ImageError

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""The first four bytes of a TIFF; the last two are BigTIFF's."""

Buffer = memoryview | mmap.mmap

_MAX_PAGES, _MAX_BELOW, _MAX_TAGS = 50, 16, 1000  # pages in the chain, sub-pages of a page, tags of a page
_SUBFILE, _OLD_SUBFILE, _SUB_PAGES = 254, 255, 330
_WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC = 256, 257, 259, 262

# Only in a camera's raw file: colour filter arrays, linear sensor values, a manufacturer's compression.
_RAW_PHOTOMETRICS = {32803, 34892}
_RAW_COMPRESSIONS = {32767, 32769, 32770, 34713, 65000, 65535}
_FILTER_PATTERNS = (33421, 33422)
_RAW_MARKS = (b"CR\x02\0", b"\xba\xb0\xac\xbb", b"IIII", b"MMMM")  # after the header: Canon, Phase One

# NumPy's dtype for each integer type of a tag.
_NUMBERS = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}


class Tags:
    """The integers in a page's tags."""

    def __init__(self, found: Mapping[int, Sequence[int]]) -> None:
        self._found = found

    @classmethod
    def of(cls, image: Image.Image) -> Tags:
        """The tags of a TIFF that Pillow has opened."""
        table = getattr(image, "tag_v2", {})
        found = {tag: value if isinstance(value, tuple) else (value,) for tag, value in table.items()}
        return cls(found)

    def numbers(self, tag: int) -> np.ndarray:
        """A tag's whole numbers, int64 [n]; none if it is not there, or holds something else."""
        found = self._found.get(tag, ())
        return np.array([each for each in found if isinstance(each, int)], np.int64)

    def number(self, tag: int, default: int) -> int:
        found = self.numbers(tag)
        return int(found[0]) if len(found) else default


class Page(Tags):
    """One page's table of tags, in a file's bytes."""

    def __init__(self, data: Buffer, place: int) -> None:
        """Raises struct.error or ValueError if there is no table at `place`."""
        super().__init__({})
        self.place = place
        self._data = data
        self._order = "<" if data[:1] == b"I" else ">"
        self._big = data[2 if self._order == "<" else 3] == 43
        head, entry = ("Q", "HHQ8s") if self._big else ("H", "HHI4s")
        (count,) = struct.unpack_from(self._order + head, data, place)
        first, step = place + struct.calcsize(head), struct.calcsize("=" + entry)
        if count > _MAX_TAGS or first + count * step > len(data):
            raise ValueError("no page has so many tags")
        self._tags: dict[int, tuple[int, int, int]] = {}
        for at in range(first, first + count * step, step):
            tag, kind, length, _ = struct.unpack_from(self._order + entry, data, at)
            value = at + step - (8 if self._big else 4)
            if length * _SIZES.get(kind, 1) > at + step - value:
                (value,) = struct.unpack_from(self._order + ("Q" if self._big else "I"), data, value)
            self._tags[tag] = kind, length, value
        self._end = first + count * step

    @property
    def first_place(self) -> tuple[str, int]:
        """The struct format and the position of the first page's offset in the file's header."""
        return self._order + ("Q" if self._big else "I"), 8 if self._big else 4

    @property
    def is_first(self) -> bool:
        form, place = self.first_place
        return bool(struct.unpack_from(form, self._data, place)[0] == self.place)

    @property
    def next(self) -> int:
        """The offset of the next page of the chain; 0 if there is none."""
        try:
            return int(
                struct.unpack_from(self._order + ("Q" if self._big else "I"), self._data, self._end)[0]
            )
        except struct.error:  # cut short after its last page
            return 0

    def numbers(self, tag: int) -> np.ndarray:
        """A tag's whole numbers, int64 [n]; none if it is not there, or holds something else."""
        kind, count, place = self._tags.get(tag, (0, 0, 0))
        if kind not in _NUMBERS or place + count * _SIZES[kind] > len(self._data):
            return np.zeros(0, np.int64)
        values = np.frombuffer(self._data, self._order + _NUMBERS[kind], count, place)
        return values.astype(np.int64)

    def raw(self, tag: int) -> bytes:
        """A tag's bytes, of any type; empty if the tag is missing."""
        kind, count, place = self._tags.get(tag, (0, 0, 0))
        return bytes(self._data[place : place + count * _SIZES.get(kind, 1)])

    @property
    def is_big_endian(self) -> bool:
        return self._order == ">"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels; 0 if missing."""
        return self.number(_WIDTH, 0), self.number(_HEIGHT, 0)

    @property
    def is_extra(self) -> bool:
        """Whether it is marked as a smaller copy, a mask or a depth map of another page."""
        return bool(self.number(_SUBFILE, 0) & 0b1101) or self.number(_OLD_SUBFILE, 0) == 2

    @property
    def is_raw(self) -> bool:
        return (
            self.number(_PHOTOMETRIC, 0) in _RAW_PHOTOMETRICS
            or self.number(_COMPRESSION, 1) in _RAW_COMPRESSIONS
            or any(tag in self._tags for tag in _FILTER_PATTERNS)
        )


def find_page(data: Buffer, name: str) -> Page:
    """The page that is the picture: the only one that is no thumbnail, mask or the like of another.

    Raises ImageError, about `name`, for a camera's raw file, whose readable pages are only previews, for more
    than one such page, or for none at all.
    """
    try:
        pages = list(_pages(data))
    except (struct.error, ValueError) as error:
        raise ImageError(
            f"{name} is damaged or cut short and cannot be decoded: save or download it again."
        ) from error
    if bytes(data[8:12]) in _RAW_MARKS or any(_has_raw(data, page) for page in pages):
        raise ImageError(
            f"{name} cannot be read as a picture, as it is a camera's raw file: save it as JPEG or PNG and "
            "try again."
        )
    whole = [page for page in pages if not page.is_extra]
    if len(whole) > 1 or len(pages) > _MAX_PAGES:
        raise ImageError(
            f"{name} holds several frames or pages: a still picture is needed, save one of them."
        )
    return whole[0] if whole else pages[0]


def _pages(data: Buffer) -> Iterator[Page]:
    """The pages of the chain, up to a damaged or repeated one; raises if the first is damaged."""
    big = 43 in bytes(data[2:4])
    order = "<" if data[:1] == b"I" else ">"
    (place,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    seen: set[int] = set()
    while len(seen) <= _MAX_PAGES and place not in seen:
        seen.add(place)
        try:
            page = Page(data, place)
        except (struct.error, ValueError):
            if len(seen) == 1:
                raise
            return
        yield page
        place = page.next
        if not place:
            return


def _has_raw(data: Buffer, page: Page) -> bool:
    """Whether a page or one of its sub-pages holds raw sensor data."""
    if page.is_raw:
        return True
    for place in page.numbers(_SUB_PAGES)[:_MAX_BELOW]:
        try:
            if Page(data, int(place)).is_raw:
                return True
        except (struct.error, ValueError):
            continue
    return False


def from_page(data: Buffer, page: Page) -> bytes:
    """A copy of the file with this page as its first."""
    file = bytearray(data)
    form, place = page.first_place
    struct.pack_into(form, file, place, page.place)
    return bytes(file)
