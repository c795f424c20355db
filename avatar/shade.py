"""Colour and light: what each material looks like at the point where a ray meets the head.

Colours are linear RGB, three tensors [B, N].
"""

import torch
from torch import Tensor

from avatar.factors import Factors
from avatar.head import (
    EYE_RADIUS,
    Parts,
    beard_mask,
    brow_line,
    eye_coordinates,
    folds,
    hair_height,
    lid_edges,
    mouth_depth,
    mouth_lines,
    to_head,
    wrinkles,
)
from avatar.sdf import Scalar, bump, length, smoothstep

Colour = tuple[Tensor, Tensor, Tensor]

# sRGB stops along a factor from 0 to 1
SKIN_STOPS = (
    (0.98, 0.83, 0.74),
    (0.93, 0.71, 0.57),
    (0.78, 0.53, 0.37),
    (0.54, 0.33, 0.21),
    (0.32, 0.19, 0.13),
)
HAIR_STOPS = (
    (0.07, 0.06, 0.07),
    (0.17, 0.11, 0.08),
    (0.34, 0.21, 0.12),
    (0.58, 0.39, 0.20),
    (0.88, 0.72, 0.42),
)
EYE_STOPS = (
    (0.25, 0.13, 0.06),
    (0.45, 0.28, 0.10),
    (0.35, 0.45, 0.20),
    (0.22, 0.48, 0.68),
    (0.55, 0.66, 0.74),
)


def mix(a: Colour, b: Colour, t: Scalar) -> Colour:
    return a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t


def times(a: Colour, t: Scalar) -> Colour:
    return a[0] * t, a[1] * t, a[2] * t


def tinted(a: Colour, r: Scalar, g: Scalar, b: Scalar) -> Colour:
    return a[0] * r, a[1] * g, a[2] * b


def constant(like: Tensor, r: float, g: float, b: float) -> Colour:
    """An sRGB colour as linear tensors shaped like another."""
    one = torch.ones_like(like)
    return one * r**2.2, one * g**2.2, one * b**2.2


def gradient(stops: tuple[tuple[float, float, float], ...], t: Tensor) -> Colour:
    """Piecewise linear colour along t in [0, 1]."""
    position = t * (len(stops) - 1)
    weights = [(1 - (position - i).abs()).clamp(min=0) for i in range(len(stops))]
    red, green, blue = (
        sum(w * stop[c] ** 2.2 for w, stop in zip(weights, stops, strict=True)) for c in range(3)
    )
    return red, green, blue


def from_hue(hue: Tensor, saturation: Scalar, value: Tensor) -> Colour:
    """HSV with a cyclic hue in [0, 1], to linear RGB."""

    def channel(offset: float) -> Tensor:
        wave = ((hue * 6 + offset).remainder(6.0) - 3).abs() - 1
        return (value * (1 - saturation + saturation * wave.clamp(0, 1))).pow(2.2)

    return channel(0.0), channel(4.0), channel(2.0)


def skin_colour(f: Factors) -> Colour:
    base = gradient(SKIN_STOPS, f["skin_tone"])
    warm = 0.07 * f["skin_warmth"]
    return tinted(base, 1 + warm, 1.0, 1 - 1.3 * warm)


def hair_colour(f: Factors) -> Colour:
    base = gradient(HAIR_STOPS, f["hair_colour"] * (1 - 0.55 * smoothstep(0.55, 1.0, f["skin_tone"])))
    red = smoothstep(0.75, 1.0, f["hair_red"]) * smoothstep(0.2, 0.5, f["hair_colour"]) * (1 - f["skin_tone"])
    base = tinted(base, 1 + 0.5 * red, 1 - 0.25 * red, 1 - 0.55 * red)
    return mix(base, constant(f["age"], 0.86, 0.86, 0.87), 0.95 * smoothstep(0.15, 0.95, f["age"]))


