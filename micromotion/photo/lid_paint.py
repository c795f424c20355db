"""Paint what no photo of an open eye shows, once, from the photo around it: a shut lid's skin and lashes.

Positions are X and Y in the eye's own coordinates (see `lids.py`), lengths in eye widths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from micromotion.photo.lids import EyeFrame, Lids
from micromotion.photo.sampling import Picture, blur, edge_width, luminance, sample, smoothstep
from micromotion.types import Floats


@dataclass(frozen=True)
class PaintConfig:
    """How a lid's skin and lashes are made. Lengths are in eye widths, brightness in 0…1."""

    hidden_above: float = 0.15
    """Up to this far above the upper lid the picture shows lashes, and is not used as skin."""

    hidden_most: float = 0.65
    """At most this share of the way to the brow counts as lashes."""

    hidden_below: float = 0.05
    """The same beneath the lower lid."""

    hidden_aside: float = 0.11
    """The same beyond the corners."""

    hidden_blur: float = 1.0
    """Edge widths (sigma) by which these grow: in a blurred photo lashes reach further."""

    blend: float = 0.13
    """Width over which painted skin fades beyond what is hidden: less shows a seam, more hides the fold."""

    brow_near: float = 0.75
    """Beyond this share of the way to the brow the picture is not used as skin."""

    dark: tuple[float, float] = (0.35, 0.7)
    """Brightness over the brighter skin's below which a pixel counts little as skin, and above which it
    counts fully: less takes glasses' frames for skin, more makes lids of shaded eyes pale."""

    bright_share: float = 0.7
    """Quantile of the brightness around the eye that defines the brighter skin."""

    scales: tuple[tuple[float, float], ...] = (
        (0.5, 0.1),
        (0.25, 0.1),
        (0.12, 0.15),
        (0.06, 0.4),
        (0.03, 1.0),
    )
    """Sigmas by which colours are extended under the lid, coarse to fine; and the weight of dark pixels in
    each: low far away, so that frames and brows do not stain lids, full at the seam, to hide it."""

    trust: float = 0.15
    """Share of skin in a neighbourhood at which it weighs as much as the next coarser one."""

    most_blur: float = 0.12
    """Upper bound on the estimated edge blur, so that a face without any sharp edge is not smeared."""

    lash_dark: float = 0.2
    """The darkest share of pixels along the margin, which gives the lashes' colour."""

    lash_line: tuple[float, float] = (0.014, 0.03)
    """Half the lash line's thickness, at the inner and the outer corner."""

    lash_uneven: float = 0.12
    """Relative standard deviation of its thickness: an even line looks drawn."""

    lash_spread: float = 0.7
    """Edge widths (sigma) by which the line grows: in a blurred photo it would pale."""

    lashes: int = 34
    """Number of lashes in the fringe below the line."""

    lash_length: tuple[float, float] = (0.05, 0.10)
    """Their length, shortest and longest."""

    lash_width: float = 0.011
    """Half of a lash's width."""

    detail: float = 0.05
    """Sigma that separates the cheek's detail, used for the lid, from its colour; at least two pixels."""

    detail_most: float = 2.0
    """Standard deviations of detail beyond which it is an edge, not grain, and is compressed."""

    detail_from: float = 0.45
    """How far below the lower lid the cheek's detail begins."""


CONFIG = PaintConfig()

SKIN_LEFT, SKIN_RIGHT, SKIN_BOTTOM, SKIN_TOP = -0.45, 1.45, -0.7, 0.9
"""The extent of the skin chart."""

_SKIN_CELLS = 60  # per eye width

LASH_LEFT, LASH_RIGHT, LASH_BOTTOM, LASH_TOP = -0.2, 1.1, -0.2, 0.1
"""The extent of the lash chart; Y is the height above the margin."""

_LASH_CELLS = 160  # per eye width: fine enough for smooth single lashes


