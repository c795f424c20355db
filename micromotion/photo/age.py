"""Make a face older or younger: lines, hollows and spots lit as in the photo, greying hair. Colour only."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from micromotion.photo.age_map import AgeMap, age_map
from micromotion.photo.hair import find_hair, guided
from micromotion.photo.head import HeadFit
from micromotion.photo.registration import Registration
from micromotion.photo.sampling import Picture, blur, edge_width, luminance, sample, smoothstep
from micromotion.photo.skin import Skin, averaged, enlarged, find_skin
from micromotion.photo.strokes import Stroke
from micromotion.types import Floats

Rows = tuple[slice, slice]


@dataclass(frozen=True)
class AgeConfig:
    """Tuned constants. Gains are logs of luminance factors; lengths are in eye distances."""

    saturation: float = 0.8
    """How early age saturates: tanh(saturation · age), 1 at age 1. Higher: less beyond 1, more below."""

    away: float = 0.066
    """Gain per slope (height per eye distance) on the side of a line that faces away from the light."""

    towards: float = 0.026
    """The same on the side that faces the light. More looks embossed."""

    depth: float = 0.52
    """Gain of a groove of depth 1: little light reaches its bottom. More looks drawn."""

    deepest: float = 0.6
    """Upper bound on how much lines darken."""

    highest: float = 0.14
    """Upper bound on how much they lighten."""

    creases: float = 0.25
    """Height of fine creases relative to lines. More looks like leather."""

    coarse: float = 64.0
    """Distance of the eyes in pixels up to which lines have these depths. On a larger face pixels do not
    soften them: lines are shallower by the ratio's root, creases by its square, the darkest by its fourth
    root. More is drawn, and scaly, on large photos; less is not seen on small ones."""

    hollows: float = 0.20
    """Gain of hollows and bags."""

    mottling: float = 0.025
    spots: float = 0.13
    """How much a spot darkens."""

    own: float = 1.3
    """How much the photo's own lines deepen, relative to their depth. More dirties pores and brushwork."""

    own_width: float = 0.07
    """Largest radius of what counts as one of the photo's own lines."""

    own_contrast: float = 0.09
    """Log contrast of edges not caused by age: nostrils, beards, the jaw."""

    own_deepest: float = 0.4
    """Log depth at which the photo's own lines stop deepening."""

    pale: float = 0.15
    """Fraction of its chroma that skin loses."""

    colours: tuple[float, float, float] = (0.88, 1.04, 1.10)
    """Exponents of the gains in red, green and blue: skin's shadows are red."""

    younger: tuple[float, float] = (0.85, 0.55)
    """Fraction of the photo's own dark and light lines that rejuvenation removes. More looks like wax."""

    texture: float = 0.045
    """Standard deviation of log luminance of cheeks on which lines have exactly the strength above."""

    texture_power: float = 0.7
    """Lines are deeper on rougher cheeks, finer on smoother ones, by this power of the ratio. 0: the same on
    all; 1: a painting's lines look like brush strokes, a blurred photo's are invisible."""

    texture_range: tuple[float, float] = (0.45, 2.0)

    above: float = 0.45
    """Light from above, mixed with the photo's, so that lines are never lit from below."""

    grey: float = 0.9
    """Fraction of old hair that is grey."""

    grey_light: tuple[float, float] = (0.22, 0.58)
    """Luminance of grey hair over the skin's: of the darkest lock, and the lightest lock's excess."""

    grey_lift: float = 2.8
    """Largest factor by which hair lightens, so that noise in black hair does not turn silver."""

    grey_hue: float = 0.12
    """Fraction of its own chroma that grey hair keeps."""

    grey_cast: float = 0.55
    """Fraction of the photo's mean chroma that it takes on: the light of a room, a painting's varnish."""

    grey_detail: float = 0.75
    """Exponent of strand contrast as hair lightens. Less is dull, more brings out noise."""

    lock: float = 0.08
    """Sigma of a lock: its mean tone turns grey, its strands remain."""

    strand: tuple[float, float] = (1.3, 0.6)
    """Smoothstep limits on a pixel's log luminance difference from its lock. What differs more is background
    seen through the hair: without this, the hair's rim glows."""

    brows: float = 0.1
    """Fraction of their contrast that brows lose at age 1."""


