"""Head pose: rotation, and the positions of eyes and mouth.

Coordinates: x to the picture's right, y up, z towards the camera, the origin in the middle of the skull, the
chin near y = -1. The head rotates about the top of the neck: roll first, then pitch, then yaw.
"""

import torch
from torch import Tensor

from avatar.renderer.factors import Factors

Vector = tuple[Tensor, Tensor, Tensor]

EYE_Y, EYE_Z, EYE_RADIUS = 0.05, 0.560, 0.190
MOUTH_Z, MOUTH_BEND = 0.705, 0.8  # the mouth curves around the face: z = MOUTH_Z − MOUTH_BEND · x²
MAX_YAW, MAX_PITCH, MAX_ROLL = 0.61, 0.20, 0.21  # radians at degree 1: 35°, 11° and 12°
PIVOT_Y, PIVOT_Z = -0.35, -0.15


def to_head(f: Factors, x: Tensor, y: Tensor, z: Tensor) -> Vector:
    """World to head coordinates."""
    x, y, z = direction_to_head(f, x, y - PIVOT_Y, z - PIVOT_Z)
    return x, y + PIVOT_Y, z + PIVOT_Z


def direction_to_head(f: Factors, x: Tensor, y: Tensor, z: Tensor) -> Vector:
    """World to head coordinates of a direction: undo yaw, pitch and roll."""
    cy, sy, cp, sp, cr, sr = _turn(f)
    x, z = cy * x - sy * z, sy * x + cy * z
    y, z = cp * y + sp * z, -sp * y + cp * z
    x, y = cr * x + sr * y, -sr * x + cr * y
    return x, y, z


def direction_to_world(f: Factors, x: Tensor, y: Tensor, z: Tensor) -> Vector:
    """Head to world coordinates of a direction: roll, pitch, then yaw."""
    cy, sy, cp, sp, cr, sr = _turn(f)
    x, y = cr * x - sr * y, sr * x + cr * y
    y, z = cp * y - sp * z, sp * y + cp * z
    x, z = cy * x + sy * z, -sy * x + cy * z
    return x, y, z


def to_world(f: Factors, x: Tensor, y: Tensor, z: Tensor) -> Vector:
    """Head to world coordinates."""
    x, y, z = direction_to_world(f, x, y - PIVOT_Y, z - PIVOT_Z)
    return x, y + PIVOT_Y, z + PIVOT_Z


def _turn(f: Factors) -> tuple[Tensor, ...]:
    angles = f["yaw"] * MAX_YAW, f["pitch"] * MAX_PITCH, f["roll"] * MAX_ROLL
    return tuple(part for angle in angles for part in (angle.cos(), angle.sin()))


def mouth_y(f: Factors) -> Tensor:
    """Height of the mouth in the rest pose [B, 1]."""
    return -0.50 - 0.04 * f["nose_length"]


def mouth_depth(ax: Tensor, z: Tensor) -> Tensor:
    """Distance of a point in front of the closed mouth's surface."""
    return z - MOUTH_Z + MOUTH_BEND * ax.square()


def mirrored(x: Tensor) -> Tensor:
    """|x|, rounded at 0: paired features are built once."""
    return torch.sqrt(x * x + 1e-6)
