"""Find the face's bare skin in a photo: without eyes, lips, brows, hair, beard and glasses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional as F

from micromotion.photo.registration import Registration
from micromotion.photo.sampling import Picture, blur, filled, luminance, sample, smoothstep
from micromotion.types import Floats


@dataclass(frozen=True)
class SkinConfig:
    """Lengths are in eye distances, tones in units of the skin's own spread."""

    grid: int = 30
    """Grid cells per eye distance on which skin is searched: more takes longer."""

    forehead: float = 0.85
    """How far above the brows a forehead may reach; hair in front of it is excluded by colour."""

    near_light: float = 0.45
    """Sigma of the neighbourhood that gives the local brightness of skin: less takes shadows and beards for
    skin."""

    darker: tuple[float, float] = (0.30, 0.75)
    """Log of how much darker than the surrounding skin a pixel is: up to the first it is skin, from the
    second not. More takes brows and glasses' frames for skin, less leaves out wrinkles."""

    lighter: tuple[float, float] = (0.45, 0.9)
    """The same for lighter pixels: highlights, and what is not skin."""

    hue: tuple[float, float] = (2.2, 4.5)
    """Distance of its chroma from the skin's, in spreads: up to the first it is skin, from the second not."""

    rough: tuple[float, float] = (2.2, 4.5)
    """Roughness relative to the cheeks: up to the first it is skin, from the second not. Beards and hair are
    rough; less leaves out old skin."""

    holes: float = 0.035
    """Sigma with which skin fades into eyes and lips."""

    edge: float = 0.05
    """Sigma with which it fades everywhere else."""


@dataclass(frozen=True, eq=False)
class Skin:
    """The skin of a face.

    cover: float32 [N, N], 0…1, bare skin. brows: float32 [N, N], 0…1. face: bool [N, N], the
    inside of jaw and forehead. cheeks: bool [N, N], certain skin. light: the upper quarter of the
    cheeks' luminance. coloured: 0…1, 0 for a photo of a single hue, even if toned.
    """

    cover: Picture
    brows: Picture
    face: NDArray[np.bool_]
    cheeks: NDArray[np.bool_]
    light: float
    coloured: float


def find_skin(registration: Registration, config: SkinConfig = SkinConfig()) -> Skin:
    """Find skin like that of the cheeks, within the face's outline."""
    small, landmarks = reduced(registration, config.grid)
    unit = registration.eye_distance * len(small) / registration.side
    shape = small.shape[:2]
    up = -registration.axes[1] * unit
    cheeks = _cheeks(landmarks, up, shape)
    face = filled([np.concatenate([landmarks[:17], landmarks[26:16:-1] + config.forehead * up])], shape)
    holes = _eyes_and_lips(landmarks, up, shape)
    brows = _brows(landmarks, up, shape)
    light, chroma = tone(small)
    like = _like(blur(light, 0.02 * unit), blur(chroma, 0.05 * unit), cheeks, face & ~holes, unit, config)
    like *= smoothstep(config.rough[1], config.rough[0], roughness(light, cheeks, 0.05 * unit))
    like = np.where(cheeks, np.maximum(like, 0.8 * smoothstep(1.5, 0.8, light - 1.0)), like)
    cover = blur((like * face).astype(np.float32), config.edge * unit) * smoothstep(
        0, 0.08 * unit, _depth(face)
    )
    cover *= 1 - blur(holes.astype(np.float32), config.holes * unit)
    cover *= 1 - 0.8 * blur(brows.astype(np.float32), config.holes * unit)
    side = registration.side
    bright = luminance(small)[cheeks] if cheeks.any() else luminance(small).ravel()
    return Skin(
        enlarged(cover.astype(np.float32), side),
        enlarged(blur(brows.astype(np.float32), 0.03 * unit), side),
        enlarged(face.astype(np.float32), side) > 0.5,
        enlarged(cheeks.astype(np.float32), side) > 0.5,
        float(np.quantile(bright, 0.75)),
        colourful(small),
    )


def reduced(registration: Registration, cells: int) -> tuple[Picture, Floats]:
    """The picture reduced to `cells` per eye distance, never enlarged, and the landmarks in it."""
    side = min(registration.side, round(registration.side * cells / registration.eye_distance))
    scale = side / registration.side
    if side == registration.side:
        return registration.picture, registration.landmarks
    return averaged(registration.picture, side), (registration.landmarks + 0.5) * scale - 0.5


def averaged(picture: Picture, height: int, width: int | None = None) -> Picture:
    """A picture [h, w, C] downscaled by area averaging."""
    channels = torch.from_numpy(np.ascontiguousarray(picture, np.float32)).movedim(-1, 0)[None]
    small = F.interpolate(channels, (height, width or height), mode="area")[0].movedim(0, -1)
    return np.ascontiguousarray(small.numpy())


