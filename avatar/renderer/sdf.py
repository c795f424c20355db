"""Signed-distance building blocks.

Coordinates are separate tensors, so that a compiler can fuse the arithmetic into one loop. Every function
takes and returns tensors that broadcast to [B, N], and measures in head units (a head is about two units
high). Formulas after Inigo Quilez, "Distance functions" and "Smooth minimum" (iquilezles.org).
"""

import torch
from torch import Tensor

Scalar = Tensor | float


def length(*parts: Tensor) -> Tensor:
    return (sum(part * part for part in parts) + 1e-12).sqrt()  # type: ignore[union-attr]  # there is always a part


def smooth_min(a: Tensor, b: Tensor, k: Scalar) -> Tensor:
    """Union of two bodies, blended over a width k (quadratic polynomial)."""
    h = torch.clamp(k - (a - b).abs(), min=0.0)
    return torch.minimum(a, b) - h * h * (0.25 / k)


def smooth_max(a: Tensor, b: Tensor, k: Scalar) -> Tensor:
    return -smooth_min(-a, -b, k)


def smoothstep(low: Scalar, high: Scalar, x: Tensor) -> Tensor:
    t = ((x - low) / (high - low)).clamp(0.0, 1.0)
    return t * t * (3 - 2 * t)


def bump(x: Tensor, width: Scalar) -> Tensor:
    """A smooth hill: 1 at x = 0, 0 beyond ±width."""
    t = (1 - (x / width).square()).clamp(min=0.0)
    return t * t


def speckle(x: Tensor, y: Tensor) -> Tensor:
    """White noise, 0 … 1, one value for each unit square; without sines, so that devices agree."""
    column, row = x.floor(), y.floor()
    a, b, c = (
        (column * 0.1031).remainder(1.0),
        (row * 0.1030).remainder(1.0),
        (column * 0.0973).remainder(1.0),
    )
    stir = a * (b + 33.33) + b * (c + 33.33) + c * (a + 33.33)
    return ((a + b + 2 * stir) * (c + stir)).remainder(1.0)


def ellipsoid(x: Tensor, y: Tensor, z: Tensor, rx: Scalar, ry: Scalar, rz: Scalar) -> Tensor:
    a, b, c = x / rx, y / ry, z / rz
    k0 = length(a, b, c)
    k1 = length(a / rx, b / ry, c / rz)
    return k0 * (k0 - 1) / k1


def capsule(
    x: Tensor,
    y: Tensor,
    z: Tensor,
    a: tuple[Scalar, Scalar, Scalar],
    b: tuple[Scalar, Scalar, Scalar],
    ra: Scalar,
    rb: Scalar,
) -> Tensor:
    """A rounded stick from a to b whose radius runs from ra to rb."""
    px, py, pz = x - a[0], y - a[1], z - a[2]
    dx, dy, dz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    t = ((px * dx + py * dy + pz * dz) / (dx * dx + dy * dy + dz * dz)).clamp(0.0, 1.0)
    return length(px - t * dx, py - t * dy, pz - t * dz) - (ra + (rb - ra) * t)
