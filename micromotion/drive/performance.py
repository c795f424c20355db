"""What a photo is to do: the trajectory of a clip or of a file, as the options want it, and its sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from micromotion.drive.options import DriveOptions
from micromotion.drive.read import OnProgress, read_driving_video
from micromotion.drive.trajectory import Trajectory, load_trajectory
from micromotion.errors import OptionError
from micromotion.video.sound import Sound, find_sound
from micromotion.video.writer import frame_rate

SUFFIX = ".safetensors"
"""Of a trajectory's file; anything else is a video."""


@dataclass(frozen=True, eq=False)
class Performance:
    """A trajectory to be played, the sound beside it, and sentences about the clip for users."""

    trajectory: Trajectory
    sound: Sound | None = None
    notes: tuple[str, ...] = ()


def perform(
    clip: str | Path | Trajectory, options: DriveOptions, on_progress: OnProgress | None = None
) -> Performance:
    """The performance of a clip, a trajectory or its file.

    on_progress: called with (done, total) while a video is read. Raises DrivingVideoError, NoFaceError,
    MotionError, OptionError.
    """
    if isinstance(clip, Trajectory):
        return Performance(_wanted(clip, options))
    if is_trajectory_file(clip):
        if options.rest is not None or options.clip_face:
            raise OptionError(
                "rest and clip_face are for a video: in a trajectory's file both are settled already."
            )
        return Performance(_wanted(load_trajectory(clip)[0], options))
    clip = Path(clip)
    read = read_driving_video(clip, face=options.clip_face, rest=options.rest, on_progress=on_progress)
    played, notes = read.trajectory, read.report.sentences("clip_face")
    if not options.audio:
        return Performance(_wanted(played, options), notes=tuple(notes))
    return Performance(_wanted(played, options), *clip_sound(clip, len(played), played.fps, notes))


def is_trajectory_file(clip: str | Path) -> bool:
    """Whether a file's name is that of a trajectory, not of a video."""
    return str(clip).endswith(SUFFIX)


def _wanted(trajectory: Trajectory, options: DriveOptions) -> Trajectory:
    """The trajectory's parts, strength and side as the options want them."""
    wanted = trajectory.parts(options.parts)
    if options.strength != 1:
        wanted = wanted.scaled(options.strength)
    return wanted.mirrored() if options.mirror else wanted


def clip_sound(
    clip: Path, frames: int, fps: float, notes: Sequence[str]
) -> tuple[Sound | None, tuple[str, ...]]:
    """A clip's sound for as long as so many pictures play, and the notes with what is to be said about it."""
    sound, told = find_sound(clip, frames / frame_rate(fps))
    return sound, (*notes, told) if told else tuple(notes)
