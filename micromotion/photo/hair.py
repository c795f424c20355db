"""Find the head's hair in a photo. Better none than a hat, a scarf or a dark wall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from micromotion.photo.head import HeadFit
from micromotion.photo.registration import Registration
from micromotion.photo.sampling import Picture, blur, filled, luminance, sample, smoothstep
from micromotion.photo.skin import Skin, enlarged, reduced, tone
from micromotion.types import Floats

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class HairConfig:
    """Lengths are in eye distances."""

    grid: int = 34
    """Grid cells per eye distance on which hair is searched: more takes longer."""

    bins: tuple[int, int, int] = (20, 24, 24)
    """Histogram bins: log luminance, red and blue chroma. Fewer mix hair and hats, more need more hair."""

    bin_blur: tuple[float, float, float] = (1.5, 0.8, 0.8)
    """Sigmas of the histograms' blur, in bins."""

    shine: tuple[tuple[float, float, float], ...] = ((0.75, 0.2, 0.15), (0.6, 0.4, 0.10), (0.45, 0.55, 0.05))
    """Tones of shining hair, as (fraction of its colour, fraction of the light's white, weight relative to
    the observed tones). More finds fair locks, but takes pale walls for hair."""

    rough: tuple[float, float] = (0.33, 0.8)
    """Roughness above the brows over that of cheeks: up to the first may be skin, from the second is not."""

    unknown: float = 0.6
    """Density of what is neither hair, skin nor background (hats), relative to uniformly distributed colours.
    More finds less hair."""

    rounds: int = 4
    """Number of times hair's colours are learned again from the hair they found."""

    beside: tuple[float, float] = (-0.1, 0.45)
    """Heights beside the face, measured down from the eyes, searched for hair first: hats end above."""

    ring: tuple[float, float] = (0.04, 0.45)
    """Distances from the face at which hair is searched first."""

    reach: tuple[float, float] = (0.25, 1.0)
    """Distance outside the mean head up to which hair is as likely as within, and from which impossible."""

    behind: float = 0.6
    """Distance outside the mean head from which all is background."""

    lowest: float = 2.0
    """Distance below the eyes at which hair ends: farther down it could be a fur collar."""

    sure: tuple[float, float] = (0.55, 0.85)
    """Probabilities that count as no hair, and as all hair. Lower values gray the background."""

    enough: tuple[float, float] = (0.28, 0.40)
    """Fraction of the ring's cells beside the face that must be hair: for any hair at all, and to be sure."""

    strands: tuple[float, float] = (0.10, 0.16)
    """Standard deviation of log luminance within 0.1 eye distances: below the first it is a hat, a veil or a
    wall, above the second it may be hair."""

    outlined: tuple[float, float] = (0.35, 0.60)
    """Fraction of its outline along which hair must differ from the background: too little, and enough."""

    step: float = 0.30
    """What counts as different: log luminance, or chroma, between 0.15 eye distances inside the outline and
    as far outside."""

    along: float = 0.45
    """Sigma along which the outline is judged: hair fades where its outline is invisible. Less gives
    patches."""

    holes: float = 0.20
    """Size of holes that are closed."""

    strips: float = 0.17
    """Width of strips that are not hair: outlines of bald heads, rims of hats."""

    soft: float = 0.06
    """Radius of the guided filter that aligns the map with strands."""


@dataclass(frozen=True, eq=False)
class Hair:
    """sure: float32 [N, N], 0…1, confidence that a pixel shows the head's hair; all zeros if none is found.
    maybe: the same, 0…1, for anything that is not skin: hair, a hat, or the background."""

    sure: Picture
    maybe: Picture


def find_hair(
    registration: Registration, head: HeadFit, skin: Skin, config: HairConfig = HairConfig()
) -> Hair:
    """Find the hair around the face.

    Colour histograms of hair, skin and background, from where each is certain, classify pixels (naive
    Bayes); hair's colours are then learned again from the result. Only what is connected to hair beside the
    face counts.
    """
    small, landmarks = reduced(registration, config.grid)
    unit = registration.eye_distance * len(small) / registration.side
    regions = _Regions(registration, head, skin, small, landmarks, unit, config)
    colours = _bins(small, config)
    against = _histogram(colours, regions.background, config)[colours]
    face = _histogram(colours, regions.skin, config)[colours]
    first = regions.first * (
        face < 0.6 * np.quantile(face[regions.skin > 0.5], 0.3) if regions.skin.any() else 1
    )
    weight = first / (1 + (against / (_typical(against, first) + 1e-9)) ** 2) if first.any() else first
    model = _Model(colours, against, face, _shining(small, colours, weight, skin, config), config)
    for _ in range(config.rounds):
        probability = model.probability(weight, regions)
        weight = probability * (probability > 0.5) * (regions.prior > 0.3)
    enough = _enough(probability > 0.6, regions, config)  # before holes are closed, which lets hats in
    sure = smoothstep(*config.sure, blur(probability.astype(np.float32), 0.02 * unit))
    enough *= _stranded(small, sure > 0.5, unit, config)
    sure = ndimage.grey_opening(sure, footprint=_disc(config.strips * unit / 2))
    sure = ndimage.grey_closing(sure, footprint=_disc(config.holes * unit / 2))
    maybe = np.where(regions.face_only, 0, _together(sure, regions.beside)).astype(np.float32)
    sure = maybe * _seen(small, maybe > 0.5, regions.face, unit, config)
    sure *= smoothstep(config.lowest, config.lowest - 0.8, regions.height)
    fine = guided(
        luminance(small), (sure * enough).astype(np.float32), max(1, round(config.soft * unit)), 1e-3
    )
    fine = smoothstep(0.35, 1.0, fine).astype(np.float32)
    return Hair(enlarged(fine, registration.side), enlarged(maybe, registration.side))


