"""Seeded random numbers."""

import torch
from torch import Tensor


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype | None = None) -> Tensor:
    """Values of the standard normal distribution."""
    return torch.randn(*shape, generator=rng(seed), dtype=dtype)
