"""The head's pose over time, and what the landmarks do beyond it.

A head in 3D is made of the landmarks at rest and the mean head's depth. Its pose in each frame, by weak
perspective, is the least-squares fit to the landmarks that expressions move least, by Gauss-Newton with
robust weights (Geman and McClure 1987); all frames are solved at once. With the pose taken out, what remains
is the expression, seen from the front.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from micromotion.photo.head import landmarks_in_depth, rotations, yaw_of
from micromotion.types import Floats

STEADY = np.array([*range(27, 36), 36, 39, 42, 45, 0, 1, 2, 14, 15, 16])
"""dlib's landmarks that expressions move least: nose, corners of the eyes, temples."""


@dataclass(frozen=True)
class PoseConfig:
    """Tuned constants.

    trust: weight of each of STEADY; the nostrils widen, and the temples slide along the outline, but without
    them pitch is hardly determined. astray: landmarks this far off, in eye distances, count less. prior: pull
    of yaw and pitch towards those at rest, against leaning on an expression. rounds: of Gauss-Newton.
    """

    trust: tuple[float, ...] = (1.0,) * 5 + (0.6,) * 4 + (1.0,) * 4 + (0.15,) * 6
    astray: float = 0.04
    prior: float = 1e-6
    rounds: int = 20


@dataclass(frozen=True, eq=False)
class Head:
    """A head in 3D, facing the camera.

    points: [68, 3], x right, y up, z to the camera, in eye distances from the pivot, the top of the neck,
    about which heads turn. rest: [6], its pose in the rest frame (see `fit_poses`).
    """

    points: Floats
    rest: Floats


_STEP = 1e-4  # of finite differences, in degrees, logarithms and eye distances
_SUNK = {36: 0.05, 39: 0.03, 42: 0.03, 45: 0.05, 27: 0.02, 28: 0.01}
"""By how much dlib moves a landmark down when the eyes close, in eye distances; on renders and photos."""

_EYES_ABOVE, _EYES_AHEAD = 0.77, 1.73
"""Of the pivot, in eye distances: the renderer's heads turn about (0, -0.35, -0.15)."""


def head_of(landmarks: Floats, config: PoseConfig | None = None) -> Head:
    """The head whose landmarks at rest are these [68, 2], in a picture's pixels."""
    yaw, mean = yaw_of(landmarks), landmarks_in_depth()
    eyes, across = landmarks[36:48].mean(axis=0), _between_eyes(landmarks)
    roll = np.arctan2(-across[1], across[0])
    level = (landmarks - eyes) @ np.array([[1, 0], [0, -1]]) @ _turn(-roll).T  # y up
    size = np.mean([_span(level, part) / _span(mean[:, :2], part) for part in ("eyes", "mouth")])
    depth = size * (mean[:, 2] - mean[36:48, 2].mean())
    cosine, sine = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    ahead = np.column_stack([(level[:, 0] - depth * sine) / cosine, level[:, 1], depth])
    distance = float(np.linalg.norm(_between_eyes(ahead[:, :2])))
    points = ahead / distance + np.array([0, _EYES_ABOVE, _EYES_AHEAD])
    first = np.array([yaw, 0.0, np.degrees(roll), np.log(distance), *eyes])
    neck = np.array([0, _EYES_ABOVE, _EYES_AHEAD])
    first[4:] -= (distance * rotations(first[:3]) @ neck)[:2] * [1, -1]
    head = Head(points, first)
    return Head(points, fit_poses(head, landmarks[None], config)[0])


