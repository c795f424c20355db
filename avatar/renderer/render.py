"""From factors to pictures: ray marching, normals, shadows and lighting.

Rays are marched in cones first: cones eight pixels across, then two, then single rays, each from where its
cone first came near a surface (Hart 1996, "Sphere tracing").
"""

from collections.abc import Callable, Iterator
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from avatar.renderer.camera import CAMERA_Z, Rays, camera_rays, crop_frame, landmarks
from avatar.renderer.factors import Factors
from avatar.renderer.head import distances
from avatar.renderer.light import background, sunlight
from avatar.renderer.pose import Vector
from avatar.renderer.sdf import length, smoothstep
from avatar.renderer.shade import surface

__all__ = ["crop_frame", "landmarks", "render", "render_quickly"]

NEAR, FAR = CAMERA_Z - 1.6, CAMERA_Z + 1.7
CONES = ((8, 32), (2, 14))  # pixels across, steps
RAY_STEPS, LATE_STEPS, SHADOW_STEPS = 9, 24, 10
CPU_POINTS, GPU_POINTS = 1 << 16, 1 << 22  # points held at once
GAMMA = 1 / 2.2

Field = Callable[[Factors, Tensor, Tensor, Tensor], Tensor]


@torch.inference_mode()
def render(
    f: Factors, size: int = 128, supersample: int = 2, *, compiled: bool = False, zoom: float = 1.0
) -> Tensor:
    """Render heads, on the device that holds their factors.

    Args:
        f: factors, name → [B, 1].
        size: pixels per side.
        supersample: rays per pixel side.
        compiled: compile the inner loops first (minutes once; then several times faster).
        zoom: below 1 shows more than the FFHQ crop.

    Returns:
        float32 [B, 3, size, size] in [-1, 1].
    """
    return _trace(f, size, supersample, compiled, zoom).mean(dim=3).unflatten(2, (size, size)) * 2 - 1


