"""How well a clip's motion is read: against the truth, and with a tenth of the frames spoiled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.drive.clips import EFFECTS, FPS, Clip
from benchmarks.drive.corruption import corrupted
from benchmarks.drive.renders import filmed
from micromotion.drive.cleaning import CleaningConfig
from micromotion.drive.landmark_track import FaceTrack, track_face
from micromotion.drive.read import read_track
from micromotion.drive.trajectory import Trajectory
from micromotion.types import Floats, Frame
from micromotion.video.driving_video import open_driving_video
from micromotion.video.writer import write_frames

_MAX_YAW, _MAX_PITCH = 35.0, 11.5  # degrees at degree 1 of the renderer
_NEAR = 2  # frames on either side of a spoiled one that smoothing may touch
NO_CLEANING = CleaningConfig(most=-1)

Row = dict[str, float | None]


def measures(trajectory: Trajectory) -> dict[str, Floats]:
    """What the trajectory says of each of EFFECTS, [n]; lids, yaw and pitch in the renderer's units."""
    moved = trajectory.landmarks
    return {
        "eyes_closed": trajectory.lids.mean(axis=1),
        "mouth_open": trajectory.gap,
        "smile": moved[:, 54, 0] - moved[:, 48, 0],
        "anger": moved[:, [19, 20, 21, 22, 23, 24], 1].mean(axis=1),
        "yaw": trajectory.pose[:, 0] / _MAX_YAW,
        "pitch": trajectory.pose[:, 1] / _MAX_PITCH,
        "gaze_x": trajectory.gaze[:, 0, 0],
        "gaze_y": -trajectory.gaze[:, 0, 1],
    }


def read_clip(clip: Clip, other: Clip, cache: Path) -> dict[str, Row]:
    """For each effect: correlation and gain where it moves; the rms reading where it does not ("still"); and
    the rms error near spoiled frames without and with cleaning ("spoiled", "cleaned"). "frames" counts the
    spoiled ones, those found, the false alarms, and the frames bridged in the clean clip.
    """
    frames = filmed(clip, cache)
    spoiled, kinds = corrupted(frames, filmed(other, cache), clip.person)
    clean_track = _tracked(frames, cache / f"{clip.name}.mp4")
    spoiled_track = _tracked(spoiled, cache / f"{clip.name}-spoiled.mp4")
    trajectory, report = read_track(clean_track)
    whole = replace(spoiled_track, seen=np.ones(len(frames), np.bool_))
    as_read, without = (measures(each) for each in (trajectory, read_track(whole, None, NO_CLEANING)[0]))
    cleaned_trajectory, found = read_track(spoiled_track)
    cleaned = measures(cleaned_trajectory)
    near = sorted({at + d for at in kinds for d in range(-_NEAR, _NEAR + 1)} & set(range(len(frames))))
    rows: dict[str, Row] = {}
    for effect in EFFECTS:
        true, read = clip.of(effect), as_read[effect]
        moves = clip.moves(effect)
        rows[effect] = {
            "r": float(np.corrcoef(true, read)[0, 1]) if moves else None,
            "gain": float(np.polyfit(true, read, 1)[0]) if moves else None,
            "still": None if moves else float(read.std()),
            "spoiled": _rms(without[effect][near] - read[near]),
            "cleaned": _rms(cleaned[effect][near] - read[near]),
        }
    bridged = {at for runs in found.bridged.values() for run in runs for at in range(run[0], run[1] + 1)}
    lost = {at for run in found.lost for at in range(run[0], run[1] + 1)}
    rows["frames"] = {
        "spoiled": len(kinds),
        "found": len(set(kinds) & (bridged | lost)),
        "false": len((bridged | lost) - set(kinds)),
        "bridged when clean": len({run for runs in report.bridged.values() for run in runs}),
    }
    return rows


def _tracked(frames: list[Frame], path: Path) -> FaceTrack:
    """The clip as it comes from a file: compressed, read and tracked."""
    write_frames(frames, path, FPS)
    return track_face(open_driving_video(path, len(frames)))


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.square(values).mean()))