def fit_poses(head: Head, landmarks: Floats, config: PoseConfig | None = None) -> Floats:
    """Poses [n, 6] of landmarks [n, 68, 2]: yaw, pitch, roll in degrees; log of the eye distance in pixels;
    x and y of the pivot in pixels.
    """
    config = config or PoseConfig()
    poses, known, points = _first_guess(head, landmarks), landmarks[:, STEADY], head.points[STEADY]
    trust, pull = np.array(config.trust), config.prior * np.array([1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    for round_ in range(config.rounds):
        astray = max(config.astray, 0.5 ** (1 + round_ / 2))  # at first all count, however far off
        size = np.exp(poses[:, 3])[:, None, None]
        steps = np.concatenate([np.broadcast_to(_STEP, (len(poses), 4)), _STEP * size[..., 0] * [1, 1]], 1)
        seen = _project(points, poses)
        moved = [_project(points, poses + steps * one) for one in np.eye(6)]
        slopes = np.stack([(each - seen) / (_STEP * size) for each in moved], axis=-1)
        off = (known - seen) / size
        distance = np.linalg.norm(off, axis=2)
        weight = np.repeat(trust / (1 + (distance / astray) ** 2) ** 2, 2, axis=1)[..., None]
        flat = slopes.reshape(len(poses), -1, 6)
        normal = (weight * flat).mT @ flat + np.diag(pull)
        toward = (weight * flat).mT @ off.reshape(len(poses), -1, 1)
        toward[..., 0] -= pull * (poses - head.rest)
        poses = poses + np.linalg.solve(normal, toward)[..., 0] * steps / _STEP
    return poses


def without_lids(landmarks: Floats, closed: Floats) -> Floats:
    """Landmarks [n, 68, 2] without what closing lids do to those of STEADY, of which the pose must not know.

    dlib moves the corners of the eyes and the bridge of the nose down with the lids, which would be a nod of
    three degrees at each blink. closed: [n], how far the eyes are closed, 0…1.
    """
    across = landmarks[:, 42:48].mean(axis=1) - landmarks[:, 36:42].mean(axis=1)
    down = np.stack([-across[:, 1], across[:, 0]], axis=1)  # one eye distance
    steady = landmarks.copy()
    for index, fraction in _SUNK.items():
        steady[:, index] -= fraction * closed[:, None] * down
    return steady


def expressions(head: Head, landmarks: Floats, poses: Floats) -> Floats:
    """Displacements [n, 68, 2] of landmarks from the head's own with the poses taken out, from the front.

    (right, down), in eye distances.
    """
    off = (landmarks - _project(head.points, poses)) / np.exp(poses[:, 3])[:, None, None]
    across = rotations(poses[:, :3])[:, :2, :2] * [[1, -1], [-1, 1]]  # y down
    front: Floats = np.linalg.solve(across, off.mT).mT
    return front


def front_view(head: Head) -> Floats:
    """The head's landmarks at rest from the front, [68, 2], (right, down), in eye distances."""
    return head.points[:, :2] * [1, -1]


def _first_guess(head: Head, landmarks: Floats) -> Floats:
    """Poses that fit the eyes, turned like the head at rest but for the roll."""
    poses = np.repeat(head.rest[None], len(landmarks), axis=0)
    across = landmarks[:, 42:48].mean(axis=1) - landmarks[:, 36:42].mean(axis=1)
    poses[:, 2] = np.degrees(np.arctan2(-across[:, 1], across[:, 0]))
    poses[:, 3] = np.log(np.maximum(np.linalg.norm(across, axis=1), 1e-3))
    away = _project(head.points[36:48], poses).mean(axis=1) - landmarks[:, 36:48].mean(axis=1)
    poses[:, 4:] -= away
    return poses


def _project(points: Floats, poses: Floats) -> Floats:
    """Where points [m, 3] of a head are seen in poses [n, 6]: [n, m, 2], in pixels."""
    turned = points @ rotations(poses[:, :3]).mT
    return np.exp(poses[:, 3])[:, None, None] * turned[..., :2] * [1, -1] + poses[:, None, 4:]


def _between_eyes(points: Floats) -> Floats:
    between: Floats = points[42:48].mean(axis=0) - points[36:42].mean(axis=0)
    return between


def _span(points: Floats, part: str) -> float:
    """The distance between the eyes, or from the eyes to the mouth."""
    if part == "eyes":
        return float(np.linalg.norm(_between_eyes(points)))
    return float(np.linalg.norm(points[48:60].mean(axis=0) - points[36:48].mean(axis=0)))


def _turn(angle: float) -> Floats:
    """Rotation [2, 2] by an angle in radians."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
