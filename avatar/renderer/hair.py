"""Hair: an offset of the scalp that grows away from the hairline, a curtain where it is long, a bun.

A cut is a row of ``CUTS``, chosen by the factor ``hair_cut``; length, volume, curl, hairline, parting and
baldness vary every cut.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from avatar.renderer.colour import Colour, Stops, choose, constant, gradient, mix, times, tinted
from avatar.renderer.factors import Factors
from avatar.renderer.pose import Vector, mirrored
from avatar.renderer.sdf import bump, length, smooth_max, smooth_min, smoothstep
from avatar.renderer.skin import skin_tone

HAIR_STOPS = (
    (0.10, 0.085, 0.09),
    (0.20, 0.13, 0.10),
    (0.38, 0.23, 0.13),
    (0.61, 0.42, 0.23),
    (0.88, 0.73, 0.48),
)

CUTS: Stops = (
    # top, sides, lift, fringe, root, length, curl, wave, bun, sweep, part
    (-0.04, -0.05, 0.00, 0.0, 0.30, 0.00, 0.0, 0.0, 0.0, 0.0, 0.0),  # bald
    (0.030, 0.014, 0.00, 0.0, 0.30, 0.00, 0.0, 0.0, 0.0, 0.0, 0.0),  # buzz
    (0.090, 0.026, 0.13, 0.12, 0.26, 0.00, 0.1, 0.2, 0.0, 0.5, 0.0),  # crop
    (0.120, 0.022, 0.24, -0.2, 0.16, 0.00, 0.0, 0.3, 0.0, 0.6, 0.0),  # quiff
    (0.160, 0.055, 0.12, 0.2, 0.18, 0.00, 0.0, 0.3, 0.0, 1.0, 1.0),  # side parting
    (0.190, 0.090, 0.06, 0.3, 0.20, 0.00, 1.0, 0.0, 0.0, 0.3, 0.0),  # curls
    (0.270, 0.270, 0.08, -0.1, 0.30, 0.00, 0.8, 0.0, 0.0, 0.0, 0.0),  # afro
    (0.130, 0.165, 0.02, 1.0, 0.19, 0.58, 0.0, 0.0, 0.0, 0.3, 0.0),  # bob with a fringe
    (0.130, 0.090, 0.03, 0.0, 0.20, 1.00, 0.0, 0.2, 0.0, 0.6, 1.0),  # long
    (0.160, 0.130, 0.06, 0.1, 0.18, 0.95, 0.1, 1.0, 0.0, 0.9, 0.9),  # waves
    (0.080, 0.050, 0.04, -0.1, 0.26, 0.00, 0.0, 0.1, 1.0, 0.4, 0.0),  # bun
)


class Cut(NamedTuple):
    """One person's hair, each [B, 1]."""

    top: Tensor
    sides: Tensor
    lift: Tensor
    fringe: Tensor
    root: Tensor
    long: Tensor
    curl: Tensor
    wave: Tensor
    bun: Tensor
    sweep: Tensor
    part: Tensor
    there: Tensor


def cut(f: Factors) -> Cut:
    top, sides, lift, fringe, root, long, curl, wave, bun, sweep, part = choose(CUTS, f["hair_cut"])
    fuller = 0.75 + 0.5 * f["hair_volume"]
    there = smoothstep(0.0, 0.03, top)
    thin = 1 - 0.7 * smoothstep(0.3, 0.9, f["baldness"])
    top = torch.where(top > 0, top * fuller * thin, top)
    long = long * (0.80 + 0.35 * f["hair_length"]) * (1 - smoothstep(0.5, 0.9, f["baldness"]))
    curl = curl + 0.30 * f["hair_curl"] * there
    sides = torch.where(sides > 0, sides * fuller, sides)
    sweep = sweep * f["hair_part"] / (f["hair_part"].abs() + 0.25)
    lift, fringe, bun, part = lift * thin, fringe * thin, bun * thin, part * thin
    return Cut(top, sides, lift, fringe, root, long, curl, wave, bun, sweep, part, there)


