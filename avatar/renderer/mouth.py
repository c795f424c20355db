"""The mouth: lips as relief on the face, parting over a cavity with teeth and a tongue."""

from typing import NamedTuple

import torch
from torch import Tensor

from avatar.renderer.colour import Colour, constant, mix, times, tinted
from avatar.renderer.factors import Factors
from avatar.renderer.pose import mouth_depth, mouth_y
from avatar.renderer.sdf import bump, length, smooth_max, smoothstep


class Lips(NamedTuple):
    """The mouth at |x|: where the lips meet or part, and how far up and down they reach.

    upper, lower: heights of the upper lip's lower edge and the lower lip's upper edge; along: |x| as a share
    of the mouth's half width; above, below: heights of the two lips.
    """

    upper: Tensor
    lower: Tensor
    along: Tensor
    above: Tensor
    below: Tensor


def lips(f: Factors, ax: Tensor) -> Lips:
    smile, anger = f["smile"], f["anger"]
    half = f["mouth_width"] * (1 + 0.34 * smile - 0.08 * anger - 0.12 * f["mouth_open"])
    s = ax / half
    bend = 0.026 + f["mouth_curve"] + 0.120 * smile - 0.072 * anger - 0.030 * f["age"]
    wide = smoothstep(0.20, 1.0, smile) * (1 - 0.6 * anger)
    open_up = 0.026 * wide + 0.030 * f["mouth_open"]
    open_low = 0.085 * wide + 0.200 * f["mouth_open"]
    curve = s.clamp(max=1.15).square()
    arch = (1 - 1.12 * curve).clamp(min=0)
    base = mouth_y(f) - 0.030 * smile + 0.012 * anger + bend * curve
    thin = 1 - 0.22 * smile - 0.62 * anger - 0.38 * f["age"]
    taper = (1 - s.square()).clamp(min=1e-3).sqrt()
    bow = 1 + 0.22 * bump(ax - 0.055, 0.06) - 0.16 * bump(ax, 0.04)
    above = (1.6 * f["upper_lip"] * thin + 0.008) * taper * bow
    below = (1.8 * f["lower_lip"] * thin + 0.008) * taper
    return Lips(base + open_up * arch, base - open_low * arch, s, above + 2e-3, below + 2e-3)


def mouth_shape(f: Factors, skin: Tensor, ax: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """The skin with lips and an opening, and the distance to the teeth."""
    m = lips(f, ax)
    depth = mouth_depth(ax, z)
    front = smoothstep(-0.30, -0.15, depth)
    swell = 0.42 * (m.above * bump((y - m.upper) / m.above - 0.40, 0.68))
    swell = swell + 0.56 * (m.below * bump((m.lower - y) / m.below - 0.44, 0.66))
    swell = swell * smoothstep(1.04, 0.90, m.along)
    gap = torch.maximum(y - m.upper, m.lower - y)
    cavity = torch.maximum(torch.maximum(gap * 0.8, (m.along - 0.98) * 0.2), depth.abs() - 0.22)
    skin = smooth_max(skin - swell * front, -cavity - 0.004, 0.022)
    tooth_line = m.upper - 0.080 + 0.02 * m.along.square()
    teeth = torch.maximum(torch.maximum(tooth_line - y, y - m.upper - 0.05), (depth + 0.060).abs() - 0.035)
    return skin, 0.7 * torch.maximum(torch.maximum(teeth, (m.along - 0.93) * 0.2), cavity - 0.006)


def paint_mouth(
    f: Factors, skin: Colour, base: Colour, ax: Tensor, y: Tensor, z: Tensor
) -> tuple[Colour, Tensor]:
    """Lips and the inside of the mouth over skin; also the lip mask, 0 … 1."""
    m = lips(f, ax)
    depth = mouth_depth(ax, z)
    front = smoothstep(-0.32, -0.25, depth)
    side = smoothstep(1.02, 0.94, m.along) * front
    up = smoothstep(1.12, 0.80, (y - m.upper) / m.above) * (y > m.upper)
    low = smoothstep(1.15, 0.78, (m.lower - y) / m.below) * (y < m.lower)
    between = (y <= m.upper) * (y >= m.lower)
    on_lips = torch.maximum(torch.maximum(up, low), between * 1.0) * side
    red = 0.45 + 0.55 * f["lip_colour"] - 0.30 * f["age"]
    red = red * (1.0 + 0.20 * up)
    lip = tinted(base, 0.95 - 0.12 * red, 0.82 - 0.40 * red, 0.85 - 0.36 * red)
    lip = times(lip, 1 - 0.05 * torch.sin(95 * ax + 6 * y))
    colour = mix(skin, lip, 0.92 * on_lips)
    closed = smoothstep(0.045, 0.01, m.upper - m.lower)
    seam = torch.minimum((y - m.upper).abs(), (y - m.lower).abs())
    seam = smoothstep(0.016, 0.003, seam) * smoothstep(1.06, 0.94, m.along) * closed * front
    colour = times(colour, 1 - 0.58 * seam)
    corner = bump(length((m.along - 1.0) * 0.22, y - m.upper), 0.05) * front
    colour = times(colour, 1 - 0.28 * corner)
    inside = smoothstep(-0.035, -0.08, depth) * smoothstep(
        0.008, -0.008, torch.maximum(y - m.upper, m.lower - y)
    )
    inside = inside * smoothstep(1.05, 0.95, m.along) * (z > 0.3)
    tongue = bump(length(ax * 0.8, y - m.lower - 0.012), 0.11)
    cave = mix(constant(ax, 0.22, 0.07, 0.07), constant(ax, 0.68, 0.30, 0.30), 0.8 * tongue)
    return mix(colour, cave, inside), on_lips * (1 - inside)