class Surroundings:
    """The part of a picture around an eye, and how sharp it is."""

    def __init__(self, picture: Picture, frame: EyeFrame, config: PaintConfig = CONFIG) -> None:
        middle = frame.to_picture(np.array(0.5), np.array(0.0))
        last = np.array(picture.shape[1::-1]) - 2
        low = np.clip(np.floor(middle - 1.4 * frame.width), 0, last).astype(int)
        high = np.maximum(np.ceil(middle + 1.4 * frame.width).astype(int), low + 2)
        self.picture = picture[low[1] : high[1], low[0] : high[0]]
        self.frame = EyeFrame(frame.origin - low, frame.across, frame.up, frame.width)
        reach, (column, row) = round(0.6 * frame.width) + 2, np.round(middle - low).astype(int)
        rows, columns = slice(max(0, row - reach), row + reach), slice(max(0, column - reach), column + reach)
        eye = self.picture[rows, columns]
        pixels = edge_width(eye) if eye.size else 0.4
        self.sharpness = min(pixels / frame.width, max(config.most_blur, 0.4 / frame.width))
        """Sigma of the photo's edges, eye widths."""

    def chart(self) -> tuple[Floats, Floats, Picture]:
        """X, Y and colours [h, w, 3] of the cells of a chart of the surroundings, top row first."""
        x, y = np.meshgrid(
            np.arange(SKIN_LEFT, SKIN_RIGHT + 1e-9, 1 / _SKIN_CELLS),
            np.arange(SKIN_TOP, SKIN_BOTTOM - 1e-9, -1 / _SKIN_CELLS),
        )
        smooth = blur(self.picture, 0.5 * max(0.0, self.frame.width / _SKIN_CELLS - 1))
        points = self.frame.to_picture(x, y)
        return x, y, sample(smooth, points[..., 0], points[..., 1])


def on_skin_chart(chart: Picture, x: NDArray, y: NDArray) -> Picture:
    """Sample a skin chart at X, Y."""
    return sample(chart, (x - SKIN_LEFT) * _SKIN_CELLS, (SKIN_TOP - y) * _SKIN_CELLS)


def on_lash_chart(chart: Picture, x: NDArray, above: NDArray) -> Picture:
    """Sample a lash chart at X and heights above the margin; 0 beyond it."""
    return sample(chart, (x - LASH_LEFT) * _LASH_CELLS, (LASH_TOP - above) * _LASH_CELLS, beyond="zeros")


def skin_chart(around: Surroundings, lids: Lids, config: PaintConfig = CONFIG) -> Picture:
    """[h, w, 4]: the colours of skin as if there were no eye, and the opacity at which to paint it, 0…1.

    The skin around the eye and its lashes is extended beneath them, from coarse scales to fine ones
    (normalised convolution, Knutsson and Westin 1993), so that it meets the photo's skin without a seam.
    """
    x, y, colours = around.chart()
    distance = _distance(x, y, lids, config, config.hidden_blur * around.sharpness)
    near_brow = y - (lids.upper(x) + config.brow_near * np.maximum(lids.brow_at(x) - lids.upper(x), 0.15))
    skin = (distance > 0) & (near_brow < 0)
    light = luminance(colours)
    bright = float(np.quantile(light[skin], config.bright_share)) + 1e-3 if skin.any() else 1.0
    low, high = config.dark
    lit = smoothstep(low, high, light / bright)
    filled = np.broadcast_to(colours[skin].mean(axis=0) if skin.any() else 0.5, colours.shape)
    for scale, dark in config.scales:
        weight = (skin * (dark + (1 - dark) * lit))[..., None]
        known = _blurred(np.concatenate([colours * weight, weight], axis=-1), scale * _SKIN_CELLS)
        share = known[..., 3:]
        here = known[..., :3] / np.maximum(share, 1e-6)
        filled = filled + (here - filled) * (share / (share + config.trust))
    painted = 1 - smoothstep(0, config.blend, distance)
    return np.concatenate([filled, painted[..., None]], axis=-1).astype(np.float32)


def lash_colour(around: Surroundings, lids: Lids, config: PaintConfig = CONFIG) -> Floats:
    """The mean colour [3] of the darkest pixels along the upper lid."""
    x = np.tile(np.linspace(0.12, 0.88, 40), 5)
    y = lids.upper(x) + np.repeat([-0.05, -0.03, -0.015, 0, 0.015], 40)
    band = around.frame.read(around.picture, x, y)
    light = luminance(band)
    dark: Floats = band[light <= np.quantile(light, config.lash_dark)].mean(axis=0, dtype=np.float64)
    return dark


