"""Read a driving video: from an untrusted file to the motion of one face, without that face's looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from micromotion.drive.cleaning import REGIONS, CleaningConfig, Flags, clean, wrong_frames
from micromotion.drive.filters import bridged, savitzky_golay
from micromotion.drive.gaze import gaze_course
from micromotion.drive.landmark_track import FaceTrack, track_face
from micromotion.drive.measures import lid_ratios, lip_gap
from micromotion.drive.options import MAX_DRIVING_FRAMES
from micromotion.drive.pose import Head, expressions, fit_poses, front_view, head_of, without_lids
from micromotion.drive.report import ReadReport, spans
from micromotion.drive.rest import find_rest, usual_openness
from micromotion.drive.trajectory import Trajectory
from micromotion.errors import NoFaceError
from micromotion.motion.files import Provenance
from micromotion.option_checks import check_whole
from micromotion.photo.sampling import MonotoneCurve
from micromotion.types import Floats
from micromotion.video.driving_video import DrivingVideo, Length, open_driving_video
from micromotion.weights.bundle_record import file_record

OnProgress = Callable[[int, int], None]

MAX_SECONDS = 60
"""Longest driving video that is played on a photo; each of its frames is read."""

_SMOOTH, _SMOOTH_LIDS = 0.28, 0.2  # seconds: seven and five frames at 25 per second
_EASING = 0.3  # seconds in which the motion leaves a lost face, and comes back
_SHORTEST_LOSS = 0.2  # seconds: a shorter one is bridged

_LIPS_CLOSED = -0.03, 0.1
"""What dlib sees between closed lips, in mouth widths: within these bounds the smallest gap of a video counts
as closed. Full lips of renders have 0.06 to 0.18.
"""

_CLOSED = MonotoneCurve(
    np.array([0.42, 0.46, 0.556, 0.705, 0.889, 0.97, 1.04, 1.34]),
    np.array([1.0, 0.76, 0.48, 0.32, 0.16, 0.0, 0.0, -0.3]),
)
"""An eye's aspect ratio over that of the open eye -> how far it is closed. Medians of both eyes of eight
rendered people who are in no measurement (`python -m benchmarks.drive.fit`). From 0.6 on dlib hardly sees a
difference: the ratio stays near 0.46, and for one shut eye in four above 0.7. There the curve is steep, so
that most shut eyes read as shut.
"""


@dataclass(frozen=True)
class ReadVideo:
    """A driving video's motion, what was found on the way, and the recipe for the trajectory's file."""

    trajectory: Trajectory
    report: ReadReport
    recipe: Provenance


def read_driving_video(
    path: str | Path, *, face: int = 0, rest: int | None = None, on_progress: OnProgress | None = None
) -> ReadVideo:
    """Read the motion of one face in a video.

    The frames are streamed; memory does not grow with their size or their number. Frames that are wrong are
    bridged, and what trembles is smoothed without a lag. A variable frame rate becomes its average.

    Args:
        path: a video that `open_driving_video` reads, of at most MAX_SECONDS and 1,800 frames.
        face: which face to follow; 0 is the clearest in the first frames that show one.
        rest: the number of a frame that shows the rest pose; None: it is searched for.
        on_progress: called with (done, total) frames; the work ends with what it raises.

    Raises:
        DrivingVideoError: the video cannot be read, or is too long.
        NoFaceError: no face was found, none of this number, or none in the frame `rest`.
        OptionError: `face` or `rest` is out of range.
    """
    check_whole("face", face, 0, 99)
    path = Path(path)
    video = open_played(path)
    if rest is not None:
        check_whole("rest", rest, 0, len(video) - 1)
    total = len(video)
    track = track_face(video, face, lambda done: on_progress(done, total) if on_progress else None)
    trajectory, report = read_track(track, rest)
    recipe: Provenance = {
        "source": "driving video",
        "file": path.name,
        "sha256": str(file_record(path)["sha256"]),
        "frames": len(track),
        "face": face,
        "rest": ", ".join(map(str, report.rest)),
    }
    return ReadVideo(trajectory, report, recipe)


def open_played(path: str | Path) -> DrivingVideo:
    """Open a video to play all of its frames on a photo; raises DrivingVideoError, also if it is too long."""
    return open_driving_video(Path(path), MAX_DRIVING_FRAMES, Length(MAX_SECONDS, MAX_DRIVING_FRAMES))


def read_track(
    track: FaceTrack, rest: int | None = None, cleaning: CleaningConfig | None = None
) -> tuple[Trajectory, ReadReport]:
    """The trajectory of a tracked face, and what was found; see `read_driving_video`."""
    seen = _without_short_losses(track)
    usable = track.seen & seen
    if not usable.any() or (rest is not None and not usable[rest]):
        raise NoFaceError("The face is not seen in the frame of the rest pose: choose another.")
    fps = frame_rate(track.seconds)
    landmarks = bridged(track.landmarks, ~usable)
    head, poses, shapes, at_rest, wrong = _expressions(track, landmarks, usable, rest, cleaning)
    trajectory = _trajectory(track, head, poses, shapes, at_rest, _weight(seen, fps), fps, usable)
    report = ReadReport(
        rest=tuple(sorted(at_rest.tolist())),
        bridged={name: spans(wrong[name] | (seen & ~track.seen)) for name in REGIONS},
        lost=spans(~seen),
        others=track.others,
        frames=len(track),
        fps=fps,
    )
    return _at_even_times(trajectory, track.seconds), report


def frame_rate(seconds: Floats) -> float:
    """Average frames per second by the frames' own times; 25 for a single frame."""
    return float((len(seconds) - 1) / (seconds[-1] - seconds[0])) if len(seconds) > 1 else 25.0