def albedo(f: Factors, parts: Parts, x: Tensor, y: Tensor, z: Tensor) -> tuple[Colour, Tensor, Tensor]:
    """Colour, shininess (0 … 1) and translucency (1 for skin) at world points x, y, z [B, N]."""
    hx, hy, hz = to_head(f, x, y, z)
    ax = length(hx, torch.full_like(hx, 1e-3))
    skin = _face_paint(f, ax, hx, hy, hz)
    skin = _mouth_paint(f, parts, skin, ax, hy, hz)
    skin = _lid_paint(f, parts, skin, ax, hy, hz)
    colour = mix(skin, times(skin_colour(f), 0.92), smoothstep(0.03, -0.03, parts.neck - parts.skin))
    face = torch.minimum(torch.minimum(parts.skin, parts.lid), torch.minimum(parts.lips, parts.neck))
    other = torch.minimum(face, torch.minimum(parts.eye, parts.teeth))
    hair = smoothstep(0.012, -0.012, parts.hair - torch.minimum(other, parts.clothes))
    eye = smoothstep(0.003, -0.003, parts.eye - face) * (1 - hair)
    teeth = smoothstep(0.003, -0.003, parts.teeth - face) * (1 - hair) * (1 - eye)
    clothes = smoothstep(0.006, -0.006, parts.clothes - torch.minimum(other, parts.hair))
    colour = mix(colour, _eye_paint(f, hx, ax, hy, hz), eye)
    colour = mix(colour, constant(hx, 0.93, 0.91, 0.86), teeth)
    colour = mix(colour, _hair_paint(f, hx, hy, hz), hair)
    colour = mix(colour, from_hue(f["clothes_hue"], 0.45, f["clothes_value"]), clothes)
    shine = 0.16 * (1 - hair) * (1 - clothes) + 0.5 * eye + 0.35 * teeth + 0.10 * hair
    return colour, shine, (1 - hair) * (1 - clothes) * (1 - eye) * (1 - teeth)


def _face_paint(f: Factors, ax: Tensor, hx: Tensor, y: Tensor, z: Tensor) -> Colour:
    colour = skin_colour(f)
    front = smoothstep(0.2, 0.4, z)
    rosy = 0.20 + 0.5 * f["blush"] + 0.25 * f["smile"]
    cheek = bump(length(ax - 0.36, (y + 0.20) * 1.15), 0.30) * rosy
    nose = bump(length(ax, y + 0.20, z - 0.92), 0.20) * 0.35
    colour = tinted(
        colour, 1 + 0.06 * cheek, 1 - 0.24 * (cheek + nose) * front, 1 - 0.22 * (cheek + nose) * front
    )
    spots = torch.sin(61 * hx + 3 * y) * torch.sin(67 * y - 5 * hx) * torch.sin(31 * hx - 43 * y)
    spots = smoothstep(0.35, 0.75, spots) * bump(length(ax * 0.75, y + 0.08), 0.42) * front * f["freckles"]
    colour = times(colour, 1 - 0.35 * spots)
    blotch = smoothstep(0.3, 0.9, torch.sin(11 * hx + 4) * torch.sin(13 * y + 2)) * f["age"]
    colour = times(colour, 1 - 0.10 * blotch)
    lines = 0.54 * f["age"] * wrinkles(f, ax, y) + 0.34 * folds(f, ax, y)
    colour = tinted(colour, 1 - 0.75 * lines * front, 1 - lines * front, 1 - lines * front)
    line, along = brow_line(f, ax)
    half = 0.036 * f["brow_thickness"] * (1.12 - 0.75 * (along - 0.35).abs())
    hairs = 1 + 0.18 * torch.sin(70 * ax - 25 * y)
    brow = smoothstep(1.1, 0.55, (y - line).abs() / half.clamp(min=0.004) * hairs)
    brow = brow * smoothstep(-0.12, 0.02, along) * smoothstep(1.08, 0.95, along) * front
    hair = hair_colour(f)
    colour = mix(
        colour, mix(times(hair, 0.7), constant(ax, 0.25, 0.18, 0.14), 0.25 * (1 - f["age"])), 0.9 * brow
    )
    stubble = beard_mask(f, ax, y, z) * smoothstep(0.05, 0.5, f["beard"])
    grain = 0.88 + 0.12 * torch.sin(55 * hx + 8 * torch.sin(9 * y)) * torch.sin(31 * y)
    colour = mix(colour, times(hair, 0.85 * grain), 0.92 * stubble)
    shaved = (
        smoothstep(-0.02, 0.10, hair_height(f, hx, ax, y, z) + 0.62 * f["baldness"].square()) * f["baldness"]
    )
    return mix(colour, times(hair, 0.9), 0.25 * shaved)


