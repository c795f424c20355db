"""From factors to pictures: camera, ray marching and light.

The picture is the FFHQ crop of the head, computed from the true positions of eyes and mouth as
``micromotion.align`` computes it from landmarks. The positions are those of a face at rest, so an expression
moves the face and not the frame.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from avatar.factors import Factors
from avatar.head import EYE_RADIUS, EYE_Y, EYE_Z, distances, mouth_y, to_world
from avatar.sdf import length, smoothstep
from avatar.shade import albedo, background, lit, sunlight

CAMERA_Z = 9.0
NEAR, FAR = CAMERA_Z - 1.6, CAMERA_Z + 1.7
COARSE, COARSE_STEPS, FINE_STEPS, SHADOW_STEPS = 4, 44, 20, 8
GAMMA = 1 / 2.2

Vector = tuple[Tensor, Tensor, Tensor]
Field = Callable[[Factors, Tensor, Tensor, Tensor], Tensor]


@torch.inference_mode()
def render(
    f: Factors, size: int = 128, supersample: int = 2, *, compiled: bool = False, zoom: float = 1.0
) -> Tensor:
    """Render heads.

    Args:
        f: factors, name → [B, 1].
        size: pixels per side.
        supersample: rays per pixel side.
        compiled: compile the inner loops first (about a minute once; then several times faster).
        zoom: below 1 shows more than the FFHQ crop.

    Returns:
        float32 [B, 3, size, size] in [-1, 1].
    """
    distance, colour = (_compiled(field), _compiled(surface_colour)) if compiled else (field, surface_colour)
    side = size * supersample
    ray, u, v = camera_rays(f, side, zoom)
    coarse, _, _ = camera_rays(f, side // COARSE, zoom)
    depth = march(distance, f, coarse, torch.full_like(coarse[0], NEAR), COARSE_STEPS)
    depth = march(distance, f, ray, _nearest_of_neighbours(depth, side // COARSE), FINE_STEPS)
    at = (ray[0] * depth, ray[1] * depth, CAMERA_Z + ray[2] * depth)
    normal = normals(distance, f, *at)
    one = slice(None, None, supersample)  # light varies slowly: one tap a pixel, not one a ray
    at_one = _pick(at, side, one)
    normal_one = _pick(normal, side, one)
    open_sky = _spread(occlusion(distance, f, at_one, normal_one), size, supersample)
    sun = _spread(shadow(distance, f, at_one, normal_one), size, supersample)
    rgb = colour(f, depth, *at, *normal, open_sky, sun, u, v)
    picture = rgb.reshape(-1, 3, side, side)
    return torch.nn.functional.avg_pool2d(picture, supersample) * 2 - 1


def camera_rays(f: Factors, side: int, zoom: float) -> tuple[Vector, Tensor, Tensor]:
    """Unit ray directions [B, side²] from the camera, and picture coordinates u, v [1, side²] in [-1, 1]."""
    grid = (torch.arange(side, device=f["yaw"].device) + 0.5) / side * 2 - 1
    u, v = grid.repeat(side)[None], (-grid).repeat_interleave(side)[None]
    cx, cy, half = crop_frame(f)
    dx, dy = cx + half / zoom * u, cy + half / zoom * v
    inverse = (dx.square() + dy.square() + CAMERA_Z**2).rsqrt()
    return (dx * inverse, dy * inverse, -CAMERA_Z * inverse), u, v


def _nearest_of_neighbours(depth: Tensor, side: int) -> Tensor:
    """A safe starting depth for the fine rays.

    It is the least depth of the coarse ray and its eight neighbours, less a margin.
    """
    nearest = -torch.nn.functional.max_pool2d(-depth.view(-1, 1, side, side), 3, stride=1, padding=1)
    fine = nearest.repeat_interleave(COARSE, dim=2).repeat_interleave(COARSE, dim=3)
    return (fine - 0.04).flatten(1)


def _pick(vector: Vector, side: int, step: slice) -> Vector:
    x, y, z = (part.view(-1, side, side)[:, step, step].flatten(1) for part in vector)
    return x, y, z


def _spread(values: Tensor, size: int, supersample: int) -> Tensor:
    grid = values.view(-1, size, size)
    return grid.repeat_interleave(supersample, dim=1).repeat_interleave(supersample, dim=2).flatten(1)


@cache
def _compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return torch.compile(function, dynamic=True)


def field(f: Factors, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Signed distance [B, N] to the nearest surface of any material."""
    return distances(f, x, y, z).nearest()


