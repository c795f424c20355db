"""Glasses, and clothes around the shoulders and the neck."""

import torch
from torch import Tensor

from avatar.renderer.colour import Colour, Stops, choose, from_hue, mix, times
from avatar.renderer.factors import Factors
from avatar.renderer.pose import EYE_Y
from avatar.renderer.sdf import capsule, ellipsoid, length, smooth_max, smooth_min, smoothstep

COLLARS: Stops = (
    # height of the rim, distance from the neck, thickness, depth of the opening in front, rise to the back
    (-1.13, 0.075, 0.030, 0.00, 0.10),  # round
    (-1.12, 0.080, 0.028, 0.45, 0.12),  # V
    (-0.98, 0.060, 0.034, 0.75, 0.16),  # shirt
    (-0.93, 0.020, 0.055, 0.00, 0.05),  # polo neck
    (-1.06, 0.165, 0.110, 0.25, 0.42),  # hood
)
NONE = 4.0  # farther than anything visible


def glasses_shape(f: Factors, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Frames and temples; one person in five wears glasses."""
    worn = smoothstep(0.42, 0.46, f["glasses"])
    round_ = 1 - f["glasses_shape"]
    wide, tall = 0.205 - 0.015 * round_, 0.150 + 0.040 * round_
    cx = f["eye_distance"] + 0.005
    corner = tall * (1.0 - 0.5 * f["glasses_shape"])
    px = ((ax - cx).abs() - wide + corner).clamp(min=0)
    py = ((y - EYE_Y + 0.02).abs() - tall + corner).clamp(min=0)
    rim = length(px, py) - corner
    plane = z - 0.850 + 0.50 * ax.square()
    frame = length(rim, plane) - 0.0085 - 0.006 * f["glasses_shape"]
    bridge = capsule(ax, y, z, (0.0, EYE_Y + 0.055, 0.850), (cx - wide, EYE_Y + 0.03, 0.845), 0.009, 0.009)
    hinge = (cx + wide, EYE_Y + 0.05, 0.850 - 0.50 * (cx + wide).square())
    temple = capsule(ax, y, z, hinge, (0.64 * f["skull_width"], EYE_Y + 0.07, -0.10), 0.009, 0.010)
    whole = torch.minimum(frame, torch.minimum(bridge, temple))
    return whole + NONE * (1 - worn)


def clothes_shape(f: Factors, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Shoulders, and a collar: a tube around the neck, cut open in front."""
    rim, away, thick, opening, rise = choose(COLLARS, f["collar"])
    body = ellipsoid(x, y + 1.86, z + 0.30, 1.28, 0.70, 0.66)
    ax = x.abs()
    neck = 0.29 * f["neck_width"] + away
    tilt = y - rim - rise * (-z - 0.10)
    flare = neck + (0.20 - 0.6 * away) * (-tilt).clamp(0, 0.5)
    ring = length(ax, (z + 0.17) / 1.08) - flare
    collar = length(ring, (tilt + 0.16).abs().sub(0.16).clamp(min=0)) - thick
    wedge = smooth_max(ax - opening * (tilt + 0.50) * 0.75, 0.05 - z, 0.02)
    return smooth_max(smooth_min(body, collar, 0.05), torch.where(opening > 0.02, -wedge, -NONE), 0.03)


def paint_clothes(f: Factors, x: Tensor, y: Tensor, z: Tensor) -> Colour:
    """One colour and a faint weave."""
    base = from_hue(f["clothes_hue"], f["clothes_saturation"], f["clothes_value"])
    weave = 1 + 0.035 * torch.sin(120 * x) * torch.sin(120 * y)
    return times(base, weave)


def paint_glasses(f: Factors) -> Colour:
    tint = from_hue(f["glasses_hue"], 0.75, 0.55 * f["glasses_hue"] + 0.05)
    black = from_hue(f["glasses_hue"], 0.2, 0.10 + 0 * f["glasses_hue"])
    return mix(black, tint, smoothstep(0.35, 0.6, f["glasses_hue"]))
