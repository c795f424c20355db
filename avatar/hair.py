"""Hair: an offset of the scalp that grows away from the hairline, a curtain where it is long, a bun.

A cut is a row of a table that the factor ``hair_cut`` runs along; length, volume, curl, hairline, parting and
baldness vary every cut.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from avatar.colour import Colour, Stops, choose, constant, gradient, mix, times, tinted
from avatar.factors import Factors
from avatar.pose import Vector
from avatar.sdf import bump, length, smooth_max, smooth_min, smoothstep

HAIR_STOPS = (
    (0.07, 0.06, 0.07),
    (0.17, 0.11, 0.08),
    (0.36, 0.22, 0.12),
    (0.60, 0.41, 0.21),
    (0.88, 0.73, 0.46),
)

CUTS: Stops = (
    # top, sides, lift, fringe, length, curl, bun, sweep
    (-0.04, -0.05, 0.00, 0.0, 0.00, 0.0, 0.0, 0.0),  # bald
    (0.030, 0.012, 0.00, 0.0, 0.00, 0.0, 0.0, 0.0),  # buzz
    (0.110, 0.030, 0.08, 0.3, 0.00, 0.1, 0.0, 0.2),  # crop
    (0.110, 0.020, 0.17, -0.3, 0.00, 0.0, 0.0, 0.2),  # quiff
    (0.150, 0.070, 0.10, 0.0, 0.00, 0.0, 0.0, 1.0),  # side parting
    (0.170, 0.080, 0.06, 0.2, 0.00, 1.0, 0.0, 0.2),  # curls
    (0.260, 0.260, 0.10, -0.2, 0.00, 1.2, 0.0, 0.0),  # afro
    (0.130, 0.130, 0.00, 1.0, 0.55, 0.0, 0.0, 0.0),  # bob with a fringe
    (0.110, 0.080, 0.04, -0.2, 1.00, 0.0, 0.0, 0.6),  # long
    (0.140, 0.130, 0.05, 0.0, 0.95, 0.6, 0.0, 0.9),  # waves
    (0.070, 0.040, 0.02, -0.2, 0.00, 0.0, 1.0, 0.0),  # bun
)


class Cut(NamedTuple):
    """One person's hair, each [B, 1]."""

    top: Tensor
    sides: Tensor
    lift: Tensor
    fringe: Tensor
    long: Tensor
    curl: Tensor
    bun: Tensor
    sweep: Tensor
    there: Tensor


def cut(f: Factors) -> Cut:
    top, sides, lift, fringe, long, curl, bun, sweep = choose(CUTS, f["hair_cut"])
    fuller = 0.75 + 0.5 * f["hair_volume"]
    there = smoothstep(0.0, 0.03, top)
    thin = 1 - 0.7 * smoothstep(0.3, 0.9, f["baldness"])
    top = torch.where(top > 0, top * fuller * thin, top)
    long = long * (0.80 + 0.35 * f["hair_length"]) * (1 - smoothstep(0.5, 0.9, f["baldness"]))
    curl = curl + 0.30 * f["hair_curl"] * there
    sides = torch.where(sides > 0, sides * fuller, sides)
    side = f["hair_part"] / (f["hair_part"].abs() + 0.25)
    return Cut(top, sides, lift * thin, fringe * thin, long, curl, bun * thin, sweep * side, there)


def hair_colour(f: Factors) -> Colour:
    """The hair's own colour [B, 1]; it greys with age."""
    base = gradient(HAIR_STOPS, f["hair_colour"] * (1 - 0.55 * smoothstep(0.55, 1.0, f["skin_tone"])))
    red = smoothstep(0.75, 1.0, f["hair_red"]) * smoothstep(0.2, 0.5, f["hair_colour"]) * (1 - f["skin_tone"])
    base = tinted(base, 1 + 0.5 * red, 1 - 0.25 * red, 1 - 0.55 * red)
    return mix(base, constant(f["age"], 0.84, 0.84, 0.85), 0.95 * smoothstep(0.15, 0.95, f["age"]))


