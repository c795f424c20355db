"""Tracks of the benchmark's clips, as micromotion follows a face; kept, as they take most of the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path

import numpy as np

from avatar.report.keeping import content_hash
from benchmarks.drive.clips import FPS
from micromotion.drive.landmark_track import FaceTrack, track_face
from micromotion.types import Frame
from micromotion.video.driving_video import open_driving_video
from micromotion.video.writer import write_frames

ROOT = Path(__file__).resolve().parents[2]
_TRACKING = (
    *(f"micromotion/drive/{module}.py" for module in ("gaze", "landmark_track")),
    *(f"micromotion/face/{module}.py" for module in ("crop", "detection", "landmarks")),
    *(f"benchmarks/drive/{module}.py" for module in ("clips", "corruption", "renders")),
)


def tracked(frames: Sequence[Frame], name: str, kept: Path) -> FaceTrack:
    """The track of a clip as it comes from a file, compressed; from the cache if it is there by this name.

    The cache knows nothing of the frames: a name must stand for the same ones.
    """
    path = kept / f"tracks-{_tracking_hash()}" / f"{name}.npz"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        track = followed(frames, path.with_suffix(".mp4"))
        part = path.with_suffix(".part.npz")
        np.savez(part, **{each.name: getattr(track, each.name) for each in fields(track)})
        part.rename(path)
    with np.load(path) as file:
        return FaceTrack(**{name: file[name] for name in file.files} | {"others": int(file["others"])})


def followed(frames: Sequence[Frame], path: Path) -> FaceTrack:
    """The track of a clip that is written to `path`, and removed again."""
    write_frames(list(frames), path, FPS)
    track = track_face(open_driving_video(path, len(frames)))
    path.unlink()
    return track


@cache
def _tracking_hash() -> str:
    return content_hash(ROOT / name for name in _TRACKING)[:12]
