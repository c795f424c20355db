"""The shape of a head: one signed-distance function per material, from the factors.

Coordinates: x to the picture's right, y up, z towards the camera, the origin in the middle of the skull, the
chin near y = -1. Paired features are built once, in |x|.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.factors import Factors
from avatar.sdf import bump, capsule, ellipsoid, length, smooth_max, smooth_min, smoothstep

EYE_Y, EYE_Z, EYE_RADIUS = 0.05, 0.60, 0.155
MAX_YAW, MAX_PITCH = 0.61, 0.16  # radians at degree 1: 35° and 9°
PIVOT_Y, PIVOT_Z = -0.35, -0.15  # the head turns about the top of the neck


@dataclass
class Parts:
    """Distances [B, N] to each material."""

    skin: Tensor
    eye: Tensor
    lid: Tensor
    lips: Tensor
    teeth: Tensor
    hair: Tensor
    neck: Tensor
    clothes: Tensor

    def nearest(self) -> Tensor:
        solid = smooth_min(self.skin, self.lid, 0.035)
        solid = smooth_min(solid, self.lips, 0.03)
        solid = torch.minimum(solid, self.eye)
        solid = torch.minimum(solid, self.teeth)
        solid = smooth_min(solid, self.neck, 0.16)
        solid = smooth_min(solid, self.hair, 0.015)
        return torch.minimum(solid, self.clothes)


def to_head(f: Factors, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """World to head coordinates: undo pitch and yaw about the pivot."""
    cy, sy, cp, sp = _turn(f)
    y, z = y - PIVOT_Y, z - PIVOT_Z
    x, z = cy * x - sy * z, sy * x + cy * z
    y, z = cp * y + sp * z, -sp * y + cp * z
    return x, y + PIVOT_Y, z + PIVOT_Z


def to_world(f: Factors, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Head to world coordinates: pitch, then yaw, about the pivot."""
    cy, sy, cp, sp = _turn(f)
    y, z = y - PIVOT_Y, z - PIVOT_Z
    y, z = cp * y - sp * z, sp * y + cp * z
    x, z = cy * x + sy * z, -sy * x + cy * z
    return x, y + PIVOT_Y, z + PIVOT_Z


def _turn(f: Factors) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    yaw, pitch = f["yaw"] * MAX_YAW, f["pitch"] * MAX_PITCH
    return yaw.cos(), yaw.sin(), pitch.cos(), pitch.sin()


def mouth_y(f: Factors) -> Tensor:
    return -0.50 - 0.04 * f["nose_length"]


def brow_line(f: Factors, ax: Tensor) -> tuple[Tensor, Tensor]:
    """Height of the brow at |x| and how far along the brow that is: 0 at the inner end, 1 at the outer."""
    along = (ax - 0.10 + 0.03 * f["anger"]) / 0.36
    height = EYE_Y + 0.245 + 0.03 * f["brow_height"] + 0.035 * f["smile"] - 0.05 * f["anger"]
    arch = 0.045 + 0.025 * f["brow_arch"] + 0.02 * f["smile"]
    line = height + arch * (1 - (2 * along - 1.1).square())
    line = line - 0.15 * f["anger"] * (1 - along).clamp(0, 1.2).square() + 0.02 * f["anger"] * along
    return line - 0.035 * f["age"] * smoothstep(0.5, 1.1, along), along


def lid_angles(f: Factors) -> tuple[Tensor, Tensor]:
    """Tangents of the elevation of the upper lid's edge and, counted downwards, of the lower one's."""
    lower = 0.46 - 0.26 * f["smile"] - 0.12 * f["anger"]
    upper = f["eye_openness"] - 0.16 * f["anger"] - 0.06 * f["smile"] - 0.07 * f["age"] + 0.10 * f["gaze_y"]
    return upper + (-lower - 0.10 - upper) * f["eyes_closed"], lower


