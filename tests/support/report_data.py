"""Random pictures and a random regressor, for tests of the report on the embedded model."""

import torch
from draws import rng
from torch import Tensor

from avatar.report.subject import resized
from encoder4editing.regressor import Regressor


def pictures(count: int, size: int, seed: int = 0) -> Tensor:
    """Smooth random pictures, uint8 [count, 3, size, size]."""
    coarse = torch.rand(count, 3, size // 8, size // 8, generator=rng(seed)) * 255
    fine = torch.rand(count, 3, size, size, generator=rng(seed + 1)) * 40 - 20
    return (resized(coarse.round().byte(), size).float() + fine).clamp(0, 255).round().byte()


def random_regressor() -> Regressor:
    torch.manual_seed(3)
    model = Regressor()
    for name, parameter in model.named_parameters():
        if name.endswith("gain"):
            torch.nn.init.ones_(parameter)
    return model.eval().requires_grad_(False)
