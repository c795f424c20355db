"""Transfer a trajectory to a photo: what its own face does in each frame, in the terms that draw it.

Only displacements are transferred, in units of the photo's own face. Where a face has a natural zero (closed
lips, open lids) values are absolute, so that a photo's face ends up there whatever its own pose is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from micromotion.drive.trajectory import Trajectory
from micromotion.photo.effects import LANDMARKS, Effects
from micromotion.photo.expression import PAIRS, head_unit
from micromotion.photo.head import yaw_of
from micromotion.photo.lips import LOWER_INNER, LOWER_OUTER, UPPER_INNER, UPPER_OUTER, MouthFrame, lips_apart
from micromotion.photo.registration import Registration
from micromotion.types import Floats

_JAW, _BROWS, _NOSTRILS, _LIPS = slice(0, 17), slice(17, 27), slice(31, 36), slice(48, 68)
_CHIN = 8
_CORNERS = [48, 54, 60, 64]
_SIDES = [[pair[side] for pair in PAIRS] for side in (0, 1)]


@dataclass(frozen=True)
class TransferConfig:
    """Tuned constants. The unit is the eye distance of a head looking straight ahead."""

    mouth: float = 0.83
    """Width of a typical mouth: a wider one moves its lips more."""
    gap: float = 1.2
    """Opening of the mouth over that which was read: landmarks see the lips' inner edges too near."""
    gaps: tuple[float, float, float] = (0.94, 1.12, 0.94)
    """The opening at the inner lips' left, middle and right landmarks, over their mean."""
    upper: float = 0.3
    """The upper lip's share of what opens the mouth beyond the landmarks' own displacement."""
    outer: float = 0.8
    """How much of that the lips' outlines follow."""
    nose: float = 0.6
    """How much of the nostrils' displacement is played."""
    chin: float = 3.0
    """Landmarks on the jaw, counted from the chin, over which its displacement fades (sigma)."""
    smiling: tuple[float, float] = (0.86, 1.11)
    """Widths of the photo's mouth at which it counts as smiling: not, fully."""
    restraint: float = 0.75
    """How much less the corners of a smiling mouth move outwards and up: otherwise it smiles twice."""
    narrowest: float = 0.4
    """Least foreshortening: on a face in near-profile, the far half still moves a little."""
    follow: float = 0.6
    """How much of the head's translation is played…"""
    farthest: float = 0.2
    """…saturating here: shoulders and background stay where they are."""
    growth: float = 0.06
    """The same bound for the change of the head's size."""


TRANSFER = TransferConfig()


@dataclass(frozen=True, eq=False)
class FaceMotion:
    """What a photo's face does in one frame; the arguments of `Stage.drawn`.

    field: [68, 2]. gaze: [2, 2], the left and the right iris's (right, down), in eye widths.
    travel: [3], the head's translation (right, down) in eye distances, and its growth, 0 for none.
    """

    effects: Effects
    field: Floats
    gaze: Floats
    travel: Floats


class Transfer:
    """Transfers trajectories to one photo."""

    def __init__(self, registration: Registration, config: TransferConfig = TRANSFER) -> None:
        self._config = config
        landmarks, eyes = registration.landmarks, registration.eye_distance
        frame = MouthFrame.of(landmarks)
        straight = max(float(np.cos(np.radians(yaw_of(landmarks)))), 0.5)
        self._unit = head_unit(registration) / eyes
        self._mouth = frame.width / straight / head_unit(registration)
        halves = 2 * straight * np.array([frame.middle, 1 - frame.middle])
        self._across = np.full(LANDMARKS, straight)
        for half, side in zip(np.clip(halves, config.narrowest, 1), _SIDES, strict=True):
            self._across[side] = half
        self._outwards = np.clip(2 * frame.halves(frame.inside(landmarks[_LIPS])[:, 0]), -1, 1)
        self._own_gaps = np.zeros(3)
        if lips_apart(registration) > 0:
            apart = (landmarks[LOWER_INNER] - landmarks[UPPER_INNER]) @ frame.axes[1]
            self._own_gaps = np.maximum(apart / eyes / self._unit, 0)
        low, high = config.smiling
        self._calm = 1 - float(np.clip((self._mouth - low) / (high - low), 0, config.restraint))

    def __call__(self, trajectory: Trajectory, frame: int) -> FaceMotion:
        """What the face does in a frame of the trajectory; nothing where the driving face is lost."""
        weight = trajectory.weight[frame]
        lids, (yaw, pitch, roll) = weight * trajectory.lids[frame], weight * trajectory.pose[frame]
        effects = Effects(
            left_eye=float(lids[0]),
            right_eye=float(lids[1]),
            yaw=float(yaw),
            pitch=float(pitch),
            roll=float(roll),
        )
        moved = self._moved(weight * trajectory.landmarks[frame], weight * float(trajectory.gap[frame]))
        moved[:, 0] *= self._across
        travel = self._travel(weight * trajectory.shift[frame], trajectory.scale[frame] ** weight - 1)
        return FaceMotion(effects, self._unit * moved, weight * trajectory.gaze[frame], travel)

    def _moved(self, driven: Floats, gap: float) -> Floats:
        """The landmarks' displacement [68, 2] for a driver's, and an opening in mouth widths."""
        config, moved = self._config, np.zeros((LANDMARKS, 2))
        near = np.exp(-(((np.arange(17) - _CHIN) / config.chin) ** 2))
        moved[_JAW, 1] = near * driven[_CHIN, 1]
        moved[_BROWS] = driven[_BROWS]
        moved[_NOSTRILS] = config.nose * driven[_NOSTRILS]
        middle = driven[[48, 54]].mean(axis=0)
        moved[_LIPS] = middle + self._mouth / config.mouth * (driven[_LIPS] - middle)
        moved[_CORNERS] = driven[_CORNERS]
        self._restrain(moved, driven)
        self._part(moved, gap)
        return moved

    def _restrain(self, moved: Floats, driven: Floats) -> None:
        """Take back some of a smile on a mouth that already smiles."""
        less, away = 1 - self._calm, self._outwards
        wider = max(0.0, float(driven[54, 0] - driven[48, 0])) / 2
        higher = max(0.0, -float(driven[[48, 54], 1].mean()))
        moved[_LIPS, 0] -= less * wider * away
        moved[_LIPS, 1] += less * higher * away**2

    def _part(self, moved: Floats, gap: float) -> None:
        """Open the lips as far as the driver's; a photo's own open mouth takes the larger opening."""
        config = self._config
        wanted = np.maximum(config.gap * gap * np.array(config.gaps) * self._mouth, self._own_gaps)
        opened = wanted - self._own_gaps - (moved[LOWER_INNER, 1] - moved[UPPER_INNER, 1])
        for inner, outer, share in (
            (UPPER_INNER, UPPER_OUTER, -config.upper),
            (LOWER_INNER, LOWER_OUTER, 1 - config.upper),
        ):
            moved[inner, 1] += share * opened
            moved[outer, 1] += share * config.outer * opened[[0, 0, 1, 2, 2]]

    def _travel(self, shift: Floats, growth: float) -> Floats:
        config = self._config
        ways = np.array([*shift, growth])
        most = np.array([config.farthest, config.farthest, config.growth])
        bounded: Floats = most * np.tanh(config.follow * ways / most)
        return bounded
