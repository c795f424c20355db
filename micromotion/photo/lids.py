"""An eye's lids: where they are in a photo, and how they move when the eye closes.

All lengths and positions are in the eye's own coordinates: X runs from the outer corner (0) to the inner one
(1), Y upwards, in eye widths. They are mirrored for one of the eyes, so that both are treated alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from micromotion.photo.registration import Registration
from micromotion.photo.sampling import Picture, blur, luminance, sample, smoothstep
from micromotion.types import Floats

_OUTER_TO_INNER = (
    {"corners": [36, 39], "upper": [37, 38], "lower": [41, 40], "brow": [17, 18, 19, 20, 21]},
    {"corners": [45, 42], "upper": [44, 43], "lower": [46, 47], "brow": [26, 25, 24, 23, 22]},
)  # dlib's landmarks of the eye on the left in the picture, and of the right one
_WIDER = 0.5  # fraction of its opening by which a degree of −1 would open the eye further


@dataclass(frozen=True)
class LidConfig:
    """How lids are found and how they move. Lengths are in eye widths."""

    roundness: float = 0.75
    """Exponent of 4X(1−X): a lid's outline; 1 is a parabola, less is fuller towards the corners."""

    lean: float = 0.4
    """How far a lid's highest point may be off its middle, as a share of its height."""

    smoothing: float = 0.018
    """Sigma of the blur before lids are searched: more overlooks lashes, less follows grain."""

    above: tuple[float, ...] = (0.04, 0.08)
    """Distances above the upper lid where it should be bright: more is safer near a fold, less is finer."""

    beneath: tuple[float, ...] = (0.015, 0.05)
    """Distances beneath it where lashes and iris should be dark."""

    edge: float = 0.035
    """Distance on both sides of the lower lid at which brightness is compared."""

    tries: tuple[float, ...] = (0.0, 0.08)
    """Starting heights above the landmarks for the upper lid's search: landmarks tend to be on the iris."""

    lower_weight: float = 0.5
    """Weight of the lower lid's contrast over the upper one's: it is weaker, and of either sign."""

    trust: tuple[float, ...] = (25.0, 25.0, 60.0, 25.0, 120.0, 120.0)
    """Cost of deviating from the landmarks, per eye width squared, for each outline parameter; relative to
    contrasts in standard deviations of the brightness around the eye."""

    steps: tuple[float, ...] = (0.04, 0.02, 0.01)
    """Steps of the search."""

    least_opening: float = 0.02
    """Smallest distance between the lids found: lids that cross would fold the picture over."""

    shut_aspect: float = 0.12
    """An eye with a smaller opening over its width is shut, and stays unchanged."""

    sunk: float = 0.3
    """How far below the lower lid in the photo the upper one ends, as a share of the opening: the lashes of
    a shut eye are lower than the lower lid of the open one."""

    rise: float = 0.02
    """How far the lower lid comes up, as a share of the opening."""

    fold: float = 0.12
    """From the upper lid to the fold from which its skin unfolds: nothing moves above it."""

    fold_of_brow: float = 0.5
    """The fold is no higher than this share of the way to the brow."""

    rigid: float = 0.035
    """Height of the lid's edge with its lashes, which moves down rigidly."""

    least_slope: float = 0.2
    """How evenly the skin between edge and fold stretches: less leaves more of it near the fold."""

    below: float = 0.35
    """How far below the lower lid the skin moves when it rises."""


CONFIG = LidConfig()


@dataclass(frozen=True, eq=False)
class EyeFrame:
    """The eye's own coordinate system in a picture. origin: the outer corner, pixels [2]; across, up: unit
    vectors [2]; width: pixels from corner to corner."""

    origin: Floats
    across: Floats
    up: Floats
    width: float

    def to_frame(self, points: NDArray) -> Floats:
        """Pixels [..., 2] -> X and Y [..., 2]."""
        offset = (points - self.origin) / self.width
        return np.stack([offset @ self.across, offset @ self.up], axis=-1)

    def to_picture(self, x: NDArray, y: NDArray) -> Floats:
        """X and Y, both [...] -> pixels [..., 2]."""
        offset = np.asarray(x)[..., None] * self.across + np.asarray(y)[..., None] * self.up
        return self.origin + self.width * offset

    def read(self, picture: Picture, x: NDArray, y: NDArray) -> Picture:
        """Sample a picture at X, Y, both [n]: [n, C]."""
        points = self.to_picture(x, y)[None]
        return sample(picture, points[..., 0], points[..., 1])[0]