@dataclass(frozen=True, eq=False)
class _Model:
    """Naive Bayes: hair, skin, background, or none of these.

    colours: each cell's bin. against, face, shining: [h, w], the densities of background, skin, and of
    shining hair, at each cell.
    """

    colours: tuple[NDArray, ...]
    against: Picture
    face: Picture
    shining: Picture
    config: HairConfig

    def probability(self, weight: Picture, regions: _Regions) -> Picture:
        """The probability of hair, [h, w], with its colours learned where weight is."""
        own = _histogram(self.colours, weight, self.config)[self.colours] + self.shining
        unknown = self.config.unknown / float(np.prod(self.config.bins))
        prior = regions.prior
        rest = (1 - 0.9 * prior) * self.against + regions.skin_prior * self.face + unknown
        probability: Picture = prior * own / (prior * own + rest)
        return probability


class _Regions:
    """Where hair, skin and background are possible and where they are certain, on the grid."""

    def __init__(
        self,
        registration: Registration,
        head: HeadFit,
        skin: Skin,
        small: Picture,
        landmarks: Floats,
        unit: float,
        config: HairConfig,
    ) -> None:
        side = len(small)
        y, x = np.mgrid[:side, :side]
        middle = landmarks[36:48].mean(axis=0)
        height = ((np.stack([x, y], axis=-1) - middle) @ registration.axes[1]) / unit
        up = -registration.axes[1] * unit
        brows = landmarks[26:16:-1]
        face = filled([np.concatenate([landmarks[:17], brows + 0.15 * up])], small.shape)
        forehead = filled([np.concatenate([brows[::-1], brows + 1.0 * up])], small.shape) & ~face
        beyond = ndimage.distance_transform_edt(~(face | forehead)) / unit
        cover = _at(head.cover, side) > 0.5
        cover &= height < config.lowest
        off = ndimage.distance_transform_edt(~cover) / unit
        self.prior = 0.9 * smoothstep(config.reach[1], config.reach[0], off)
        self.prior *= np.where(face, 0, np.where(forehead, 0.5, 1)) * smoothstep(
            0, 0.05, beyond + 0.05 * forehead
        )
        self.prior *= smoothstep(config.lowest, config.lowest - 0.5, height)
        low, high = config.beside
        ring = (beyond > config.ring[0]) & (beyond < config.ring[1]) & (height > low) & (height < high)
        self.face, self.face_only, self.height = face | forehead, face, height
        self.beside = ring & (off < config.reach[0])
        self.first = (ring & ~face & ~forehead & (off <= 0)).astype(np.float32)
        self.background = ((off > config.behind) & (height < 1.3)).astype(np.float32)
        cheeks = _at(skin.cheeks.astype(np.float32), side)
        self.skin = cheeks + ((_at(skin.cover, side) > 0.8) & (height > 0))
        rough = _roughness(tone(small)[0], cheeks > 0.5, unit)
        smooth = smoothstep(config.rough[1], config.rough[0], rough)
        self.skin_prior = np.where(face, 1.0, np.where(forehead, 0.8 * smooth, 0.35))
        self.skin_prior *= np.where(height < -1.2, smooth, 1)


def guided(guide: Picture, plane: Picture, radius: int, eps: float) -> Picture:
    """The plane with its edges aligned with the guide's, both [h, w] (guided filter, He, Sun and Tang 2013).

    radius: in pixels. eps: squared contrast of the guide below which there is no edge.
    """

    def mean(values: Picture) -> Picture:
        return ndimage.uniform_filter(values, 2 * radius + 1, mode="nearest")

    guide_mean, plane_mean = mean(guide), mean(plane)
    slope = (mean(guide * plane) - guide_mean * plane_mean) / (mean(guide * guide) - guide_mean**2 + eps)
    return mean(slope) * guide + mean(plane_mean - slope * guide_mean)


def _disc(radius: float) -> Mask:
    at = np.arange(-int(radius), int(radius) + 1)
    return at**2 + at[:, None] ** 2 <= radius**2


def _at(plane: Picture, side: int) -> Picture:
    return enlarged(plane.astype(np.float32), side)


def _bins(picture: Picture, config: HairConfig) -> tuple[NDArray, ...]:
    """Each cell's bin in a colour histogram, three arrays [h, w]."""
    light, chroma = tone(picture)
    scaled = ((light + 2.9) / 3.0, (chroma[..., 0] + 0.6) / 1.8, (chroma[..., 1] + 1.0) / 2.0)
    return tuple(
        (np.clip(value, 0, 0.999) * count).astype(int)
        for value, count in zip(scaled, config.bins, strict=True)
    )


