"""The 3D head of a photo: a mean head's depth maps, fitted to the photo by the face's landmarks.

The mean head is the embedded model's (`tools/head_model.py` writes it to head.safetensors):

    depth      int16 [4, S, S]: z of the surface in each cell of the square that `registration` cuts out, in
               DEPTH_UNIT, NOBODY in the background; at YAWS (the other side is the mirror image)
    frame      float32 [4, 3]: FFHQ's crop at each of them, its centre x, y and half its side
    landmarks  float32 [4, 68, 2]: dlib's, in the unit square of FFHQ's crop

Lengths are in the model's units: the skull's radius is about 0.7, the eyes are 0.52 apart, the chin is near
y = -1. x grows to the picture's right, y up, z towards the camera, which is at z = CAMERA_Z; the origin is
the skull's centre. A yaw is an angle in degrees, above 0 if the face looks to the picture's right.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from micromotion.photo.displacement import landmark_field
from micromotion.photo.registration import LARGER, Registration
from micromotion.photo.sampling import Picture, blur, filled, luminance, sample, smoothstep
from micromotion.types import Floats
from stylegan2.checkpoints.storage import read_safetensors

ASSET, KIND = "head.safetensors", "head"
YAWS = (0, 10, 20, 30)
DEPTH_UNIT = 1 / 8192
NOBODY = -32768
CAMERA_Z = 9.0
PIVOT_Z = -0.15
"""Depth of the axis about which heads turn."""

CELLS = 256
"""Grid cells per side of the square on which a head is fitted."""

# fmt: off
MIRROR = np.array([
    16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0,  # jaw
    26, 25, 24, 23, 22, 21, 20, 19, 18, 17,  # brows
    27, 28, 29, 30, 35, 34, 33, 32, 31,  # nose
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,  # eyes
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,  # lips
])
# fmt: on
"""dlib's landmark on the other side of the face, for each of the 68."""


@dataclass(frozen=True)
class HeadConfig:
    """Tuned constants. Lengths are fractions of the side of FFHQ's crop, unless stated otherwise.

    nose_depth: how far the nose's tip is in front of the eyes, in eye distances. jaw_depth: how far its root
    is in front of the visible sides of the jaw, in jaw widths. Both of people, not of the renderer.
    relief: how much deeper people's faces are than the renderer's.
    rim: the renderer's outline is not the photo's; this much of it is ignored. rim_blend: width over which
    the remaining depth blends into that beyond the outline: less tears the outline, more flattens the
    cheeks. beyond: depth (model's units) far from the head. beyond_pull: how fast it is reached. spread: blur
    with which the rim's depth continues beyond the outline. smooth: blur of the depth, against curls of hair
    that the photo does not have.
    reach: how far outside the mean head hair and hats may be. sure: this far inside it, everything belongs to
    the head, whatever its colour. rare: colours this much rarer than the mean are no evidence.
    follow: (start, end) distance from the head, its hair and hat, over which the surroundings stop following:
    earlier shears their edges, later bends lines behind.
    neck: how far below the chin the neck stops following the head, in the model's units: less shears it, more
    takes the shoulders along.
    neck_width: distance from the head's axis beyond which what is below the chin is shoulders, which stay.
    border: (sides, top and bottom) fractions of the drawn square over which motion fades at its border.
    light_spread: deviation of log luminance beyond which a pixel (a brow, a beard) is ignored for the light.
    light_prior: how strongly the light is pulled to none, against faces that are painted flat.
    """

    nose_depth: float = 0.6
    jaw_depth: float = 0.5
    relief: float = 1.05
    rim: float = 0.016
    rim_blend: float = 0.03
    beyond: float = -0.15
    beyond_pull: float = 0.05
    spread: float = 0.05
    smooth: float = 0.012
    reach: float = 0.2
    sure: float = 0.06
    rare: float = 0.1
    follow: tuple[float, float] = (0.01, 0.11)
    neck: float = 0.32
    neck_width: float = 0.4
    border: tuple[float, float] = (0.07, 0.04)
    light_spread: float = 0.2
    light_prior: float = 8 / 400


