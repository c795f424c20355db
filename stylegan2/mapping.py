"""The mapping network: from the Gaussian latent z to the style latent w."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylegan2.ops import GAIN, LEAK, EqualLinear


def pixel_norm(x: Tensor) -> Tensor:
    """Scale the vectors in the last dimension to unit mean square."""
    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + 1e-8)


class Mapping(nn.Module):
    """Normalisation, then fully connected layers with leaky ReLU (Karras et al. 2019, arXiv 1812.04948)."""

    def __init__(
        self,
        z_dim: int,
        style_dim: int,
        layers: int,
        lr_multiplier: float,
        rng: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        widths = [z_dim] + [style_dim] * layers
        self.layers = nn.ModuleList(
            EqualLinear(a, b, lr_multiplier=lr_multiplier, rng=rng) for a, b in pairwise(widths)
        )

    def forward(self, z: Tensor) -> Tensor:
        """z [..., z_dim] of any length -> w [..., style_dim], float32 also under autocast."""
        w = pixel_norm(z)
        for layer in self.layers:
            w = F.leaky_relu(layer(w), LEAK) * GAIN
        return w
