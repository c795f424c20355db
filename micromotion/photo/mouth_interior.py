"""Paint what shows between parted lips: teeth, tongue, cavity, in the photo's light and grain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from micromotion.photo.lips import Lips, MouthFrame
from micromotion.photo.registration import Registration
from micromotion.photo.sampling import (
    Picture,
    blur,
    edge_width,
    fine_grain,
    luminance,
    sample,
    smoothstep,
    turned,
)
from micromotion.types import Floats


@dataclass(frozen=True)
class InteriorConfig:
    """The inside of a mouth. Lengths in head units: the eye distance of a head looking straight ahead."""

    mouth_half: float = 0.42
    """Half of a typical mouth: a narrower or foreshortened one has proportionally narrower teeth."""
    edges: tuple[float, ...] = (0.0, 0.128, 0.228, 0.318, 0.385, 0.44, 0.485)
    """Edges of the upper teeth, from the middle outwards: two incisors, a canine, the rest foreshortened."""
    shorter: tuple[float, ...] = (0.0, 0.010, 0.001, 0.014, 0.022, 0.030)
    """By how much each ends above the first: lateral incisors are shorter, canines are not."""
    lower_edges: tuple[float, ...] = (0.0, 0.066, 0.135, 0.205, 0.27, 0.32, 0.36)
    height: float = 0.045
    """How far the upper incisors reach below the line of the closed lips: the skull holds them, the lips
    uncover them. More looks like a denture, less like a dark slit."""
    lower_height: float = 0.028
    """How far the lower ones reach above the lower lip of a wide-open mouth."""
    arc: float = 0.40
    """Rise of the teeth's ends outwards, per unit squared: parallel to a smile's lower lip."""
    between: tuple[float, float] = (0.0040, 0.26)
    """Width of the gaps between teeth, and how dark they are."""
    corridor: tuple[float, float, float] = (0.22, 0.48, 0.55)
    """Start and end of the teeth's outward shading, and its strength."""
    lip_shade: tuple[float, float] = (0.028, 0.28)
    """Length of the upper lip's shadow on the teeth, and how dark it is."""
    lift: float = 0.16
    """Fraction of the way from skin to white by which teeth are brighter than dark skin: enamel is equally
    bright on all skins, and a dark mouth seems to have no teeth."""
    brightness: float = 1.14
    """Luminance of teeth over that of lit skin."""
    shadow: float = 0.6
    """Exponent of the light along the mouth: wet teeth shine in a shadow that dulls the skin."""
    chroma: float = 0.66
    """Fraction of the skin's colour cast that teeth have; with less they look blue."""
    brightest: float = 0.95
    uneven: float = 0.02
    """Standard deviation of brightness between teeth."""
    grain: float = 0.8
    """Grain relative to the photo's own."""
    grey: tuple[float, float] = (0.004, 0.015)
    """Spread of hue below which a photo is monochrome, and above which it is coloured."""


INTERIOR = InteriorConfig()

_CAVITY = np.array([0.255, 0.18, 0.195])  # of the lips' colour
_TONGUE = np.array([0.60, 0.465, 0.48])