def _without_short_losses(track: FaceTrack) -> Flags:
    """Where the face is there, bool [n], or is missing only so shortly that its motion is bridged."""
    seen = track.seen.copy()
    shortest = _SHORTEST_LOSS * frame_rate(track.seconds)
    for first, last in spans(~track.seen):
        if first > 0 and last < len(seen) - 1 and last - first + 1 < shortest:
            seen[first : last + 1] = True
    return seen


def _expressions(
    track: FaceTrack, landmarks: Floats, usable: Flags, rest: int | None, cleaning: CleaningConfig | None
) -> tuple[Head, Floats, Floats, NDArray[np.int64], dict[str, Flags]]:
    """The head, its poses [n, 6] and its shapes [n, 68, 2] from the front, cleaned; the rest frames; what was
    wrong.

    The rest pose needs a head, and the head a rest pose: it is found with the head of a middling frame, and
    again when it is known which frames are wrong.
    """
    first = _middling(landmarks, usable)
    closed = _lids(landmarks, usable).mean(axis=1).clip(0, 1)
    steady = without_lids(landmarks, closed)
    wrong = dict.fromkeys((*REGIONS, "all"), ~usable)
    for _ in range(2):
        head = head_of(landmarks[first])
        poses = fit_poses(head, steady)
        shapes = front_view(head) + expressions(head, landmarks, poses)
        good = np.flatnonzero(usable & ~wrong["all"])
        at_rest = good[find_rest(shapes[good], poses[good, :2])] if rest is None else np.array([rest])
        found = wrong_frames(shapes, track.spread, track.looks, cleaning)
        wrong = {name: found[name] | ~usable for name in found}
        first = int(at_rest[0])
    head = head_of(_mean_landmarks(landmarks[at_rest]))
    poses = bridged(fit_poses(head, steady), wrong["all"])
    shapes = clean(front_view(head) + expressions(head, landmarks, poses), wrong)
    return head, poses, shapes, at_rest, found


def _lids(landmarks: Floats, usable: Flags) -> Floats:
    """How far each eye is closed, [n, 2], absolutely: by its own open state in this video."""
    ratios = lid_ratios(landmarks)
    return _CLOSED(ratios / usual_openness(ratios[usable])).clip(-0.3, 1)


def _middling(landmarks: Floats, usable: Flags) -> int:
    """A frame whose face is turned about as usual."""
    eyes = landmarks[:, 36:48].mean(axis=1)
    size = np.linalg.norm(landmarks[:, 42:48].mean(axis=1) - landmarks[:, 36:42].mean(axis=1), axis=1)
    turned = (landmarks[:, 30] - eyes) / np.maximum(size, 1e-3)[:, None]
    away = np.linalg.norm(turned - np.median(turned[usable], axis=0), axis=1)
    return int(np.argmin(np.where(usable, away, np.inf)))


def _mean_landmarks(landmarks: Floats) -> Floats:
    """The mean [68, 2] of landmarks [m, 68, 2], each moved, turned and scaled onto the first."""
    complex_ = landmarks @ np.array([1, 1j])
    centred = complex_ - complex_.mean(axis=1, keepdims=True)
    onto = (centred.conj() @ centred[0]) / np.square(np.abs(centred)).sum(axis=1)
    mean = (centred * onto[:, None]).mean(axis=0) + complex_[0].mean()
    return np.stack([mean.real, mean.imag], axis=-1)


def _trajectory(
    track: FaceTrack,
    head: Head,
    poses: Floats,
    shapes: Floats,
    at_rest: NDArray[np.int64],
    weight: Floats,
    fps: float,
    usable: Flags,
) -> Trajectory:
    """Smooth, and measure what the face does; the lids and the lips' gap absolutely, the rest from rest."""
    smooth = savitzky_golay(shapes, _SMOOTH * fps)
    quick = savitzky_golay(shapes[:, 36:48], _SMOOTH_LIDS * fps)
    with_lids = np.concatenate([smooth[:, :36], quick, smooth[:, 48:]], axis=1)
    pose = savitzky_golay(poses, _SMOOTH * fps)
    pose_at_rest, shape_at_rest = (values[at_rest].mean(axis=0) for values in (pose, with_lids))
    lids = _lids(with_lids, usable)
    gap = lip_gap(smooth)
    shut = float(np.quantile(gap[usable], 0.05).clip(*_LIPS_CLOSED))
    size = np.exp(pose_at_rest[3])
    return Trajectory(
        fps=fps,
        lids=lids,
        gaze=gaze_course(track.irises, lids, at_rest, fps),
        gap=(gap - shut).clip(0, 3),
        landmarks=(with_lids - shape_at_rest).clip(-3, 3),
        pose=(pose - pose_at_rest)[:, :3].clip(-90, 90),
        shift=((pose - pose_at_rest)[:, 4:] / size).clip(-1000, 1000),
        scale=np.exp((pose - pose_at_rest)[:, 3]).clip(1e-3, 1e3),
        weight=weight,
    )


def _weight(seen: Flags, fps: float) -> Floats:
    """1 where the face is seen, 0 where it is lost, with an easing on the side where it is seen."""
    lost = np.flatnonzero(~seen)
    if not len(lost):
        return np.ones(len(seen))
    away = np.abs(np.arange(len(seen))[:, None] - lost).min(axis=1) / (_EASING * fps)
    near = away.clip(0, 1)
    eased: Floats = near * near * (3 - 2 * near)
    return eased


def _at_even_times(trajectory: Trajectory, seconds: Floats) -> Trajectory:
    """The trajectory at even times, where the frames' own were not."""
    even = seconds[0] + np.arange(len(seconds)) / trajectory.fps
    if np.abs(even - seconds).max() < 0.25 / trajectory.fps:
        return trajectory
    return trajectory.at(even, seconds)
