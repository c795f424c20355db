"""What a picture's landmarks tell of each effect, by plain ratios: nothing that reads or draws is asked."""

from __future__ import annotations

import numpy as np

from micromotion.drive.landmark_track import FaceTrack
from micromotion.drive.measures import lid_ratios, lip_gap, mouth_width
from micromotion.photo.head import yaw_of
from micromotion.types import Floats

_CORNERS, _INNER_BROWS, _EARS, _TIP = [36, 39, 42, 45], [19, 20, 21, 22, 23, 24], [0, 16], 30


def signs(track: FaceTrack) -> dict[str, Floats]:
    """Each effect's course [n], without smoothing.

    eyes_closed: the eyes' aspect ratio, negative. mouth_open: the lips' gap over the mouth's width. smile:
    the mouth's width. anger: the inner brows' height below the eyes' corners. yaw: in degrees. pitch: how far
    the nose's tip is below the ears. gaze_x, gaze_y: both irises' place (right, up), in eye widths. Lengths
    are in eye distances.
    """
    shapes = _level(track.landmarks)
    gaze = _mean_seen(track.irises)
    return {
        "eyes_closed": -lid_ratios(shapes).mean(axis=1),
        "mouth_open": lip_gap(shapes),
        "smile": mouth_width(shapes),
        "anger": shapes[:, _INNER_BROWS, 1].mean(axis=1) - shapes[:, _CORNERS, 1].mean(axis=1),
        "yaw": np.array([yaw_of(shape) for shape in shapes]),
        "pitch": shapes[:, _TIP, 1] - shapes[:, _EARS, 1].mean(axis=1),
        "gaze_x": gaze[:, 0],
        "gaze_y": -gaze[:, 1],
    }


def _level(landmarks: Floats) -> Floats:
    """Landmarks [n, 68, 2] with the eyes level, in eye distances."""
    points = landmarks @ np.array([1, 1j])
    across = points[:, 42:48].mean(axis=1) - points[:, 36:42].mean(axis=1)
    level = (points - points[:, 36:48].mean(axis=1, keepdims=True)) / across[:, None]
    return np.stack([level.real, level.imag], axis=-1)


def _mean_seen(irises: Floats) -> Floats:
    """The mean of those irises [n, 2, 2] that are seen, [n, 2]; NaN where none is."""
    seen = np.isfinite(irises)
    total: Floats = np.where(seen, irises, 0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    return np.where(seen.any(axis=1), total, np.nan)