@torch.inference_mode()
def render_quickly(f: Factors, size: int = 256, *, compiled: bool = False) -> Tensor:
    """Render heads like ``render`` at a quarter of its cost.

    It traces one ray per pixel, so edges are not smooth, and computes light once per four pixels.

    Args:
        f: factors, name → [B, 1].
        size: pixels per side, an even number.
        compiled: as for ``render``.

    Returns:
        float32 [B, 3, size, size] in [-1, 1].
    """
    rays = _trace(f, size // 2, 2, compiled, 1.0)
    blocks = rays.unflatten(3, (2, 2)).unflatten(2, (size // 2, size // 2))
    return blocks.transpose(3, 4).flatten(4, 5).flatten(2, 3) * 2 - 1


def _trace(f: Factors, size: int, supersample: int, compiled: bool, zoom: float) -> Tensor:
    """sRGB [B, 3, size², supersample²] in [0, 1] along each ray of each pixel."""
    use = _compiled if compiled else _as_is
    coarse, fine = use(field), use(fine_field)
    each = supersample**2
    start = _cones(coarse, f, size, zoom)
    chosen = _most(start < FAR - 0.01)  # the pixels that may show more than the backdrop
    rays = camera_rays(f, size, supersample, zoom).of_pixels(chosen, each)
    start = start.gather(1, chosen).repeat_interleave(each, dim=1)
    pieces = [start.new_zeros(len(start), 3, 0, each)]
    for first, last in _spans(f, chosen.shape[1], each):
        part = rays.part(first * each, last * each)
        depth = meet(coarse, f, part, start[:, first * each : last * each])
        at = part.at(depth)
        normal = normals(fine, f, *at)
        # Light varies slowly: one tap per pixel, not per ray.
        at_one, normal_one = _thin(at, each), _thin(normal, each)
        open_sky = occlusion(coarse, f, at_one, normal_one).repeat_interleave(each, dim=1)
        sun = shadow(coarse, f, at_one, normal_one).repeat_interleave(each, dim=1)
        rgb = pixels(f, depth, at, normal, open_sky, sun, part.u, part.v)
        pieces.append(rgb.unflatten(2, (-1, each)))
    index = chosen[:, None, :, None].expand(-1, 3, -1, each)
    return _backdrop(f, size, supersample).scatter(2, index, torch.cat(pieces, dim=2))


def _backdrop(f: Factors, size: int, supersample: int) -> Tensor:
    """sRGB [B, 3, size², supersample²] of the backdrop alone."""
    rays = camera_rays(f, size, supersample)
    colours = [c.clamp(1e-5, 1.0).pow(GAMMA) for c in background(f, rays.u, rays.v)]
    return torch.stack(colours, dim=1).unflatten(2, (size * size, -1))


def _most(wanted: Tensor) -> Tensor:
    """Indices [B, K] into rows [B, N]: all wanted entries, padded with others where a row has fewer."""
    count = int(wanted.sum(dim=1).max())
    return wanted.byte().argsort(dim=1, descending=True, stable=True)[:, :count]


def _cones(distance: Field, f: Factors, size: int, zoom: float) -> Tensor:
    """Safe starting depths [B, size²] for the rays of each pixel: no surface is nearer in its cone."""
    half = crop_frame(f)[2] / zoom
    depth = torch.full_like(half, NEAR)[:, :, None, None].expand(-1, 1, 1, 1)
    for across, steps in CONES:
        side = -(-size // across)
        rays = camera_rays(f, side, 1, zoom)
        radius = 1.6 * half / side  # a little more than half the diagonal of a cell
        begun = F.interpolate(depth, size=(side, side), mode="nearest").flatten(1)
        ends = [
            march_cone(distance, f, rays.part(first, last), begun[:, first:last], steps, radius)
            for first, last in _spans(f, side * side)
        ]
        depth = torch.cat(ends, dim=1).view(-1, 1, side, side)
        if size % across:  # cells of the next grid straddle the borders of this one's
            depth = -F.max_pool2d(-depth, 3, stride=1, padding=1)
    return F.interpolate(depth, size=(size, size), mode="nearest").flatten(1)


def _spans(f: Factors, pixels: int, each: int = 1) -> Iterator[tuple[int, int]]:
    """Ranges of pixels with ``each`` rays per pixel, to bound the number of points held at once."""
    points = GPU_POINTS if f["yaw"].is_cuda else CPU_POINTS
    step = max(1, points // (len(f["yaw"]) * each))
    for first in range(0, pixels, step):
        yield first, min(first + step, pixels)


def _thin(vector: Vector, each: int) -> Vector:
    x, y, z = (part[:, ::each] for part in vector)
    return x, y, z


def _as_is(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return function


@cache
def _compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return torch.compile(function, dynamic=True)


def field(f: Factors, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Signed distance [B, N] to the nearest surface of any material."""
    return distances(f, x, y, z).nearest()


def fine_field(f: Factors, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """``field`` with lines, brows and strands of hair."""
    return distances(f, x, y, z, fine=True).nearest()


def march(
    distance: Field, f: Factors, rays: Rays, depth: Tensor, steps: int, *, pace: float = 0.85
) -> Tensor:
    """Distance [B, N] along each ray to the surface, by sphere tracing from ``depth``.

    It is near FAR where a ray hits nothing.
    """
    for _ in range(steps):
        depth = (depth + pace * distance(f, *rays.at(depth))).clamp(max=FAR)
    return depth


def march_cone(distance: Field, f: Factors, rays: Rays, depth: Tensor, steps: int, radius: Tensor) -> Tensor:
    """Distance [B, N] along each ray to where a surface first comes as near as ``radius`` [B, 1]."""
    for _ in range(steps):
        clear = (distance(f, *rays.at(depth)) - radius).clamp(min=0)
        depth = (depth + 0.85 * clear).clamp(max=FAR)
    return depth


def meet(distance: Field, f: Factors, rays: Rays, depth: Tensor) -> Tensor:
    """Distance [B, N] along rays to the surface: some steps for all, then more for those that still move.

    The distance to curls grows twice too fast; shorter steps keep the late rays from oscillating.
    """
    depth = march(distance, f, rays, depth, RAY_STEPS)
    moving = (distance(f, *rays.at(depth)).abs() > 2e-3) & (depth < FAR - 0.01)
    late = _most(moving)
    if late.shape[1] == 0:
        return depth
    begun = depth.gather(1, late)
    ended = march(distance, f, rays.of_pixels(late, 1), begun, LATE_STEPS, pace=0.6)
    return depth.scatter(1, late, torch.where(moving.gather(1, late), ended, begun))


def normals(distance: Field, f: Factors, x: Tensor, y: Tensor, z: Tensor, step: float = 0.004) -> Vector:
    """Unit normals from four distances at the corners of a tetrahedron."""
    nx = ny = nz = torch.zeros_like(x)
    for sx, sy, sz in ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)):
        d = distance(f, x + sx * step, y + sy * step, z + sz * step)
        nx, ny, nz = nx + sx * d, ny + sy * d, nz + sz * d
    norm = length(nx, ny, nz)
    return nx / norm, ny / norm, nz / norm


def occlusion(distance: Field, f: Factors, at: Vector, normal: Vector) -> Tensor:
    """Ambient occlusion [B, N], 1 in the open: four taps along the normal."""
    blocked = torch.zeros_like(at[0])
    for reach, weight in ((0.03, 1.0), (0.09, 0.7), (0.18, 0.45), (0.32, 0.28)):
        d = distance(f, *(p + reach * n for p, n in zip(at, normal, strict=True)))
        blocked = blocked + weight * (reach - d).clamp(min=0) / reach * 0.32
    return (1 - blocked).clamp(0.12, 1.0)


def shadow(distance: Field, f: Factors, at: Vector, normal: Vector) -> Tensor:
    """Soft shadow of the key light [B, N], 1 where it is unobstructed."""
    light = sunlight(f)
    start = [p + 0.02 * n for p, n in zip(at, normal, strict=True)]
    travelled, clear = torch.full_like(at[0], 0.04), torch.ones_like(at[0])
    for _ in range(SHADOW_STEPS):
        d = distance(f, *(p + travelled * s for p, s in zip(start, light, strict=True)))
        clear = torch.minimum(clear, 0.5 + 0.5 * 7.0 * d / travelled)
        travelled = travelled + d.clamp(0.03, 0.26)
    return smoothstep(0.0, 1.0, clear)


def pixels(
    f: Factors, depth: Tensor, at: Vector, normal: Vector, open_sky: Tensor, sun: Tensor, u: Tensor, v: Tensor
) -> Tensor:
    """sRGB [B, 3, N] in [0, 1]: the lit surface, or the backdrop behind it."""
    seen, near = surface(f, at, normal, open_sky, sun)
    hit = near * (depth < FAR - 0.01)
    behind = background(f, u, v)
    linear = [b + (s - b) * hit for s, b in zip(seen, behind, strict=True)]
    return torch.stack([c.clamp(1e-5, 1.0).pow(GAMMA) for c in linear], dim=1)