class Ageing:
    """One photo's face at any age. Create with `of`, once per photo."""

    def __init__(self, side: int, config: AgeConfig, face: Rows, hair: Rows) -> None:
        self._side, self._config = side, config
        self._face, self._hair = face, hair

    @classmethod
    def of(cls, registration: Registration, head: HeadFit, config: AgeConfig = AgeConfig()) -> Ageing:
        """Find skin, hair and light, and map the lines of age onto the face.

        About 200 ms for a face of 512 pixels.
        """
        skin = find_skin(registration)
        blurred = _edges(registration)
        chart = age_map(registration, blurred, _lit_from_the_right(registration, skin))
        height, width = chart.lines.shape
        face = (slice(chart.top, chart.top + height), slice(chart.left, chart.left + width))
        found = find_hair(registration, head, skin)
        bare = skin.cover * (1 - found.maybe)
        hair = np.maximum(found.sure * _inside(registration) - np.float32(0.004), 0)
        ageing = cls(registration.side, config, face, _around(hair))
        ageing._draw_skin(registration, head, skin, bare, chart)
        ageing._draw_hair(registration, skin, hair)
        return ageing

    def stroke(self, age: float) -> Stroke:
        """The stroke that ages the face: 0 is the photo, 1 old; below 0 is younger.

        Saturates beyond ±1. Colour only; sagging is part of the shape (`expression`).
        """
        if not age:
            return Stroke(0, 0)
        degree = float(np.tanh(self._config.saturation * age) / np.tanh(self._config.saturation))
        rows, columns = _union(self._face, self._hair if degree > 0 else self._face)
        kept = np.ones((rows.stop - rows.start, columns.stop - columns.start, 3), np.float32)
        within = _within(self._face, rows, columns)
        if degree < 0:
            kept[within] = np.exp(-degree * self._younger)[..., None]
            return Stroke(columns.start, rows.start, kept=kept)
        added = np.zeros_like(kept)
        gain = degree * self._lines + degree**1.5 * self._texture
        for channel, exponent in enumerate(self._colours):
            kept[(*within, channel)] = np.exp(np.float32(exponent) * gain)
        kept[within] *= 1 + degree * self._tint
        added[within] = degree * self._brow_light
        within = _within(self._hair, rows, columns)
        grey = float(smoothstep(0, 1.2, degree))
        kept[within] *= 1 + grey * self._hair_kept
        added[within] += grey * self._hair_added
        return Stroke(columns.start, rows.start, kept=kept, added=added)

    def _draw_skin(
        self, registration: Registration, head: HeadFit, skin: Skin, bare: Picture, chart: AgeMap
    ) -> None:
        config, face = self._config, self._face
        cover = bare[face] * _towards_us(head, registration.side)[face]
        light = _light(head, config)
        unit = registration.eye_distance
        heights = [chart.lines, config.creases * chart.creases]
        picture = registration.picture[face]
        dark = np.log(luminance(picture) + np.float32(0.05))
        strength, size = _strength(dark, skin.cover[face], unit, config), min(1.0, config.coarse / unit)
        scales = (strength * size**0.5, min(strength, 1.0) * size**2)  # a rough face needs no fine creases
        config = replace(config, deepest=config.deepest * size**0.25)
        lines, creases = (
            _shaded(by * height, light, unit, config) for by, height in zip(scales, heights, strict=True)
        )
        own = _own_lines(dark, unit, config)
        deepened = config.own_deepest * np.tanh(config.own * np.minimum(own, 0) / config.own_deepest)
        self._lines = (cover * (lines + deepened)).astype(np.float32)
        texture = creases + config.hollows * chart.hollows - config.mottling * chart.mottling
        self._texture = (cover * (texture - config.spots * chart.spots)).astype(np.float32)
        self._colours = 1 + skin.coloured * (np.array(config.colours) - 1)
        lifted = -config.younger[0] * np.minimum(own, 0) - config.younger[1] * np.maximum(own, 0)
        self._younger = (cover * (lifted - 0.35 * config.hollows * np.minimum(chart.hollows, 0))).astype(
            np.float32
        )
        soft = _wide_blur(picture, 0.08 * unit) + np.float32(0.02)
        tint = config.pale * skin.coloured * cover[..., None] * (luminance(soft)[..., None] / soft - 1)
        brows = config.brows * skin.brows[face][..., None]
        self._tint = (tint - brows).astype(np.float32)
        self._brow_light = (brows * _wide_blur(picture, 0.12 * unit)).astype(np.float32)

    def _draw_hair(self, registration: Registration, skin: Skin, hair: Picture) -> None:
        """Turn locks grey, preserving strand contrast: a linear function per channel and pixel."""
        config = self._config
        hair, picture = hair[self._hair], registration.picture[self._hair]
        if not hair.size:
            self._hair_kept = self._hair_added = np.zeros((*hair.shape, 3), np.float32)
            return
        sigma = config.lock * registration.eye_distance
        weight = hair[..., None]
        lock = _wide_blur(picture * weight, sigma) / (_wide_blur(weight, sigma) + 1e-4) + np.float32(0.004)
        light = luminance(lock)[..., None]
        away = np.abs(np.log((luminance(picture)[..., None] + 0.02) / (light + 0.02)))
        weight = weight * smoothstep(*config.strand, away).astype(np.float32)
        brightest = float(np.quantile(light[hair > 0.5], 0.9)) if (hair > 0.5).any() else 1.0
        share = np.clip(light / brightest, 0, 1.15)
        grey = skin.light * (config.grey_light[0] + config.grey_light[1] * share)
        grey = np.maximum(light, np.minimum(grey, config.grey_lift * light))
        cast = registration.picture.mean(axis=(0, 1)) + np.float32(0.01)
        hue = config.grey_hue * (lock / light - 1) + config.grey_cast * (cast / luminance(cast) - 1)
        tone = grey * (1 + (lock / light - 1) + skin.coloured * (hue - (lock / light - 1)))
        contrast = np.minimum((grey / light) ** config.grey_detail, 1.9)
        contrast = contrast * np.clip(light / lock, 0.8, 1.25) ** skin.coloured
        part = config.grey * weight
        self._hair_kept = (part * (contrast - 1)).astype(np.float32)
        self._hair_added = (part * (tone - contrast * lock)).astype(np.float32)