def _mouth_paint(f: Factors, parts: Parts, skin: Colour, ax: Tensor, y: Tensor, z: Tensor) -> Colour:
    upper, lower, s = mouth_lines(f, ax)
    base = skin_colour(f)
    red = 0.35 + 0.45 * f["lip_colour"] - 0.25 * f["age"]
    lip = tinted(base, 0.96 - 0.10 * red, 0.84 - 0.38 * red, 0.86 - 0.34 * red)
    on_lips = smoothstep(0.014, -0.004, parts.lips - parts.skin)
    colour = mix(skin, lip, on_lips)
    seam = smoothstep(0.016, 0.004, torch.minimum((y - upper).abs(), (y - lower).abs())) * smoothstep(
        1.06, 0.9, s
    )
    seam = seam * smoothstep(0.045, 0.01, upper - lower) * (mouth_depth(ax, z) > -0.2)
    colour = times(colour, 1 - 0.62 * seam)
    corner = bump(length((s - 1.0) * 0.25, y - upper), 0.05) * (mouth_depth(ax, z) > -0.2)
    colour = times(colour, 1 - 0.35 * corner)
    inside = smoothstep(-0.035, -0.075, mouth_depth(ax, z)) * smoothstep(
        0.008, -0.008, torch.maximum(y - upper, lower - y)
    )
    inside = inside * smoothstep(1.05, 0.95, s) * (z > 0.3)
    tongue = bump(length(ax * 0.8, y - lower - 0.012), 0.11)
    cave = mix(constant(ax, 0.22, 0.07, 0.07), constant(ax, 0.68, 0.30, 0.30), 0.8 * tongue)
    return mix(colour, cave, inside)


def _lid_paint(f: Factors, parts: Parts, skin: Colour, ax: Tensor, y: Tensor, z: Tensor) -> Colour:
    ex, ey, ez = eye_coordinates(f, ax, y, z)
    up, low = lid_edges(f, ey, ez)
    radius = EYE_RADIUS * f["eye_size"]
    near = smoothstep(1.42, 1.22, length(ex, ey, ez) / radius) * (z > 0.3)
    reach = smoothstep(1.12, 0.98, ex.abs() / radius)
    shadow = bump(up - 0.055, 0.06) * near * reach
    skin = times(skin, 1 - 0.16 * shadow)
    lash = smoothstep(0.036, 0.014, up.abs()) * near * reach * smoothstep(0.05, 0.02, parts.lid)
    skin = mix(skin, constant(ax, 0.10, 0.07, 0.06), 0.92 * lash)
    under = smoothstep(0.022, 0.006, low.abs()) * near * reach * smoothstep(0.05, 0.02, parts.lid)
    skin = mix(skin, constant(ax, 0.40, 0.22, 0.18), 0.28 * under * (1 - f["eyes_closed"]))
    crease = (
        bump(length(ex * 0.85, ey - 0.03, ez * 0.6) / radius - 1.13, 0.075)
        * smoothstep(0.02, 0.08, ey)
        * (z > 0.3)
    )
    return times(skin, 1 - 0.24 * crease * (1 - 0.55 * f["eyes_closed"]))