def project(f: Factors, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Head coordinates to the image plane through the world's origin."""
    wx, wy, wz = to_world(f, x, y, z)
    scale = CAMERA_Z / (CAMERA_Z - wz)
    return wx * scale, wy * scale


def landmarks(f: Factors) -> dict[str, tuple[Tensor, Tensor]]:
    """Positions in the image plane of what aligns a face: both eyes and the corners of the mouth at rest.

    Returns name → (x, y), each [B, 1].
    """
    eye_x, one = f["eye_distance"], torch.ones_like(f["yaw"])
    eye_z = EYE_Z + EYE_RADIUS * f["eye_size"]
    mouth_x, mouth_z = f["mouth_width"], 0.735 - 0.9 * f["mouth_width"].square()
    return {
        "left_eye": project(f, -eye_x, EYE_Y * one, eye_z),
        "right_eye": project(f, eye_x, EYE_Y * one, eye_z),
        "left_mouth": project(f, -mouth_x, mouth_y(f) * one, mouth_z),
        "right_mouth": project(f, mouth_x, mouth_y(f) * one, mouth_z),
    }


def crop_frame(f: Factors) -> tuple[Tensor, Tensor, Tensor]:
    """Centre x, centre y and half side, each [B, 1], of the FFHQ crop in the image plane.

    After Karras et al. 2019, without the roll.
    """
    p = landmarks(f)
    eye_x, eye_y = ((p["left_eye"][i] + p["right_eye"][i]) / 2 for i in (0, 1))
    mouth_x, mouth_height = ((p["left_mouth"][i] + p["right_mouth"][i]) / 2 for i in (0, 1))
    between_eyes = (p["right_eye"][0] - p["left_eye"][0]).abs()
    to_mouth = torch.hypot(mouth_x - eye_x, mouth_height - eye_y)
    half = torch.maximum(2.0 * between_eyes, 1.8 * to_mouth)
    return eye_x + 0.1 * (mouth_x - eye_x), eye_y + 0.1 * (mouth_height - eye_y), half


def march(distance: Field, f: Factors, ray: Vector, depth: Tensor, steps: int) -> Tensor:
    """Distance [B, N] along each ray to the surface, by sphere tracing from ``depth``.

    It is near FAR where a ray meets nothing.
    """
    for _ in range(steps):
        step = distance(f, ray[0] * depth, ray[1] * depth, CAMERA_Z + ray[2] * depth)
        depth = (depth + 0.85 * step).clamp(max=FAR)
    return depth


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
    """Soft shadow of the key light [B, N], 1 where it is unhindered."""
    light = sunlight(f)
    start = [p + 0.02 * n for p, n in zip(at, normal, strict=True)]
    travelled, clear = torch.full_like(at[0], 0.05), torch.ones_like(at[0])
    for _ in range(SHADOW_STEPS):
        d = distance(f, *(p + travelled * s for p, s in zip(start, light, strict=True)))
        clear = torch.minimum(clear, 0.5 + 0.5 * 7.0 * d / travelled)
        travelled = travelled + d.clamp(0.04, 0.30)
    return smoothstep(0.0, 1.0, clear)


def surface_colour(
    f: Factors,
    depth: Tensor,
    x: Tensor,
    y: Tensor,
    z: Tensor,
    nx: Tensor,
    ny: Tensor,
    nz: Tensor,
    open_sky: Tensor,
    sun: Tensor,
    u: Tensor,
    v: Tensor,
) -> Tensor:
    """sRGB pixels [B, 3, N] in [0, 1]: the lit surface, or the backdrop behind it."""
    parts = distances(f, x, y, z)
    colour, shine, translucency = albedo(f, parts, x, y, z)
    seen = lit(f, colour, shine, translucency, (nx, ny, nz), open_sky, sun, y)
    hit = smoothstep(0.10, 0.05, parts.nearest()) * (depth < FAR - 0.01)
    behind = background(f, u, v)
    linear = [b + (s - b) * hit for s, b in zip(seen, behind, strict=True)]
    return torch.stack([c.clamp(1e-5, 1.0).pow(GAMMA) for c in linear], dim=1)
