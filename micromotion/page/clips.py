"""A visitor's driving video: its file, and what is shown of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from micromotion.drive.options import MAX_DRIVING_FRAMES
from micromotion.drive.read import MAX_SECONDS
from micromotion.errors import MicromotionError
from micromotion.video.driving_video import Length, open_driving_video, opened, shown_path


@dataclass(frozen=True, eq=False)
class Clip:
    """A driving video. first: its first frame, RGB. sound: whether it has any."""

    path: Path
    frames: int
    first: Image.Image
    sound: bool


def open_clip(path: Path) -> Clip:
    """Check an untrusted video, as it will be read; raises DrivingVideoError, without the path."""
    with without_path(path):
        video = open_driving_video(path, MAX_DRIVING_FRAMES, Length(MAX_SECONDS, MAX_DRIVING_FRAMES))
        first = next(iter(video)).image
        with opened(path) as (container, _):
            sound = bool(container.streams.audio)
    return Clip(path, len(video), first, sound)


@contextmanager
def without_path(path: Path) -> Iterator[None]:
    """Within the block, our errors call this file the video."""
    try:
        yield
    except MicromotionError as error:
        raise type(error)(str(error).replace(shown_path(path), "The video")) from None
