"""Close eyes or open them wider, in a photo's own pixels.

The lids' geometry (`lids.py`) gives each pixel's source. What no photo of an open eye shows is painted
(`lid_paint.py`): the lid's skin, its fold, the lashes, and the lid's shadow on the eyeball, with the photo's
own colours, sharpness and grain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from micromotion.photo.lid_paint import (
    Surroundings,
    cheek_detail,
    lash_chart,
    lash_colour,
    on_lash_chart,
    on_skin_chart,
    skin_chart,
)
from micromotion.photo.lids import Blink, Lids, Margins
from micromotion.photo.registration import Registration
from micromotion.photo.sampling import Picture, smoothstep
from micromotion.photo.strokes import Stroke
from micromotion.types import Floats


@dataclass(frozen=True)
class EyeConfig:
    """How painted parts appear as an eye closes. Lengths are in eye widths, shares of colours in 0…1."""

    knee: float = 0.05
    """Degrees around 1 over which closing slows to a stop: less is more abrupt, more leaves a slit at 1."""

    widest: float = 0.3
    """Asymptote of negative degrees: an eye opened wider would show what no photo has."""

    appears: tuple[float, float] = (0.0, 0.5)
    """Degrees between which the painted skin appears."""

    lash_appears: float = 0.05
    """How far the lid has come down when its painted lashes are fully visible."""

    convex: float = 0.06
    """How much lighter the lid's middle is than its ends: more looks like a more bulging eyeball."""

    margin_shade: float = 0.2
    """How much darker the skin is at the lashes."""

    margin_reach: float = 0.05
    """Distance at which that shade has fallen to a third."""

    crease: float = 0.06
    """How much darker the fold is above a shut lid."""

    crease_appears: tuple[float, float] = (0.25, 0.7)
    """Degrees between which the painted fold appears."""

    crease_width: float = 0.035
    """The fold's sigma."""

    shadow: float = 0.35
    """The lid's shadow on the eyeball, at the lid."""

    shadow_reach: float = 0.06
    """Distance at which that shadow has fallen to a third."""

    lash_most: float = 0.9
    """Largest opacity of the lash line: more looks drawn."""

    fringe: float = 0.5
    """Opacity of the fringe relative to the line."""

    fringe_appears: tuple[float, float] = (0.35, 0.9)
    """Degrees between which the fringe turns down and becomes visible."""

    under_shade: float = 0.10
    """The lashes' shadow on the lower lid."""


CONFIG = EyeConfig()

_NOTHING = Stroke(0, 0)
_ROOM = 0.45  # eye widths around the eye, beyond which nothing is moved or painted


