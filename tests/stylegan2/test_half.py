"""Synthesis in float16: the same pictures as in float32, for normal and extreme weights, never infinite."""

import math
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import stylegan2_reference as reference
import torch
from torch import Tensor

from stylegan2 import Generator, GeneratorConfig, load_generator, save_generator
from stylegan2.ops import binomial_taps, blur, demodulation, headroom, modulated_conv, quarter_blur

AVATAR = Path(__file__).parents[2] / "weights" / "avatar" / "generator.safetensors"
WIDTHS = {4: 64, 8: 64, 16: 48, 32: 32, 64: 16, 128: 8, 256: 8}


def drawn(resolution: int, *, spread: float, weights: float = 1.0, clamp: float | None = None) -> Generator:
    """A generator whose noise strengths, biases and styles have the standard deviation `spread`."""
    rng = torch.Generator().manual_seed(resolution)
    widths = {size: width for size, width in WIDTHS.items() if size <= resolution}
    generator = Generator(GeneratorConfig(resolution, 32, 32, 2, channels=widths, conv_clamp=clamp), rng)
    with torch.no_grad():
        for name, parameter in generator.synthesis.named_parameters():
            if name.endswith(("noise_strength", "bias")):
                parameter.add_(spread * torch.randn(parameter.shape, generator=rng))
            elif parameter.ndim == 4:
                parameter.mul_(weights)
    return generator.eval()


def codes(generator: Generator, count: int = 2) -> Tensor:
    rng = torch.Generator().manual_seed(5)
    return torch.randn(count, generator.num_styles, generator.style_dim, generator=rng)


@torch.no_grad()
def tamed(generator: Generator, w_plus: Tensor) -> Generator:
    """Scale the RGB layers so that the picture just fills [-1, 1]."""
    largest = generator.synthesize(w_plus).abs().max()
    for layer in generator.synthesis.rgb_layers:
        layer.weight.div_(largest)
        layer.bias.div_(largest)
    return generator


@torch.no_grad()
def psnr(generator: Generator, w_plus: Tensor) -> float:
    """The PSNR in dB of 8-bit pictures in half precision, compared to float32."""
    images = [g.synthesize(w_plus) for g in (generator, deepcopy(generator).use_half())]
    assert images[1].dtype == torch.float32
    assert images[1].isfinite().all()
    exact, half = (((image + 1) * 127.5).round().clamp(0, 255).double() for image in images)
    assert exact.std() > 10
    return 10 * math.log10(255**2 / (exact - half).square().mean().clamp_min(1e-9).item())


@pytest.mark.slow
@torch.no_grad()
def test_the_avatar_is_the_same_in_half_precision() -> None:
    generator = load_generator(AVATAR)
    z = torch.randn(2, generator.config.z_dim, generator=torch.Generator().manual_seed(0))
    w = generator.mapping(z)[:, None].expand(-1, generator.num_styles, -1)
    strong = torch.tensor([0.7, 3.0])[:, None, None]
    assert psnr(generator, generator.latent_avg + strong * (w - generator.latent_avg)) > 55


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("weights", [0.01, 1.0, 1000.0])
def test_wild_weights_are_the_same_in_half_precision(spread: float, weights: float) -> None:
    generator = drawn(64, spread=spread, weights=weights)
    w_plus = codes(generator)
    assert psnr(tamed(generator, w_plus), w_plus) > 50


def test_a_larger_picture_too() -> None:
    generator = drawn(256, spread=10)
    w_plus = codes(generator, 1)
    assert psnr(tamed(generator, w_plus), w_plus) > 50


@pytest.mark.slow
@pytest.mark.parametrize("clamp", [None, 0.5, 256.0, 1e6])
@torch.no_grad()
def test_extreme_styles_overflow_nowhere(clamp: float | None) -> None:
    generator = drawn(32, spread=10, weights=100, clamp=clamp)
    generator.synthesis.styled_convs[2].weight[3] = 0  # its demodulation factor is the largest of all
    half = deepcopy(generator).use_half()
    for size in (0.0, 1e-9, 1.0, 1e3, 1e6, 1e12):
        exact, image = (g.synthesize(size * codes(generator)) for g in (generator, half))
        assert image.isfinite().all()
        assert (image - exact).abs().mean() <= 0.01 * exact.abs().mean(), size


@torch.no_grad()
def test_the_worst_input_just_fits() -> None:
    """Activations at the limit, with the weights' signs; and one huge style without weights."""
    for limit, width, up in [
        (4096.0, 64, None),
        (4096.0, 64, binomial_taps()),
        (256.0, 512, binomial_taps()),
    ]:
        for unused in (False, True):
            weight, style = torch.full((4, width, 3, 3), 30.0), torch.full((1, width), 1e4)
            if unused:
                weight[:, 0], style[:, 0] = 0, 1e9
            style = style / headroom(weight, style, demodulation(weight, style), limit)
            x = torch.full((1, width, 4, 4), limit)
            exact = modulated_conv(x, weight, style, up)
            half = modulated_conv(x.half(), weight.half(), style, up)
            assert half.dtype == torch.float16
            assert half.isfinite().all()
            assert (half - exact).abs().max() <= 0.01 * exact.abs().max()