@dataclass(frozen=True, eq=False)
class HeadFit:
    """The 3D head of a photo in its pose there, on a grid of CELLS × CELLS over the drawn square.

    yaw: degrees. position: float32 [G, G, 3], in the model's units. normal: [G, G, 3], unit vectors. cover:
    [G, G], 1 where the mean head, its neck and shoulders are. weight: [G, G] in 0…1, how much each cell moves
    with the head. light: [4], log luminance of the face ≈ light[0] + light[1:] @ normal. frame: FFHQ's crop
    in the model's units, its centre x, y and half its side.
    """

    yaw: float
    position: Picture
    normal: Picture
    cover: Picture
    weight: Picture
    light: Floats
    frame: tuple[float, float, float]

    def projected(self, position: NDArray) -> NDArray:
        """Positions [..., 3] in the model's units -> [..., 2], fractions of the drawn square's side."""
        centre_x, centre_y, half = self.frame
        nearer = CAMERA_Z / (CAMERA_Z - position[..., 2])
        x = (position[..., 0] * nearer - centre_x) / half
        y = -(position[..., 1] * nearer - centre_y) / half
        return np.stack([x, y], axis=-1) / (2 * LARGER) + 0.5


def fit_head(registration: Registration, config: HeadConfig | None = None) -> HeadFit:
    """Fit the mean head to a photo: take its view at the face's yaw and warp it by the landmarks."""
    config = config or HeadConfig()
    landmarks = _in_square(registration.landmarks, registration.side)
    yaw = yaw_of(landmarks, config)
    view = _view(int(np.clip(round(yaw / 10), -3, 3)))
    warp = landmark_field(landmarks, _of_crop(view.landmarks) - landmarks, CELLS)[0].movedim(0, -1).numpy()
    at = _cell_centres()
    there = ((at + warp) * len(view.depth) - 0.5).astype(np.float32)
    maps = np.dstack([_depth_everywhere(view, config), _outside(view, config), view.cover])
    depth, outside, cover = np.moveaxis(sample(maps, there[..., 0], there[..., 1]), -1, 0)
    depth = config.beyond + config.relief * (depth - config.beyond)
    position = _unprojected(at, depth, view.frame)
    inner = sample(_depth_within(view, config), there[..., 0], there[..., 1])
    normal = _normals(_unprojected(at, inner, view.frame), cover)
    column, row = np.clip(landmarks[8] * CELLS, 0, CELLS - 1).astype(int)
    height = position[..., 1] - position[row, column, 1]
    pixels = _cells_of(registration.picture)
    beside = (height < 0) & (np.abs(position[..., 0]) > config.neck_width)
    weight = _following(pixels, np.where(beside, config.reach, outside), height > 0, config)
    weight *= smoothstep(-config.neck, 0, height) * _fade_at_border(at, config)
    return HeadFit(
        yaw,
        position,
        normal,
        cover,
        weight.astype(np.float32),
        _light(pixels[face_mask(landmarks)], normal[face_mask(landmarks)], config),
        view.frame,
    )


def canonical_landmarks() -> Floats:
    """dlib's landmarks [68, 2] of the mean head from the front, in the unit square of FFHQ's crop."""
    return _view(0).landmarks.copy()


def landmarks_in_depth() -> Floats:
    """dlib's landmarks [68, 3] of the mean head from the front, in the model's units.

    Their depth is the one by which dlib moves them when the head turns, by least squares over its yaws:
    x = x₀·cos ψ + (z − PIVOT_Z)·sin ψ. That of the surface below them moves half as much, since dlib's points
    slide on it.
    """
    views = [_view(step) for step in range(-3, 4)]
    seen = np.stack([_in_model(view.landmarks, view.frame) for view in views])
    turned = np.radians([10.0 * step for step in range(-3, 4)])
    columns = np.stack([np.cos(turned), np.sin(turned)], axis=1)
    depth = np.zeros(68)
    for _ in range(3):  # what is nearer is seen larger, by a depth that is not known yet
        flat = seen[..., 0] * (1 - depth / CAMERA_Z)
        depth = np.linalg.lstsq(columns, flat, rcond=None)[0][1] + PIVOT_Z
    return np.column_stack([seen[3] * (1 - depth / CAMERA_Z)[:, None], depth])


