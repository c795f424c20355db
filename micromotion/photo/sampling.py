"""Sample pictures between their pixels, and other utilities shared by all drawing on a photo.

Pictures are float32 [H, W, C] or [H, W], in 0…1. Points are (x, y) in pixels, whole numbers pixel centres.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from torch.nn import functional as F

from micromotion.types import Floats

Picture = NDArray[np.float32]
"""[H, W, C] or [H, W]."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def sample(
    picture: Picture, x: NDArray, y: NDArray, *, bicubic: bool = False, beyond: str = "border"
) -> Picture:
    """Sample a picture at points x, y, both [h, w]: [h, w, C], or [h, w] if it has no channels.

    beyond: "border" extends the border, "zeros" pads with zeros.
    """
    height, width = picture.shape[:2]
    points = np.empty((2, *x.shape), np.float32)  # plane by plane, as torch reads and writes fastest
    for plane, places, length in zip(points, (x, y), (width, height), strict=True):
        np.multiply(places, 2, out=plane)
        plane += 1
        plane /= length
        plane -= 1
    read = F.grid_sample(
        _tensor(picture).reshape(height, width, -1).movedim(-1, 0)[None],
        torch.from_numpy(points).movedim(0, -1)[None],
        mode="bicubic" if bicubic else "bilinear",
        padding_mode=beyond,
        align_corners=False,
    )[0].movedim(0, -1)
    return read.reshape(*x.shape, *picture.shape[2:]).numpy()


def _tensor(picture: NDArray) -> torch.Tensor:
    """A picture as a float32 tensor, without a copy if possible."""
    values = np.require(picture, np.float32, "W")
    return torch.from_numpy(values.copy() if min(values.strides, default=0) < 0 else values)


def by_planes(shape: tuple[int, ...], value: float) -> Picture:
    """A picture [h, w, C] full of one value whose channels are planes in memory, as in what `sample` returns.

    Operations on two pictures are several times as fast if both are laid out alike.
    """
    return np.moveaxis(np.full((shape[-1], *shape[:-1]), value, np.float32), 0, -1)


def turned(points: NDArray, matrix: NDArray) -> NDArray:
    """Points [..., n] times a matrix [m, n], n 2 or 3: points @ matrix.T, [..., m], of the points' dtype.

    NumPy would use BLAS, whose threads wait for each other longer than they work.
    """
    rows = matrix.astype(points.dtype)
    planes = np.stack([sum(points[..., i] * row[i] for i in range(len(row))) for row in rows])
    return np.moveaxis(planes, 0, -1)


def product(first: NDArray, second: NDArray) -> NDArray:
    """first @ second, [n, m] @ [m, k], on torch's threads, see `turned`."""
    return (torch.from_numpy(first) @ torch.from_numpy(second)).numpy()


def luminance(picture: Picture) -> Picture:
    """[..., 3] -> [...], 0…1."""
    return picture @ _LUMA


def smoothstep(start: float, end: float, x: NDArray | float) -> NDArray:
    """0 at start, 1 at end, flat at both; descending if end < start."""
    t = np.clip((np.asarray(x) - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def blur(picture: Picture, sigma: float) -> Picture:
    """Gaussian blur over height and width, the border extended; sigma in pixels."""
    if sigma <= 0:
        return picture
    sigmas = (sigma, sigma, 0)[: picture.ndim]
    return ndimage.gaussian_filter(picture, sigmas, mode="nearest", truncate=3)


def edge_width(picture: Picture) -> float:
    """The blur of a picture's edges: the sigma of its sharpest one, in pixels, at least 0.4.

    The contrast of its luminance over 2.5 times its steepest gradient: that of a Gaussian edge.
    """
    light = luminance(picture) if picture.ndim == 3 else picture
    slope = ndimage.gaussian_gradient_magnitude(light, 0.6, mode="nearest")
    contrast = np.quantile(light, 0.96) - np.quantile(light, 0.04)
    return max(0.4, float(contrast / max(np.quantile(slope, 0.997), 1e-4) / 2.5))


def fine_grain(picture: Picture) -> Picture:
    """A picture's detail finer than about two pixels: grain, canvas or pores, around 0."""
    return picture - blur(picture, 2.0)


def filled(polygons: list[Floats], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The inside of polygons [n, 2], bool [h, w]."""
    mask = Image.new("1", (shape[1], shape[0]))
    for polygon in polygons:
        ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in polygon], fill=1)
    return np.array(mask)


def span(where: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """The rows and columns of all True values in [h, w]; None if there are none."""
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


class MonotoneCurve:
    """A curve through points (x, y), monotone wherever they are (Fritsch and Butland 1984).

    Extrapolated linearly beyond the first and the last point.
    """

    def __init__(self, x: Floats, y: Floats) -> None:
        """x [n] is increasing, n at least 2; y [n, ...]: each column is a curve of its own."""
        self._x, self._y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        step = np.diff(self._x).reshape(-1, *(1,) * (self._y.ndim - 1))
        slope = np.diff(self._y, axis=0) / step
        before, after = 2 * step[1:] + step[:-1], step[1:] + 2 * step[:-1]
        same = slope[:-1] * slope[1:] > 0
        first, second = np.where(same, slope[:-1], 1), np.where(same, slope[1:], 1)
        inner = np.where(same, (before + after) / (before / first + after / second), 0)
        self._slope = np.concatenate([slope[:1], inner, slope[-1:]])

    def __call__(self, x: NDArray | float) -> Floats:
        """The curve at x, of any shape: [*x.shape, ...]."""
        x = np.asarray(x, np.float64)
        i = np.clip(np.searchsorted(self._x, x, side="right") - 1, 0, len(self._x) - 2)
        wide = x.shape + (1,) * (self._y.ndim - 1)
        step = (self._x[i + 1] - self._x[i]).reshape(wide)
        t = np.clip((x - self._x[i]).reshape(wide) / step, 0, 1)
        inside = (
            (1 + 2 * t) * (1 - t) ** 2 * self._y[i]
            + t * (1 - t) ** 2 * step * self._slope[i]
            + t * t * (3 - 2 * t) * self._y[i + 1]
            + t * t * (t - 1) * step * self._slope[i + 1]
        )
        low, high = np.minimum(x - self._x[0], 0), np.maximum(x - self._x[-1], 0)
        beyond: Floats = inside + low.reshape(wide) * self._slope[0] + high.reshape(wide) * self._slope[-1]
        return beyond