@dataclass(frozen=True, eq=False)
class Lids:
    """The position of an eye's lids and brow.

    outline: [6], the upper lid's height and lean, the lower lid's, and the heights of outer and inner corner.
    brow: [n, 2], points of the brow, X growing. aspect: the eye's opening over its width.
    """

    frame: EyeFrame
    outline: Floats
    brow: Floats
    aspect: float
    config: LidConfig = CONFIG

    @classmethod
    def found(cls, registration: Registration, side: int, config: LidConfig = CONFIG) -> Lids:
        """Find one eye's lids in a photo. side: 0 the eye on the left in the picture, 1 the right one."""
        points = registration.landmarks
        which = _OUTER_TO_INNER[side]
        outer, inner = points[which["corners"]]
        width = max(float(np.linalg.norm(inner - outer)), 1.0)
        across = (inner - outer) / width
        up = np.array([across[1], -across[0]]) * (1 if side == 0 else -1)
        frame = EyeFrame(outer, across, up, width)
        upper, lower, brow = (frame.to_frame(points[which[part]]) for part in ("upper", "lower", "brow"))
        start = np.concatenate([_fitted(upper, config), _fitted(lower, config), [0, 0]])
        outline = _refined(registration.picture, frame, start, config)
        aspect = float((upper - lower)[:, 1].mean())
        return cls(frame, outline, brow[np.argsort(brow[:, 0])], aspect, config)

    @property
    def open(self) -> bool:
        return self.aspect >= self.config.shut_aspect

    def upper(self, x: NDArray) -> Floats:
        return _lid(self.outline[None], np.asarray(x), self.config, 0)[0]

    def lower(self, x: NDArray) -> Floats:
        return _lid(self.outline[None], np.asarray(x), self.config, 2)[0]

    def brow_at(self, x: NDArray) -> Floats:
        return np.interp(x, self.brow[:, 0], self.brow[:, 1])

    def fold(self, x: NDArray) -> Floats:
        """Height of the fold above the upper lid."""
        room = self.config.fold_of_brow * (self.brow_at(x) - self.upper(x))
        return np.clip(room, self.config.rigid + 0.02, self.config.fold)


@dataclass(frozen=True, eq=False)
class Margins:
    """Moving lids. upper, lower: the current position of their margins; drop: how far the upper one has come
    down, eye widths; source: the Y of the still picture shown at each pixel. All [h, w]."""

    upper: Floats
    lower: Floats
    drop: Floats
    source: Floats


class Blink:
    """How every pixel near an eye moves with its lids."""

    def __init__(self, lids: Lids, x: NDArray, y: NDArray) -> None:
        """x, y: the pixels' eye coordinates, [h, w] each."""
        self._config = lids.config
        self._y = y
        self._upper, self._lower, self._fold = lids.upper(x), lids.lower(x), lids.fold(x)
        self._opening = np.maximum(self._upper - self._lower, 0)

    def closing(self, closed: float) -> Margins:
        """Close the lids. closed: 0 as in the photo … 1 shut.

        The upper lid comes out of its fold like a blind: its edge with the lashes moves rigidly, the skin
        between edge and fold stretches. The eyeball does not move and is covered.
        """
        c, y, fold = self._config, self._y, self._fold
        drop = (closed + c.sunk * closed**3) * self._opening  # half shut is nearly half the way
        rise = closed * c.rise * self._opening
        upper, lower = self._upper - drop, self._lower + rise
        above = y - upper
        part = np.clip((above - c.rigid) / (fold + drop - c.rigid), 0, 1)
        stretch = (fold + drop - c.rigid) / (fold - c.rigid)
        # Slope `stretch` at the fold, which is 1 in the picture, so that no edge shows there
        power = (stretch - c.least_slope) / (1 - c.least_slope)
        skin = c.rigid + (fold - c.rigid) * (c.least_slope * part + (1 - c.least_slope) * part**power)
        lid = np.where((part < 1) & (drop > 0), self._upper + np.where(above < c.rigid, above, skin), y)
        under = y - rise * (1 - smoothstep(0, c.below, lower - y))
        source = np.where(above >= 0, lid, np.where(y <= lower, under, y))
        return Margins(upper, lower, drop, source)

    def widening(self, opened: float) -> Margins:
        """Open the lids a little wider, by a smooth stretch. opened: 0 as in the photo … 0.3."""
        rise = _WIDER * opened * self._opening
        inside = smoothstep(0, 1, (self._y - self._lower) / np.maximum(self._opening, 1e-3))
        above = 1 - smoothstep(0, 1, (self._y - self._upper) / (2.5 * self._fold))
        source = self._y - rise * np.where(self._y < self._upper, inside, above)
        return Margins(self._upper + rise, self._lower, -rise, source)


