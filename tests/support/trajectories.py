"""Trajectories made by hand."""

from typing import Any

import numpy as np

from micromotion.drive.trajectory import Trajectory

SHAPES: dict[str, tuple[int, ...]] = {
    "lids": (2,),
    "gaze": (2, 2),
    "gap": (),
    "landmarks": (68, 2),
    "pose": (3,),
    "shift": (2,),
}


def still(frames: int = 1, fps: float = 25, **moving: Any) -> Trajectory:
    """A face at rest, but for the arrays given; these are repeated in every frame unless they have `frames`
    entries of their own."""
    values = {name: np.zeros((frames, *inner)) for name, inner in SHAPES.items()}
    values |= {"scale": np.ones(frames), "weight": np.ones(frames)}
    for name, given in moving.items():
        values[name] = np.broadcast_to(np.asarray(given, float), values[name].shape).copy()
    return Trajectory(fps, **values)


def displaced(**landmarks: tuple[float, float]) -> np.ndarray:
    """Displacements [68, 2] of dlib's landmarks: _48=(0.1, 0)."""
    moved = np.zeros((68, 2))
    for name, way in landmarks.items():
        moved[int(name.removeprefix("_"))] = way
    return moved
