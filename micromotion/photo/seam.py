"""The outline of a moving face in a photo, and the feathering of its seam.

Points are (x, y) in the unit square of FFHQ's crop: (0, 0) is the outer corner of its top left pixel.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from micromotion.types import Floats

_ANGLES = 180
_FOREHEAD = 0.25  # of the distance from the chin to the root of the nose, above the brows


@dataclass(frozen=True)
class Outline:
    """A closed line around `centre` (x, y): `radii` [n] at n even angles, clockwise from the right."""

    centre: Floats
    radii: Floats

    def inside(self, points: Floats) -> Floats:
        """How far points [..., 2] are inside the line, towards the centre; negative outside. [...]."""
        offset = points - self.centre
        turn = np.arctan2(offset[..., 1], offset[..., 0]) / (2 * np.pi) * len(self.radii)
        at = np.arange(len(self.radii))
        reach: Floats = np.interp(turn, at, self.radii, period=len(at))
        return reach - np.hypot(offset[..., 0], offset[..., 1])


def face_outline(landmarks: Floats) -> Outline:
    """The outline around jaw, cheeks, brows and forehead, of 68 landmarks [68, 2]."""
    jaw, brows = landmarks[:17], landmarks[26:16:-1]
    forehead = brows + _FOREHEAD * (landmarks[27] - landmarks[8])
    return around(np.concatenate([jaw, forehead]))


def around(polygon: Floats) -> Outline:
    """The outline of a polygon [n, 2] that is star-shaped about its middle."""
    centre = polygon.mean(axis=0)
    return Outline(centre, _reach(polygon - centre))


def gap(landmarks: Floats) -> float:
    """How far the lips are apart, of 68 landmarks [68, 2]; in mouth widths."""
    width = np.linalg.norm(landmarks[54] - landmarks[48])
    return float(np.linalg.norm(landmarks[61:64] - landmarks[67:64:-1], axis=1).mean() / width)


def crop_outline(margin: float) -> Outline:
    """The outline of the whole crop, with round corners, a margin inside its border."""
    angle = _angles()
    half = 0.5 - margin
    power = 6  # a superellipse, as the seam would show at a sharp corner
    radii = half / (np.abs(np.cos(angle)) ** power + np.abs(np.sin(angle)) ** power) ** (1 / power)
    return Outline(np.array([0.5, 0.5]), radii)


def feathered(depth: Tensor, width: float) -> Tensor:
    """0 for depth ≤ 0, rising smoothly to 1 at `width`."""
    rise = (depth / width).clamp(0, 1)
    return rise * rise * (3 - 2 * rise)


def _angles() -> Floats:
    angles: Floats = np.arange(_ANGLES, dtype=np.float64) * (2 * np.pi / _ANGLES)
    return angles


def _reach(polygon: Floats) -> Floats:
    """The distance from (0, 0) to a polygon [n, 2] at each angle: its outermost crossing."""
    edge = np.roll(polygon, -1, axis=0) - polygon
    ray = np.stack([np.cos(_angles()), np.sin(_angles())], axis=-1)[:, None]
    across = ray[..., 0] * edge[:, 1] - ray[..., 1] * edge[:, 0]
    across = np.where(np.abs(across) < 1e-12, 1e-12, across)
    distance = (polygon[:, 0] * edge[:, 1] - polygon[:, 1] * edge[:, 0]) / across
    along = (polygon[:, 0] * ray[..., 1] - polygon[:, 1] * ray[..., 0]) / across
    hit = (along >= 0) & (along <= 1) & (distance > 0)
    reach: Floats = np.where(hit, distance, 0).max(axis=1)
    return reach
