"""Draw a photo whose face, or faces, a trajectory moves: a video's `Finish`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from PIL import Image

from micromotion.drive.trajectory import Trajectory
from micromotion.drive.transfer import Transfer
from micromotion.face.crop import AlignedFace
from micromotion.photo.group import Group
from micromotion.photo.views import Stage, scaled_photo
from micromotion.types import Frame, Pose, Row, Strengths


def places(frames: int) -> Strengths:
    """The place of each frame in a trajectory of this many: 0 … 1, [frames, 1]."""
    return np.linspace(0.0, 1.0, frames)[:, None]


def frame_at(place: float, frames: int) -> int:
    """The inverse of `places`."""
    return round(place * (frames - 1))


class Driven(ABC):
    """What a trajectory moves; the "strength" of a frame is its place in the trajectory.

    Frames are independent.
    """

    needs_frames = False

    def __init__(self, trajectory: Trajectory) -> None:
        self._trajectory = trajectory

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Width and height of what is shown."""

    @abstractmethod
    def drawn(self, frame: int) -> Frame:
        """What is shown in a frame of the trajectory: uint8 [H, W, 3]; a new array."""

    def needs_model(self, strengths: Strengths) -> bool:
        """Never: the trajectory says everything."""
        return False

    def looks_at(self, strengths: Strengths) -> Strengths:
        """None: see `needs_model`."""
        return np.zeros((0, strengths.shape[1]))

    def begin(self, seen: Sequence[Pose]) -> Self:
        return self

    def __call__(self, strengths: Row, frame: Frame | None = None) -> Frame:
        """What is shown at this place [1] of the trajectory: uint8 [H, W, 3]; a new array."""
        return self.drawn(frame_at(float(strengths[0]), len(self._trajectory)))


class DrivenPhoto(Driven):
    """A photo of which a trajectory moves one face."""

    def __init__(self, stage: Stage, trajectory: Trajectory) -> None:
        super().__init__(trajectory)
        self._stage, self._transfer = stage, Transfer(stage.registration)

    @property
    def size(self) -> tuple[int, int]:
        return self._stage.scene.size

    def drawn(self, frame: int) -> Frame:
        motion = self._transfer(self._trajectory, frame)
        return self._stage.drawn(motion.effects, motion.field, gaze=motion.gaze, travel=motion.travel)


class DrivenGroup(Driven):
    """A photo of which a trajectory moves several faces, each as far as suits it; see `photo.group.Group`."""

    def __init__(
        self,
        photo: Image.Image,
        faces: Mapping[int, AlignedFace],
        moving: Sequence[int],
        trajectory: Trajectory,
        longest: int | None = None,
    ) -> None:
        """photo: RGB. faces, moving: see `Group`. longest: see `views.whole_photo`."""
        super().__init__(trajectory)
        photo, scaled = scaled_photo(photo, list(faces.values()), longest)
        self._size = photo.size
        self._group = Group(photo, dict(zip(faces, scaled, strict=True)), moving)
        self._transfers = [Transfer(face.registration) for face in self._group.faces]

    @property
    def size(self) -> tuple[int, int]:
        return self._size

    def drawn(self, frame: int) -> Frame:
        strokes = []
        for face, transfer in zip(self._group.faces, self._transfers, strict=True):
            motion = transfer(self._trajectory, frame)
            strokes.append(face.stroke(motion.effects, motion.field, gaze=motion.gaze, travel=motion.travel))
        return self._group.drawn(strokes)