def hair_colour(f: Factors) -> Colour:
    """The hair's own colour [B, 1]; it greys with age."""
    base = gradient(HAIR_STOPS, f["hair_colour"] * (1 - 0.55 * smoothstep(0.55, 1.0, f["skin_tone"])))
    red = smoothstep(0.75, 1.0, f["hair_red"]) * smoothstep(0.2, 0.5, f["hair_colour"]) * (1 - f["skin_tone"])
    base = tinted(base, 1 + 0.5 * red, 1 - 0.25 * red, 1 - 0.55 * red)
    return mix(base, constant(f["age"], 0.84, 0.84, 0.85), 0.95 * smoothstep(0.15, 0.95, f["age"]))


def _parting(c: Cut, hx: Tensor) -> Tensor:
    """Signed sideways distance of a point from the parting."""
    return hx + 0.24 * c.sweep


def hair_height(f: Factors, c: Cut, hx: Tensor, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Height of a point of the scalp above the hairline; negative on the face."""
    bald = f["baldness"].square()
    line = 0.69 + 0.05 * f["hairline"] + 0.04 * f["forehead"] + 0.03 * f["age"] + 0.50 * bald
    line = line - 0.28 * c.fringe * bump(ax * ax, 0.55) + 0.05 * (1 - c.fringe) * bump(ax - 0.36, 0.24)
    away = _parting(c, hx)
    swept = 0.28 * c.sweep * hx + c.part * (0.36 * (away.square() + 0.004).sqrt() - 0.08)
    locks = 0.016 * torch.sin(11 * hx + 9 * y)
    front = y - line + swept
    # Beside the forehead the line turns down to the ear, and behind the ear to the nape.
    below = 0.65 * (1 - smoothstep(0.1, 0.4, c.long))
    temple = 0.15 + (0.23 + below) * y + (0.23 - below) * (y.square() + 0.03).sqrt()
    side = 1.3 * (temple - z) - 1.1 * bald * smoothstep(0.40, 0.80, y)
    ear = 0.60 * bump(z + 0.06, 0.20) * bump(y + 0.08, 0.32)
    ear = ear * (1 - smoothstep(0.2, 0.6, c.long)) * (1 - smoothstep(0.09, 0.15, c.sides))
    return smooth_max(front, side, 0.16) + locks - ear


def hair_shape(f: Factors, c: Cut, scalp: Tensor, hx: Tensor, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    curls = c.curl * _curls(hx, y, z)
    height = hair_height(f, c, hx, ax, y, z) + 0.02 * curls
    high = smoothstep(0.20, 0.80, y + 0.15 * z)
    full = c.sides + (c.top - c.sides) * high
    full = full + c.lift * bump(z - 0.50, 0.60) * bump(hx - 0.25 * c.sweep, 0.85) * smoothstep(0.45, 0.85, y)
    full = full * (1 + 0.5 * c.sweep * hx) * (1 - 0.60 * c.part * high * bump(_parting(c, hx), 0.13))
    grown = 1 - (1 - (height / c.root).clamp(0, 1)).square()
    thickness = full * grown - 0.05 * smoothstep(0.02, -0.05, height) - 0.06 * (1 - c.there)
    hair = scalp - thickness - 0.050 * curls * smoothstep(0.0, 0.14, thickness)
    hair = smooth_min(hair, _curtain(f, c, curls, hx, ax, y, z), 0.12)
    bun = length(hx, y - 0.99, z + 0.22) - 0.25 * c.bun + 0.30 * smoothstep(0.5, 0.2, c.bun)
    return 0.8 * smooth_min(hair, bun, 0.05)


def _curtain(f: Factors, c: Cut, curls: Tensor, hx: Tensor, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Long hair: a tube about head and neck, open in front, from the temples down."""
    end = 0.05 - 1.45 * c.long
    roll = torch.sin(7.5 * y + 1.5 * c.sweep)
    wide = 0.64 + 0.14 * f["hair_volume"] + 0.10 * smoothstep(0.2, -0.7, y) + 0.045 * roll * c.wave
    wide = wide - 0.10 * smoothstep(0.25, -0.05, y - end)  # the ends turn under
    tube = (length(ax / wide, (z + 0.22) / 0.60) - 1) * 0.58
    tube = smooth_max(tube, end - y + 0.10 * ax, 0.22)
    tube = smooth_max(tube, y - 0.62, 0.30)
    tube = smooth_max(tube, z - 0.16 - 0.45 * (ax - 0.50).clamp(min=0), 0.16)
    inner = 0.50 - 0.10 * c.sweep * hx - 0.9 * (0.02 - z).clamp(min=0) + 0.03 * roll * c.wave
    tube = smooth_max(tube, inner - ax, 0.14)
    return tube - 0.035 * curls + 0.50 * smoothstep(0.30, 0.05, c.long)


def _curls(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Round bumps 0.27 apart, on a slightly distorted body-centred lattice: -0.33 … 1."""
    across, along = 1.2 * torch.sin(7 * y + 3 * z), 1.2 * torch.sin(7 * z + 4 * x)
    a, b, c = torch.cos(20 * x + across), torch.cos(20 * y + along), torch.cos(20 * z + across)
    return (a * b + b * c + c * a) / 3


def strands(f: Factors, c: Cut, hx: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Locks and strands, about -1 … 1, that fan out from the parting; rounder where hair curls."""
    tilt = 0.5 * c.sweep.abs()
    around = torch.atan2(_parting(c, hx), (1 - tilt) * (z + 0.45) + tilt * (1.05 - y))
    around = around + (0.02 + 0.06 * c.wave) * torch.sin(7 * y)
    wave = torch.sin(19 * around + 1.5 * torch.sin(5 * around + 2 * y))
    wave = wave + 0.35 * torch.sin(47 * around + 3 * y)
    small = _curls(1.9 * hx, 1.9 * y, 1.9 * z)
    return 1.2 * wave + (1.5 * small - 1.2 * wave) * (c.curl * 1.2).clamp(max=1.0)


def along_strands(f: Factors, x: Tensor, y: Tensor, z: Tensor, normal: Vector) -> Vector:
    """Unit tangents of strands, away from the crown, in head coordinates.

    They are perpendicular to the normals of a smooth ball rather than of the strands themselves, so that the
    sheen is one soft band on top; where hair curls or hangs they turn inwards, and it has almost no sheen.
    """
    c = cut(f)
    bx, by, bz = x, y - 0.25, z + 0.10
    size = length(bx, by, bz)
    bx, by, bz = bx / size, by / size, bz / size
    dx, dy, dz = x + 0.22 * c.sweep, y - 1.15, z + 0.35
    out = dx * bx + dy * by + dz * bz + 1.2 * smoothstep(0.3, 0.8, c.curl) + 0.5 * smoothstep(0.5, -0.1, y)
    dx, dy, dz = dx - out * bx, dy - out * by, dz - out * bz
    norm = length(dx, dy, dz)
    return dx / norm, dy / norm, dz / norm


def paint_hair(f: Factors, c: Cut, hx: Tensor, y: Tensor, z: Tensor) -> Colour:
    """Darker between locks, lighter at the tips; skin shines through at the hairline and at the parting."""
    strand = strands(f, c, hx, y, z)
    curl = _curls(hx, y, z) * (c.curl * 0.8).clamp(max=0.8)
    tip = 1 + 0.15 * smoothstep(0.3, -0.9, y)
    colour = times(hair_colour(f), tip * (1 + 0.08 * strand + 0.45 * curl).clamp(min=0.35))
    height = hair_height(f, c, hx, mirrored(hx), y, z) + 0.02 * strand
    thin = (1 - smoothstep(0.05, 0.5, c.fringe)) * (1 - smoothstep(0.05, 0.5, c.curl)) * (1 - c.part)
    bare = 0.70 * smoothstep(0.06, -0.02, height) * thin * (1 - smoothstep(0.12, 0.25, c.lift))
    bare = bare * smoothstep(-0.12, -0.06, height) * (1 - smoothstep(0.1, 0.4, c.long))
    fade = 0.55 * smoothstep(0.35, -0.10, y) * (1 - smoothstep(0.03, 0.06, c.sides))
    line = 0.55 * c.part * bump(_parting(c, hx), 0.035) * smoothstep(0.55, 0.75, y) * smoothstep(-0.3, 0.1, z)
    return mix(colour, times(skin_tone(f), 0.85), torch.maximum(torch.maximum(bare, fade), line))


def shaved(f: Factors, c: Cut, hx: Tensor, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """How much skin takes on the hair's colour, 0 … 1: at a soft hairline, and where it is shaved."""
    height = hair_height(f, c, hx, ax, y, z) + 0.02 * strands(f, c, hx, y, z)
    edge = smoothstep(-0.09, 0.06, height) * c.there
    scalp = 0.20 * smoothstep(-0.02, 0.10, height + 0.60 * f["baldness"].square())
    return torch.maximum(0.80 * edge, scalp)
