"""How well a clip's motion is read: against the truth, and with a tenth of the frames spoiled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.drive.clips import EFFECTS, Clip
from benchmarks.drive.corruption import corrupted
from benchmarks.drive.renders import filmed
from benchmarks.drive.tracks import tracked
from micromotion.drive.cleaning import CleaningConfig
from micromotion.drive.read import read_track
from micromotion.drive.report import Spans, spans
from micromotion.drive.trajectory import Trajectory
from micromotion.types import Floats

_MAX_YAW, _MAX_PITCH = 35.0, 11.5  # degrees at degree 1 of the renderer
_NEAR = 2  # frames on either side of a spoiled one that smoothing may touch
_SHUT = 0.5  # of the lids' way: an eye that closes further blinks
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
    spoiled ones, those found, the false alarms, and the frames bridged in the clean clip. "closings" counts
    how often the eyes close in the clean clip, and how often that is read without and with cleaning.
    """
    frames = filmed(clip, cache)
    spoiled, kinds = corrupted(frames, filmed(other, cache), clip.person)
    clean_track = tracked(frames, clip.name, cache)
    spoiled_track = tracked(spoiled, f"{clip.name}-spoiled", cache)
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
    raw = measures(read_track(clean_track, None, NO_CLEANING)[0])["eyes_closed"]
    closings = spans(clip.of("eyes_closed") > _SHUT)
    rows["closings"] = {
        "true": len(closings),
        "without": _read_of(closings, raw),
        "with": _read_of(closings, as_read["eyes_closed"]),
    }
    return rows


def _read_of(closings: Spans, lids: Floats) -> int:
    """In how many of these runs of frames the lids are read as shut."""
    return sum(bool(lids[first : last + 1].max() > _SHUT) for first, last in closings)


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.square(values).mean()))
