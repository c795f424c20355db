"""Checks that latents and pictures fit a generator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from micromotion.errors import OptionError

if TYPE_CHECKING:
    from stylegan2 import Generator


def check_latent(generator: Generator, latent: Tensor) -> None:
    """Raise OptionError unless this is a latent of the generator, [1, num_styles, style_dim]."""
    shape = [1, generator.num_styles, generator.style_dim]
    if list(latent.shape) != shape:
        raise OptionError(
            f"A face's latent has the shape {shape} in this model, and a picture [H, W, 3], not "
            f"{list(latent.shape)}: give one of the two."
        )


def common_size(generator: Generator, picture: Tensor) -> int:
    """The smaller of S and the generator's resolution, at which its output and picture [B, 3, S, S] compare.

    Raises OptionError unless one of the two is a multiple of the other.
    """
    small, large = sorted((picture.shape[-1], generator.resolution))
    if large % small:
        raise OptionError(
            f"A picture of {picture.shape[-1]} pixels a side cannot be compared with the model's "
            f"{generator.resolution}: one must be a multiple of the other."
        )
    return small


def is_half(generator: Generator) -> bool:
    """Whether synthesis runs in float16."""
    return generator.synthesis.constant.dtype == torch.float16