def _profile(x: NDArray, config: LidConfig) -> Floats:
    return np.clip(4 * x * (1 - x), 0, 1) ** config.roundness


def _lid(outlines: Floats, x: NDArray, config: LidConfig, first: int) -> Floats:
    """Heights [n, ...] of the upper (first = 0) or lower (2) lids of outlines [n, 6] at x [...]."""
    height, lean, outer, inner = (outlines[:, i].reshape(-1, *[1] * x.ndim) for i in (first, first + 1, 4, 5))
    along = np.clip(x, 0, 1)
    return _profile(x, config) * (height + lean * (2 * along - 1)) + outer * (1 - along) + inner * along


def _fitted(points: Floats, config: LidConfig) -> Floats:
    """Height and lean [2] of the lid through two points [2, 2]."""
    profile = _profile(np.clip(points[:, 0], 0.05, 0.95), config)
    across = 2 * points[:, 0] - 1
    system = np.stack([profile, profile * across], axis=1)
    if abs(np.linalg.det(system)) < 1e-3:
        return np.array([float(np.mean(points[:, 1] / profile)), 0.0])
    height, lean = np.linalg.solve(system, points[:, 1])
    most = config.lean * abs(height)
    return np.array([height, np.clip(lean, -most, most)])


def _refined(picture: Picture, frame: EyeFrame, start: Floats, config: LidConfig) -> Floats:
    """The outline near `start` [6] along which the picture changes most: coordinate ascent."""
    light, reach = _light(picture, frame, config)
    x = np.linspace(0.12, 0.88, 25)

    def at(y: Floats) -> Picture:
        points = frame.to_picture(np.broadcast_to(x, y.shape), y) - reach
        return sample(light, points[..., 0], points[..., 1])

    def score(outlines: Floats) -> Floats:
        upper, lower = _lid(outlines, x, config, 0), _lid(outlines, x, config, 2)
        skin = np.mean([at(upper + off) for off in config.above], axis=0)
        lash = (skin - np.mean([at(upper - off) for off in config.beneath], axis=0)).mean(axis=1)
        under = np.abs(at(lower + config.edge) - at(lower - config.edge)).mean(axis=1)
        astray = ((outlines - start) ** 2 * config.trust).sum(axis=1)
        crossed = np.maximum(0, config.least_opening - (upper - lower).min(axis=1))
        total: Floats = lash + config.lower_weight * under - astray - 50 * crossed
        return total

    found = []
    for higher in config.tries:
        best = start + np.array([higher, 0, 0, 0, 0, 0])
        for step in config.steps:
            moves = np.concatenate([np.zeros((1, 6)), step * np.eye(6), -step * np.eye(6)])
            for _ in range(12):
                choice = int(np.argmax(score(best + moves)))
                if choice == 0:
                    break
                best = best + moves[choice]
        found.append(best)
    outline: Floats = found[int(np.argmax(score(np.stack(found))))]
    return outline


def _light(picture: Picture, frame: EyeFrame, config: LidConfig) -> tuple[Picture, Floats]:
    """Blurred brightness around an eye, in standard deviations; and its first pixel (x, y)."""
    middle = frame.to_picture(np.array(0.5), np.array(0.0))
    reach = 0.9 * frame.width + 2
    low = np.clip(np.floor(middle - reach), 0, np.array(picture.shape[1::-1]) - 2).astype(int)
    high = np.maximum(np.ceil(middle + reach).astype(int), low + 2)
    light = blur(
        luminance(picture[low[1] : high[1], low[0] : high[0]]), max(0.5, config.smoothing * frame.width)
    )
    return light / np.float32(light.std() + 1e-3), low.astype(np.float64)