def _histogram(colours: tuple[NDArray, ...], weight: Picture, config: HairConfig) -> Picture:
    """The weighted density of the colours, float64 `config.bins`, its sum 1 (or 0)."""
    flat = np.ravel_multi_index(colours, config.bins)
    density = np.bincount(flat.ravel(), np.asarray(weight, float).ravel(), int(np.prod(config.bins)))
    density = ndimage.gaussian_filter(density.reshape(config.bins), config.bin_blur, mode="nearest")
    return density / (density.sum() + 1e-9)


def _roughness(light: Picture, cheeks: Mask, unit: float) -> Picture:
    """The roughness relative to the cheeks, [h, w]; light: log luminance.

    The local minimum, as a forehead's edge is rough, too, while hair is rough everywhere.
    """
    rough = blur(np.abs(light - blur(light, 0.1 * unit)), 0.1 * unit)
    own = float(np.median(rough[cheeks])) if cheeks.any() else 0.0
    least = ndimage.minimum_filter(rough, max(1, round(0.2 * unit)), mode="nearest")
    return (blur(least, 0.05 * unit) / (max(own, 0.02) + 0.02)).astype(np.float32)


def _shining(
    small: Picture, colours: tuple[NDArray, ...], weight: Picture, skin: Skin, config: HairConfig
) -> Picture:
    """The density, at each cell, of the tones of shining hair: shifted towards the light's own colour
    (Shafer's dichromatic reflection, 1985)."""
    white = np.float32(1.1 * skin.light)
    shining: Picture = sum(
        part * _histogram(_bins(own * small + light * white, config), weight, config)[colours]
        for own, light, part in config.shine
    )
    return shining


def _typical(values: Picture, weight: Picture) -> float:
    return float((values * weight).sum() / (weight.sum() + 1e-9))


def _together(sure: Picture, seeds: Mask) -> Picture:
    """The components connected to the seeds."""
    parts, _ = ndimage.label(sure > 0.3)
    known = np.unique(parts[seeds & (parts > 0)])
    return sure * np.isin(parts, known[known > 0])


def _enough(hair: Mask, regions: _Regions, config: HairConfig) -> float:
    """0…1: whether enough of the ring beside the face is hair."""
    ring = regions.first > 0
    return float(smoothstep(*config.enough, float(hair[ring].mean()))) if ring.any() else 0.0


def _stranded(small: Picture, hair: Mask, unit: float, config: HairConfig) -> float:
    """0…1: whether the supposed hair has strands."""
    inner = ndimage.binary_erosion(hair, iterations=max(1, round(0.1 * unit)))
    if not inner.any():
        return 0.0
    light = tone(small)[0]
    return float(smoothstep(*config.strands, float(np.std((light - blur(light, 0.1 * unit))[inner]))))


def _seen(small: Picture, hair: Mask, face: Mask, unit: float, config: HairConfig) -> Picture:
    """0…1, [h, w]: whether hair differs from the background, nearby and overall."""
    edge, seen = _outline(small, hair, face, unit, config)
    if not edge.any():
        return np.zeros(hair.shape, np.float32)
    everywhere = float(smoothstep(*config.outlined, float(seen[edge].mean())))
    sigma = config.along * unit
    near = blur(seen * edge, sigma) / (blur(edge.astype(np.float32), sigma) + 1e-4)
    return (everywhere * smoothstep(0.15, 0.45, near)).astype(np.float32)


def _outline(small: Picture, hair: Mask, face: Mask, unit: float, config: HairConfig) -> tuple[Mask, Picture]:
    """Hair's outer outline, and 1 where the picture changes across it, both [h, w]."""
    light, chroma = tone(small)
    tones = blur(np.dstack([light, chroma]).astype(np.float32), 0.05 * unit)
    away = ndimage.distance_transform_edt(~hair) - ndimage.distance_transform_edt(hair)
    away = blur(away.astype(np.float32), 0.08 * unit)
    slope = np.stack([np.gradient(away, axis=0), np.gradient(away, axis=1)], axis=-1)
    slope /= np.linalg.norm(slope, axis=-1, keepdims=True) + 1e-6
    edge = (ndimage.binary_dilation(hair) & ~hair) & ~ndimage.binary_dilation(
        face, iterations=max(1, round(0.25 * unit))
    )
    edge[[0, -1]] = edge[:, [0, -1]] = False
    rows, columns = np.nonzero(edge)
    seen = np.zeros(hair.shape, np.float32)
    if len(rows):
        reach = 0.15 * unit * slope[rows, columns]
        inner = sample(tones, (columns - reach[:, 1])[None], (rows - reach[:, 0])[None])[0]
        outer = sample(tones, (columns + reach[:, 1])[None], (rows + reach[:, 0])[None])[0]
        seen[rows, columns] = np.abs(outer - inner).max(axis=-1) > config.step
    return edge, seen