@dataclass(frozen=True, eq=False)
class Interior:
    """A mouth's colours and light, from its photo.

    unit: pixels of a unit of the head. middle: [2], of the closed lips' line, pixels of the square.
    axes: [2, 2], the mouth's right and down. own_teeth: whether the photo shows them. narrow: [2],
    apparent width of the left and the right half over a typical mouth's. white, lip, cast: [3], colours 0…1;
    cast is a grey's colour over its luminance. tint: 0…1, 0 for a monochrome photo. light: [33], along the
    mouth. edge: pixels, sigma of the photo's edges. grain: [h, w, 3].
    """

    unit: float
    middle: Floats
    axes: Floats
    own_teeth: bool
    narrow: Floats
    white: Floats
    lip: Floats
    cast: Floats
    tint: float
    light: Floats
    edge: float
    grain: Picture
    config: InteriorConfig = INTERIOR

    @classmethod
    def of(
        cls, registration: Registration, lips: Lips, unit: float, config: InteriorConfig = INTERIOR
    ) -> Interior:
        picture, frame = registration.picture, lips.frame
        skin = _skin(registration)
        bright = luminance(skin)
        level = float(np.quantile(bright, [0.75, 0.9]).mean())
        upper = skin[bright >= np.median(bright)].mean(axis=0).astype(np.float64)
        cast = upper / max(float(luminance(upper)), 1e-3)
        white = config.brightness * level + config.lift * (1 - level)
        patch = picture[_around(registration, frame)]
        halves = np.array([frame.middle, 1 - frame.middle]) * frame.width / unit / config.mouth_half
        across = np.linspace(-0.12, 0.12, 9) + frame.middle
        rest = frame.outside(np.array([frame.middle, float(lips.upper_edge(across).mean())]))
        return cls(
            unit,
            rest,
            frame.axes,
            lips.parted,
            np.clip(halves, 0.4, 1.15),
            min(white, config.brightest) * (1 - config.chroma + config.chroma * cast),
            _lip_colour(picture, lips),
            cast,
            float(smoothstep(*config.grey, _spread_of_hue(picture[::4, ::4].reshape(-1, 3)))),
            _light_along(picture, lips, unit) ** config.shadow,
            min(edge_width(patch), 0.03 * unit),
            _grain(patch),
            config,
        )

    def colour(self, points: Floats, depth: Floats, height: Floats, skull: Floats) -> Picture:
        """The colours at points [h, w, 2] between the lips; [h, w, 3] in 0…1.

        depth, height: pixels below the upper lip's edge, above the lower one's, [h, w]. skull: [2],
        displacement of the head in pixels.
        """
        config = self.config
        local = turned(points - self.middle - skull, self.axes) / self.unit
        x = local[..., 0] / np.where(local[..., 0] < 0, self.narrow[0], self.narrow[1])
        below, above = depth / self.unit, height / self.unit
        gap = float((below + above).max())
        colour = self._behind(x, above, gap)
        colour = self._lower_teeth(colour, x, above, gap)
        if not self.own_teeth:
            colour = self._upper_teeth(colour, x, local[..., 1], below)
        colour = colour * (1 - 0.3 * np.exp(-above / 0.018))[..., None]  # the lower lip's shadow
        light = np.interp(0.5 + 0.5 * x / config.mouth_half, np.linspace(0, 1, len(self.light)), self.light)
        seen = colour * light[..., None]
        soft = blur(seen.astype(np.float32), float(np.sqrt(max(self.edge**2 - 0.2, 0))))
        columns, rows = points[0, :, 0].astype(int), points[:, 0, 1].astype(int)
        grain = self.grain[_to_and_fro(rows, len(self.grain))][:, _to_and_fro(columns, self.grain.shape[1])]
        drawn: Picture = np.clip(soft + config.grain * grain, 0, 1)
        return drawn

    def _behind(self, x: Floats, above: Floats, gap: float) -> Floats:
        """Tongue and cavity, [h, w, 3]."""
        cavity, tongue = self._tinted(self.lip * _CAVITY), self._tinted(self.lip * _TONGUE)
        share = np.exp(-((x / 0.27) ** 2) - ((above - 0.01) / (0.08 + 0.22 * gap)) ** 2)
        share = 0.8 * share * smoothstep(0.10, 0.24, gap)
        colour = cavity + share[..., None] * (tongue - cavity)
        deeper: Floats = colour * (1 - 0.45 * smoothstep(0.1, 0.5, np.abs(x)))[..., None]
        return deeper

    def _lower_teeth(self, colour: Floats, x: Floats, above: Floats, gap: float) -> Floats:
        """Paint the lower teeth's edges, which show in a wide-open mouth."""
        open_wide = float(smoothstep(0.16, 0.32, gap))
        if not open_wide:
            return colour
        edges = np.array(self.config.lower_edges)
        _, along = _which(np.abs(x), edges)
        end = self.config.lower_height * open_wide - 0.10 * x**2 - 0.008 * np.abs(2 * along - 1) ** 4
        shade = (1 - 0.25 * np.abs(2 * along - 1) ** 6) * (1 - 0.8 * smoothstep(0.12, 0.34, np.abs(x)))
        covered = self._covers(end - above) * open_wide * (np.abs(x) < edges[-1])
        return _over(colour, 0.7 * self.white * shade[..., None], 0.8 * covered)

    def _upper_teeth(self, colour: Floats, x: Floats, y: Floats, below: Floats) -> Floats:
        """Paint the upper teeth over everything.

        y: [h, w], distance below the line of the closed lips; below: below the upper lip's edge.
        """
        config, edges, away = self.config, np.array(self.config.edges), np.abs(x)
        tooth, along = _which(away, edges)
        corner = np.abs(2 * along - 1)
        end = config.height - config.arc * x**2
        end = end - 0.6 * np.array(config.shorter)[tooth] - 0.012 * corner**5
        sizes = np.diff(edges)[tooth]
        width, dark = config.between
        blurred = float(np.hypot(width, 0.4 / self.unit))
        gaps = dark * width / blurred * np.exp(-((np.minimum(along, 1 - along) * sizes / blurred) ** 2))
        rng = np.random.default_rng(3)
        shade = rng.normal(1, config.uneven, 2 * len(edges))[tooth + len(edges) * (x > 0)]
        start, stop, fall = config.corridor
        shade = shade * (1 - 0.10 * corner**3) * (1 - gaps) * (1 - fall * smoothstep(start, stop, away))
        reach, dark = config.lip_shade
        shade = shade * (1 - dark * np.exp(-np.maximum(below, 0) / reach))
        shade = shade * (
            1 - 0.10 * np.exp(-np.maximum(end - y, 0) / 0.010)
        )  # thin edges let the dark through
        warm = 0.03 * smoothstep(0, 0.1, end - y) + 0.05 * (tooth == 2)  # necks and canines are yellower
        tooth_colour = self.white * (1 - self.tint * warm[..., None] * np.array([0.0, 0.5, 1.4]))
        covered = self._covers(end - y) * (away < edges[-1])
        return _over(colour, tooth_colour * shade[..., None], covered)

    def _covers(self, inside: Floats) -> Floats:
        """A pixel's coverage, from its signed distance inside the edge in units."""
        part: Floats = np.clip(inside * self.unit + 0.5, 0, 1)
        return part

    def _tinted(self, colour: Floats) -> Floats:
        """A colour within this photo's palette: a monochrome photo has a single hue."""
        plain = self.cast * float(luminance(colour.astype(np.float32)))
        tinted: Floats = plain + self.tint * (colour - plain)
        return tinted


