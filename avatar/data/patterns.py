"""Building blocks of the augmentations: random numbers, patterns, and convolutions.

Pictures are [N, C, S, S] in [-1, 1]; all randomness comes from the given generator, drawn on its device.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

BRIGHTNESS = (0.299, 0.587, 0.114)
"""Weights of red, green and blue, by ITU-R BT.601."""


def uniform(shape: tuple[int, ...], low: float, high: float, rng: torch.Generator, like: Tensor) -> Tensor:
    return (low + (high - low) * torch.rand(shape, generator=rng, device=rng.device)).to(like)


def normal(shape: tuple[int, ...], rng: torch.Generator, like: Tensor) -> Tensor:
    return torch.randn(shape, generator=rng, device=rng.device).to(like)


def chance(count: int, probability: float, rng: torch.Generator) -> Tensor:
    return torch.rand(count, generator=rng, device=rng.device) < probability


def unit(images: Tensor) -> Tensor:
    """[-1, 1] → [0, 1], where light adds up."""
    return (images + 1) / 2


def signed(level: Tensor) -> Tensor:
    """[0, 1] → [-1, 1]."""
    return level * 2 - 1


def brightness(images: Tensor) -> Tensor:
    """Brightness [N, 1, S, S], by ITU-R BT.601."""
    return torch.einsum("k,nkhw->nhw", images.new_tensor(BRIGHTNESS), images)[:, None]


def grid(images: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel coordinates: right [1, 1, S] and down [1, S, 1], from -1 to 1."""
    size = images.shape[-1]
    at = ((torch.arange(size, device=images.device) + 0.5) / size * 2 - 1).to(images)
    return at.view(1, 1, size), at.view(1, size, 1)


def paint(images: Tensor, rng: torch.Generator) -> Tensor:
    """Random colours [N, 3, 1, 1], of any brightness, rarely saturated."""
    count = len(images)
    level = uniform((count, 1, 1, 1), -0.8, 0.8, rng, images)
    return level + 0.25 * normal((count, 3, 1, 1), rng, images)


def clouds(images: Tensor, rng: torch.Generator, cells: int) -> Tensor:
    """Smooth noise [N, 3, S, S], about ±1, with ``cells`` cells a side."""
    drawn = normal((len(images), 3, cells, cells), rng, images)
    return F.interpolate(drawn, size=images.shape[-2:], mode="bilinear", align_corners=False)


def scene(images: Tensor, rng: torch.Generator) -> Tensor:
    """Random scenes [N, 3, S, S]: a colour, large shapes, soft or hard-edged, and small ones."""
    count = len(images)
    cells = int(uniform((), 2, 9.99, rng, images))
    shapes = normal((count, 1, cells, cells), rng, images) + normal((count, 3, cells, cells), rng, images)
    soft, hard = (
        F.interpolate(shapes, size=images.shape[-2:], mode=mode) for mode in ("bilinear", "nearest")
    )
    edged = chance(count, 0.4, rng).to(images.device)[:, None, None, None]
    amounts = uniform((count, 2, 1, 1), 0.0, 0.25, rng, images)
    large = paint(images, rng) + amounts[:, :1] * torch.where(edged, hard, soft)
    return large + 0.5 * amounts[:, 1:] * clouds(images, rng, 32)


def offsets(reach: int, images: Tensor) -> tuple[Tensor, Tensor]:
    """Offsets x and y of a kernel's entries: [1, 1, 2·reach + 1] and [1, 2·reach + 1, 1], in pixels."""
    at = torch.arange(-reach, reach + 1, device=images.device).to(images)
    return at.view(1, 1, -1), at.view(1, -1, 1)


def bell(width: Tensor, images: Tensor) -> Tensor:
    """Gaussian kernels [N, k, k] of standard deviations [N], in pixels."""
    x, y = offsets(math.ceil(4 * images.shape[-1] / 128), images)
    return torch.exp(-(x.square() + y.square()) / (2 * width.to(images).square()[:, None, None]))


def convolve(images: Tensor, kernels: Tensor) -> Tensor:
    """Convolve each picture [N, C, S, S] with its kernel [N, k, k], scaled to sum 1; borders mirrored."""
    count, channels, reach = *images.shape[:2], kernels.shape[-1] // 2
    kernels = kernels / kernels.sum(dim=(1, 2), keepdim=True)
    padded = F.pad(images, (reach,) * 4, mode="reflect").flatten(0, 1)[None]
    weight = kernels.repeat_interleave(channels, dim=0)[:, None]
    return F.conv2d(padded, weight, groups=count * channels).view_as(images)