def lash_chart(sharpness: float, config: PaintConfig = CONFIG) -> Picture:
    """[h, w, 2]: opacity of the lash line and of its fringe, 0…1, around a margin at height 0.

    sharpness: sigma of the photo's edges, eye widths.
    """
    x, y = np.meshgrid(
        np.arange(LASH_LEFT, LASH_RIGHT + 1e-9, 1 / _LASH_CELLS),
        np.arange(LASH_TOP, LASH_BOTTOM - 1e-9, -1 / _LASH_CELLS),
    )
    ends = smoothstep(-0.06, 0.2, x) * smoothstep(1.04, 0.7, x)
    inner, outer = config.lash_line
    rng = np.random.default_rng(5)
    uneven = blur(rng.normal(size=x.shape[1]).astype(np.float32)[None], 4.0)[0]
    half = (inner + (outer - inner) * np.clip(1 - x, 0, 1)) * (1 + config.lash_uneven * uneven / uneven.std())
    half = (half + config.lash_spread * sharpness) * (0.3 + 0.7 * ends)
    line = np.clip((half - np.abs(y)) * _LASH_CELLS + 0.5, 0, 1) * ends**0.7
    fringe = np.zeros_like(x)
    roots = np.sort(rng.uniform(-0.02, 0.98, config.lashes))
    lengths, leans = rng.uniform(*config.lash_length, config.lashes), rng.normal(0, 0.15, config.lashes)
    for root, length, lean in zip(roots, lengths, leans, strict=True):
        down = -y / (length * (1 - 0.45 * root))
        middle = root + (0.9 * (root - 0.5) + lean) * -y
        strand = np.clip(1 - np.abs(x - middle) / config.lash_width, 0, 1) * np.clip(1.2 - down, 0, 1)
        fringe = np.maximum(fringe, strand * (y < 0.005))
    lashes = np.stack([line, fringe * ends], axis=-1).astype(np.float32)
    return blur(lashes, sharpness * _LASH_CELLS)


def cheek_detail(
    around: Surroundings, lids: Lids, x: NDArray, y: NDArray, config: PaintConfig = CONFIG
) -> Picture:
    """The cheek's fine detail over its brightness, for painted skin at X, Y [h, w]; [h, w, 3], around 0."""
    colour = blur(around.picture, max(2.0, config.detail * around.frame.width))
    detail = (around.picture - colour) / (luminance(colour)[..., None] + np.float32(0.05))
    away = config.detail_from + float(lids.upper(np.array(0.5)) - lids.lower(np.array(0.5)))
    points = around.frame.to_picture(x, y - away)
    detail = sample(detail, points[..., 0], points[..., 1], bicubic=True)
    most = np.float32(config.detail_most * 1.4826 * np.median(np.abs(detail)) + 1e-4)
    return most * np.tanh(detail / most)


def _distance(x: Floats, y: Floats, lids: Lids, config: PaintConfig, more: float) -> Floats:
    """Each cell's distance from the area hidden by eye and lashes, eye widths; 0 inside."""
    aside = config.hidden_aside + more
    inner = np.clip((x + aside) / (1 + 2 * aside), 0, 1)
    top, bottom = lids.upper(inner), lids.lower(inner)
    room = np.maximum(config.hidden_most * (lids.brow_at(inner) - top), 0.03)
    tapered = np.clip(4 * inner * (1 - inner), 0, 1) ** 0.5
    top = top + np.minimum(config.hidden_above + more, room) * tapered
    bottom = bottom - (config.hidden_below + more) * tapered
    hidden = (x > -aside) & (x < 1 + aside) & (y < top) & (y > bottom)
    if not hidden.any():
        return np.full(x.shape, 1.0)
    distance: Floats = ndimage.distance_transform_edt(~hidden) / _SKIN_CELLS
    return distance


def _blurred(picture: Picture, sigma: float) -> Picture:
    """Gaussian blur; large ones on every fourth cell, which is invisible."""
    if sigma < 6:
        return blur(picture, sigma)
    height, width = picture.shape[:2]
    small = blur(blur(picture, 2.0)[::4, ::4], sigma / 4)
    y, x = np.mgrid[:height, :width] / 4
    return sample(small, x, y)
