"""Move the irises within open eyes, in a photo's own pixels.

An eye is taken apart once: the white, which continues behind the iris; the iris with its pupil, completed
where lids cover it; and the reflections of lamps, which stay where they are when an eye turns. A frame puts
the parts together with the iris elsewhere, within the lids.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from micromotion.photo.lids import Lids
from micromotion.photo.registration import Registration
from micromotion.photo.sampling import Picture, blur, luminance, sample, smoothstep
from micromotion.photo.strokes import Stroke
from micromotion.types import Floats


@dataclass(frozen=True)
class GazeConfig:
    """How irises are found and drawn. Lengths are in eye widths, luminances in 0…1."""

    radii: tuple[float, float, float] = (0.17, 0.27, 0.01)
    """Radii that are tried: from, to, step."""

    usual: tuple[float, float] = (0.215, 0.03)
    """An iris's radius: mean and deviation. It is 5.9 mm in all people, between corners 28 mm apart."""

    centre: tuple[float, float] = (0.24, 0.09)
    """How far from the opening's middle an iris's centre is looked for: across, and up or down."""

    step: float = 0.02
    """Steps of that search."""

    edge: float = 0.035
    """Distance on both sides of the iris's outline at which luminance is compared."""

    least: float = 0.05
    """Least mean difference there: in deep shadow nothing is found, and nothing moves."""

    inside: float = 0.02
    """Points nearer to a lid are lashes or shadow, and tell nothing about the iris."""

    soft: float = 0.018
    """Sigma of the iris's outline where the photo is sharp."""

    margin: tuple[float, float] = (0.0, 0.035)
    """Distances from the lids over which the redrawn eye fades in."""

    spread: float = 0.1
    """Sigma with which the white continues behind the iris."""

    gleam: float = 0.1
    """A reflection is smaller than this…"""

    bright: float = 0.1
    """…and brighter than the iris around it by this."""

    room: tuple[float, float] = (0.27, 0.11)
    """Farthest from the opening's middle that an iris moves: across, and up or down."""

    appears: tuple[float, float] = (0.002, 0.02)
    """Displacements over which the redrawn eye replaces the photo's."""


GAZE = GazeConfig()

_NOTHING = Stroke(0, 0)


@dataclass(frozen=True)
class Iris:
    """An iris in its eye's coordinates: its centre, and its radius, in eye widths."""

    x: float
    y: float
    radius: float


def find_irises(
    registration: Registration, lids: tuple[Lids, Lids], config: GazeConfig = GAZE
) -> tuple[Iris, Iris] | None:
    """The irises of both eyes, of the same size; None unless both are clear and open.

    The circle across which luminance rises most, at points that no lid covers (Daugman 1993,
    "High confidence visual recognition of persons by a test of statistical independence").
    """
    if not all(eye.open for eye in lids):
        return None
    radii = np.arange(config.radii[0], config.radii[1] + 1e-9, config.step / 2)
    found = [_circles(registration.picture, eye, radii, config) for eye in lids]
    pull = ((radii - config.usual[0]) / config.usual[1]) ** 2
    best = int(np.argmax(sum(rise for rise, _ in found) - 2 * 0.01 * pull))
    if min(rise[best] for rise, _ in found) < config.least:
        return None
    one, other = (Iris(float(at[best, 0]), float(at[best, 1]), float(radii[best])) for _, at in found)
    return one, other


