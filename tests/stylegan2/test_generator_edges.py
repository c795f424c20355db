"""The generator with extreme inputs: zeros, and activations far below zero."""

import pytest
import torch
from draws import normal, rng
from random_generators import codes, drawn

from stylegan2 import Generator, GeneratorConfig
from stylegan2.ops import EqualLinear

CLAMPED = GeneratorConfig(16, 8, 8, 2, channels={4: 8, 8: 8, 16: 4}, conv_clamp=1.0)


@torch.no_grad()
def test_a_zero_latent_gives_a_picture() -> None:
    """It cannot be normalised, but gives a finite picture."""
    generator = drawn(CLAMPED)
    w = generator.mapping(torch.zeros(2, 8))
    assert w.isfinite().all()
    assert generator.synthesize(w[:, None].expand(-1, generator.num_styles, -1)).isfinite().all()


def darkened(by: float) -> Generator:
    """A generator whose activations are far below the clamp; its RGB layers have no clamp to hide this."""
    generator = drawn(CLAMPED)
    with torch.no_grad():
        for conv in generator.synthesis.styled_convs:
            conv.bias.sub_(by)
    for to_rgb in generator.synthesis.rgb_layers:
        to_rgb.clamp = None
    return generator


@pytest.mark.parametrize("fast", [True, False])
@torch.no_grad()
def test_values_below_the_clamp_are_clamped(fast: bool) -> None:
    """Leaky ReLU scales negative values by a fifth, and the clamp bounds them."""
    dark, darker = (darkened(by) for by in (60.0, 120.0))
    w_plus = codes(dark)
    one, other = (each.synthesize(w_plus, fast=fast) for each in (dark, darker))
    assert one.abs().max() > 0.1
    assert torch.allclose(one, other, atol=1e-5)


@torch.no_grad()
def test_a_linear_layer_of_one_vector_is_that_of_many() -> None:
    """Also with another learning-rate multiplier, which scales the stored weights."""
    layer = EqualLinear(6, 5, bias=0.7, lr_multiplier=0.01, rng=rng())
    x = normal(3, 6)
    assert torch.allclose(torch.stack([layer.of_one(each) for each in x]), layer(x), rtol=1e-4, atol=1e-5)
