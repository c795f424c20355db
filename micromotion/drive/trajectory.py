"""A trajectory: how a face moves over time, without its looks, and its file.

The file is safetensors, and treated as untrusted: float32 tensors of known shapes, and as provenance the
frame rate and the recipe by which the trajectory was read.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from micromotion.drive.options import MAX_DRIVING_FRAMES, PARTS
from micromotion.errors import MotionError, OptionError, OutputError
from micromotion.motion.files import Provenance, plain_provenance, read_motion_file, write_motion_file
from micromotion.photo.head import MIRROR
from micromotion.types import Floats
from micromotion.video.output_names import check_place

KIND, NOUN = "trajectory", "trajectory"
MAX_FPS = 240.0
_MAX_BYTES = 2 << 20  # MAX_DRIVING_FRAMES take 1.1 MB
_LANDMARKS_OF = {"mouth": [*range(17), *range(27, 36), *range(48, 68)], "brows": [*range(17, 27)]}
_EYE_LANDMARKS = [*range(36, 48)]
_ARRAYS: dict[str, tuple[tuple[int, ...], float, float]] = {
    "lids": ((2,), -1, 1),
    "gaze": ((2, 2), -1, 1),
    "gap": ((), 0, 3),
    "landmarks": ((68, 2), -3, 3),
    "pose": ((3,), -90, 90),
    "shift": ((2,), -1000, 1000),
    "scale": ((), 1e-3, 1e3),
    "weight": ((), 0, 1),
}
"""Each array's shape within a frame, its smallest and its largest value."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """How a face moves over time, without its looks; every array is float64 with one entry per frame.

    Left and right are those of the picture, down is positive. The rest pose is that of the video's face.

    Attributes:
        fps: average frames per second, above 0, at most MAX_FPS.
        lids: [n, 2], how far the left and the right eye are closed; 1 shut, below 0 wider than at rest.
        gaze: [n, 2, 2], the left and the right iris's offset from rest, (right, down), in eye widths.
        gap: [n], the opening between the lips in widths of the mouth; absolute, 0 is closed.
        landmarks: [n, 68, 2], displacement of dlib's landmarks from rest, (right, down), as on a face looking
            straight ahead, in eye distances. It includes what the lids and the gap do.
        pose: [n, 3], yaw, pitch and roll from rest in degrees, signed as in `effects.Effects`.
        shift: [n, 2], the head's translation from rest, (right, down), in eye distances.
        scale: [n], the head's size over that at rest.
        weight: [n], 1 where the face is seen, 0 where it is lost, with easing between.

    Raises:
        MotionError: a wrong shape, more than MAX_DRIVING_FRAMES frames, or a value out of its range.
    """

    fps: float
    lids: Floats
    gaze: Floats
    gap: Floats
    landmarks: Floats
    pose: Floats
    shift: Floats
    scale: Floats
    weight: Floats

    def __post_init__(self) -> None:
        if not 0 < self.fps <= MAX_FPS:
            raise MotionError(f"A trajectory needs above 0 and at most {MAX_FPS:g} frames per second.")
        object.__setattr__(self, "fps", float(self.fps))
        frames = len(np.atleast_1d(self.gap))
        if not 1 <= frames <= MAX_DRIVING_FRAMES:
            raise MotionError(
                f"A trajectory needs 1 to {MAX_DRIVING_FRAMES} frames, but this one has {frames}."
            )
        for name, (inner, low, high) in _ARRAYS.items():
            values = np.asarray(getattr(self, name), np.float64)
            if values.shape != (frames, *inner):
                raise MotionError(
                    f"A trajectory of {frames} frames needs {name} of shape {[frames, *inner]}, "
                    f"but it is {list(values.shape)}."
                )
            if not (np.isfinite(values).all() and low <= values.min() and values.max() <= high):
                raise MotionError(f"A trajectory's {name} must lie between {low:g} and {high:g}.")
            object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return len(self.gap)

    def at(self, times: Floats, known: Floats) -> Trajectory:
        """The motion at other times; known: [n], increasing, those of its frames, in the same unit."""
        index = np.interp(times, known, np.arange(len(known)))
        before = np.minimum(index.astype(int), max(len(known) - 2, 0))
        after = np.minimum(before + 1, len(known) - 1)

        def between(values: Floats) -> Floats:
            share = (index - before).reshape(-1, *[1] * (values.ndim - 1))
            return (1 - share) * values[before] + share * values[after]

        return Trajectory(self.fps, **{name: between(getattr(self, name)) for name in _ARRAYS})

    def parts(self, names: Collection[str]) -> Trajectory:
        """Only these of PARTS move; the others stay at rest, with the lips closed.

        Raises OptionError for another name, or for none.
        """
        if not names or not set(names) <= set(PARTS):
            raise OptionError(f"parts must be some of {', '.join(PARTS)}, not {', '.join(names) or 'none'}.")
        moving = [index for name in names for index in _LANDMARKS_OF.get(name, [])]
        still: dict[str, Any] = {}
        if "eyes" in names:
            moving += _EYE_LANDMARKS
        else:
            still |= {"lids": 0 * self.lids, "gaze": 0 * self.gaze}
        if "mouth" not in names:
            still["gap"] = 0 * self.gap
        if "pose" not in names:
            still |= {"pose": 0 * self.pose, "shift": 0 * self.shift, "scale": np.ones_like(self.scale)}
        landmarks = np.zeros_like(self.landmarks)
        landmarks[:, moving] = self.landmarks[:, moving]
        return replace(self, landmarks=landmarks, **still)

    def scaled(self, strength: float) -> Trajectory:
        """Every motion times `strength`, 0…2; lids and other values stop at their limits.

        Raises OptionError for another strength.
        """
        if not (math.isfinite(strength) and 0 <= strength <= 2):
            raise OptionError(f"strength must be a number from 0 to 2, not {strength!r:.80}.")
        grown = {
            name: np.clip(strength * getattr(self, name), low, high)
            for name, (_, low, high) in _ARRAYS.items()
            if name not in ("scale", "weight")
        }
        return replace(self, scale=self.scale**strength, **grown)

    def mirrored(self) -> Trajectory:
        """The motion of the face in a mirror."""
        return replace(
            self,
            lids=self.lids[:, ::-1],
            gaze=self.gaze[:, ::-1] * [-1, 1],
            landmarks=self.landmarks[:, MIRROR] * [-1, 1],
            pose=self.pose * [-1, 1, -1],
            shift=self.shift * [-1, 1],
        )


def check_trajectory_output(path: str | Path) -> Path:
    """Check, before any work, that `save_trajectory` can write there; leaves no trace.

    Raises OutputError: another suffix than .safetensors, a folder, or its folder is missing or not writable.
    """
    target = Path(path)
    if target.suffix.lower() != ".safetensors":
        raise OutputError(f"{str(path)!r} is not the name of a trajectory: end it in .safetensors.")
    check_place(target, "trajectory", f"The trajectory cannot be written to {target}")
    return target


def save_trajectory(
    path: str | Path, trajectory: Trajectory, recipe: Mapping[str, str | int | float]
) -> None:
    """Write a trajectory, in float32, and the recipe by which it was read, atomically.

    Equal contents give equal bytes. Raises OutputError if the file cannot be written; MotionError if a value
    of the recipe is not a string or a finite number.
    """
    tensors = {name: _tensor(getattr(trajectory, name)) for name in _ARRAYS}
    write_motion_file(path, KIND, tensors, plain_provenance({**recipe, "fps": trajectory.fps}), NOUN)


def load_trajectory(path: str | Path) -> tuple[Trajectory, Provenance]:
    """The trajectory and the recipe of a file of `save_trajectory`.

    Nothing in the file is executed, and sizes are checked before memory is taken. Raises MotionError if it is
    missing, damaged, of another kind, or a value is out of its range.
    """
    tensors, recipe = read_motion_file(path, KIND, set(_ARRAYS), NOUN, _MAX_BYTES)
    fps = recipe.pop("fps", 0.0)
    try:
        if isinstance(fps, str):
            raise MotionError("its frames per second are not a number.")
        arrays = {name: tensor.double().numpy() for name, tensor in tensors.items()}
        return Trajectory(fps, **arrays), recipe
    except MotionError as error:
        raise MotionError(f"The trajectory in {path} cannot be used: {error}") from error


def _tensor(values: NDArray[np.floating]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
