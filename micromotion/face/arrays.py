"""Reads a picture that the caller holds as an array or a tensor, [H, W, 3] in sRGB."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from micromotion.errors import ImageError

_ROWS = 256  # converted at once, so that a large float picture needs little more memory
_MOST_STYLES = 26  # of any StyleGAN2's latent
_ROUNDING = 1e-3  # beyond 0 … 1: what interpolation in float16 may leave


def is_tensor(source: object) -> bool:
    """Whether it is a PyTorch tensor; does not import torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.Tensor)


def is_picture(shape: tuple[int, ...]) -> bool:
    """Whether a tensor of this shape is meant as a picture, right or wrong, and not as a latent."""
    if len(shape) != 3:
        return len(shape) == 4
    return shape[2] in (1, 3, 4) or (shape[0] in (3, 4) and shape[1] > _MOST_STYLES)


def as_array(source: Any) -> NDArray[Any]:
    """An array as it is; a tensor of any device as an array, with bfloat16 as float32."""
    if not is_tensor(source):
        return np.asarray(source)
    tensor = source.detach().cpu()
    return np.asarray((tensor.float() if tensor.is_floating_point() else tensor).numpy())


def check_array(array: NDArray[Any], name: str) -> tuple[int, int]:
    """Its width and height; raises ImageError unless it is [H, W, 3], uint8 or floating point."""
    shape = list(array.shape)
    if array.ndim != 3 or array.shape[2] != 3:
        raise ImageError(f"{name} has the shape {shape}, not [H, W, 3]: {_remedy(array.shape)}.")
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise ImageError(
            f"{name} is an array of {array.dtype}: give uint8 from 0 to 255, or floats from 0 to 1."
        )
    return array.shape[1], array.shape[0]


def from_array(array: NDArray[Any], name: str) -> Image.Image:
    """A new RGB picture of uint8 values, or of floats from 0 to 1, rounded; see `check_array`.

    Raises ImageError for floats that are not finite, or outside 0 … 1.
    """
    if array.dtype == np.uint8:
        return Image.fromarray(np.array(array, order="C"))
    pixels = np.empty(array.shape, np.uint8)
    for top in range(0, len(array), _ROWS):
        part = array[top : top + _ROWS].astype(np.float32)
        _check_values(part, name)
        pixels[top : top + _ROWS] = np.rint(255 * part.clip(0, 1))
    return Image.fromarray(pixels)


def _check_values(part: NDArray[np.float32], name: str) -> None:
    low, high = float(part.min()), float(part.max())
    if not np.isfinite([low, high]).all():
        raise ImageError(f"{name} has values that are not finite: give floats from 0 to 1.")
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise ImageError(
            f"{name} has the value {low if low < -_ROUNDING else high:.4g}, but floats go from 0 to 1: "
            "rescale them, or give uint8."
        )


def _remedy(shape: tuple[int, ...]) -> str:
    """What to do with an array of a wrong shape."""
    if len(shape) == 4:
        return "give one picture, as in pictures[0]"
    if len(shape) == 3 and shape[0] == 3:
        return "move the channels to the end, with numpy.moveaxis(picture, 0, -1) or permute(1, 2, 0)"
    if len(shape) == 3 and shape[2] == 4:
        return "leave out the fourth channel, with picture[..., :3]"
    if len(shape) == 2 or (len(shape) == 3 and shape[2] == 1):
        return "repeat the gray values in three channels"
    return "give the picture's height, width and three colours"
