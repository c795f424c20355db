"""Removes a PNG's colour chunks if Pillow fails on them, so that the picture can still be read."""

import struct
import zlib
from collections.abc import Iterator

from micromotion.face.color_profile import MAX_PROFILE

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_ON_COLOUR = (b"iCCP", b"gAMA", b"cHRM", b"sRGB")


def without_color(data: bytes) -> tuple[bytes, bytes | None]:
    """A PNG without its colour chunks, and the ICC profile that was in them, if it can be decompressed."""
    parts, profile = [data[: len(SIGNATURE)]], None
    for kind, start, end in _chunks(data):
        if kind == b"iCCP":
            profile = _unpacked(data[start + 8 : end - 4])
        if kind not in _ON_COLOUR:
            parts.append(data[start:end])
    return b"".join(parts), profile


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each chunk before the pixels; then the rest as one."""
    start = len(SIGNATURE)
    while start + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        if kind == b"IDAT" or end > len(data):
            break
        yield kind, start, end
        start = end
    yield b"", start, len(data)


def _unpacked(chunk: bytes) -> bytes | None:
    """The decompressed profile; it follows its name and the compression method, which is always 0."""
    _, _, packed = chunk.partition(b"\0")
    if packed[:1] != b"\0":
        return None
    try:
        return zlib.decompressobj().decompress(packed[1:], MAX_PROFILE + 1)
    except zlib.error:
        return None