@torch.no_grad()
def test_activations_beyond_half_precision_are_clamped() -> None:
    generator = drawn(16, spread=1)
    generator.synthesis.styled_convs[1].bias[:] = torch.linspace(-1e9, 1e9, 64)
    assert not generator.synthesize(codes(generator)).abs().max() < 1e8
    assert deepcopy(generator).use_half().synthesize(codes(generator)).isfinite().all()


def test_which_tensors_become_half() -> None:
    config = drawn(16, spread=1).config
    with torch.device("meta"):
        without_memory = Generator(config)
    assert without_memory.use_half() is without_memory
    for generator in (without_memory, drawn(16, spread=1).use_half()):
        half = {name for name, tensor in generator.state_dict().items() if tensor.dtype == torch.float16}
        convolutions = [f"convs.{i}" for i in range(5)] + [f"to_rgbs.{i}" for i in range(3)]
        assert half == {"synthesis.constant", *(f"synthesis.{name}.weight" for name in convolutions)}
        weight = generator.synthesis.styled_convs[1].weight
        assert weight.requires_grad
        assert weight.is_contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def test_a_half_generator_is_saved_and_loaded(tmp_path: Path) -> None:
    generator = drawn(16, spread=1, clamp=256.0)
    save_generator(generator, tmp_path / "whole.safetensors")
    half = generator.use_half()
    save_generator(half, tmp_path / "half.safetensors")
    expected = half.synthesize(codes(half))
    for name in ("whole", "half"):
        loaded = load_generator(tmp_path / f"{name}.safetensors", half=True)
        assert loaded.config == half.config
        assert torch.equal(loaded.synthesize(codes(half)), expected)


@torch.no_grad()
def test_in_half_precision_too_images_of_a_batch_are_their_own_and_noise_is_the_seeds() -> None:
    generator = drawn(32, spread=3).use_half()
    w_plus = codes(generator) * torch.tensor([1.0, 1e4])[:, None, None]
    batch = generator.synthesize(w_plus)
    for w, image in zip(w_plus, batch, strict=True):
        assert (generator.synthesize(w[None])[0] - image).abs().max() <= 1e-3 * image.abs().max()
    first, again, other = (
        generator.synthesize(w_plus, noise=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert generator.synthesize(w_plus, resolution=8).shape == (2, 3, 8, 8)


def test_the_quarter_blur_is_a_quarter_of_the_blur() -> None:
    x = torch.randn(2, 3, 9, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(4 * quarter_blur(x), blur(x, binomial_taps()), atol=1e-12)


# conv_clamp, in float32.


@torch.no_grad()
def test_the_clamp_equals_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Activations after their gain, and each RGB layer's own output with its bias, but not the sum."""
    clamp = 1.5
    generator = drawn(32, spread=1, clamp=clamp)
    leaky, modulated = reference.leaky, reference.modulated

    def clamped_rgb(layer: reference.Layer, x: np.ndarray, w: np.ndarray, **how: bool) -> np.ndarray:
        out = modulated(layer, x, w, **how)
        bias = layer.bias[:, None, None]
        return out if how["demodulate"] else (out + bias).clip(-clamp, clamp) - bias

    monkeypatch.setattr(reference, "leaky", lambda x: leaky(x).clip(-clamp, clamp))
    monkeypatch.setattr(reference, "modulated", clamped_rgb)
    w_plus = codes(generator, 1)
    expected = reference.synthesize(reference.from_ours(generator.state_dict()), w_plus[0].numpy(), 32)
    image = generator.synthesize(w_plus)[0]
    assert (image - torch.from_numpy(expected)).abs().max() < 1e-5 * image.abs().max()
    assert image.abs().max() > clamp


@torch.no_grad()
def test_an_unreached_clamp_changes_nothing() -> None:
    without, with_clamp = drawn(32, spread=1), drawn(32, spread=1, clamp=1e6)
    assert torch.equal(without.synthesize(codes(without)), with_clamp.synthesize(codes(without)))


def test_the_clamp_in_the_configuration() -> None:
    config = GeneratorConfig(16, conv_clamp=256.0)
    assert GeneratorConfig.from_dict(config.to_dict()) == config
    old = config.to_dict()
    del old["conv_clamp"]
    assert GeneratorConfig.from_dict(old) == GeneratorConfig(16)
    for wrong in (0, -1.0, math.nan, math.inf, 2e6, "256", True):
        with pytest.raises(ValueError, match="conv_clamp"):
            GeneratorConfig(16, conv_clamp=wrong)  # type: ignore[arg-type]  # wrong on purpose
