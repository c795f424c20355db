"""The largest picture of each file format, and the largest video that phones play.

Importing this module does not import torch.
"""

import math
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from micromotion.errors import OutputError

Size = tuple[int, int]
"""Width and height in pixels."""

MAX_SIDE = {
    ".mp4": ("MP4", 16_384),  # libx264's limit
    ".webp": ("WebP", 16_383),  # 14 bits in the file
    ".gif": ("GIF", 65_535),  # 16 bits in the file
    ".jpg": ("JPEG", 65_500),  # libjpeg's limit
    ".jpeg": ("JPEG", 65_500),
}
"""By suffix: the format's name, and its longest side in pixels."""


@dataclass(frozen=True)
class Level:
    """A level of H.264: its name, and what its decoders must support, in macroblocks of 16² pixels.

    frame: maximum per picture. rate: maximum per second. A side has at most √(8 · frame) (ITU-T H.264,
    A.3.1).
    """

    name: str
    frame: int
    rate: int

    def takes(self, size: Size, fps: Fraction) -> bool:
        across, down = (-(-side // 16) for side in size)
        return (
            across * down <= self.frame
            and across * down * fps <= self.rate
            and max(across, down) ** 2 <= 8 * self.frame
        )


PHONES = Level("5.2", 36_864, 2_073_600)
"""The highest level of Table A-1 that decoders in phones and televisions support; 6 and above are for 8K."""


def check_side(path: str | os.PathLike[str], size: Size) -> None:
    """Raise OutputError, with the limit and a remedy, if a side is longer than the format allows."""
    name, most = MAX_SIDE.get(Path(path).suffix.lower(), ("", max(size)))
    if max(size) > most:
        raise OutputError(
            f"{path} could not be written: it would have {size[0]}×{size[1]} pixels, but {name} allows "
            f"at most {most} a side; crop or shrink the picture first, or choose another format."
        )


def playable_size(size: Size, fps: Fraction) -> Size:
    """The largest size of these proportions that phones play at this rate, at most the size itself.

    A scaled size is even in both directions, as 4:2:0 requires.
    """
    if PHONES.takes(size, fps):
        return size
    long, short = max(size), min(size)
    most = min(PHONES.frame, math.floor(PHONES.rate / fps))
    scale = min(16 * math.sqrt(most / (long * short)), 16 * math.isqrt(8 * PHONES.frame) / long)
    for length in range(min(_even(long * scale) + 2, long - long % 2), 0, -2):
        scaled = length, _even(short * length / long)
        if PHONES.takes(scaled, fps):
            break
    return scaled if size[0] >= size[1] else scaled[::-1]


def _even(length: float) -> int:
    return max(2, 2 * round(length / 2))


def scaled_size(size: tuple[int, int], longest: int | None) -> tuple[int, int]:
    """A size in the same proportion whose longest side is at most `longest`; never enlarged."""
    if longest is None or max(size) <= longest:
        return size
    ratio = longest / max(size)
    return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))
