"""Random numbers for the tests, the same every time."""

import torch
from torch import Tensor


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype | None = None) -> Tensor:
    """Of the standard normal distribution."""
    return torch.randn(*shape, generator=rng(seed), dtype=dtype)