def _circles(picture: Picture, lids: Lids, radii: Floats, config: GazeConfig) -> tuple[Floats, Floats]:
    """The clearest circle of each radius: the rise of luminance across it [n], and its centre [n, 2]."""
    middle = float(lids.upper(np.array(0.5)) + lids.lower(np.array(0.5))) / 2
    (wide, high), step = config.centre, config.step
    x, y, radius, angle = np.meshgrid(
        np.arange(0.5 - wide, 0.5 + wide, step),
        np.arange(middle - high, middle + high, step),
        radii,
        np.radians(np.arange(0, 360, 12)),
        indexing="ij",
    )
    ring = np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)])
    clear = np.minimum(lids.upper(ring[0]) - ring[1], ring[1] - lids.lower(ring[0])) > config.inside
    clear &= (ring[0] > 0.04) & (ring[0] < 0.96)
    light = blur(luminance(picture), 0.015 * lids.frame.width)[..., None]
    inner, outer = (
        lids.frame.read(
            light, (x + reach * np.cos(angle)).reshape(-1), (y + reach * np.sin(angle)).reshape(-1)
        ).reshape(x.shape)
        for reach in (radius - config.edge, radius + config.edge)
    )
    seen = clear.sum(axis=-1)
    rise = ((outer - inner) * clear).sum(axis=-1) / np.maximum(seen, 1)
    rise = rise * smoothstep(4, 12, seen)
    flat = rise.reshape(-1, len(radii))
    best = flat.argmax(axis=0)
    centres = np.stack([x[..., 0].reshape(flat.shape), y[..., 0].reshape(flat.shape)], axis=-1)
    return flat.max(axis=0), centres[best, np.arange(len(radii))]


