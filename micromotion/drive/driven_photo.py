"""Draw a photo whose face a trajectory moves: a video's `Finish`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from micromotion.drive.trajectory import Trajectory
from micromotion.drive.transfer import Transfer
from micromotion.photo.views import Stage
from micromotion.types import Frame, Pose, Row, Strengths


def places(frames: int) -> Strengths:
    """The place of each frame in a trajectory of this many: 0 … 1, [frames, 1]."""
    return np.linspace(0.0, 1.0, frames)[:, None]


def frame_at(place: float, frames: int) -> int:
    """The inverse of `places`."""
    return round(place * (frames - 1))


class DrivenPhoto:
    """A photo that a trajectory moves; the "strength" of a frame is its place in the trajectory.

    Frames are independent.
    """

    needs_frames = False

    def __init__(self, stage: Stage, trajectory: Trajectory) -> None:
        self._stage, self._trajectory = stage, trajectory
        self._transfer = Transfer(stage.registration)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of what is shown."""
        return self._stage.scene.size

    def needs_model(self, strengths: Strengths) -> bool:
        """Never: the trajectory says everything."""
        return False

    def looks_at(self, strengths: Strengths) -> Strengths:
        """None: see `needs_model`."""
        return np.zeros((0, strengths.shape[1]))

    def begin(self, seen: Sequence[Pose]) -> DrivenPhoto:
        return self

    def __call__(self, strengths: Row, frame: Frame | None = None) -> Frame:
        """The scene at this place [1] of the trajectory: uint8 [H, W, 3]; a new array."""
        motion = self._transfer(self._trajectory, frame_at(float(strengths[0]), len(self._trajectory)))
        return self._stage.drawn(motion.effects, motion.field, gaze=motion.gaze, travel=motion.travel)
