"""TIFF files, written tag by tag, independently of the code under test."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

GRAY, RGB, CMYK = 1, 2, 5
Tags = Mapping[int, int | bytes | Sequence[int]]


def tags_of(
    samples: NDArray[np.generic], photometric: int, *, planar: bool, bits: int | None = None
) -> dict[int, int | bytes | Sequence[int]]:
    """The tags that describe how pixels [height, width, samples] are stored."""
    height, width, count = samples.shape
    depth = bits or 8 * samples.dtype.itemsize
    formats = {"u": 1, "i": 2, "f": 3}
    return {
        256: width,
        257: height,
        258: [depth] * count,
        262: photometric,
        277: count,
        284: 2 if planar else 1,
        339: [formats[samples.dtype.kind]] * count,
    }


def strips(
    samples: NDArray[np.generic], *, planar: bool, order: str = "<", compression: int = 1, tile: int = 0
) -> list[bytes]:
    """Encode pixels [height, width, samples] in strips of a few rows, or in square tiles, plane by plane."""
    planes = [samples[..., [each]] for each in range(samples.shape[2])] if planar else [samples]
    pieces = []
    for plane in planes:
        height, width, _ = plane.shape
        if tile:
            padded = np.pad(plane, ((0, -height % tile), (0, -width % tile), (0, 0)))
            parts = [
                padded[top : top + tile, left : left + tile]
                for top in range(0, height, tile)
                for left in range(0, width, tile)
            ]
        else:
            parts = [plane[top : top + ROWS] for top in range(0, height, ROWS)]
        for part in parts:
            data = part.astype(part.dtype.newbyteorder(order)).tobytes()
            pieces.append(zlib.compress(data) if compression == 8 else data)
    return pieces


ROWS = 7


def tiff(
    *pages: tuple[Tags, list[bytes]],
    order: str = "<",
    below: Sequence[tuple[Tags, list[bytes]]] = (),
    mark: bytes = b"",
) -> bytes:
    """A file of pages, each given as its tags and its strips or tiles.

    below: sub-pages of the first page. mark: bytes after the header.
    """
    file = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4) + mark)
    hanging = [_page(file, page, order)[0] for page in below]
    link = 4
    for number, (tags, pieces) in enumerate(pages):
        more = {330: hanging} if hanging and number == 0 else {}
        place, end = _page(file, ({**tags, **more}, pieces), order)
        struct.pack_into(order + "I", file, link, place)
        link = end
    return bytes(file)


def _page(file: bytearray, page: tuple[Tags, list[bytes]], order: str) -> tuple[int, int]:
    """Append a page; the offsets of its directory, and of the directory's link to the next page."""
    tags, pieces = dict(page[0]), page[1]
    places = []
    for piece in pieces:
        places.append(len(file))
        file += piece + bytes(len(piece) % 2)
    if pieces:
        tiled = 322 in tags
        tags |= {324 if tiled else 273: places, 325 if tiled else 279: [len(piece) for piece in pieces]}
        if not tiled:
            tags.setdefault(278, ROWS)
    entries = b""
    for tag, value in sorted(tags.items()):
        if isinstance(value, bytes):
            kind, count, data = 7, len(value), value
        else:
            numbers = [value] if isinstance(value, int) else list(value)
            kind, count, data = 4, len(numbers), struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(data) > 4:
            place = len(file)
            file += data + bytes(len(data) % 2)
            data = struct.pack(order + "I", place)
        entries += struct.pack(order + "HHI", tag, kind, count) + data.ljust(4, b"\0")
    table = len(file)
    file += struct.pack(order + "H", len(tags)) + entries + bytes(4)
    return table, len(file) - 4
