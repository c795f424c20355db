"""Shading: the light that a surface point sends to the camera, from its material and lighting."""

import torch
from torch import Tensor

from avatar.renderer.colour import Colour, Material, constant, mix, times
from avatar.renderer.eyes import paint_eye, paint_lids
from avatar.renderer.factors import Factors
from avatar.renderer.hair import along_strands, cut, hair_colour, paint_hair, shaved
from avatar.renderer.head import Parts, distances
from avatar.renderer.light import lit
from avatar.renderer.mouth import paint_mouth
from avatar.renderer.pose import Vector, direction_to_head, direction_to_world, mirrored, to_head
from avatar.renderer.sdf import smoothstep
from avatar.renderer.skin import paint_skin, skin_tone
from avatar.renderer.wear import paint_clothes, paint_glasses


def surface(f: Factors, at: Vector, normal: Vector, open_sky: Tensor, sun: Tensor) -> tuple[Colour, Tensor]:
    """Light that leaves world points [B, N], and how near to a surface they are, 0 … 1."""
    parts = distances(f, *at)
    hx, hy, hz = to_head(f, *at)
    ax = mirrored(hx)
    material = _material(f, parts, hx, ax, hy, hz, at)
    along = direction_to_world(f, *along_strands(f, hx, hy, hz, direction_to_head(f, *normal)))
    light = lit(f, material, normal, along, open_sky, sun)
    return light, smoothstep(0.06, 0.03, parts.nearest())


def _material(
    f: Factors, parts: Parts, hx: Tensor, ax: Tensor, hy: Tensor, hz: Tensor, at: Vector
) -> Material:
    skin, on_lips = _skin(f, parts, hx, ax, hy, hz)
    flesh = torch.minimum(torch.minimum(parts.skin, parts.lid), parts.neck)
    body = torch.minimum(flesh, torch.minimum(parts.eye, parts.teeth))
    worn = torch.minimum(parts.clothes, parts.glasses)
    hair = smoothstep(0.010, -0.010, parts.hair - torch.minimum(body, worn))
    eye = smoothstep(0.003, -0.003, parts.eye - flesh) * (1 - hair)
    teeth = smoothstep(0.003, -0.003, parts.teeth - flesh) * (1 - hair) * (1 - eye)
    solid = torch.minimum(body, parts.hair)
    clothes = smoothstep(0.006, -0.006, parts.clothes - solid)
    glasses = smoothstep(0.004, -0.004, parts.glasses - torch.minimum(solid, parts.clothes))
    colour = mix(skin, paint_eye(f, hx, ax, hy, hz), eye)
    colour = mix(
        colour, mix(constant(hx, 0.93, 0.91, 0.87), constant(hx, 0.85, 0.76, 0.6), 0.6 * f["age"]), teeth
    )
    colour = mix(colour, paint_hair(f, cut(f), hx, hy, hz), hair)
    colour = mix(colour, paint_clothes(f, *at), clothes)
    colour = mix(colour, paint_glasses(f), glasses)
    bare = (1 - hair) * (1 - clothes) * (1 - glasses)
    shine = (0.07 + 0.12 * on_lips) * bare + 0.03 * eye + 0.25 * teeth + 0.6 * glasses + 0.01 * clothes
    return Material(colour, shine, bare * (1 - eye) * (1 - teeth), hair)


def _skin(f: Factors, parts: Parts, hx: Tensor, ax: Tensor, hy: Tensor, hz: Tensor) -> tuple[Colour, Tensor]:
    """The colour of the skin with all that is painted on it, and the lip mask, 0 … 1."""
    hair = hair_colour(f)
    colour = paint_skin(f, hair, ax, hx, hy, hz)
    colour, on_lips = paint_mouth(f, colour, skin_tone(f), ax, hy, hz)
    colour = paint_lids(f, colour, parts.lid, ax, hy, hz)
    colour = mix(colour, times(hair, 0.8), shaved(f, cut(f), hx, ax, hy, hz))
    return mix(colour, times(skin_tone(f), 0.92), smoothstep(0.03, -0.03, parts.neck - parts.skin)), on_lips
