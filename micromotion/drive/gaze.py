"""Read where the irises are within the open eyes.

The iris is the dark disc between the lids: among all places the one whose disc is darkest against its
surroundings, both counted only where the eye is open (after Daugman 1993, "High confidence visual recognition
of persons by a test of statistical independence", whose operator asks for the strongest edge along a circle).
Red light shows blue irises dark as well, and skin bright.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from micromotion.drive.filters import bridged, savitzky_golay
from micromotion.photo.sampling import filled
from micromotion.types import Floats, Frame

NOWHERE = np.nan
"""The place of an iris that cannot be seen."""

_EYES = ((36, 39, (36, 37, 38, 39, 40, 41)), (42, 45, (42, 43, 44, 45, 46, 47)))
_CELLS = 50  # per eye width
_WIDE, _TALL = 0.62, 0.44  # reach of the patch from the eye's middle, in eye widths
_RADIUS, _RING = 0.21, 1.6  # of the iris in eye widths, and of its surroundings in its own radius
_LEAST_OPEN = 0.16  # height over width
_LEAST_DISC = 0.35  # of the disc must lie between the lids
_SHARPNESS = 0.03  # of the score: places nearly as dark count, too

_MOST_CLOSED = 0.35
"""An eye closed further does not tell where it looks."""


def find_irises(pixels: Frame, landmarks: Floats) -> Floats:
    """Each iris's place from the middle between the eye's corners, [2, 2] (right, down), in eye widths.

    pixels: uint8 RGB [H, W, 3]. landmarks: [68, 2] in them. The axes are the eye's own, from its left to its
    right corner. NOWHERE for an eye that is nearly shut.
    """
    red = pixels[..., 0]
    return np.stack([_find_iris(red, *(landmarks[list(index)] for index in _points(eye))) for eye in _EYES])


def gaze_course(irises: Floats, lids: Floats, rest: NDArray[np.int64], fps: float) -> Floats:
    """Both irises' offsets from the rest pose over time, [n, 2, 2], without trembling.

    irises: [n, 2, 2], of `find_irises`. lids: [n, 2], how far closed. rest: the frames of the rest pose. Both
    eyes look the same way, so that their mean is steadier; while the lids close it passes from where the eyes
    looked before to where they look after.
    """
    seen = np.isfinite(irises).all(axis=2) & (lids < _MOST_CLOSED)
    if not seen[rest].any():
        return np.zeros_like(irises)
    away = irises - np.nanmean(np.where(seen[..., None], irises, np.nan)[rest], axis=0)
    weight = seen & np.isfinite(away).all(axis=2)
    total = np.maximum(weight.sum(axis=1), 1)
    mean = np.where(weight[..., None], away, 0).sum(axis=1) / total[:, None]
    mean = bridged(mean, ~weight.any(axis=1))
    steady = savitzky_golay(ndimage.median_filter(mean, (3, 1), mode="nearest"), 0.2 * fps)
    return np.repeat(steady[:, None].clip(-1, 1), 2, axis=1)


def _points(eye: tuple[int, int, tuple[int, ...]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return (eye[0], eye[1]), eye[2]


def _find_iris(red: NDArray[np.uint8], corners: Floats, outline: Floats) -> Floats:
    across = corners[1] - corners[0]
    width = float(np.linalg.norm(across))
    opening = (outline[[5, 4]] - outline[[1, 2]]).mean(axis=0)
    if width < 4 or float(np.linalg.norm(opening)) < _LEAST_OPEN * width:
        return np.full(2, NOWHERE)
    axes = np.array([across, (-across[1], across[0])])  # right, down: one eye width
    middle = corners.mean(axis=0)
    grid = _grid()
    at = middle + grid @ axes
    values = ndimage.map_coordinates(red, [at[..., 1], at[..., 0]], np.float64, order=1, mode="nearest")
    place = (outline - middle) @ np.linalg.inv(axes)
    cells = (place + np.array([_WIDE, _TALL])) * _CELLS - 0.5
    inside = filled([cells], values.shape).astype(np.float64)
    if inside.sum() < 20:
        return np.full(2, NOWHERE)
    low, high = np.quantile(values[inside > 0], (0.05, 0.9))
    dark = ((high - values) / max(high - low, 1.0)).clip(0, 1) * inside
    (covered, around), (dark_disc, dark_ring) = _totals(inside), _totals(dark)
    score = dark_disc / np.maximum(covered, 1) - dark_ring / np.maximum(around, 1)
    area = _kernels()[0].sum()
    # The disc need not be seen whole: of what fits between the lids at most, doubled.
    possible = (covered > _LEAST_DISC * area * min(1.0, 2 * float(covered.max() / area))) & (inside > 0)
    if not possible.any():
        return np.full(2, NOWHERE)
    weight = np.where(possible, np.exp((score - score[possible].max()) / _SHARPNESS), 0)
    found: Floats = (weight[..., None] * grid).sum(axis=(0, 1)) / weight.sum()
    return found


def _totals(values: Floats) -> Floats:
    """The sums of a patch's values under the disc and under the ring around each cell, [2, rows, columns]."""
    rows, columns = values.shape
    reach = _kernels().shape[1] // 2
    spectra, shape = _spectra(rows, columns)
    totals: Floats = fft.irfft2(fft.rfft2(values, shape) * spectra, shape)
    return totals[:, reach : reach + rows, reach : reach + columns]


@cache
def _spectra(rows: int, columns: int) -> tuple[NDArray[np.complex128], tuple[int, int]]:
    """The spectra of `_kernels` for patches of this size, and the shape they are computed in."""
    kernels = _kernels()
    height, width = (
        fft.next_fast_len(length + kernels.shape[1] - 1, real=True) for length in (rows, columns)
    )
    return fft.rfft2(kernels, (height, width)), (height, width)


@cache
def _grid() -> Floats:
    """Places [rows, columns, 2] of the patch, (right, down) in eye widths."""
    y = np.arange(-_TALL, _TALL, 1 / _CELLS) + 0.5 / _CELLS
    x = np.arange(-_WIDE, _WIDE, 1 / _CELLS) + 0.5 / _CELLS
    return np.stack(np.meshgrid(x, y), axis=-1)


@cache
def _kernels() -> Floats:
    """The iris's disc, and the ring around it, [2, n, n]; both are symmetric."""
    reach = int(_RING * _RADIUS * _CELLS) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1] / (_RADIUS * _CELLS)
    away = np.hypot(x, y)
    return np.stack([away <= 1, (away > 1) & (away <= _RING)]).astype(np.float64)
