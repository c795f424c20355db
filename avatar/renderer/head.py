"""The shape of a head: one signed-distance function per material, from the factors."""

from typing import NamedTuple

import torch
from torch import Tensor

from avatar.renderer.eyes import eye_shape
from avatar.renderer.factors import Factors
from avatar.renderer.hair import cut, hair_shape, strands
from avatar.renderer.mouth import mouth_shape
from avatar.renderer.pose import mirrored, to_head
from avatar.renderer.sdf import capsule, smooth_min, smoothstep
from avatar.renderer.skin import beard_height, relief
from avatar.renderer.skull import face_shape, scalp_shape
from avatar.renderer.wear import clothes_shape, glasses_shape


class Parts(NamedTuple):
    """Distances [B, N] to each material."""

    skin: Tensor
    eye: Tensor
    lid: Tensor
    teeth: Tensor
    hair: Tensor
    neck: Tensor
    clothes: Tensor
    glasses: Tensor

    def nearest(self) -> Tensor:
        solid = smooth_min(self.skin, self.lid, 0.045)
        solid = torch.minimum(solid, self.eye)
        solid = torch.minimum(solid, self.teeth)
        solid = smooth_min(solid, self.neck, 0.16)
        solid = smooth_min(solid, self.hair, 0.015)
        return torch.minimum(torch.minimum(solid, self.clothes), self.glasses)


def distances(f: Factors, x: Tensor, y: Tensor, z: Tensor, *, fine: bool = False) -> Parts:
    """Distances to every material at world points x, y, z [B, N].

    ``fine`` adds relief that is too shallow for ray marching but affects normals: lines, brows, strands.
    """
    hx, hy, hz = to_head(f, x, y, z)
    ax = mirrored(hx)
    scalp = scalp_shape(f, ax, hy, hz)
    skin = face_shape(f, scalp, ax, hy, hz)
    eye, lid = eye_shape(f, ax, hy, hz)
    skin, teeth = mouth_shape(f, skin, ax, hy, hz)
    skin = skin - beard_height(f, ax, hy, hz)
    c = cut(f)
    hair = hair_shape(f, c, scalp, hx, ax, hy, hz)
    if fine:
        skin = skin - relief(f, ax, hy, hz)
        hair = hair - 0.0035 * strands(f, c, hx, hy, hz)
    neck_r = 0.29 * f["neck_width"] + 0.04 * smoothstep(-1.0, -1.4, y)
    neck = capsule(x, y, z, (0.0, -0.70, -0.14), (0.0, -1.8, -0.26), neck_r, neck_r + 0.03)
    clothes = clothes_shape(f, x, y, z)
    return Parts(skin, eye, lid, teeth, hair, neck, clothes, glasses_shape(f, ax, hy, hz))
