"""Resize pictures by exact area averages, as two small matrix products.

An output pixel is the mean of the square that it covers; source pixels cut by its edge count in part. The
original (StyleCLIP's CLIPLoss) upsamples 1024² pixels seven times by repetition and averages blocks of 32:
the same mean, with a thousand times the memory. PyTorch's `adaptive_avg_pool2d` and
`interpolate(mode="area")` differ: they round a square's edges to whole pixels.
"""

import math

import torch
from torch import Tensor


def area_block(source: int, target: int) -> Tensor:
    """The matrix that resizes an axis of `source` pixels to `target`: float64 [target, source], rows sum to
    1.

    Raises ValueError unless both are at least 1.
    """
    if source < 1 or target < 1:
        raise ValueError(f"sizes must be at least 1, not {source} and {target}")
    # In units of 1/target of a source pixel, in which all edges are integers.
    ends = torch.arange(1, target + 1)[:, None] * source
    pixels = torch.arange(1, source + 1) * target
    overlap = torch.minimum(ends, pixels) - torch.maximum(ends - source, pixels - target)
    return overlap.clamp(min=0).double() / source


def area_pool(images: Tensor, size: int) -> Tensor:
    """Resize pictures [B, C, H, W], floating point, to [B, C, size, size] in the same dtype, differentiably.

    Sizes with a common divisor, such as 32 for 1024 and 224, are pooled in that many equal blocks.
    """
    height, width = images.shape[-2:]
    if height == width == size:
        return images
    columns, rows = (_shared_block(side, size, images) for side in (width, height))
    pooled = images.unflatten(-1, (-1, columns.shape[1])) @ columns.T
    pooled = pooled.flatten(-2).unflatten(-2, (-1, rows.shape[1]))
    return (rows @ pooled).flatten(-3, -2)


def _shared_block(source: int, target: int, like: Tensor) -> Tensor:
    """The block that repeats along the diagonal of the matrix from `source` to `target` pixels."""
    common = math.gcd(source, target)
    return area_block(source // common, target // common).to(like)