class Eye:
    """One eye of a photo, found once and closed any number of times."""

    def __init__(self, registration: Registration, lids: Lids, config: EyeConfig = CONFIG) -> None:
        self.lids = lids
        self._config = config
        frame = lids.frame
        self._left, self._top, width, height = _box(registration, lids)
        self._still = not lids.open or width == 0 or height == 0
        if self._still:
            return
        y, x = np.mgrid[self._top : self._top + height, self._left : self._left + width]
        place = frame.to_frame(np.stack([x, y], axis=-1).astype(np.float64))
        self._x, self._y = place[..., 0], place[..., 1]
        self._blink = Blink(lids, self._x, self._y)
        self._fold = lids.fold(self._x)
        self._along = smoothstep(-0.04, 0.2, self._x) * smoothstep(1.04, 0.8, self._x)
        around = Surroundings(registration.picture, frame)
        self._sharpness = around.sharpness
        skin = on_skin_chart(skin_chart(around, lids), self._x, self._y)
        self._skin = skin[..., :3] * (1 + cheek_detail(around, lids, self._x, self._y))
        self._ends = _fading(self._x, self._y, lids)
        self._painted = skin[..., 3] * self._ends
        self._lash_colour = lash_colour(around, lids)
        self._lashes = lash_chart(around.sharpness)

    @classmethod
    def found(cls, registration: Registration, side: int, config: EyeConfig = CONFIG) -> Eye:
        """Find one eye in a photo. side: 0 the eye on the left in the picture, 1 the right one."""
        return cls(registration, Lids.found(registration, side), config)

    def stroke(self, closed: float) -> Stroke:
        """The stroke for a degree: 0 as in the photo … 1 shut; below 0 a little wider, to about −0.3.

        An eye that is shut in the photo stays as it is.
        """
        degree = _saturated(closed, self._config)
        if degree == 0 or self._still:
            return _NOTHING
        if degree < 0:
            return Stroke(self._left, self._top, self._shift(self._blink.widening(-degree)))
        margins = self._blink.closing(degree)
        kept, added = self._paint(margins, degree)
        return Stroke(self._left, self._top, self._shift(margins), kept, added)

    def _shift(self, margins: Margins) -> Picture:
        way = (margins.source - self._y) * self.lids.frame.width
        return (way[..., None] * self.lids.frame.up).astype(np.float32)

    def _paint(self, margins: Margins, degree: float) -> tuple[Picture, Picture]:
        """The factor of the moved pixels [h, w, 1], and what is added to them [h, w, 3]."""
        above = self._y - margins.upper
        cover = self._painted * self._covering(above, degree)
        lash = self._lash(margins, above, degree)
        kept = (1 - self._shadow(margins, above, degree)) * (1 - cover) * (1 - lash)
        skin = self._skin * self._light(margins, above, degree)[..., None]
        added = skin * (cover * (1 - lash))[..., None] + self._lash_colour * lash[..., None]
        return kept[..., None].astype(np.float32), added.astype(np.float32)

    def _covering(self, above: Floats, degree: float) -> Floats:
        """Opacity of the painted skin."""
        edge = np.clip(above / (2 * self._sharpness) + 0.5, 0, 1)
        return edge * float(smoothstep(*self._config.appears, degree))

    def _light(self, margins: Margins, above: Floats, degree: float) -> Floats:
        """The light on the lid's painted skin, about 1: it is convex, and folded at its top."""
        c = self._config
        height = margins.drop + self._fold
        part = np.clip(1.3 * (above / height - 0.5), -1, 1)
        bulge = c.convex * (0.5 + 0.5 * np.cos(np.pi * part)) * (above > 0)
        shade = c.margin_shade * np.exp(-np.maximum(above, 0) / c.margin_reach) * (above > 0)
        width = np.hypot(c.crease_width, 1.5 * self._sharpness)
        crease = c.crease * c.crease_width / width * np.exp(-(((above - height) / width) ** 2))
        crease *= smoothstep(*c.crease_appears, degree)
        return 1 + self._along * (smoothstep(0, 0.5, degree) * (bulge - shade) - crease)

    def _shadow(self, margins: Margins, above: Floats, degree: float) -> Floats:
        """How much darker the eyeball is under the lid, and the lower lid under the lashes."""
        c = self._config
        eyeball = c.shadow * np.exp(np.minimum(above, 0) / c.shadow_reach) * (above < 0)
        eyeball *= smoothstep(0, c.lash_appears, margins.drop)
        lid = (
            c.under_shade * np.exp(-np.maximum(margins.lower - self._y, 0) / 0.05) * self._along * self._ends
        )
        return np.where(self._y < margins.lower, lid * smoothstep(0.3, 1, degree), eyeball)

    def _lash(self, margins: Margins, above: Floats, degree: float) -> Floats:
        """Opacity of the lashes, [h, w]."""
        c = self._config
        line, fringe = np.moveaxis(on_lash_chart(self._lashes, self._x, above), -1, 0)
        lash = np.maximum(line, c.fringe * smoothstep(*c.fringe_appears, degree) * fringe) * c.lash_most
        return lash * smoothstep(0, c.lash_appears, margins.drop)


def _saturated(closed: float, config: EyeConfig) -> float:
    """The degree as drawn: unchanged up to the knee, then smoothly to 1; below 0 smoothly to −widest."""
    if closed < 0:
        return -config.widest * float(np.tanh(-closed / config.widest))
    knee = config.knee
    if closed <= 1 - knee:
        return closed
    return 1 - max(0.0, 1 + knee - closed) ** 2 / (4 * knee)


def _box(registration: Registration, lids: Lids) -> tuple[int, int, int, int]:
    """Left, top, width and height of the pixels that lids can move or paint."""
    x = np.linspace(0, 1, 30)
    top, bottom = float(lids.upper(x).max()) + _ROOM, float(lids.lower(x).min()) - _ROOM
    corners = lids.frame.to_picture(np.array([-0.3, -0.3, 1.3, 1.3]), np.array([bottom, top, bottom, top]))
    least = np.clip(np.floor(corners.min(axis=0)) - 1, 0, registration.side).astype(int)
    most = np.clip(np.ceil(corners.max(axis=0)) + 2, 0, registration.side).astype(int)
    width, height = np.maximum(most - least, 0)
    return int(least[0]), int(least[1]), int(width), int(height)


def _fading(x: NDArray, y: NDArray, lids: Lids) -> Floats:
    """1 around the eye, 0 where the box may end."""
    aside = smoothstep(-0.29, -0.15, x) * smoothstep(1.29, 1.15, x)
    top = 1 - smoothstep(_ROOM - 0.15, _ROOM - 0.01, y - lids.upper(x))
    bottom = 1 - smoothstep(_ROOM - 0.15, _ROOM - 0.01, lids.lower(x) - y)
    faded: Floats = aside * top * bottom
    return faded