def _edges(registration: Registration) -> float:
    """The sigma of the photo's edges on the face, in pixels."""
    low, high = registration.landmarks[17:].min(axis=0), registration.landmarks[17:].max(axis=0)
    (left, top), (right, bottom) = (
        np.clip(at, 0, registration.side - 1).astype(int) for at in (low, high + 1)
    )
    width = edge_width(registration.picture[top : bottom + 1, left : right + 1])
    return min(width, 0.04 * registration.eye_distance)


def _lit_from_the_right(registration: Registration, skin: Skin) -> bool:
    """Whether the face is brighter on the picture's right."""
    weight = skin.cover * luminance(registration.picture)
    at = np.arange(registration.side)
    across = registration.axes[0][0] * at[None] + registration.axes[0][1] * at[:, None]
    middle = (across * skin.cover).sum() / max(float(skin.cover.sum()), 1e-6)
    return bool((weight * (across - middle)).sum() > 0)


def _light(head: HeadFit, config: AgeConfig) -> Floats:
    """The light's direction in the picture, [2], (right, up), at most a unit vector."""
    light = np.array([0.6 * head.light[1], 0.35 * head.light[2] + config.above])
    turned: Floats = light / max(float(np.linalg.norm(light)), 0.35)
    return turned


def _shaded(height: Picture, light: Floats, unit: float, config: AgeConfig) -> Picture:
    """The gain of a height map in this light, [h, w]."""
    across, down = unit * np.gradient(height, axis=1), unit * np.gradient(height, axis=0)
    slope = down * light[1] - across * light[0]  # above 0: it faces the light
    gain = config.away * np.minimum(slope, 0) + config.towards * np.maximum(slope, 0)
    gain = gain + config.depth * np.minimum(height, 0)
    limit = np.where(gain < 0, config.deepest, config.highest)
    shaded: Picture = limit * np.tanh(gain / limit)
    return shaded