def yaw_of(landmarks: Floats, config: HeadConfig | None = None) -> float:
    """A face's yaw in degrees, from dlib's landmarks [68, 2] in any unit; scale and roll do not matter.

    The mean of two estimates: from the distance of the nose's tip to the midpoint between the eyes, and of
    its root to the midpoint between the sides of the jaw.
    """
    config = config or HeadConfig()
    left, right = landmarks[[36, 39]].mean(axis=0), landmarks[[42, 45]].mean(axis=0)
    across = right - left
    tip = (landmarks[30] - (left + right) / 2) @ across / (across @ across)
    middle = (landmarks[2] + landmarks[14]) / 2
    root = (landmarks[33] - middle) @ across / ((landmarks[14] - landmarks[2]) @ across)
    signs = (np.arctan(tip / config.nose_depth), np.arctan(root / config.jaw_depth))
    return float(np.degrees(np.mean(signs)))


@dataclass(frozen=True, eq=False)
class _View:
    """The mean head at one yaw.

    depth: float32 [S, S], 0 in the background. cover: float32 [S, S], 1 on the head.
    landmarks: [68, 2], in the unit square of FFHQ's crop. frame: as in `HeadFit`.
    """

    depth: Picture
    cover: Picture
    landmarks: Floats
    frame: tuple[float, float, float]

    @property
    def crop(self) -> float:
        """Grid cells per side of FFHQ's crop."""
        return len(self.depth) / LARGER


@cache
def _view(step: int) -> _View:
    """The mean head, turned by `step` × 10 degrees, -3…3."""
    state = read_safetensors(Path(__file__).with_name(ASSET), KIND)[1]
    depth, frame, landmarks = (state[name][abs(step)].numpy() for name in ("depth", "frame", "landmarks"))
    centre_x, centre_y, half = (float(value) for value in frame)
    landmarks = landmarks.astype(np.float64)
    if step < 0:
        depth, centre_x = depth[:, ::-1], -centre_x
        landmarks = (landmarks * (-1, 1) + (1, 0))[MIRROR]
    there = depth != NOBODY
    z = np.where(there, depth * np.float32(DEPTH_UNIT), 0).astype(np.float32)
    return _View(z, there.astype(np.float32), landmarks, (centre_x, centre_y, half))


def _in_model(points: Floats, frame: tuple[float, float, float]) -> Floats:
    """The unit square of FFHQ's crop -> the model's units, in the plane of the head's centre."""
    centre_x, centre_y, half = frame
    plane: Floats = np.array([centre_x, centre_y]) + half * (2 * points - 1) * [1, -1]
    return plane


def _in_square(landmarks: Floats, side: int) -> Floats:
    """Pixels of a picture -> fractions of its side."""
    return (landmarks + 0.5) / side


def _of_crop(points: Floats) -> Floats:
    """The unit square of FFHQ's crop -> that of the drawn square."""
    return (points - 0.5) / LARGER + 0.5


def _cell_centres() -> NDArray:
    """[G, G, 2], (x, y) in the unit square."""
    y, x = np.mgrid[0:CELLS, 0:CELLS]
    return (np.stack([x, y], axis=-1) + 0.5) / CELLS


def _core(view: _View, config: HeadConfig) -> NDArray:
    """Where the mean head's depth is trusted; bool [S, S]."""
    return ndimage.distance_transform_edt(view.cover) > config.rim * view.crop


