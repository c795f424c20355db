"""Measure effects in frames by landmarks alone, for models whose faces no regressor was trained on.

The head's pose is fitted to the landmarks that expressions move least; the residual, seen from the front, is
the expression: the lids by their aspect ratio, the rest as a displacement field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from micromotion.face.alignment import as_aligned
from micromotion.photo.effects import NAMES, Reading
from micromotion.photo.head import HeadFit, fit_head, rotation
from micromotion.photo.registration import Registration, register
from micromotion.photo.sampling import MonotoneCurve, Picture, sample
from micromotion.types import Floats, Frame

STEADY = np.array([*range(27, 36), 36, 39, 42, 45, 0, 1, 2, 14, 15, 16])
"""dlib's landmarks that expressions move least: nose, corners of the eyes, temples."""

_TRUST = np.array([1.0] * 5 + [0.6] * 4 + [1.0] * 4 + [0.15] * 6)  # the temples slide along the outline
_ROUNDS, _STEP = 12, 1e-4
_ASTRAY = 0.04  # eye distances: landmarks with a larger residual count less
_PIVOT = np.array([0.0, -0.35, -0.15])  # the top of the neck, in the head's units

_CLOSED = MonotoneCurve(
    np.array([0.42, 0.5, 0.6, 0.7, 0.8, 0.96, 1.04, 1.34]),
    np.array([1.0, 0.88, 0.48, 0.22, 0.10, 0.0, 0.0, -0.3]),
)
"""An eye's aspect ratio over that in the still frame -> how far it is closed. dlib's ratio of a shut eye is
0.42 of that of the open one, not 0."""


@dataclass(frozen=True, eq=False)
class _Head:
    """The still frame's landmarks in 3D."""

    fit: HeadFit
    points: Floats  # [68, 3], in the head's units
    eye_distance: float  # fraction of the square's side

    def seen(self, pose: Floats, away: Floats | None = None) -> Floats:
        """The projected landmarks [68, 2] in a pose (yaw, pitch, roll in radians; log scale; x, y)."""
        turned = (self.points - _PIVOT) @ rotation(*np.degrees(pose[:3])).T + _PIVOT
        place = self.fit.projected(turned)
        return np.exp(pose[3]) * (place - 0.5) + 0.5 + pose[4:]


class LandmarkReader:
    """Measures effects by dlib's landmarks; the frames are FFHQ-like crops of faces."""

    def __call__(self, still: Frame, frames: Sequence[Frame]) -> Reading:
        first = _registered(still)
        fit = fit_head(first)
        square = first.landmarks / first.side
        head = _Head(fit, _in_depth(fit, square), first.eye_distance / first.side)
        rest = _pose(head, square)
        effects, fields = np.zeros((len(frames), len(NAMES))), []
        for row, frame in zip(effects, frames, strict=True):
            landmarks = _registered(frame).landmarks / first.side
            pose = _pose(head, landmarks)
            field = _expression(head, landmarks, pose) - _expression(head, square, rest)
            turn = np.degrees(pose[:3] - rest[:3])
            read = dict(zip(("yaw", "pitch", "roll"), turn, strict=True))
            read["left_eye"], read["right_eye"] = _closed(square, field, head.eye_distance)
            row[:] = [read.get(name, 0.0) for name in NAMES]
            field[36:48] = 0  # the lids are drawn separately
            fields.append(field)
        return Reading(effects, np.stack(fields))


def _registered(frame: Frame) -> Registration:
    picture = Image.fromarray(frame)
    return register(picture, as_aligned(picture, min(picture.size)))


def _in_depth(fit: HeadFit, square: Floats) -> Floats:
    """The landmarks [68, 3] in 3D, in the head's units."""
    cells = (square * len(fit.position) - 0.5).astype(np.float32)
    position: Picture = fit.position
    return sample(position, cells[None, :, 0], cells[None, :, 1])[0].astype(np.float64)


def _pose(head: _Head, landmarks: Floats) -> Floats:
    """The pose (see `_Head.seen`) of landmarks [68, 2] in fractions of the square, by Gauss-Newton.

    Landmarks that are off, by an expression or an error, count less (Geman-McClure weights).
    """
    pose = np.zeros(6)
    for _ in range(_ROUNDS):
        place = head.seen(pose)[STEADY]
        off = landmarks[STEADY] - place
        slopes = np.stack(
            [(head.seen(pose + _STEP * step)[STEADY] - place) / _STEP for step in np.eye(6)], axis=-1
        )
        distance = np.linalg.norm(off, axis=1) / head.eye_distance
        weight = np.repeat(_TRUST / (1 + (distance / _ASTRAY) ** 2) ** 2, 2)
        flat = slopes.reshape(-1, 6)
        normal = (flat * weight[:, None]).T @ flat + np.diag([1e-5, 1e-5, 0, 0, 0, 0])
        pose = pose + np.linalg.solve(normal, (flat * weight[:, None]).T @ off.reshape(-1))
    return pose


def _expression(head: _Head, landmarks: Floats, pose: Floats) -> Floats:
    """Landmark displacements from the still frame in this pose, from the front: [68, 2], eye distances."""
    off = (landmarks - head.seen(pose)) / np.exp(pose[3])
    across = rotation(*np.degrees(pose[:3]))[:2, :2] * [[1, -1], [-1, 1]]  # y down
    front: Floats = np.linalg.solve(across, off.T).T / head.eye_distance
    return front


def _closed(square: Floats, field: Floats, eye_distance: float) -> tuple[float, float]:
    """How far the left and the right eye in the picture are closed."""
    before, after = (eye_aspect_ratios(points) for points in (square, square + field * eye_distance))
    left, right = np.clip(_CLOSED(after / before), -0.3, 1).tolist()
    return left, right


def eye_aspect_ratios(landmarks: Floats) -> Floats:
    """Each eye's height over its width, [2] (Soukupová and Čech 2016)."""

    def apart(one: int, other: int) -> float:
        return float(np.linalg.norm(landmarks[one] - landmarks[other]))

    ratios = [(apart(o + 1, o + 5) + apart(o + 2, o + 4)) / (2 * apart(o, o + 3)) for o in (36, 42)]
    return np.array(ratios)