def _which(away: Floats, edges: Floats) -> tuple[np.ndarray, Floats]:
    """The tooth at a distance from the middle, and how far along it, 0…1."""
    tooth = np.clip(np.searchsorted(edges, away, side="right") - 1, 0, len(edges) - 2)
    along: Floats = np.clip((away - edges[tooth]) / np.diff(edges)[tooth], 0, 1)
    return tooth, along


def _over(colour: Floats, new: Floats, share: Floats) -> Floats:
    mixed: Floats = colour + share[..., None] * (new - colour)
    return mixed


def _skin(registration: Registration) -> Picture:
    """Pixels [n, 3] of cheeks, chin and upper lip."""
    marks, picture = registration.landmarks, registration.picture
    reach = 0.18 * registration.eye_distance
    points = [
        (marks[a] + marks[b]) / 2
        for a, b in ((2, 31), (14, 35), (3, 48), (13, 54), (33, 51), (8, 57), (29, 29), (21, 22))
    ]
    steps = np.linspace(-reach, reach, 13)
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    at = np.concatenate([point + grid for point in points])[None]
    return sample(picture, at[..., 0], at[..., 1])[0]


def _spread_of_hue(pixels: Picture) -> float:
    """How much the colours of pixels [n, 3] differ apart from luminance.

    0 in a monochrome photo, also in a sepia one, whose cast is a function of luminance.
    """
    pixels = pixels[luminance(pixels) > 0.1]
    if len(pixels) < 8:
        return 0.0
    light = luminance(pixels)[:, None]
    cast = (pixels[:, [0, 2]] - light) / light
    powers = np.concatenate([np.ones_like(light), light, light**2], axis=1)
    fitted = powers @ np.linalg.lstsq(powers, cast, rcond=None)[0]
    return float(np.abs(cast - fitted).mean())


def _lip_colour(picture: Picture, lips: Lips) -> Floats:
    """The lower lip's mean colour [3], mostly of its upper half, without the dark line."""
    x = np.linspace(0.3, 0.7, 15)
    across = lips.frame.middle + (x - 0.5) * 0.8
    part = np.linspace(0.3, 0.7, 5)[:, None]
    edge, outer = lips.lower_edge(across), lips.lower_outer(across)
    at = lips.frame.outside(
        np.stack([np.broadcast_to(across, (5, 15)), edge + part * (outer - edge)], axis=-1)
    )
    colours = sample(picture, at[..., 0], at[..., 1]).reshape(-1, 3)
    mean: Floats = np.maximum(colours.mean(axis=0), 0.02).astype(np.float64)
    return mean


def _light_along(picture: Picture, lips: Lips, unit: float) -> Floats:
    """Light along the mouth [33], relative to its own lit parts: .45 … 1.12."""
    light = blur(luminance(picture), 0.10 * unit)
    x = np.linspace(0, 1, 33)
    rows = np.stack([lips.upper_outer(x) - 0.10, lips.lower_outer(x) + 0.12])
    at = lips.frame.outside(np.stack([np.broadcast_to(x, rows.shape), rows], axis=-1))
    along = sample(light, at[..., 0], at[..., 1]).mean(axis=0).astype(np.float64)
    return np.clip(along / max(float(np.quantile(along, 0.8)), 1e-3), 0.45, 1.12)


def _around(registration: Registration, frame: MouthFrame) -> tuple[slice, slice]:
    """Rows and columns of the skin around a mouth."""
    corners = np.array([(-0.2, -0.6), (1.2, -0.6), (-0.2, 0.7), (1.2, 0.7)])
    at = frame.outside(corners)
    left, top = np.clip(at.min(axis=0).astype(int), 0, registration.side - 8)
    right, bottom = np.clip(at.max(axis=0).astype(int), (left + 8, top + 8), registration.side)
    return slice(top, bottom), slice(left, right)


def _grain(patch: Picture) -> Picture:
    """A patch's grain without its edges."""
    grain = fine_grain(patch)
    most = 3 * float(np.median(np.abs(grain))) + 1e-4
    return np.clip(grain, -most, most)


def _to_and_fro(index: np.ndarray, length: int) -> np.ndarray:
    """Indices reflected at the ends of a row of this length."""
    place = index % (2 * length)
    return np.minimum(place, 2 * length - 1 - place)