def _depth_within(view: _View, config: HeadConfig) -> Picture:
    """The mean head's depth, extrapolated beyond its outline by a blur; [S, S]."""
    core = _core(view, config).astype(np.float32)
    sigma = 0.5 * config.smooth * view.crop
    fine = blur(view.depth * core, sigma) / np.maximum(blur(core, sigma), 1e-6)
    wide = blur(view.depth * core, 4 * sigma) / (blur(core, 4 * sigma) + 1e-6)
    return np.where(core > 0, fine, wide).astype(np.float32)


def _depth_everywhere(view: _View, config: HeadConfig) -> Picture:
    """Depth within and beyond the outline, without a step between: [S, S].

    A step would tear the outline; blending from the cheeks would flatten them, and halve the turn. So only
    the rim's own depth continues, falling to that of the head's axis.
    """
    core = _core(view, config)
    inside = ndimage.distance_transform_edt(core) / view.crop
    rim = (core & (inside < config.rim_blend)).astype(np.float32)
    sigma, pull = config.spread * view.crop, config.beyond_pull
    beyond = (blur(view.depth * rim, sigma) + pull * config.beyond) / (blur(rim, sigma) + pull)
    kept = smoothstep(-0.005, config.rim_blend, inside)
    depth = kept * _depth_within(view, config) + (1 - kept) * beyond
    return blur(depth.astype(np.float32), config.smooth * view.crop)


def _outside(view: _View, config: HeadConfig) -> Picture:
    """Each cell's distance outside the mean head, in fractions of the crop, below 0 inside; [S, S]."""
    core = _core(view, config)
    far = ndimage.distance_transform_edt(~core) - ndimage.distance_transform_edt(core)
    return (far / view.crop).astype(np.float32)


def _following(pixels: Picture, outside: Picture, above: NDArray[np.bool_], config: HeadConfig) -> Picture:
    """How much each cell moves with the head, [G, G]: 1 on it, its hair and its hat, 0 in the background.

    pixels: the photo's [G, G, 3]. outside: each one's distance outside the mean head. above: what is higher
    than the chin; below are the shoulders, neither head nor background. What looks like the head and unlike
    the background counts as head, the more so the nearer it is.
    """
    likely = 3 * (1 - 2 * outside / config.reach)
    head, background = above & (outside < 0), above & (outside > 1.1 * config.reach)
    if background.mean() > 0.01:
        bins = (pixels * 15.99).astype(int)
        index = tuple(np.moveaxis(bins, -1, 0))
        ours, theirs = (_histogram(bins[where])[index] for where in (head, background))
        likely = likely + np.clip(np.log((ours + config.rare) / (theirs + config.rare)), -4, 4)
    likely = blur(np.where(outside < -config.sure, 6, likely).astype(np.float32), 0.01 * CELLS)
    parts, _ = ndimage.label((likely > 0) & (outside < config.reach))
    taken = np.isin(parts, np.unique(parts[outside < -config.sure])) & (parts > 0)
    distance = ndimage.distance_transform_edt(~ndimage.binary_fill_holes(taken)) * (LARGER / CELLS)
    return 1 - smoothstep(*config.follow, blur(distance.astype(np.float32), 0.01 * CELLS))


def _histogram(bins: NDArray) -> Floats:
    """Smoothed histogram of [n, 3] of 16³ colours; its mean is 1."""
    counts = np.bincount(np.ravel_multi_index(tuple(bins.T), (16, 16, 16)), minlength=16**3)
    smooth: Floats = ndimage.gaussian_filter(counts.reshape(16, 16, 16).astype(float), 1.0, mode="nearest")
    return smooth * (smooth.size / max(smooth.sum(), 1e-9))


def _fade_at_border(at: NDArray, config: HeadConfig) -> NDArray:
    """0 on the square's border, 1 within; [G, G]."""
    sides, ends = config.border
    x, y = at[..., 0], at[..., 1]
    across = smoothstep(0.012, sides, x) * smoothstep(0.012, sides, 1 - x)
    return across * smoothstep(0.012, ends, y) * smoothstep(0.012, ends, 1 - y)


