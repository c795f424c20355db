"""Flesh and bone: cranium, jaw, cheeks, nose and ears as a chain of smooth unions."""

from torch import Tensor

from avatar.renderer.factors import Factors
from avatar.renderer.pose import EYE_Y, EYE_Z, mouth_y
from avatar.renderer.sdf import capsule, ellipsoid, length, smooth_max, smooth_min


def broad(f: Factors) -> Tensor:
    """Breadth of the face [B, 1] as a share of the average."""
    return 1.005 + 1.35 * (f["face_width"] - 0.99)


def scalp_shape(f: Factors, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Cranium and face, without features: what the hair grows on."""
    w, h = f["skull_width"], f["skull_height"]
    cranium = ellipsoid(ax, y - 0.28, z + 0.10, 0.68 * w, 0.70 * h, 0.78)
    long = 0.99 + 1.2 * (f["face_length"] - 1.01)
    face = ellipsoid(ax, y + 0.13 * long, z - 0.15 - 0.02 * f["forehead"], 0.54 * broad(f), 0.70 * long, 0.56)
    return smooth_min(cranium, face, 0.24)


def face_shape(f: Factors, scalp: Tensor, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    smile, anger, age = f["smile"], f["anger"], f["age"]
    skin = _lower_face(f, scalp, ax, y, z)
    cheek_x = 0.335 * broad(f) + 0.015 * f["cheekbones"] + 0.015 * smile
    cheek_y = -0.205 + 0.03 * f["cheekbones"] + 0.085 * smile - 0.105 * age
    cheek_r = 0.215 + 0.028 * f["cheeks"] + 0.034 * smile - 0.050 * age
    cheek = length(ax - cheek_x, (y - cheek_y) * 0.92, z - 0.455 - 0.026 * smile) - cheek_r
    skin = smooth_min(skin, cheek, 0.18)
    muzzle = ellipsoid(ax, y - mouth_y(f) + 0.036 * f["mouth_open"], z - 0.495, 0.31, 0.21, 0.20)
    skin = smooth_min(skin, muzzle, 0.18)
    ridge_y = 0.225 + 0.01 * f["brow_height"] - 0.055 * anger
    medial, lateral = (0.0, ridge_y + 0.02 - 0.04 * anger, 0.575), (0.40, ridge_y - 0.02, 0.475)
    ridge = capsule(ax, y, z, medial, lateral, 0.11, 0.10)
    skin = smooth_min(skin, ridge - 0.024 * f["brow_ridge"] - 0.014 * anger, 0.14)
    inner = ax - f["eye_distance"] + 0.02
    socket = length(inner * 0.72, y - EYE_Y - 0.02, z - EYE_Z - 0.20) - 0.125 * f["eye_size"]
    skin = smooth_max(skin, -socket, 0.11)
    skin = smooth_min(skin, _nose(f, ax, y, z), 0.085)
    return smooth_min(skin, _ear(f, ax, y, z), 0.045)


def _lower_face(f: Factors, scalp: Tensor, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Jaw, chin and, with age, jowls; the jaw drops as the mouth opens."""
    long, wide, age = 0.99 + 1.2 * (f["face_length"] - 1.01), broad(f), f["age"]
    down = 0.12 * f["mouth_open"]
    jaw = ellipsoid(ax, y + 0.52 * long + down, z - 0.17, 0.415 * f["jaw_width"] * wide, 0.34, 0.42)
    skin = smooth_min(scalp, jaw, 0.20)
    chin_z = 0.485 + 0.045 * f["chin"] + 0.02 * f["anger"]
    chin_rx = 0.19 + 0.16 * (f["jaw_width"] - 1)
    chin = ellipsoid(
        ax, y + 0.745 * long + down - 0.015 * f["anger"], z - chin_z, chin_rx, 0.135 + 0.015 * f["chin"], 0.15
    )
    skin = smooth_min(skin, chin, 0.20)
    jowl = length(ax - 0.30 * f["jaw_width"] * wide, y + 0.67 * long + down, z - 0.34) - 0.14
    return smooth_min(skin, jowl + 0.20 - 0.225 * age, 0.12)


def _nose(f: Factors, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    width, depth, tip, smile = 0.92 * f["nose_width"], f["nose_depth"], f["nose_tip"], f["smile"]
    bottom = -0.205 - 0.045 * f["nose_length"] + 0.02 * f["anger"] - 0.025 * f["age"] + 0.006 * smile
    reach = 0.795 + 0.045 * depth
    root = (0.0, 0.17, 0.61 + 0.036 * f["nose_bridge"])
    bridge = capsule(ax, y, z, root, (0.0, bottom + 0.04, reach - 0.01), 0.052 * width.sqrt(), 0.064 * width)
    hump = length(ax, y + 0.01, z - 0.65 - 0.035 * depth) - 0.055
    bridge = smooth_min(bridge, hump + 0.035 - 0.045 * f["nose_bridge"], 0.07)
    ball_y = y - bottom - 0.012 - 0.018 * tip
    ball = ellipsoid(ax, ball_y, z - reach - 0.012, 0.082 * width, 0.075, 0.080 + 0.012 * tip)
    wing_x = 0.088 * width + 0.014 * smile + 0.016 * f["anger"]
    wing = ellipsoid(
        ax - wing_x, y - bottom + 0.012 - 0.010 * smile, z - reach + 0.10, 0.054 * width, 0.050, 0.070
    )
    nose = smooth_min(smooth_min(bridge, ball, 0.08), wing, 0.055)
    nostril = ellipsoid(
        ax - 0.052 * width, y - bottom + 0.072, z - reach + 0.035, 0.025 * width, 0.022, 0.042
    )
    return smooth_max(nose, -nostril, 0.02)


def _ear(f: Factors, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    size, out = f["ear_size"] * (1 + 0.14 * f["age"]), 0.22 + 0.14 * f["ear_out"]
    across = ax - 0.655 * f["skull_width"] + out * (z + 0.06)  # the ear opens forwards
    ex, ey, ez = across, y + 0.02, z + 0.10 - 0.15 * y
    ear = ellipsoid(ex, ey, ez, 0.060, 0.20 * size, 0.13 * size)
    bowl = ellipsoid(ex - 0.055, ey + 0.015, ez - 0.035, 0.045, 0.125 * size, 0.075 * size)
    return smooth_max(ear, -bowl, 0.03)
