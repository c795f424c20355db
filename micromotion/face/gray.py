"""Scales gray values of any number type from black to white."""

import numpy as np
from numpy.typing import NDArray

_24_BITS = 2.0**24 - 1


def gray_to_8_bits(values: np.ndarray) -> NDArray[np.uint8]:
    """Gray values of any number type as uint8, of the same shape, never clipped; see `scale_gray`.

    Raises `ValueError` if a value is not finite.
    """
    if values.dtype == np.uint8:
        return values
    scaled = scale_gray(values)
    np.multiply(scaled, 255, out=scaled)
    return np.rint(scaled, out=scaled).astype(np.uint8)


def scale_gray(values: np.ndarray) -> NDArray[np.float32]:
    """Gray values of any number type as float32 in 0…1, of the same shape, never clipped.

    Integers of 8 and 16 bits are scaled by their type's range; signed ones without negative values by the
    half of it above 0. Other types do not imply a range, so the narrowest usual one that holds all values is
    used: [0, 1] for floats, then 0…255, then 0…65535, for unsigned 32 bits then 24 bits. Values beyond these
    are scaled by the type's range from 24 bits on, else from the smallest value to the largest. Raises
    `ValueError` if a value is not finite.
    """
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("gray values must be finite")
    low, high = _range(values.dtype, low, high)
    if low == high:
        return np.zeros(values.shape, np.float32)
    exact = np.float64 if values.dtype.kind in "ui" and values.dtype.itemsize > 2 else np.float32
    scaled: NDArray[np.floating] = values.astype(exact)
    np.subtract(scaled, low, out=scaled)
    np.multiply(scaled, 1 / (high - low), out=scaled)
    return scaled.astype(np.float32, copy=False).clip(0, 1)


def _range(dtype: np.dtype, low: float, high: float) -> tuple[float, float]:
    """The values of black and white, for values from low to high."""
    if dtype.kind == "f":
        usual = [1.0, 255.0, 65535.0]
    else:
        limits = np.iinfo(dtype)
        whole = float(limits.min) if low < 0 else 0.0, float(limits.max)
        if dtype.itemsize <= 2 or max(-low, high) > _24_BITS:
            return whole
        usual = [255.0, 65535.0] + [_24_BITS] * (dtype.kind == "u")
    return next(((0.0, top) for top in usual if low >= 0 and high <= top), (low, high))