def _unprojected(at: NDArray, depth: NDArray, frame: tuple[float, float, float]) -> Picture:
    """The inverse of `HeadFit.projected`: points of the unit square at a depth z -> [..., 3]."""
    centre_x, centre_y, half = frame
    crop = (at - 0.5) * 2 * LARGER
    farther = (CAMERA_Z - depth) / CAMERA_Z
    x, y = (centre_x + half * crop[..., 0]) * farther, (centre_y - half * crop[..., 1]) * farther
    return np.stack([x, y, depth], axis=-1).astype(np.float32)


def _normals(position: Picture, cover: Picture) -> Picture:
    """Unit normals of a surface [G, G, 3]; towards the camera where there is none."""
    across, down = np.gradient(position, axis=1), np.gradient(position, axis=0)
    normal = np.cross(down, across)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    normal = blur((normal * cover[..., None] + np.array([0, 0, 1], np.float32) * (1 - cover[..., None])), 1.5)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    return normal.astype(np.float32)


def _cells_of(picture: Picture) -> Picture:
    """A picture [N, N, 3] averaged onto the grid, [G, G, 3]."""
    whole = Image.fromarray((np.clip(picture, 0, 1) * 255).round().astype(np.uint8))
    small = whole.resize((CELLS, CELLS), Image.Resampling.BOX)
    return np.asarray(small).astype(np.float32) / np.float32(255)


def _light(pixels: Picture, normal: Picture, config: HeadConfig) -> Floats:
    """Log luminance of colours [n, 3] as a linear function of their normals [n, 3], robustly: [4].

    Reweighted least squares with Cauchy's weights.
    """
    brightness = np.log(np.maximum(luminance(pixels), 0.04)).astype(np.float64)
    columns = np.column_stack([np.ones(len(brightness)), normal])
    prior = np.diag([0.0, 1, 1, 1]) * config.light_prior * len(brightness)
    weight, light = np.ones(len(brightness)), np.zeros(4)
    for _ in range(8):
        weighted = columns * weight[:, None]
        light = np.linalg.solve(weighted.T @ columns + prior + 1e-9 * np.eye(4), weighted.T @ brightness)
        weight = 1 / (1 + ((brightness - columns @ light) / config.light_spread) ** 2)
    return light


def rotation(yaw: float, pitch: float, roll: float) -> Floats:
    """The rotation matrix [3, 3] of a head, angles in degrees, for points (x right, y up, z to the camera).

    First a roll, its top to the picture's left, then a pitch, downwards, then a yaw, to the picture's right,
    as `avatar.renderer.pose` turns heads.
    """
    return rotations(np.array([yaw, pitch, roll]))


def rotations(angles: Floats) -> Floats:
    """The matrices [..., 3, 3] of `rotation` for angles [..., 3]: yaw, pitch and roll in degrees."""
    (cy, cp, cr), (sy, sp, sr) = (np.moveaxis(f(np.radians(angles)), -1, 0) for f in (np.cos, np.sin))
    one, none = np.ones_like(cy), np.zeros_like(cy)
    about_z = _matrices([[cr, -sr, none], [sr, cr, none], [none, none, one]])
    about_x = _matrices([[one, none, none], [none, cp, -sp], [none, sp, cp]])
    about_y = _matrices([[cy, none, sy], [none, one, none], [-sy, none, cy]])
    whole: Floats = about_y @ about_x @ about_z
    return whole


def _matrices(rows: list[list[Floats]]) -> Floats:
    """Nine arrays [...] as matrices [..., 3, 3]."""
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def face_mask(landmarks: Floats) -> NDArray[np.bool_]:
    """The face from the jaw to a little above the brows, [G, G]; landmarks in fractions of the side."""
    eyes = np.linalg.norm(landmarks[42:48].mean(axis=0) - landmarks[36:42].mean(axis=0))
    brows = landmarks[26:16:-1] - np.array([0, 0.25 * eyes])
    outline = np.concatenate([landmarks[:17], brows])
    return filled([outline * CELLS - 0.5], (CELLS, CELLS))