def _strength(light: Picture, skin: Picture, unit: float, config: AgeConfig) -> float:
    """Scale of line depth that matches the skin's own texture.

    light: log luminance. skin: 0…1.
    """
    fine = blur(light, 0.012 * unit) - blur(light, 0.05 * unit)
    weight = skin + 1e-6
    own = float(np.sqrt((weight * fine**2).sum() / weight.sum()))
    return float(np.clip((own / config.texture) ** config.texture_power, *config.texture_range))


def _own_lines(light: Picture, unit: float, config: AgeConfig) -> Picture:
    """Log luminance of the photo's own fine lines, without strong edges and grain."""
    radius = max(1, round(config.own_width * unit))
    smooth = guided(light, light, radius, config.own_contrast**2)
    return (blur(light, 0.009 * unit) - smooth).astype(np.float32)


def _wide_blur(picture: Picture, sigma: float) -> Picture:
    """`blur` a picture [h, w, C] with a large sigma, at reduced resolution."""
    height, width = picture.shape[:2]
    by = int(sigma / 2.5)
    if by < 2 or min(height, width) < 4 * by:
        return blur(picture, sigma)
    small = averaged(picture, height // by, width // by)
    y = (np.arange(height, dtype=np.float32)[:, None] + 0.5) * (len(small) / height) - 0.5
    x = (np.arange(width, dtype=np.float32)[None] + 0.5) * (small.shape[1] / width) - 0.5
    return sample(blur(small, sigma / by), *np.broadcast_arrays(x, y))


def _towards_us(head: HeadFit, side: int) -> Picture:
    """1 where the face's surface is turned to the camera, 0 where it is seen edge-on."""
    return enlarged(smoothstep(0.15, 0.5, head.normal[..., 2]).astype(np.float32), side)


def _inside(registration: Registration) -> Picture:
    """1 within the square, 0 at its border."""
    at = np.arange(registration.side)
    edge = np.minimum(at, registration.side - 1 - at) / (0.2 * registration.eye_distance)
    rise = smoothstep(0.1, 1, edge).astype(np.float32)
    return rise * rise[:, None]


def _around(plane: Picture) -> Rows:
    """The rows and columns of all values above 0, plus a border of zeros."""
    rows, columns = (np.flatnonzero((plane > 0).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    height, width = plane.shape
    return (
        slice(max(0, int(rows[0]) - 1), min(height, int(rows[-1]) + 2)),
        slice(max(0, int(columns[0]) - 1), min(width, int(columns[-1]) + 2)),
    )


def _union(one: Rows, other: Rows) -> Rows:
    if other[0].stop == 0:
        return one
    rows, columns = (
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )
    return rows, columns


def _within(box: Rows, rows: slice, columns: slice) -> Rows:
    """A box relative to the origin of another."""
    if box[0].stop == 0:
        return box
    return (
        slice(box[0].start - rows.start, box[0].stop - rows.start),
        slice(box[1].start - columns.start, box[1].stop - columns.start),
    )
