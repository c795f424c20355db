"""The camera: rays through the FFHQ crop of a head.

The crop is computed from the true positions of eyes and mouth, as ``micromotion.face.crop`` computes it
from landmarks. The positions are those of the rest pose, so an expression moves the face and not the crop;
head roll is levelled, so the shoulders lean instead.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from avatar.renderer.factors import Factors
from avatar.renderer.pose import EYE_RADIUS, EYE_Y, EYE_Z, MOUTH_BEND, MOUTH_Z, Vector, mouth_y, to_world

CAMERA_Z = 9.0


class Rays(NamedTuple):
    """Unit directions from the camera [B, N], and picture coordinates u, v [1 or B, N] in [-1, 1]."""

    direction: Vector
    u: Tensor
    v: Tensor

    def at(self, depth: Tensor) -> Vector:
        """The points at a distance [B, N] along the rays."""
        x, y, z = self.direction
        return x * depth, y * depth, CAMERA_Z + z * depth

    def part(self, start: int, stop: int) -> "Rays":
        x, y, z = (axis[:, start:stop] for axis in self.direction)
        return Rays((x, y, z), self.u[:, start:stop], self.v[:, start:stop])

    def of_pixels(self, chosen: Tensor, each: int) -> "Rays":
        """The rays of the chosen pixels [B, K], ``each`` rays per pixel."""
        wanted = chosen[:, :, None] * each + torch.arange(each, device=chosen.device)
        index = wanted.flatten(1)
        x, y, z = (axis.gather(1, index) for axis in self.direction)
        u, v = (part.expand(len(index), -1).gather(1, index) for part in (self.u, self.v))
        return Rays((x, y, z), u, v)


def camera_rays(f: Factors, size: int, supersample: int = 1, zoom: float = 1.0) -> Rays:
    """Rays through a picture of ``size`` pixels a side, ``supersample``² rays per pixel.

    They are ordered row by row and pixel by pixel; the rays of one pixel are adjacent.
    """
    inside = (torch.arange(supersample, device=f["yaw"].device) + 0.5) / supersample
    pixel = torch.arange(size, device=f["yaw"].device)
    across = ((pixel[:, None] + inside) / size * 2 - 1)[None, :, None, :]
    shape = size, size, supersample, supersample
    u = across.expand(shape).reshape(1, -1)
    v = -across.transpose(0, 1).transpose(2, 3).expand(shape).reshape(1, -1)
    cx, cy, half = crop_frame(f)
    level_x, level_y = cx + half / zoom * u, cy + half / zoom * v
    c, s = _level(f)
    dx, dy = c * level_x - s * level_y, s * level_x + c * level_y
    inverse = (dx.square() + dy.square() + CAMERA_Z**2).rsqrt()
    return Rays((dx * inverse, dy * inverse, -CAMERA_Z * inverse), u, v)


def landmarks(f: Factors) -> dict[str, tuple[Tensor, Tensor]]:
    """Positions of the alignment points: both eyes and the corners of the mouth, in the rest pose.

    They are in the image plane through the world's origin, rotated with the crop. Returns name → (x, y), each
    [B, 1].
    """
    c, s = _level(f)
    return {name: (c * x + s * y, c * y - s * x) for name, (x, y) in _projected(f).items()}


def crop_frame(f: Factors) -> tuple[Tensor, Tensor, Tensor]:
    """Centre x, centre y and half side, each [B, 1], of the FFHQ crop, in the coordinates of ``landmarks``.

    After Karras et al. 2019.
    """
    eyes, between_eyes, to_mouth = _axes(landmarks(f))
    half = torch.maximum(2.0 * torch.hypot(*between_eyes), 1.8 * torch.hypot(*to_mouth))
    return eyes[0] + 0.1 * to_mouth[0], eyes[1] + 0.1 * to_mouth[1], half


def _level(f: Factors) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the crop's rotation: from the eye axis plus the eye-to-mouth axis turned by 90°."""
    _, between_eyes, to_mouth = _axes(_projected(f))
    x, y = between_eyes[0] - to_mouth[1], between_eyes[1] + to_mouth[0]
    norm = torch.hypot(x, y)
    return x / norm, y / norm


def _axes(p: dict[str, tuple[Tensor, Tensor]]) -> tuple[tuple[Tensor, Tensor], ...]:
    """The midpoint of the eyes, and the vectors from left to right eye and from midpoint to mouth."""
    left, right = p["left_eye"], p["right_eye"]
    eyes = (left[0] + right[0]) / 2, (left[1] + right[1]) / 2
    mouth = tuple((a + b) / 2 for a, b in zip(p["left_mouth"], p["right_mouth"], strict=True))
    return eyes, (right[0] - left[0], right[1] - left[1]), (mouth[0] - eyes[0], mouth[1] - eyes[1])


def _projected(f: Factors) -> dict[str, tuple[Tensor, Tensor]]:
    one = torch.ones_like(f["yaw"])
    eye = f["eye_distance"], EYE_Y * one, EYE_Z + EYE_RADIUS * f["eye_size"]
    mouth = f["mouth_width"], mouth_y(f), MOUTH_Z - MOUTH_BEND * f["mouth_width"].square()
    return {
        f"{side}_{name}": _project(f, sign * x, y, z)
        for name, (x, y, z) in (("eye", eye), ("mouth", mouth))
        for side, sign in (("left", -1), ("right", 1))
    }


def _project(f: Factors, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    wx, wy, wz = to_world(f, x, y, z)
    scale = CAMERA_Z / (CAMERA_Z - wz)
    return wx * scale, wy * scale