def enlarged(plane: Picture, side: int) -> Picture:
    """A square plane smoothly resized; float32 [side, side]."""
    if len(plane) == side:
        return plane
    scale = len(plane) / side
    at = ((np.arange(side, dtype=np.float32) + 0.5) * scale - 0.5) * np.ones((side, 1), np.float32)
    return sample(plane, at, at.T)


def tone(picture: Picture) -> tuple[Picture, Picture]:
    """Log luminance [h, w], and chroma relative to luminance [h, w, 2], which light does not change."""
    bright = luminance(picture)
    base = bright + np.float32(0.06)  # so that the chroma of black is not noise
    chroma = np.stack([(picture[..., 0] - bright) / base, (picture[..., 2] - bright) / base], axis=-1)
    return np.log(base), chroma


def colourful(picture: Picture) -> float:
    """Confidence that a photo is coloured: 0 if its chroma is a function of its luminance, as in grey and
    toned photos; 1 if not."""
    bright = luminance(picture).ravel()
    red = (picture[..., 0] - picture[..., 2]).ravel()
    at = (np.clip(bright, 0, 0.999) * 12).astype(int)
    count = np.maximum(np.bincount(at, minlength=12), 1)
    mean = np.bincount(at, red, 12) / count
    spread = np.sqrt(np.mean((red - mean[at]) ** 2))
    return float(smoothstep(0.012, 0.035, spread))


def _cheeks(landmarks: Floats, up: Floats, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    polygons = []
    for jaw, eye, nose, mouth in (((1, 2, 3), (41, 40), 31, 48), ((15, 14, 13), (46, 47), 35, 54)):
        outer, inner = landmarks[list(jaw)], landmarks[list(eye)] - 0.22 * up
        middle = np.concatenate([outer, inner]).mean(axis=0)
        outer = outer + 0.12 * (middle - outer)
        aside = landmarks[nose] + 0.25 * (landmarks[mouth] - landmarks[nose])
        polygons.append(np.concatenate([outer, [0.5 * (landmarks[mouth] + outer[-1]), aside], inner[::-1]]))
    bridge = landmarks[[27, 28, 29, 30]]
    across = 0.3 * (landmarks[42] - landmarks[39]) / 2
    polygons.append(np.concatenate([bridge - across, bridge[::-1] + across]))
    return filled(polygons, shape)


def _eyes_and_lips(landmarks: Floats, up: Floats, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    polygons = []
    for points, larger in ((landmarks[36:42], 1.3), (landmarks[42:48], 1.3), (landmarks[48:60], 1.04)):
        middle = points.mean(axis=0)
        polygons.append(middle + larger * (points - middle))
        if larger > 1.2:
            polygons[-1][1:3] += 0.05 * up
    polygons.append(np.concatenate([landmarks[31:36] + 0.06 * up, landmarks[35:30:-1] - 0.03 * up]))
    return filled(polygons, shape)


def _brows(landmarks: Floats, up: Floats, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    brows = (landmarks[17:22], landmarks[22:27])
    return filled([np.concatenate([brow + 0.09 * up, brow[::-1] - 0.07 * up]) for brow in brows], shape)


def _like(
    light: Picture,
    chroma: Picture,
    cheeks: NDArray[np.bool_],
    where: NDArray[np.bool_],
    unit: float,
    config: SkinConfig,
) -> Picture:
    """How well each cell matches the cheeks' tone, 0…1, whatever the light."""
    if not cheeks.any():
        return np.zeros_like(light)
    middle = np.median(chroma[cheeks], axis=0)
    spread = np.maximum(1.5 * np.abs(chroma[cheeks] - middle).mean(axis=0), 0.05)
    away = np.sqrt((((chroma - middle) / spread) ** 2).sum(axis=-1))
    hue = smoothstep(config.hue[1], config.hue[0], away)
    level = float(np.median(light[cheeks]))
    weight = np.where(where, hue * smoothstep(-1.3, -0.7, light - level), 0)
    weight = np.where(cheeks, np.maximum(weight, 0.5), weight)
    like = hue
    for _ in range(2):
        sigma, floor = config.near_light * unit, 0.02
        near = (blur(weight * light, sigma) + floor * level) / (blur(weight, sigma) + floor)
        off = light - near
        like = hue * smoothstep(-config.darker[1], -config.darker[0], off)
        like = like * smoothstep(config.lighter[1], config.lighter[0], off)
        weight = np.where(where, like, 0)
    return like.astype(np.float32)


def roughness(light: Picture, cheeks: NDArray[np.bool_], scale: float) -> Picture:
    """Roughness relative to the cheeks, [h, w].

    light: log luminance. scale: pixels; structures below it count.
    """
    fine = light - blur(light, scale)
    rough = np.sqrt(blur(fine * fine, 1.6 * scale))
    own = float(np.median(rough[cheeks])) if cheeks.any() else 0.0
    return (rough / (own + 0.02)).astype(np.float32)


def _depth(mask: NDArray[np.bool_]) -> Picture:
    return ndimage.distance_transform_edt(mask).astype(np.float32)
