"""Disturbances of the training pictures, so that photographs find their way too.

They change framing, light, colour, sharpness and noise; all randomness comes from the given generator.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(images: Tensor, rng: torch.Generator, keep: float = 0.4) -> Tensor:
    """Disturb images [B, 3, S, S] in [-1, 1]; on average a share ``keep`` of them stays as it is."""
    changed = _noise(_blur(_colour(_frame(images, rng), rng), rng), rng).clamp(-1, 1)
    untouched = _chance(len(images), keep, rng).to(images.device)
    return torch.where(untouched[:, None, None, None], images, changed)


def _uniform(shape: tuple[int, ...], low: float, high: float, rng: torch.Generator, like: Tensor) -> Tensor:
    return (low + (high - low) * torch.rand(shape, generator=rng)).to(like.device)


def _chance(count: int, probability: float, rng: torch.Generator) -> Tensor:
    return torch.rand(count, generator=rng) < probability


def _frame(images: Tensor, rng: torch.Generator) -> Tensor:
    """Shift by up to 3%, zoom by up to 5%, turn by up to 3°: what landmarks get wrong."""
    count = len(images)
    zoom, turn = _uniform((count,), 0.95, 1.05, rng, images), _uniform((count,), -0.05, 0.05, rng, images)
    shift = _uniform((count, 2), -0.06, 0.06, rng, images)
    cos, sin = zoom * turn.cos(), zoom * turn.sin()
    theta = torch.stack(
        [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1
    )
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _colour(images: Tensor, rng: torch.Generator) -> Tensor:
    """Change brightness, contrast and white balance; one picture in ten turns grey."""
    count = len(images)
    gain = _uniform((count, 1, 1, 1), 0.8, 1.2, rng, images) * _uniform(
        (count, 3, 1, 1), 0.93, 1.07, rng, images
    )
    lift = _uniform((count, 1, 1, 1), -0.15, 0.15, rng, images)
    gray = images.mean(dim=1, keepdim=True).expand_as(images)
    images = torch.where(_chance(count, 0.1, rng).to(images.device)[:, None, None, None], gray, images)
    return images * gain + lift


def _blur(images: Tensor, rng: torch.Generator) -> Tensor:
    """One picture in four loses its finest detail."""
    small = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2, mode="bilinear", align_corners=False)
    return torch.where(_chance(len(images), 0.25, rng).to(images.device)[:, None, None, None], small, images)


def _noise(images: Tensor, rng: torch.Generator) -> Tensor:
    amount = _uniform((len(images), 1, 1, 1), 0.0, 0.08, rng, images)
    return images + amount * torch.randn(images.shape, generator=rng).to(images.device)
