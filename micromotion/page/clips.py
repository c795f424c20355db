"""A visitor's driving video: its file, and what is shown of it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from micromotion.drive.read import open_played
from micromotion.errors import reworded
from micromotion.video.driving_video import opened, shown_path


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
        video = open_played(path)
        first = next(iter(video)).image
        with opened(path) as (container, _):
            sound = bool(container.streams.audio)
    return Clip(path, len(video), first, sound)


def without_path(path: Path) -> AbstractContextManager[None]:
    """Within the block, our errors call this file the video."""
    return reworded({shown_path(path): "The video"})
