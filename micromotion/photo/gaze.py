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

    radii: tuple[float, ...] = (0.18, 0.19, 0.2, 0.21, 0.22, 0.23, 0.24, 0.25, 0.26, 0.27, 0.28)
    """Radii that are tried."""

    usual: tuple[float, float] = (0.215, 0.02)
    """An iris's radius: mean, and deviation."""

    astray: tuple[float, float] = (0.06, 0.05)
    """How differently two eyes look: deviation across, and up or down."""

    pull: float = 0.03
    """Cost of a deviation, as a correlation."""

    centre: tuple[float, float] = (0.26, 0.09)
    """How far from the opening's middle an iris's centre is looked for: across, and up or down."""

    step: float = 0.02
    """Steps of that search, and between the points that are looked at."""

    inside: float = 0.03
    """Points nearer to a lid are lashes or shadow, and tell nothing about the iris."""

    ring: float = 0.13
    """Width of the ring around an iris that it is compared with."""

    likeness: float = 0.5
    """Least correlation of the darkness there with the iris found…"""

    contrast: float = 0.07
    """…and least difference of luminance from the white: in deep shadow nothing is found, nothing moves."""

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

    Each is the dark disc that correlates best with the darkness between the lids.
    """
    if not all(eye.open for eye in lids):
        return None
    (one, other), usual = (_Search.of(registration.picture, eye, config) for eye in lids), config.usual
    apart = (one.gaze[:, None] - other.gaze) / config.astray
    pull = config.pull * (apart**2).sum(axis=-1)
    best, found = -np.inf, None
    for k, radius in enumerate(config.radii):
        total = one.likeness[k][:, None] + other.likeness[k] - pull
        i, j = np.unravel_index(int(total.argmax()), total.shape)
        clear = all(
            search.likeness[k, at] >= config.likeness and search.contrast[k, at] >= config.contrast
            for search, at in ((one, i), (other, j))
        )
        score = float(total[i, j]) - 2 * config.pull * ((radius - usual[0]) / usual[1]) ** 2
        if score > best:
            best = score
            found = (one.iris(i, radius), other.iris(j, radius)) if clear else None
    return found


@dataclass(frozen=True, eq=False)
class _Search:
    """Discs of k radii at m places in one eye.

    centre: [m, 2], in the eye's coordinates. gaze: [m, 2], the same as offsets (right, down) in the picture
    from the opening's middle. likeness: [k, m], their correlation with the darkness around. contrast: [k, m],
    how much lighter the ring around them is.
    """

    centre: Floats
    gaze: Floats
    likeness: Floats
    contrast: Floats

    @classmethod
    def of(cls, picture: Picture, lids: Lids, config: GazeConfig) -> _Search:
        step, (wide, high), middle = config.step, config.centre, _middle(lids)
        x, y = np.meshgrid(np.arange(0.04, 0.96, step), np.arange(-0.5, 0.8, step))
        seen = np.minimum(lids.upper(x) - y, y - lids.lower(x)) > config.inside
        x, y = x[seen], y[seen]
        light = luminance(lids.frame.read(picture, x, y)).astype(np.float64)
        ways = np.meshgrid(np.arange(-wide, wide + step / 2, step), np.arange(-high, high + step / 2, step))
        offset = np.stack(ways, axis=-1).reshape(-1, 2)
        centre = offset + np.array([0.5, middle])
        away = np.hypot(x - centre[:, :1], y - centre[:, 1:])
        found = []
        for radius in config.radii:
            disc = np.clip(0.5 + (radius - away) / (2 * step), 0, 1)
            near = np.clip(0.5 + (radius + config.ring - away) / (2 * step), 0, 1)
            found.append(_correlation(disc, -light, near))
        likeness, contrast = np.moveaxis(np.array(found), 1, 0)
        return cls(centre, offset * (_side(lids), -1), likeness, contrast)

    def iris(self, place: int | np.intp, radius: float) -> Iris:
        return Iris(float(self.centre[place, 0]), float(self.centre[place, 1]), radius)


def _middle(lids: Lids) -> float:
    """Y halfway between the lids, in the eye's middle."""
    return float(lids.upper(np.array(0.5)) + lids.lower(np.array(0.5))) / 2


def _side(lids: Lids) -> int:
    """1 if X grows to the picture's right, -1 if to its left."""
    return 1 if lids.frame.across[0] > 0 else -1


def _correlation(discs: Floats, dark: Floats, near: Floats) -> tuple[Floats, Floats]:
    """The correlation of each disc [m, n] with the darkness [n] of points, which count as `near` says [m, n];
    and how much darker it is than the others."""
    near = near / np.maximum(near.sum(axis=1, keepdims=True), 1e-6)
    share, mean = (near * discs).sum(axis=1), near @ dark
    within = (near * discs) @ dark - share * mean
    spread = share - share**2 + (near * (discs**2 - discs)).sum(axis=1)
    noise = near @ dark**2 - mean**2
    fit: Floats = within / np.sqrt(np.maximum(spread * noise, 1e-8))
    return fit, within / np.maximum(share - share**2, 1e-3)


class Eyeball:
    """One eye of a photo, taken apart; its iris can be moved any number of times."""

    def __init__(self, registration: Registration, lids: Lids, iris: Iris, config: GazeConfig = GAZE) -> None:
        self._config, self._lids, self.iris = config, lids, iris
        frame = lids.frame
        self._right = _side(lids) * frame.across
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
        config, iris, width = self._config, self.iris, self._lids.frame.width
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
        gleams = (light - base > config.bright) & (away < 0.75 * self.iris.radius)
        gleams = ndimage.binary_dilation(gleams, iterations=max(1, size // 6))
        kept = (1 - blur(gleams.astype(np.float32), 0.7))[..., None]
        around = _spread(picture, (~gleams & (away < self.iris.radius))[..., None], size / 3)
        dull: Picture = kept * picture + (1 - kept) * around
        return dull

    def _completed(self, picture: Picture, known: Floats) -> Picture:
        """The iris where lids cover it: its mirror image, or else its mean at that distance."""
        iris, frame = self.iris, self._lids.frame
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
        iris, lids = self.iris, self._lids
        across, below = _side(lids) * (iris.x - 0.5), _middle(lids) - iris.y
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
