"""Files that are no driving video, each with words of the sentence that refuses it.

`learn video`, `learn track`, `drive`, the service and the page refuse the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from video_formats import moving
from videos import trimmed, write_sound, write_video

from micromotion.video.writer import write_frames

Maker = Callable[[Path], object]

_CUT = "damaged or cut short|cannot be read as a video"


def _bytes(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _cut(part: float, path: Path) -> None:
    write_video(path, moving(40))
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])


def _cut_with_index_first(path: Path) -> None:
    write_frames(moving(40), path, 25)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _edited(path: Path, *edits: tuple[float, float]) -> None:
    trimmed(write_video(path, moving(20), g="20"), *edits)


def _compressed_header(path: Path) -> None:
    data = write_video(path, moving(3)).read_bytes().replace(b"elst", b"xxxx")
    path.write_bytes(data + b"cmov\0\0\0\x0cdcomzlib")


def _large(path: Path) -> None:
    write_video(path, [np.zeros((4000, 4100, 3), np.uint8)], preset="ultrafast")


def _timed(seconds: float, frames: int, path: Path) -> None:
    times = np.linspace(0, seconds, frames).tolist()
    write_video(path, (np.zeros((32, 32, 3), np.uint8) for _ in times), times=times)


BAD: dict[str, tuple[Maker, str]] = {
    "empty.mp4": (Path.touch, "is empty"),
    "words.mp4": (partial(_bytes, b"not a video at all, only words " * 99), "cannot be read as a video"),
    "playlist.m3u8": (
        partial(_bytes, b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
        "cannot be read as a video",
    ),
    "list.mp4": (partial(_bytes, b"ffconcat version 1.0\nfile /etc/passwd\n"), "cannot be read as a video"),
    "sound.mp4": (write_sound, "only sound"),
    "start.mp4": (partial(_cut, 0.05), _CUT),
    "third.mp4": (partial(_cut, 0.3), _CUT),
    "most.mp4": (partial(_cut, 0.95), _CUT),
    "indexed.mp4": (_cut_with_index_first, _CUT),
    "trimmed.mp4": (lambda path: _edited(path, (0.4, 30.0)), "nothing but trimmed frames"),
    "edits.mp4": (lambda path: _edited(path, *[(0.04, 0.4)] * 101), "an edit list of 101 entries"),
    "header.mov": (_compressed_header, "a compressed header"),
    "codec.avi": (lambda path: write_video(path, moving(3), "ffvhuff"), "uses the codec ffvhuff"),
    "large.mp4": (_large, "frames of 4100×4000, above 16 million pixels"),
    "day.mkv": (partial(_timed, 86_400, 4), "longer than"),
}
"""By the file's name."""

TOO_LONG: dict[str, tuple[Maker, str]] = {
    "long.mkv": (partial(_timed, 61, 30), "longer than 60 s or 1800 frames"),
    "many.mkv": (partial(_timed, 50, 1801), "longer than 60 s or 1800 frames"),
}
"""The same for videos from which a motion can be learned, but that are too long to drive a photo."""


def make(name: str, folder: Path) -> tuple[Path, str]:
    """The path of one of these files, and the words."""
    maker, words = (BAD | TOO_LONG)[name]
    maker(folder / name)
    return folder / name, words