class Eyeball:
    """One eye of a photo, taken apart; its iris can be moved any number of times."""

    def __init__(self, registration: Registration, lids: Lids, iris: Iris, config: GazeConfig = GAZE) -> None:
        self._config, self._lids, self._iris = config, lids, iris
        frame = lids.frame
        self._right = frame.across if frame.across[0] > 0 else -frame.across
        corners = frame.to_picture(np.array([-0.1, -0.1, 1.1, 1.1]), np.array([-0.5, 0.5, -0.5, 0.5]))
        low = np.clip(np.floor(corners.min(axis=0)), 0, registration.side - 4).astype(int)
        high = np.clip(np.ceil(corners.max(axis=0)) + 1, low + 4, registration.side).astype(int)
        self._left, self._top = int(low[0]), int(low[1])
        y, x = np.mgrid[low[1] : high[1], low[0] : high[0]]
        place = frame.to_frame(np.stack([x, y], axis=-1).astype(np.float64))
        self._x, self._y = place[..., 0], place[..., 1]
        self._columns, self._rows = np.meshgrid(
            np.arange(x.shape[1], dtype=np.float32), np.arange(x.shape[0], dtype=np.float32)
        )
        within = np.minimum(lids.upper(self._x) - self._y, self._y - lids.lower(self._x))
        within = np.where((self._x > 0) & (self._x < 1), within, -1)
        mask = smoothstep(*config.margin, within).astype(np.float32)
        mask[[0, -1]] = mask[:, [0, -1]] = 0
        self._mask = mask[..., None]
        self._take_apart(registration.picture[low[1] : high[1], low[0] : high[0]], within)

    def _take_apart(self, picture: Picture, within: Floats) -> None:
        """Find the white [h, w, 3], the iris [h, w, 4], the last its opacity, and the reflections."""
        config, iris, width = self._config, self._iris, self._lids.frame.width
        away = np.hypot(self._x - iris.x, self._y - iris.y)
        soft = max(config.soft, 0.6 / width)
        opacity = np.clip(0.5 + (iris.radius - away) / (2.5 * soft), 0, 1)
        seen = smoothstep(0.0, 2 * config.inside, within)
        bare = (seen * (away > iris.radius + 2.5 * soft)).astype(np.float32)[..., None]
        self._white = bare * picture + (1 - bare) * _spread(picture, bare, config.spread * width)
        dull = self._dull(picture, away)
        gleam = np.maximum(picture - dull, 0) * opacity[..., None]
        self._gleam = gleam.astype(np.float32)
        known = (smoothstep(config.inside, 3 * config.inside, within) * (opacity > 0))[..., None]
        self._iris_layer = np.dstack([self._completed(dull, known), opacity]).astype(np.float32)

    def _dull(self, picture: Picture, away: Floats) -> Picture:
        """The picture without reflections on the iris."""
        config = self._config
        size = max(3, round(config.gleam * self._lids.frame.width) | 1)
        light = luminance(picture)
        base = ndimage.grey_opening(light, (size, size))
        gleams = (light - base > config.bright) & (away < self._iris.radius * 0.9)
        gleams = ndimage.binary_dilation(gleams, iterations=max(1, size // 6))
        kept = (1 - blur(gleams.astype(np.float32), 0.7))[..., None]
        around = _spread(picture, (~gleams & (away < self._iris.radius))[..., None], size / 3)
        dull: Picture = kept * picture + (1 - kept) * around
        return dull

    def _completed(self, picture: Picture, known: Floats) -> Picture:
        """The iris where lids cover it: its mirror image, or else its mean at that distance."""
        iris, frame = self._iris, self._lids.frame
        places = [(self._x, 2 * iris.y - self._y), (2 * iris.x - self._x, 2 * iris.y - self._y)]
        total, weight = picture * known, known.copy()
        for x, y in places:
            at = frame.to_picture(x, y) - (self._left, self._top)
            share = (1 - weight) * sample(known.astype(np.float32), at[..., 0], at[..., 1], beyond="zeros")
            total, weight = total + share * sample(picture, at[..., 0], at[..., 1]), weight + share
        mean = (picture * known).sum(axis=(0, 1)) / max(float(known.sum()), 1e-6)
        return (total + (1 - weight) * mean).astype(np.float32)

    def stroke(self, gaze: Floats) -> Stroke:
        """The stroke that moves the iris by `gaze`, (right, down) in eye widths; it stops at the corners."""
        config, width = self._config, self._lids.frame.width
        right, down = self._within(gaze)
        share = float(smoothstep(*config.appears, np.hypot(right, down)))
        if share == 0:
            return _NOTHING
        way = width * (right * self._right - down * self._lids.frame.up)
        at_x, at_y = self._columns - np.float32(way[0]), self._rows - np.float32(way[1])
        layer = sample(self._iris_layer, at_x, at_y, bicubic=True)
        opacity = np.clip(layer[..., 3:], 0, 1)
        gleam = self._gleam * (0.3 + 0.7 * opacity)
        drawn = np.clip((1 - opacity) * self._white + opacity * layer[..., :3] + gleam, 0, 1)
        mask = share * self._mask
        return Stroke(self._left, self._top, kept=1 - mask, added=mask * drawn)

    def _within(self, gaze: Floats) -> tuple[float, float]:
        """The displacement (right, down) that keeps the iris within the eye."""
        iris, lids = self._iris, self._lids
        sign = 1 if lids.frame.across[0] > 0 else -1
        across = sign * (iris.x - 0.5)
        below = float(lids.upper(np.array(0.5)) + lids.lower(np.array(0.5))) / 2 - iris.y
        moved = [
            _saturated(float(asked), max(room - own * np.sign(asked), 0.02))
            for asked, own, room in zip(gaze, (across, below), self._config.room, strict=True)
        ]
        return moved[0], moved[1]


def _saturated(asked: float, room: float) -> float:
    return float(room * np.tanh(asked / room))


def _spread(picture: Picture, mask: Picture, sigma: float) -> Picture:
    """The colours under a mask [h, w, 1], continued smoothly beyond it."""
    result, weight = np.zeros_like(picture), np.zeros(mask.shape, np.float32)
    mask = mask.astype(np.float32)
    for times in (1.0, 2.0, 4.0):  # the nearest colours first; the farther where there are none
        total = blur(np.dstack([picture * mask, mask]), times * sigma)
        share = (1 - weight) * np.clip(20 * total[..., 3:], 0, 1)
        result += share * total[..., :3] / np.maximum(total[..., 3:], 1e-6)
        weight += share
    mean = (picture * mask).sum(axis=(0, 1)) / max(float(mask.sum()), 1e-6)
    spread: Picture = result + (1 - weight) * mean.astype(np.float32)
    return spread
