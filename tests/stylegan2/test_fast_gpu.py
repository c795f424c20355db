"""Our CUDA kernels, compiled as C++ and run on the CPU, give the reference's pictures; NVRTC accepts them.

Tests that need a GPU are in `test_gpu.py`.
"""

import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from host_kernels import build, host_kernels
from random_generators import codes, drawn
from torch import Tensor

from micromotion.video.pixels import quantise
from stylegan2 import Generator, GeneratorConfig, fast_gpu, load_generator
from stylegan2.kernels import LANES, NAMES, KernelError, Kernels, compile_for
from stylegan2.ops import binomial_taps
from stylegan2.synthesis import Noise, StyledConv

pytestmark = pytest.mark.slow

SUPPORT = Path(__file__).parents[1] / "support"
AVATAR = Path(__file__).parents[2] / "weights" / "avatar" / "generator.safetensors"
CPU = torch.device("cpu")
CONFIGS = {
    "channels that divide by 8": GeneratorConfig(
        64, 24, 24, 2, channels={4: 32, 8: 32, 16: 24, 32: 16, 64: 8}
    ),
    "channels that do not": GeneratorConfig(32, 12, 7, 3, channels={4: 9, 8: 16, 16: 5, 32: 1}),
    "clamped": GeneratorConfig(16, 8, 8, 2, channels={4: 8, 8: 12, 16: 8}, conv_clamp=1.0),
}


def rounded(config: GeneratorConfig, *, spread: float = 0.5, weights: float = 1.0) -> Generator:
    """A random generator, its convolutions' weights scaled and rounded to float16."""
    generator = drawn(config, spread=spread)
    with torch.no_grad():
        for parameter in generator.synthesis.parameters():
            if parameter.ndim == 4:
                parameter.copy_((weights * parameter).half())
    return generator


def with_kernels(generator: Generator, w_plus: Tensor, noise: Noise = "fixed", layers: int = 0) -> Tensor:
    """The picture that the kernels render in float16 from a float32 generator."""
    half = deepcopy(generator).use_half()
    noises = half.synthesis.noises(noise, len(w_plus), layers or generator.num_styles - 1)
    return fast_gpu.draw(half.synthesis, w_plus, noises, host_kernels())


def exact(generator: Generator, w_plus: Tensor, noise: Noise = "fixed", **options: Any) -> Tensor:
    """The reference's picture in float64."""
    if isinstance(noise, list):
        noise = [each.double() for each in noise]
    return deepcopy(generator).double().synthesize(w_plus.double(), noise=noise, **options)


def off(picture: Tensor, reference: Tensor) -> float:
    """The largest error, relative to the largest value."""
    return float((picture - reference).abs().max() / reference.abs().max())


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@pytest.mark.parametrize("steps", [1, 2, None])
@torch.no_grad()
def test_the_pictures_are_the_references(config: GeneratorConfig, steps: int | None) -> None:
    generator = rounded(config)
    w_plus = codes(generator)
    size = config.resolution if steps is None else 2 << steps
    layers = 2 * config.resolutions.index(size) + 1
    picture = with_kernels(generator, w_plus, layers=layers)
    assert picture.dtype == torch.float32
    assert picture.shape == (2, 3, size, size)
    assert picture.is_contiguous()
    assert off(picture, exact(generator, w_plus, resolution=size)) < 4e-3


@pytest.mark.parametrize(
    "noise",
    [
        lambda _: None,
        lambda generator: generator.draw_noise(torch.Generator().manual_seed(3)),
        lambda generator: generator.draw_noise(torch.Generator().manual_seed(3), 2),
    ],
    ids=["none", "one for all", "one for each"],
)
@torch.no_grad()
def test_with_any_noise(noise: Callable[[Generator], Noise]) -> None:
    generator = rounded(CONFIGS["channels that do not"])
    w_plus, given = codes(generator), noise(generator)
    assert off(with_kernels(generator, w_plus, given), exact(generator, w_plus, given)) < 4e-3
    assert off(with_kernels(generator, w_plus, given), exact(generator, w_plus)) > 0.05


@torch.no_grad()
def test_they_draw_the_embedded_model_no_worse_than_the_reference_does_in_half_precision() -> None:
    generator = load_generator(AVATAR)
    z = torch.randn(2, generator.config.z_dim, generator=torch.Generator().manual_seed(0))
    w = generator.truncate(generator.mapping(z), 1.5)[:, None].expand(-1, generator.num_styles, -1)
    whole = exact(generator, w)
    ours, plain = with_kernels(generator, w), load_generator(AVATAR).use_half().synthesize(w, fast=False)
    levels = [quantise(picture).double() for picture in (whole, ours, plain)]
    errors = [(each - levels[0]).square().mean().item() for each in levels[1:]]
    decibels = [10 * math.log10(255**2 / error) for error in errors]
    assert decibels[0] > max(55, decibels[1] - 1)