def _eye_paint(f: Factors, hx: Tensor, ax: Tensor, y: Tensor, z: Tensor) -> Colour:
    radius = EYE_RADIUS * f["eye_size"]
    ex, ey, ez = eye_coordinates(f, ax, y, z)
    side = torch.where(hx < 0, -1.0, 1.0)
    look_x, look_y = 0.42 * f["gaze_x"] * side - 0.05, 0.26 * f["gaze_y"] + 0.03
    r = length(ex / radius - look_x, ey / radius - look_y)
    iris = gradient(EYE_STOPS, f["eye_colour"] * (1 - 0.8 * smoothstep(0.4, 0.7, f["skin_tone"])))
    iris = times(
        iris, 0.75 + 0.6 * smoothstep(0.46, 0.20, r) * (0.6 - 0.8 * (ey / radius - look_y)).clamp(0.3, 1.3)
    )
    white = mix(
        constant(ax, 0.93, 0.92, 0.91),
        constant(ax, 0.86, 0.70, 0.66),
        bump(length(ex / radius).abs() - 1.0, 0.5) * 0.6,
    )
    colour = mix(white, iris, smoothstep(0.50, 0.46, r))
    colour = times(colour, 1 - 0.65 * bump(r - 0.47, 0.075))
    colour = mix(colour, constant(ax, 0.02, 0.02, 0.02), smoothstep(0.235, 0.195, r))
    glint_x = 0.17 * torch.where(f["light_azimuth"] < 0, -1.0, 1.0) * side
    glint = smoothstep(0.13, 0.08, length(ex / radius - look_x - glint_x, ey / radius - look_y - 0.17))
    up, _ = lid_edges(f, ey, ez)
    shade = 1 - 0.45 * smoothstep(-0.07, 0.0, up)
    return mix(times(colour, shade), constant(ax, 1.0, 1.0, 1.0), 0.9 * glint)


def _hair_paint(f: Factors, x: Tensor, y: Tensor, z: Tensor) -> Colour:
    strand = torch.sin(44 * x + 9 * y * f["hair_part"]) + 0.5 * torch.sin(83 * x + 5 * z + 4 * y)
    curl = torch.sin(17 * x) * torch.sin(17 * y) * torch.sin(17 * z)
    return times(hair_colour(f), 1 + 0.16 * strand * (1 - f["hair_curl"]) + 0.55 * curl * f["hair_curl"])


def sunlight(f: Factors) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vector [B, 1] towards the key light."""
    az, el = f["light_azimuth"], f["light_elevation"]
    return az.sin() * el.cos(), el.sin(), az.cos() * el.cos()


def lit(
    f: Factors,
    colour: Colour,
    shine: Tensor,
    translucency: Tensor,
    normal: tuple[Tensor, Tensor, Tensor],
    occlusion: Tensor,
    shadow: Tensor,
    y: Tensor,
) -> Colour:
    """Light a surface.

    It adds a wrapped key light with its shadow, fill from the sky and from below, a rim and a highlight.
    """
    nx, ny, nz = normal
    lx, ly, lz = sunlight(f)
    facing = nx * lx + ny * ly + nz * lz
    wrap = 0.18 + 0.12 * translucency
    key = ((facing + wrap) / (1 + wrap)).clamp(min=0) * (0.25 + 0.75 * shadow)
    warm = f["light_warmth"]
    sky = f["fill"] * (0.62 + 0.38 * ny) * occlusion
    bounce = 0.10 * (1 - ny) * occlusion
    rim = (1 - nz).clamp(0, 1).pow(3) * 0.22 * occlusion * (0.5 + 0.5 * ny)
    hx, hy, hz = lx, ly, lz + 1
    norm = length(hx, hy, hz)
    gloss = ((nx * hx + ny * hy + nz * hz) / norm).clamp(min=0)
    highlight = (gloss.pow(24) * 0.5 + gloss.pow(90) * 0.5) * shine * (0.3 + 0.7 * shadow)
    edge = translucency * bump(facing + 0.05, 0.35) * 0.10
    red = colour[0] * (key * (1.0 + 0.09 * warm) * 1.05 + sky * 0.95 + bounce * 1.2 + rim + edge) + highlight
    green = colour[1] * (key * 1.02 + sky * 0.98 + bounce + rim) + highlight
    blue = colour[2] * (key * (0.97 - 0.11 * warm) + sky * 1.05 + bounce * 0.9 + rim) + highlight
    return red, green, blue


def background(f: Factors, u: Tensor, v: Tensor) -> Colour:
    """A studio backdrop over picture coordinates u, v in [-1, 1].

    It has one hue, and is lighter on the side away from the key light.
    """
    glow = 1.12 - 0.34 * length(u + 0.5 * f["light_azimuth"].sin(), v - 0.1)
    return from_hue(
        f["background_hue"], f["background_saturation"], (f["background_value"] * glow).clamp(0.02, 1.0)
    )
