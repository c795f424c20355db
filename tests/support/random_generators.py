"""Generators with random weights, none of them zero (a zero could hide an error), and latents for them."""

import torch
from draws import normal, rng
from torch import Tensor

from stylegan2 import Generator, GeneratorConfig


def drawn(config: GeneratorConfig, *, spread: float = 0.5) -> Generator:
    """A generator whose noise strengths and biases are random as well, with this standard deviation."""
    source = rng()
    generator = Generator(config, source)
    with torch.no_grad():
        for name, parameter in generator.synthesis.named_parameters():
            if name.endswith(("noise_strength", "bias")):
                parameter.add_(spread * torch.randn(parameter.shape, generator=source))
    return generator.eval()


def codes(generator: Generator, count: int = 2) -> Tensor:
    """W+ latents [count, num_styles, style_dim]."""
    return normal(count, generator.num_styles, generator.style_dim, seed=1)
