"""Skin detail: brows, wrinkles, expression lines, colour, freckles, beard."""

import torch
from torch import Tensor

from avatar.renderer.colour import Colour, constant, gradient, mix, times, tinted
from avatar.renderer.factors import Factors
from avatar.renderer.mouth import Lips, lips
from avatar.renderer.pose import EYE_Y, mouth_y
from avatar.renderer.sdf import bump, length, smoothstep, speckle

SKIN_STOPS = (
    (0.94, 0.76, 0.65),
    (0.91, 0.69, 0.55),
    (0.80, 0.56, 0.41),
    (0.58, 0.37, 0.25),
    (0.36, 0.22, 0.155),
)


def skin_tone(f: Factors) -> Colour:
    """The skin's own colour [B, 1]."""
    base = gradient(SKIN_STOPS, f["skin_tone"])
    warm = 0.07 * f["skin_warmth"]
    return tinted(base, 1 + warm, 1.0, 1 - 1.3 * warm)


def brow_line(f: Factors, ax: Tensor) -> tuple[Tensor, Tensor]:
    """Height of the brow at |x| and how far along the brow that is: 0 at the inner end, 1 at the outer."""
    along = (ax - 0.11 + 0.035 * f["anger"]) / 0.35
    height = EYE_Y + 0.245 + 0.03 * f["brow_height"] + 0.025 * f["smile"] - 0.075 * f["anger"]
    arch = 0.045 + 0.025 * f["brow_arch"] + 0.02 * f["smile"]
    line = height + arch * (1 - (2 * along - 1.15).square())
    line = line - 0.115 * f["anger"] * (1 - along).clamp(0, 1.2).square() + 0.02 * f["anger"] * along
    return line - 0.045 * f["age"] * smoothstep(0.4, 1.1, along), along


def wrinkles(f: Factors, ax: Tensor, y: Tensor) -> Tensor:
    """Wrinkles of age, 0 … 1.

    On the forehead, beside and under the eyes, on the cheeks and beside the chin. None is thinner than two
    pixels of a 128² picture: a generator of that size could not show it.
    """
    wave = 0.012 * torch.cos(9 * ax)
    forehead = bump(y - 0.435 - wave, 0.038) + bump(y - 0.540 - wave, 0.040) + bump(y - 0.645 - wave, 0.038)
    forehead = forehead * bump(ax, 0.40)
    ex, ey = ax - f["eye_distance"] - 0.19, y - EYE_Y
    feet = (
        bump(ey - 0.02 - 0.30 * ex, 0.036)
        + bump(ey - 0.05 - 1.0 * ex, 0.038)
        + bump(ey + 0.01 + 0.55 * ex, 0.038)
    )
    feet = feet * bump(ex - 0.085, 0.085)
    ring = length((ax - f["eye_distance"]) * 0.80, y - EYE_Y + 0.015)
    below = smoothstep(-0.03, -0.12, y - EYE_Y)
    bag = (
        (bump(ring - 0.225, 0.040) + 0.25 * bump(ring - 0.305, 0.040))
        * below
        * bump(ax - f["eye_distance"] + 0.04, 0.21)
    )
    mx, my = ax - 0.225, y - mouth_y(f) + 0.15
    marionette = bump(mx + 0.15 * my - 1.2 * my.square(), 0.042) * bump(my, 0.16)
    cheek = bump(ax - 0.43 + 0.5 * (y + 0.38).square(), 0.036) * bump(y + 0.42, 0.20)
    return (0.9 * forehead + 0.75 * feet + 0.9 * bag + 0.45 * marionette + 0.2 * cheek).clamp(max=1.0)