@pytest.mark.parametrize("clamp", [None, 0.5, 256.0, 1e6])
@pytest.mark.parametrize("weights", [0.01, 100.0])
@torch.no_grad()
def test_extreme_styles_overflow_nowhere(clamp: float | None, weights: float) -> None:
    config = GeneratorConfig(32, 32, 32, 2, channels={4: 64, 8: 64, 16: 48, 32: 32}, conv_clamp=clamp)
    generator = rounded(config, spread=10, weights=weights)
    generator.synthesis.styled_convs[2].weight[3] = 0  # its demodulation factor is the largest of all
    for size in (0.0, 1e-9, 1.0, 1e3, 1e6, 1e12):
        w_plus = size * codes(generator)
        picture, reference = with_kernels(generator, w_plus), exact(generator, w_plus)
        assert picture.isfinite().all()
        assert (picture - reference).abs().mean() <= 0.01 * reference.abs().mean(), size


@pytest.mark.parametrize("up", [False, True])
@torch.no_grad()
def test_the_worst_input_just_fits(up: bool) -> None:
    """Activations at the limit, and equal weights whose signs match the activations' in some sums.

    So the filter, if any, gets the largest sums next to the smallest.
    """
    layer = StyledConv(512, 8, 8, up=up)
    layer.weight.fill_(30.0)
    layer.weight[..., 2] *= -1
    x = torch.full((1, 512, 8, 8), 4096.0)
    x[..., 1::2] *= -1
    half = deepcopy(layer)
    half.weight = torch.nn.Parameter(layer.weight.half())
    w, taps = torch.zeros(1, 8), binomial_taps()
    x_half = x.half().contiguous(memory_format=torch.channels_last)
    y = fast_gpu._styled(half, x_half, w[0], None, taps, host_kernels())
    reference = layer.double()(x.double(), w.double(), None, taps.double()).clamp(-4096, 4096)
    assert (y - reference).abs().max() < 4


@torch.no_grad()
def test_activations_beyond_half_precision_are_clamped_and_a_nan_stays() -> None:
    generator = rounded(CONFIGS["channels that divide by 8"])
    generator.synthesis.styled_convs[1].bias[:] = torch.linspace(-1e9, 1e9, 32)
    assert with_kernels(generator, codes(generator)).isfinite().all()
    for damaged in ("convs.0.weight", "convs.1.bias", "convs.2.noise_strength", "to_rgbs.0.weight"):
        broken = deepcopy(generator)
        broken.synthesis.get_parameter(damaged).view(-1)[0] = float("nan")
        assert not with_kernels(broken, codes(generator)).isfinite().all(), damaged


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (8, 6), (9, 0), (10, 0), (12, 0)])
def test_they_compile_for_every_gpu_that_pytorch_serves(capability: tuple[int, int]) -> None:
    for lanes in LANES:
        code = compile_for(capability, lanes)
        assert code.startswith(b"\x7fELF")
        assert all(re.search(rb"\.text\." + name.encode() + rb"\0", code) for name in NAMES)


def test_a_gpu_unknown_to_the_compiler_is_reported() -> None:
    with pytest.raises(KernelError, match="INVALID_OPTION"):
        compile_for((1, 0), 8)


def test_a_machine_without_a_gpu_never_asks_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_gpu, "kernels_for", lambda _: pytest.fail("asked for"))
    generator = rounded(CONFIGS["clamped"]).use_half()
    with torch.no_grad():
        generator.synthesize(codes(generator))


@pytest.mark.skipif(torch.cuda.is_available(), reason="stands in for the driver that is here")
def test_they_are_started_as_the_driver_wants_them(tmp_path: Path) -> None:
    """Through NVIDIA's own bindings, with a stand-in driver that runs them on the CPU."""
    build(SUPPORT / "stand_in_driver.c", tmp_path / "libcuda.so.1")
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(SUPPORT)}
    command = [sys.executable, "-W", "ignore", str(SUPPORT / "launching.py")]
    done = subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, text=True, timeout=120
    )
    error, launches = done.stdout.split()
    assert float(error) < 2e-3
    assert int(launches) == 7 + 7 + 4 + 4  # weights and what follows, of 7 convolutions and 4 RGB layers


def broken(kernels: Kernels, name: str) -> Kernels:
    """The kernels, one of them replaced by one that does nothing."""
    return {**kernels, **{(name, lanes): lambda *_: None for lanes in LANES}}


def test_kernels_are_used_only_if_a_trial_agrees_with_the_reference(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    kernels = host_kernels()
    fast_gpu.kernels_for.cache_clear()
    monkeypatch.setattr(fast_gpu, "load", lambda _: kernels)
    with torch.inference_mode():
        assert fast_gpu.kernels_for(CPU) is kernels
    assert not recwarn.list
    for name in NAMES:
        fast_gpu.kernels_for.cache_clear()
        monkeypatch.setattr(fast_gpu, "load", lambda _, name=name: broken(kernels, name))
        with pytest.warns(UserWarning, match=r"The GPU cpu draws without our kernels, .* was off by"):
            assert fast_gpu.kernels_for(CPU) is None
    fast_gpu.kernels_for.cache_clear()


@pytest.mark.parametrize("error", [ImportError("No module named 'cuda'"), KernelError("NVRTC_ERROR")])
def test_without_kernels_the_reference_renders(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: torch.device) -> Kernels:
        raise error

    fast_gpu.kernels_for.cache_clear()
    monkeypatch.setattr(fast_gpu, "load", fails)
    with pytest.warns(UserWarning, match=re.escape(f"more slowly: {error}.")):
        assert fast_gpu.kernels_for(CPU) is None
    fast_gpu.kernels_for.cache_clear()