def hair_height(f: Factors, c: Cut, hx: Tensor, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """How far above the hairline a point of the scalp lies; negative on the face."""
    line = (
        0.68 + 0.05 * f["hairline"] + 0.62 * f["baldness"].square() + 0.04 * f["forehead"] + 0.03 * f["age"]
    )
    line = line - 0.27 * c.fringe * bump(ax, 0.75)
    line = line + 0.022 * (c.fringe.abs() + 0.3) * torch.sin(29 * hx + 2 * torch.sin(9 * hx))
    swept = 0.22 * c.sweep * hx + 0.10 * c.sweep.abs() * (hx + 0.22 * c.sweep).abs()
    temples = 0.95 - 0.15 * c.fringe
    front = y - line + temples * ax.square() + swept
    back = 1.7 * (0.16 - z).clamp(min=0)
    nape = 2.0 * (-0.55 - y).clamp(min=0) * (1 - smoothstep(0.1, 0.4, c.long))
    ear = 0.60 * bump(z + 0.06, 0.20) * bump(y + 0.08, 0.32)
    ear = ear * (1 - smoothstep(0.2, 0.6, c.long)) * (1 - smoothstep(0.09, 0.15, c.sides))
    return front + back - nape - ear


def hair_shape(f: Factors, c: Cut, scalp: Tensor, hx: Tensor, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    height = hair_height(f, c, hx, ax, y, z)
    full = c.sides + (c.top - c.sides) * smoothstep(0.20, 0.80, y + 0.15 * z)
    full = full + c.lift * bump(z - 0.50, 0.55) * bump(hx - 0.15 * c.sweep, 0.95) * smoothstep(0.45, 0.85, y)
    full = full * (1 + 0.5 * c.sweep * hx)
    root = 0.34 - 0.24 * c.fringe
    grown = 1 - (1 - (height / root).clamp(0, 1)).square()
    thickness = full * grown - 0.05 * smoothstep(0.02, -0.05, height) - 0.06 * (1 - c.there)
    curls = c.curl * _curls(hx, y, z)
    hair = scalp - thickness - 0.045 * curls * smoothstep(0.0, 0.14, thickness)
    hair = smooth_min(hair, _curtain(f, c, curls, ax, y, z), 0.10)
    bun = length(hx, y - 0.99, z + 0.22) - 0.25 * c.bun + 0.30 * smoothstep(0.5, 0.2, c.bun)
    return 0.8 * smooth_min(hair, bun, 0.05)


def _curtain(f: Factors, c: Cut, curls: Tensor, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Long hair: a tube about head and neck, open in front, from the temples down."""
    end = 0.05 - 1.45 * c.long
    wide = 0.64 + 0.14 * f["hair_volume"] + 0.10 * smoothstep(0.2, -0.9, y) + 0.03 * torch.sin(9 * y) * c.curl
    tube = (length(ax / wide, (z + 0.22) / 0.60) - 1) * 0.58
    tube = smooth_max(tube, end - y + 0.10 * ax, 0.14)
    tube = smooth_max(tube, y - 0.62, 0.30)
    tube = smooth_max(tube, z - 0.14 - 0.45 * (ax - 0.50).clamp(min=0), 0.10)
    inner = 0.49 - 0.9 * (0.02 - z).clamp(min=0)
    tube = smooth_max(tube, inner - ax, 0.10)
    return tube - 0.035 * curls + 0.50 * smoothstep(0.30, 0.05, c.long)


def _curls(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    a, b, c = x + 0.06 * torch.sin(11 * y), y + 0.06 * torch.sin(11 * z), z + 0.06 * torch.sin(11 * x)
    return torch.sin(17 * a) * torch.sin(17 * b) * torch.sin(17 * c)


def strands(f: Factors, c: Cut, hx: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """A pattern of strands, about -1 … 1, that radiates from the crown; broken up where hair curls."""
    around = torch.atan2(hx + 0.22 * c.sweep, z + 0.45) + 0.10 * torch.sin(5 * y) * c.curl
    wave = torch.sin(23 * around + 1.7 * torch.sin(7 * around + 2 * y)) + 0.7 * torch.sin(61 * around + 4 * y)
    fuzz = torch.sin(41 * hx + 5 * torch.sin(23 * y)) * torch.sin(43 * y + 5 * torch.sin(19 * hx))
    return 0.6 * wave + (0.6 * fuzz - 0.5 * wave) * (c.curl * 0.7).clamp(max=0.9)


def along_strands(f: Factors, x: Tensor, y: Tensor, z: Tensor, normal: Vector) -> Vector:
    """Unit tangents of strands, away from the crown, across a normal in the head's own axes."""
    dx, dy, dz = x - 0.20 * f["hair_part"], y - 1.15, z + 0.35
    out = dx * normal[0] + dy * normal[1] + dz * normal[2]
    dx, dy, dz = dx - out * normal[0], dy - out * normal[1], dz - out * normal[2]
    norm = length(dx, dy, dz)
    return dx / norm, dy / norm, dz / norm


def paint_hair(f: Factors, c: Cut, hx: Tensor, y: Tensor, z: Tensor) -> Colour:
    """Darker between strands and towards the roots, lighter at the tips."""
    strand = strands(f, c, hx, y, z)
    curl = _curls(hx, y, z) * (c.curl * 0.6).clamp(max=0.7)
    tip = 1 + 0.18 * smoothstep(0.3, -0.9, y)
    return times(hair_colour(f), tip * (1 + 0.17 * strand + 0.45 * curl).clamp(min=0.25))


def shaved(f: Factors, c: Cut, hx: Tensor, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """How much skin takes on the hair's colour, 0 … 1: at a soft hairline, and where it is shaved."""
    height = hair_height(f, c, hx, ax, y, z)
    edge = smoothstep(-0.045, 0.03, height + 0.012 * torch.sin(70 * hx + 20 * z)) * c.there
    scalp = 0.20 * smoothstep(-0.02, 0.10, height + 0.62 * f["baldness"].square())
    return torch.maximum(0.75 * edge, scalp)
