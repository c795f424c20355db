"""Videos of a real face that sways, for tests of reading."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from videos import write_video

from micromotion.types import Frame

FACE = Path(__file__).parents[2] / "docs/faces/grace-hopper.jpg"
SIDE = 256


def swaying(count: int) -> Iterator[Frame]:
    """Frames [SIDE, SIDE, 3] of a face that moves to and fro by a few pixels."""
    with Image.open(FACE) as file:
        photo = file.convert("RGB").resize((300, 352), Image.Resampling.LANCZOS)
    for index in range(count):
        left, top = round(22 + 9 * np.sin(index / 5)), round(20 + 5 * np.cos(index / 7))
        yield np.asarray(photo.crop((left, top, left + SIDE, top + SIDE)))


def write_swaying(path: Path, count: int) -> Path:
    """A file of `swaying`, at 25 frames per second."""
    return write_video(path, swaying(count))