def eye_coordinates(f: Factors, ax: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates about the eye's centre, turned by the eye's tilt (outer corner up)."""
    x, y = ax - f["eye_distance"], y - EYE_Y
    c, s = f["eye_tilt"].cos(), f["eye_tilt"].sin()
    return c * x + s * y, c * y - s * x, z - EYE_Z


def distances(f: Factors, x: Tensor, y: Tensor, z: Tensor) -> Parts:
    """Distances to every material at world points x, y, z [B, N]."""
    hx, hy, hz = to_head(f, x, y, z)
    ax = length(hx, torch.full_like(hx, 1e-3))
    scalp = _scalp(f, ax, hy, hz)
    skin = _features(f, scalp, ax, hy, hz)
    eye, lid = _eyes(f, ax, hy, hz)
    skin, lips, teeth = _mouth(f, skin, ax, hy, hz)
    skin = skin - _relief(f, ax, hy, hz)
    hair = _hair(f, scalp, hx, ax, hy, hz)
    neck_r = 0.34 * f["neck_width"] + 0.05 * smoothstep(-1.2, -1.7, y)
    neck = capsule(x, y, z, (0.0, -0.75, -0.18), (0.0, -2.0, -0.28), neck_r, neck_r + 0.04)
    clothes = ellipsoid(x, y + 2.42, z + 0.32, 1.35, 0.86, 0.72)
    clothes = smooth_min(clothes, ellipsoid(x, y + 1.72, z + 0.28, 0.50, 0.13, 0.47), 0.15)
    return Parts(skin, eye, lid, lips, teeth, hair, neck, clothes)


def _scalp(f: Factors, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Cranium and face, without features: what the hair grows on."""
    w, h = f["skull_width"], f["skull_height"]
    cranium = ellipsoid(ax, y - 0.30, z + 0.10, 0.70 * w, 0.72 * h, 0.80)
    face = ellipsoid(
        ax, y + 0.16 * f["face_length"], z - 0.16, 0.54 * f["face_width"], 0.70 * f["face_length"], 0.56
    )
    return smooth_min(cranium, face, 0.22)


def _features(f: Factors, scalp: Tensor, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    smile, anger, age, drop = f["smile"], f["anger"], f["age"], f["mouth_open"]
    length_, width = f["face_length"], f["face_width"]
    down = 0.12 * drop
    jaw = ellipsoid(ax, y + 0.58 * length_ + down, z - 0.20, 0.44 * f["jaw_width"] * width, 0.34, 0.42)
    skin = smooth_min(scalp, jaw, 0.18)
    chin_z = 0.56 + 0.04 * f["chin"] + 0.02 * anger
    chin = ellipsoid(
        ax, y + 0.82 * length_ + down - 0.02 * anger, z - chin_z, 0.155, 0.12 + 0.02 * f["chin"], 0.13
    )
    skin = smooth_min(skin, chin, 0.14)
    cheek_x = 0.345 * width + 0.02 * smile
    cheek_y = -0.24 + 0.085 * smile - 0.07 * age
    cheek_r = 0.185 + 0.025 * f["cheeks"] + 0.035 * smile - 0.035 * age
    cheek = length(ax - cheek_x, y - cheek_y, z - 0.50) - cheek_r
    skin = smooth_min(skin, cheek, 0.13)
    jowl = length(ax - 0.34 * f["jaw_width"], y + 0.66 * length_ + down, z - 0.36) - 0.14
    skin = torch.where(age > 0.01, smooth_min(skin, jowl + 0.09 - 0.13 * age, 0.10), skin)
    muzzle = ellipsoid(ax, y - mouth_y(f) + 0.3 * down, z - 0.56, 0.25, 0.21 + 0.3 * down, 0.20)
    skin = smooth_min(skin, muzzle, 0.12)
    ridge_y = 0.215 + 0.01 * f["brow_height"] - 0.05 * anger
    ridge = capsule(ax, y, z, (0.08, ridge_y - 0.02 * anger, 0.63), (0.40, ridge_y + 0.01, 0.50), 0.11, 0.09)
    skin = smooth_min(skin, ridge - 0.012 * f["brow_ridge"] - 0.012 * anger, 0.12)
    socket = length(ax - f["eye_distance"], y - EYE_Y + 0.01, z - EYE_Z - 0.155) - 0.135 * f["eye_size"]
    skin = smooth_max(skin, -socket, 0.10)
    skin = smooth_min(skin, _nose(f, ax, y, z), 0.065)
    ear_x, ear_y = ax - 0.66 * f["skull_width"], y + 0.03
    ear_size = f["ear_size"] * (1 + 0.12 * age)
    ear = ellipsoid(
        ear_x - 0.25 * (z + 0.1), ear_y - 0.1 * (z + 0.1), z + 0.12, 0.055, 0.20 * ear_size, 0.12 * ear_size
    )
    return smooth_min(skin, ear, 0.05)


def _nose(f: Factors, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    width, depth, tip = f["nose_width"], f["nose_depth"], f["nose_tip"]
    bottom = -0.21 - 0.04 * f["nose_length"] + 0.02 * f["anger"] - 0.015 * f["age"]
    reach = 0.84 + 0.045 * depth
    bridge = capsule(ax, y, z, (0.0, 0.16, 0.655), (0.0, bottom + 0.03, reach), 0.062 * width, 0.075 * width)
    ball = ellipsoid(
        ax, y - bottom - 0.01 - 0.015 * tip, z - reach - 0.015, 0.098 * width, 0.085, 0.088 + 0.012 * tip
    )
    wing_x = 0.098 * width + 0.012 * f["smile"] + 0.014 * f["anger"]
    wing = ellipsoid(
        ax - wing_x, y - bottom + 0.015 - 0.012 * f["smile"], z - reach + 0.105, 0.056 * width, 0.055, 0.075
    )
    nose = smooth_min(smooth_min(bridge, ball, 0.06), wing, 0.035)
    nostril = ellipsoid(ax - 0.055 * width, y - bottom + 0.072, z - reach + 0.035, 0.026, 0.022, 0.042)
    return smooth_max(nose, -nostril, 0.02)


def _eyes(f: Factors, ax: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    radius = EYE_RADIUS * f["eye_size"]
    ex, ey, ez = eye_coordinates(f, ax, y, z)
    ball = length(ex, ey, ez)
    up, low = lid_edges(f, ey, ez)
    upper = smooth_max(ball - radius - 0.026 - 0.006 * f["age"], -up, 0.012)
    lower = smooth_max(ball - radius - 0.020 - 0.012 * f["smile"], -low, 0.012)
    return ball - radius, torch.minimum(upper, lower)


def lid_edges(f: Factors, ey: Tensor, ez: Tensor) -> tuple[Tensor, Tensor]:
    """Signed height above the upper lid's edge, and signed depth below the lower one's.

    Both edges are planes, hinged in front of the eye's centre.
    """
    upper, lower = lid_angles(f)
    hinge = 0.30 * EYE_RADIUS
    up = (ey - (ez - hinge) * upper) * (1 + upper.square()).rsqrt()
    low = (-ey - (ez - hinge) * lower) * (1 + lower.square()).rsqrt()
    return up, low


def mouth_lines(f: Factors, ax: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where the lips meet, or part, at |x|.

    Returns the height of the upper lip's lower edge, the height of the lower lip's upper edge, and |x| as a
    share of the mouth's half width.
    """
    smile, anger = f["smile"], f["anger"]
    half = f["mouth_width"] * (1 + 0.36 * smile - 0.08 * anger - 0.10 * f["mouth_open"])
    s = ax / half
    bend = f["mouth_curve"] + 0.150 * smile - 0.085 * anger - 0.035 * f["age"]
    open_up = 0.034 * smoothstep(0.20, 1.0, smile) + 0.030 * f["mouth_open"]
    open_low = 0.098 * smoothstep(0.20, 1.0, smile) + 0.150 * f["mouth_open"]
    curve = (s.clamp(max=1.15)).square()
    arch = (1 - curve).clamp(min=0)
    base = mouth_y(f) - 0.045 * smile + 0.01 * anger + bend * curve
    return base + open_up * arch, base - open_low * arch, s


def mouth_depth(ax: Tensor, z: Tensor) -> Tensor:
    """How far in front of the closed mouth's surface a point lies; the mouth curves around the face."""
    return z - 0.735 + 0.9 * ax.square()


def _mouth(f: Factors, skin: Tensor, ax: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    upper, lower, s = mouth_lines(f, ax)
    depth = mouth_depth(ax, z)
    thin = 1 - 0.42 * f["smile"] - 0.45 * f["anger"] - 0.28 * f["age"]
    taper = (1 - s.square()).clamp(min=0.01).pow(0.72)
    r_up, r_low = f["upper_lip"] * thin, f["lower_lip"] * thin
    cupid = 0.010 * bump(ax - 0.05, 0.05)
    lip_up = length((y - upper - r_up * taper * 0.7 - cupid) / 1.15, depth - 0.005) - (r_up + 0.008) * taper
    lip_low = length((y - lower + r_low * taper * 0.7) / 1.1, depth + 0.005) - (r_low + 0.008) * taper
    edge = (s - 1) * 0.25
    lips = 0.7 * smooth_max(smooth_min(lip_up, lip_low, 0.004), edge, 0.02)
    gap = torch.maximum((y - upper), (lower - y)) - 0.002
    cavity = torch.maximum(torch.maximum(gap * 0.8, (s - 0.96) * 0.2), (depth.abs() - 0.20))
    skin = smooth_max(skin, -cavity, 0.02)
    tooth_line = upper - 0.080 + 0.02 * s.square()
    teeth = torch.maximum(torch.maximum(tooth_line - y, y - upper - 0.05), (depth + 0.07).abs() - 0.035)
    teeth = torch.maximum(torch.maximum(teeth, (s - 0.90) * 0.2), cavity - 0.006)
    return skin, lips, 0.7 * teeth


def _relief(f: Factors, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Height of brows, folds and beard above the skin."""
    front = smoothstep(0.25, 0.45, z)
    line, along = brow_line(f, ax)
    brow = bump(y - line, 0.05) * bump(along - 0.5, 0.62)
    relief = 0.016 * front * brow * f["brow_thickness"]
    relief = relief - front * (0.022 * f["age"] * wrinkles(f, ax, y) + 0.020 * folds(f, ax, y))
    return relief + 0.05 * f["beard"] * beard_mask(f, ax, y, z)


def wrinkles(f: Factors, ax: Tensor, y: Tensor) -> Tensor:
    """Lines that come with age, 0 … 1: forehead, crow's feet, under the eyes, beside the mouth."""
    forehead = bump(y - 0.44, 0.026) + bump(y - 0.53, 0.026) + bump(y - 0.62, 0.026)
    forehead = forehead * bump(ax, 0.42)
    ex, ey = ax - f["eye_distance"] - 0.20, y - EYE_Y
    feet = (
        bump(ey - 0.35 * ex, 0.016) + bump(ey - 0.06 - 0.75 * ex, 0.016) + bump(ey + 0.05 + 0.15 * ex, 0.016)
    )
    feet = feet * bump(ex - 0.05, 0.10)
    arc = length((ax - f["eye_distance"]) * 0.8, y - EYE_Y + 0.02) - 0.205
    bag = bump(arc, 0.026) * smoothstep(-0.02, -0.12, y - EYE_Y) * bump(ax - f["eye_distance"], 0.2)
    mx, my = ax - 0.235, y - mouth_y(f) + 0.13
    marionette = bump(mx + 0.22 * my, 0.026) * bump(my, 0.15)
    return (0.85 * forehead + 0.8 * feet + bag + 0.5 * marionette).clamp(max=1.0)


def folds(f: Factors, ax: Tensor, y: Tensor) -> Tensor:
    """Lines that come with expression: from nose to mouth (smile, age), between the brows (anger)."""
    t = ((-0.17 - y) / 0.36).clamp(-0.2, 1.2)
    line = 0.145 + 0.17 * t.clamp(min=0).pow(0.8) + 0.03 * f["smile"] * t
    strength = (0.55 * f["smile"] + 0.9 * f["age"] + 0.25 * f["anger"]).clamp(max=1.1)
    nasolabial = bump(ax - line, 0.030) * bump(t - 0.55, 0.62) * strength
    frown = bump(ax - 0.048, 0.020) * bump(y - 0.27 + 0.03 * f["anger"], 0.10)
    return nasolabial + frown * (f["anger"] + 0.35 * f["age"]).clamp(max=1.0)


def beard_mask(f: Factors, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Where a beard grows, 0 … 1: chin, jaw and upper lip, not the lips."""
    upper, lower, s = mouth_lines(f, ax)
    below = smoothstep(-0.28, -0.44, y + 0.35 * (ax - 0.2).clamp(min=0) - 0.9 * (ax - 0.33).clamp(min=0))
    room = (1.2 - s.square()).clamp(min=0.0).sqrt()
    lips = smoothstep(0.030, 0.010, y - upper - 0.045 * room) * smoothstep(
        0.030, 0.010, lower - y - 0.060 * room
    )
    lips = lips * smoothstep(1.12, 1.0, s)
    return below * (1 - lips) * smoothstep(-0.05, 0.15, z)


def hair_height(f: Factors, hx: Tensor, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """How far above the hairline a point of the scalp lies; negative on the face."""
    line = 0.68 + 0.05 * f["hairline"] + 0.62 * f["baldness"].square()
    part = 0.10 * f["hair_part"] * hx + 0.05 * bump(hx - 0.25 * f["hair_part"], 0.25)
    front = y - line + 1.15 * ax.square() + part
    back = 1.7 * (0.16 - z).clamp(min=0)
    nape = 2.0 * (-0.62 - y).clamp(min=0) * (1 - smoothstep(0.30, 0.5, f["hair_length"]))
    ear = 0.55 * bump(z + 0.08, 0.16) * bump(y + 0.10, 0.30)
    return front + back - nape - ear


def _hair(f: Factors, scalp: Tensor, hx: Tensor, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    height = hair_height(f, hx, ax, y, z)
    full = 0.07 + 0.16 * f["hair_volume"] * (0.35 + 0.65 * smoothstep(0.0, 0.6, f["hair_length"]))
    thickness = full * smoothstep(-0.02, 0.34, height) - 0.035 * smoothstep(0.03, -0.04, height)
    strand = torch.sin(44 * hx + 9 * y * f["hair_part"]) * 0.0025
    curl = torch.sin(17 * hx) * torch.sin(17 * y) * torch.sin(17 * z) * 0.045 * f["hair_curl"]
    grown = smoothstep(0.05, 0.25, height)
    cap = scalp - thickness - (strand + curl) * grown
    fall = (f["hair_length"] - 0.32).clamp(min=0)
    reach = 0.55 + 1.15 * fall
    curtain = ellipsoid(ax, y - 0.30 + reach * 0.72, z + 0.24, 0.72 + 0.14 * f["hair_volume"], reach, 0.60)
    curtain = smooth_max(curtain, z - 0.16 - 0.30 * (ax - 0.5).clamp(min=0), 0.12)
    curtain = smooth_max(curtain, 0.50 - ax - 0.5 * (0.05 - z).clamp(min=0) * 1.6, 0.08)
    curtain = curtain - strand * 1.6 - curl + 0.30 * smoothstep(0.12, 0.0, fall)
    return 0.8 * smooth_min(cap, curtain, 0.10)
