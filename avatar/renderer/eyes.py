"""Eyes and lids: spheres, and shells about them cut by two planes hinged in front of the eye's centre."""

import torch
from torch import Tensor

from avatar.renderer.colour import Colour, constant, gradient, mix, times
from avatar.renderer.factors import Factors
from avatar.renderer.pose import EYE_RADIUS, EYE_Y, EYE_Z
from avatar.renderer.sdf import bump, length, smooth_max, smoothstep

EYE_STOPS = (
    (0.25, 0.13, 0.06),
    (0.45, 0.28, 0.10),
    (0.35, 0.45, 0.20),
    (0.22, 0.48, 0.68),
    (0.40, 0.54, 0.64),
)
IRIS = 0.60  # of the eye's radius


def eye_coordinates(f: Factors, ax: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates about the eye's centre, turned by the eye's tilt (outer corner up)."""
    x, y = ax - f["eye_distance"], y - EYE_Y
    tilt = 0.55 * f["eye_tilt"] - 0.01
    c, s = tilt.cos(), tilt.sin()
    return c * x + s * y, c * y - s * x, z - EYE_Z


def lid_angles(f: Factors) -> tuple[Tensor, Tensor]:
    """Tangents of the elevation of the upper lid's edge and, counted downwards, of the lower one's."""
    lower = 0.54 - 0.34 * f["smile"] - 0.18 * f["anger"] - 0.20 * f["eyes_closed"]
    upper = f["eye_openness"] + 0.23 - 0.24 * f["anger"] - 0.12 * f["smile"] - 0.17 * f["age"]
    upper = upper + 0.12 * f["gaze_y"]
    return upper + (-lower - 0.10 - upper) * f["eyes_closed"], lower


def lid_edges(f: Factors, ex: Tensor, ey: Tensor, ez: Tensor) -> tuple[Tensor, Tensor]:
    """Signed height above the upper lid's edge, and signed depth below the lower one's."""
    upper, lower = lid_angles(f)
    ahead = ez - 0.30 * EYE_RADIUS
    droop = 0.35 * f["age"] * (ex.clamp(min=0) / EYE_RADIUS).square() * EYE_RADIUS * 0.4  # outer lid sinks
    up = (ey - ahead * upper + droop) * (1 + upper.square()).rsqrt()
    low = (-ey - ahead * lower) * (1 + lower.square()).rsqrt()
    return up, low


def eye_shape(f: Factors, ax: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Distances to the eyeball and to the lids."""
    radius = EYE_RADIUS * f["eye_size"]
    ex, ey, ez = eye_coordinates(f, ax, y, z)
    ball = length(ex, ey, ez)
    up, low = lid_edges(f, ex, ey, ez)
    upper = smooth_max(ball - radius - 0.020 - 0.010 * f["age"], -up, 0.014)
    lower = smooth_max(ball - radius - 0.011 - 0.012 * f["smile"], -low, 0.014)
    return ball - radius, torch.minimum(upper, lower)


def paint_lids(f: Factors, skin: Colour, near_lid: Tensor, ax: Tensor, y: Tensor, z: Tensor) -> Colour:
    """The crease and the shade of the lid, lashes along its edge; ``near_lid`` is the distance to a lid."""
    ex, ey, ez = eye_coordinates(f, ax, y, z)
    up, low = lid_edges(f, ex, ey, ez)
    radius = EYE_RADIUS * f["eye_size"]
    front = (z > 0.3) * 1.0
    near = smoothstep(1.42, 1.22, length(ex, ey, ez) / radius) * front
    reach = smoothstep(1.02, 0.90, (ex / radius - 0.04).abs()) * smoothstep(0.25, 0.45, ez / radius)
    on_lid = near * reach
    skin = times(skin, 1 - 0.16 * bump(up - 0.055, 0.06) * on_lid)
    dark = constant(ax, 0.09, 0.06, 0.055)
    thick = 0.007 + 0.006 * f["lashes"] + 0.012 * f["lashes"] * smoothstep(-0.5, 1.0, ex / radius)
    edge = on_lid * smoothstep(0.05, 0.02, near_lid)
    skin = mix(
        skin, dark, (0.75 + 0.2 * f["lashes"]) * smoothstep(thick + 0.016, thick, (up - 0.004).abs()) * edge
    )
    rim = smoothstep(0.022, 0.006, low.abs()) * edge * (1 - f["eyes_closed"])
    skin = mix(skin, constant(ax, 0.45, 0.24, 0.20), 0.22 * rim)
    crease = bump(length(ex * 0.86, ey - 0.02, ez * 0.6) / radius - 1.13, 0.09) * smoothstep(0.03, 0.09, ey)
    return times(skin, 1 - (0.20 + 0.25 * f["age"]) * crease * front * (1 - 0.6 * f["eyes_closed"]))


def paint_eye(f: Factors, hx: Tensor, ax: Tensor, y: Tensor, z: Tensor) -> Colour:
    """White, iris with fibres and a dark ring, pupil, and a highlight on the side of the key light."""
    radius = EYE_RADIUS * f["eye_size"]
    ex, ey, ez = eye_coordinates(f, ax, y, z)
    side = torch.where(hx < 0, -1.0, 1.0)
    ix = ex / radius - 0.42 * f["gaze_x"] * side + 0.05
    iy = ey / radius - 0.26 * f["gaze_y"] - 0.02
    r = length(ix, iy)
    iris = gradient(EYE_STOPS, f["eye_colour"] * (1 - 0.92 * smoothstep(0.3, 0.6, f["skin_tone"])))
    fibres = torch.sin(21 * torch.atan2(iy, ix) + 3 * torch.sin(9 * r))
    glow = 0.80 + 1.0 * smoothstep(IRIS, 0.25, r) * (0.60 - 0.9 * iy).clamp(0.35, 1.3) + 0.10 * fibres
    corner = bump((ex / radius).abs() - 1.0, 0.5) * 0.6
    white = mix(constant(ax, 0.94, 0.93, 0.92), constant(ax, 0.86, 0.68, 0.64), corner)
    white = mix(white, constant(ax, 0.90, 0.84, 0.72), 0.5 * f["age"])
    colour = mix(white, times(iris, glow), smoothstep(IRIS + 0.02, IRIS - 0.02, r))
    colour = times(colour, 1 - 0.50 * bump(r - IRIS + 0.03, 0.09))
    colour = mix(colour, constant(ax, 0.02, 0.02, 0.02), smoothstep(0.315, 0.265, r))
    glint_x = 0.20 * torch.where(f["light_azimuth"] < 0, -1.0, 1.0) * side
    glint = smoothstep(0.165, 0.115, length(ix - glint_x, iy - 0.20))
    glint = glint + 0.35 * smoothstep(0.10, 0.04, length(ix + glint_x, iy + 0.20))
    up, _ = lid_edges(f, ex, ey, ez)
    shade = 1 - 0.42 * smoothstep(-0.085, 0.0, up)
    return mix(times(colour, shade), constant(ax, 1.0, 1.0, 1.0), 0.92 * glint)
