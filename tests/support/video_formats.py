"""Videos for tests: moving frames, saturated colours, and readers."""

import struct
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image

VIDEO_NAMES = ["a.mp4", "a.gif", "a.webp"]
ALL = [*VIDEO_NAMES, "a"]
SATURATED = [
    (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255),
    (255, 255, 255), (0, 0, 0), (128, 128, 128), (255, 128, 0), (0, 96, 255), (224, 172, 140),
]  # fmt: skip


def moving(count: int, height: int = 48, width: int = 64) -> Iterator[np.ndarray]:
    """Frames of smooth colours with a bright square that moves."""
    y, x = np.mgrid[:height, :width]
    for i in range(count):
        frame = np.stack([x * 255 // width, y * 255 // height, (x + y + 3 * i) % 256], axis=2).astype(
            np.uint8
        )
        frame[height // 3 : height // 2, (2 * i) % (width // 2) :][:, : width // 5] = (250, 240, 230)
        yield frame


def tiles(size: int = 32) -> np.ndarray:
    """A picture of all colours of SATURATED, in 3 rows of 4."""
    grid = np.array(SATURATED, np.uint8).reshape(3, 4, 3)
    return grid.repeat(size, axis=0).repeat(size, axis=1)


def tile_error(picture: np.ndarray, size: int = 32) -> float:
    """Largest difference from SATURATED, in levels, away from the tiles' edges."""
    inner = slice(size // 4, -size // 4)
    blocks = picture.astype(float).reshape(3, size, 4, size, 3).transpose(0, 2, 1, 3, 4)[:, :, inner, inner]
    return float(np.abs(blocks - np.array(SATURATED, float).reshape(3, 4, 1, 1, 3)).max())


def bt709_to_rgb(planes: np.ndarray) -> np.ndarray:
    """Convert yuv420p [H · 3/2, W], limited range, to float64 RGB [H, W, 3], as the standard defines it."""
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    chroma = planes[height:].reshape(2, height // 2, width // 2).repeat(2, axis=1).repeat(2, axis=2)
    luma = (planes[:height].astype(float) - 16) / 219
    blue, red = (chroma.astype(float) - 128) / 224
    r, b = luma + 1.5748 * red, luma + 1.8556 * blue
    return np.clip(np.stack([r, (luma - 0.2126 * r - 0.0722 * b) / 0.7152, b], axis=2) * 255, 0, 255)


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [bt709_to_rgb(frame.to_ndarray()) for frame in container.decode(video=0)]


def animation(path: Path) -> tuple[list[np.ndarray], list[int], dict]:
    """The frames, their durations in ms, and Pillow's other information."""
    frames, durations = [], []
    with Image.open(path) as picture:
        for index in range(getattr(picture, "n_frames", 1)):
            picture.seek(index)
            frames.append(np.asarray(picture.convert("RGB")))
            durations.append(int(picture.info["duration"]))
        return frames, durations, dict(picture.info)


def boxes(data: bytes) -> list[str]:
    """The names of an MP4's top-level boxes, in order."""
    names, at = [], 0
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        names.append(name.decode())
        at += size
    return names


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}