def folds(f: Factors, ax: Tensor, y: Tensor) -> Tensor:
    """Expression lines, 0 … 1: from nose to mouth (smile, age), between the brows (anger)."""
    smile, anger, age = f["smile"], f["anger"], f["age"]
    t = ((-0.17 - y) / 0.36).clamp(-0.2, 1.2)
    line = 0.145 + 0.15 * t.clamp(min=1e-3).pow(0.8) + 0.045 * smile * t
    nasolabial = bump(ax - line, 0.042) * bump(t - 0.55, 0.62) * (0.50 * smile + 1.25 * age + 0.25 * anger)
    frown = bump(ax - 0.055, 0.037) * bump(y - 0.27 + 0.03 * anger, 0.11) * (anger + 0.45 * age)
    feet_x, feet_y = ax - f["eye_distance"] - 0.22, y - EYE_Y - 0.01
    feet = (bump(feet_y - 0.5 * feet_x, 0.026) + bump(feet_y + 0.3 * feet_x, 0.026)) * bump(
        feet_x - 0.04, 0.07
    )
    return (nasolabial + frown + 0.22 * smile * feet).clamp(max=1.1)


def relief(f: Factors, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Height above the skin of brows, folds, philtrum and the hollow under the lip."""
    front = smoothstep(0.25, 0.45, z)
    line, along = brow_line(f, ax)
    height = 0.014 * f["brow_thickness"] * bump(y - line, 0.055) * bump(along - 0.5, 0.62)
    height = height - 0.046 * f["age"] * wrinkles(f, ax, y) - 0.024 * folds(f, ax, y)
    middle = y - mouth_y(f)
    height = height - 0.010 * bump(ax, 0.045) * bump(middle - 0.14, 0.09)
    height = height - 0.016 * bump(ax, 0.16) * bump(middle + 0.155 + 0.15 * f["mouth_open"], 0.075)
    return front * height


def beard_mask(f: Factors, m: Lips, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Where a beard grows, 0 … 1: chin, jaw and up to the ears, but not the lips or the upper lip."""
    border = (
        y + 0.30 * (ax - 0.2).clamp(min=0) - 1.25 * (ax - 0.40).clamp(min=0) - 0.35 * (0.25 - z).clamp(min=0)
    )
    below = smoothstep(-0.36, -0.54, border)
    corner = bump(ax - 1.22 * f["mouth_width"] - 0.02, 0.13) * bump(y - mouth_y(f) + 0.09, 0.17)
    chin = smoothstep(0.0, 0.035, m.lower - m.below - y)
    away = torch.maximum(chin, smoothstep(1.05, 1.22, m.along))
    return torch.maximum(below, corner) * away * smoothstep(-0.12, 0.0, z)


def moustache_mask(f: Factors, m: Lips, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    over = y - m.upper - m.above
    droop = 0.10 * smoothstep(0.7, 1.3, m.along)
    reach = smoothstep(1.42, 0.95, m.along)
    return (
        smoothstep(-0.020, 0.03, over + droop)
        * smoothstep(0.125, 0.055, over + 1.5 * droop)
        * reach
        * (z > 0.4)
    )


def beard_height(f: Factors, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Height of beard and moustache above the skin."""
    m = lips(f, ax)
    full = smoothstep(0.50, 1.0, f["beard"])
    grown = 0.065 * full * beard_mask(f, m, ax, y, z) * (1 + 0.6 * smoothstep(-0.7, -0.95, y))
    return grown + 0.045 * smoothstep(0.40, 0.70, f["moustache"]) * moustache_mask(f, m, ax, y, z)


def paint_skin(f: Factors, hair: Colour, ax: Tensor, hx: Tensor, y: Tensor, z: Tensor) -> Colour:
    """The face without eyes and mouth: skin, blush, freckles, lines, brows, beard."""
    front = smoothstep(0.2, 0.4, z)
    colour = _complexion(f, ax, hx, y, z, front)
    lines = front * (0.66 * f["age"] * wrinkles(f, ax, y) + 0.36 * folds(f, ax, y)).clamp(max=0.8)
    colour = tinted(colour, 1 - 0.72 * lines, 1 - lines, 1 - lines)
    colour = _paint_brows(f, colour, hair, ax, y, front)
    return _paint_beard(f, colour, hair, ax, hx, y, z)


def _complexion(f: Factors, ax: Tensor, hx: Tensor, y: Tensor, z: Tensor, front: Tensor) -> Colour:
    colour = skin_tone(f)
    rosy = (0.20 + 0.72 * f["blush"] + 0.25 * f["smile"]) * bump(length(ax - 0.34, (y + 0.20) * 1.15), 0.33)
    rosy = rosy + 0.35 * bump(length(ax, y + 0.19, z - 0.90), 0.19)
    rosy = rosy * front + 0.35 * smoothstep(0.58, 0.70, ax)
    colour = tinted(colour, 1 + 0.05 * rosy, 1 - 0.25 * rosy, 1 - 0.22 * rosy)
    hollow = bump(length((ax - f["eye_distance"]) * 0.8, y - EYE_Y + 0.02) - 0.19, 0.09) * front
    colour = tinted(colour, 1 - 0.03 * hollow, 1 - 0.06 * hollow, 1 - 0.05 * hollow)
    spots = torch.sin(79 * hx + 4 * y) * torch.sin(87 * y - 6 * hx) * torch.sin(41 * hx - 57 * y)
    spots = spots * (0.85 + 0.35 * torch.sin(19 * hx + 23 * y))
    where = bump(length(ax * 0.72, y + 0.12), 0.46) * front
    colour = times(
        colour, 1 - 0.50 * smoothstep(0.30, 0.60, spots) * where * smoothstep(0.1, 0.5, f["freckles"])
    )
    mottled = torch.sin(11 * hx + 4) * torch.sin(13 * y + 2) + 0.5 * torch.sin(29 * hx) * torch.sin(
        23 * y + 1
    )
    return times(colour, 1 - 0.13 * smoothstep(0.25, 0.9, mottled) * f["age"])


def _paint_brows(f: Factors, colour: Colour, hair: Colour, ax: Tensor, y: Tensor, front: Tensor) -> Colour:
    line, along = brow_line(f, ax)
    half = (
        0.040
        * f["brow_thickness"]
        * (1.12 - 0.95 * (along - 0.30).clamp(min=0) - 0.8 * (0.2 - along).clamp(min=0))
    )
    strokes = 1 + 0.08 * torch.sin(75 * ax - 40 * y) * torch.sin(31 * ax + 3)
    brow = smoothstep(1.25, 0.45, (y - line).abs() / half.clamp(min=0.006) * strokes)
    brow = brow * smoothstep(-0.10, 0.06, along) * smoothstep(1.10, 0.9, along) * front
    dark = mix(times(hair, 0.62), constant(ax, 0.25, 0.18, 0.14), 0.3 * (1 - f["age"]))
    return mix(colour, dark, 0.88 * brow)


def _paint_beard(
    f: Factors, colour: Colour, hair: Colour, ax: Tensor, hx: Tensor, y: Tensor, z: Tensor
) -> Colour:
    m = lips(f, ax)
    beard, moustache = f["beard"], f["moustache"]
    lip = moustache_mask(f, m, ax, y, z)
    grown = torch.maximum(beard_mask(f, m, ax, y, z), lip * smoothstep(0.28, 0.5, beard))
    dots = speckle(110 * hx, 110 * y)
    stubble = grown * smoothstep(0.28, 0.42, beard) * (0.34 + 0.10 * dots)
    colour = mix(colour, times(hair, 0.6), stubble * (1 - smoothstep(0.50, 0.70, beard)))
    strand = torch.sin(34 * hx + 3 * torch.sin(6 * y)) * torch.sin(9 * y + 11 * hx)
    tuft = times(hair, 0.86 + 0.07 * strand)
    full = grown * smoothstep(0.50, 0.65, beard)
    return mix(colour, tuft, 0.95 * torch.maximum(full, lip * smoothstep(0.40, 0.55, moustache)))
