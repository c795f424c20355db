"""Fast synthesis on a CPU gives the reference's pictures, and notices changed weights."""

import math
import weakref
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from random_generators import codes, drawn
from torch import Tensor, nn

from micromotion.video.pixels import quantise
from stylegan2 import Generator, GeneratorConfig, load_generator

pytestmark = pytest.mark.slow

AVATAR = Path(__file__).parents[2] / "weights" / "avatar" / "generator.safetensors"
CONFIGS = {
    "uneven": GeneratorConfig(32, 12, 7, 3, channels={4: 9, 8: 16, 16: 5, 32: 1}),
    "weights larger than pictures, then smaller": GeneratorConfig(
        64, 24, 24, 2, channels={4: 32, 8: 32, 16: 24, 32: 12, 64: 8}
    ),
    "clamped": GeneratorConfig(16, 8, 8, 2, channels={4: 8, 8: 8, 16: 4}, conv_clamp=1.0),
}


def faces(generator: Generator, count: int) -> Tensor:
    """Latents of faces, not all near the mean."""
    z = torch.randn(count, generator.config.z_dim, generator=torch.Generator().manual_seed(2))
    w = generator.latent_avg + 1.5 * (generator.mapping(z) - generator.latent_avg)
    return w[:, None].expand(-1, generator.num_styles, -1)


def was_fast(generator: Generator) -> bool:
    """Whether fast synthesis was used."""
    return generator.synthesis.styled_convs[0].ready is not None


def assert_equal_to_reference(generator: Generator, w_plus: Tensor, **options: Any) -> None:
    noise = options.pop("noise", lambda: "fixed")
    assert callable(noise)
    reference = generator.synthesize(w_plus, noise=noise(), fast=False, **options)
    assert not was_fast(generator)
    fast = generator.synthesize(w_plus, noise=noise(), **options)
    assert was_fast(generator)
    assert fast.dtype == reference.dtype == torch.float32
    assert fast.shape == reference.shape
    assert fast.is_contiguous()
    assert (fast - reference).abs().max() <= 1e-5 * reference.abs().max()


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@pytest.mark.parametrize("size", [4, 16, None])
@torch.no_grad()
def test_equals_the_reference(config: GeneratorConfig, size: int | None) -> None:
    generator = drawn(config)
    assert_equal_to_reference(generator, codes(generator), resolution=size)


@pytest.mark.parametrize(
    "noise",
    [
        lambda _: None,
        lambda _: torch.Generator().manual_seed(3),
        lambda generator: generator.draw_noise(torch.Generator().manual_seed(3)),
        lambda generator: generator.draw_noise(torch.Generator().manual_seed(3), 2),
    ],
    ids=["none", "from a generator", "one for all", "one for each"],
)
@torch.inference_mode()
def test_equals_the_reference_with_any_noise(noise: Callable) -> None:
    with torch.inference_mode(False):
        generator = drawn(CONFIGS["uneven"])
    assert_equal_to_reference(generator, codes(generator), noise=lambda: noise(generator))


@torch.no_grad()
def test_equals_the_reference_for_the_embedded_model() -> None:
    """The reference is in float64, since its float32 rounding would exceed the tolerance."""
    generator = load_generator(AVATAR)
    w_plus = faces(generator, 2)
    fast = generator.synthesize(w_plus)
    assert was_fast(generator)
    reference = load_generator(AVATAR).double().synthesize(w_plus.double(), fast=False)
    assert (fast - reference).abs().max() <= 1e-5 * reference.abs().max()


@torch.no_grad()
def test_equals_the_reference_at_the_size_of_the_photo_real_model() -> None:
    generator = drawn(GeneratorConfig(1024))
    assert_equal_to_reference(generator, codes(generator, 1))


@torch.no_grad()
def test_the_embedded_model_is_the_same_in_bfloat16() -> None:
    generator = load_generator(AVATAR)
    rough = load_generator(AVATAR).use_half(torch.bfloat16)
    w_plus = faces(generator, 4)
    for fast in (True, False):
        pictures = [quantise(each.synthesize(w_plus, fast=fast)).double() for each in (generator, rough)]
        assert was_fast(rough) == fast or not fast
        error = (pictures[0] - pictures[1]).square().mean().item()
        assert 10 * math.log10(255**2 / error) > 45


def through_an_optimiser(generator: Generator) -> None:
    weight = generator.synthesis.styled_convs[1].weight
    weight.grad = torch.ones_like(weight)
    torch.optim.Adam([weight], lr=0.1).step()


def in_place(generator: Generator) -> None:
    with torch.no_grad():
        generator.synthesis.styled_convs[1].weight[0] += 1


def by_assignment(generator: Generator) -> None:
    generator.synthesis.styled_convs[1].weight = nn.Parameter(
        generator.synthesis.styled_convs[1].weight.detach() + 1
    )


def by_loading(generator: Generator) -> None:
    state = {name: 1.1 * tensor for name, tensor in generator.state_dict().items()}
    generator.load_state_dict(state)


def by_rounding(generator: Generator) -> None:
    generator.bfloat16().float()


@pytest.mark.parametrize(
    "change",
    [through_an_optimiser, in_place, by_assignment, by_loading, by_rounding],
    ids=lambda c: c.__name__,
)
def test_a_change_of_the_weights_shows(change: Callable[[Generator], None]) -> None:
    generator = drawn(CONFIGS["uneven"])
    w_plus = codes(generator)
    with torch.no_grad():
        before = generator.synthesize(w_plus)
    change(generator)
    with torch.no_grad():
        fast, reference = generator.synthesize(w_plus), generator.synthesize(w_plus, fast=False)
    assert (fast - before).abs().max() > 1e-4 * before.abs().max()
    assert (fast - reference).abs().max() <= 1e-5 * reference.abs().max()


@torch.no_grad()
def test_moved_weights_are_not_cached() -> None:
    generator = drawn(CONFIGS["uneven"])
    generator.synthesize(codes(generator))
    layers = (*generator.synthesis.convs, *generator.synthesis.to_rgbs)
    kept = [weakref.ref(layer.ready.weight) for layer in layers if layer.ready]
    assert kept
    generator.to("meta")
    assert not any(weight() is not None for weight in kept)


@torch.no_grad()
def test_a_copy_does_not_share_prepared_weights() -> None:
    generator = drawn(CONFIGS["uneven"])
    w_plus = codes(generator)
    before = generator.synthesize(w_plus)
    copy = deepcopy(generator)
    assert not was_fast(copy)
    in_place(copy)
    assert not torch.equal(copy.synthesize(w_plus), before)
    assert torch.equal(generator.synthesize(w_plus), before)
    assert generator.state_dict().keys() == Generator(generator.config).state_dict().keys()


def test_the_reference_renders_where_fast_synthesis_cannot() -> None:
    generator = drawn(CONFIGS["uneven"])
    w_plus = codes(generator)
    generator.synthesize(w_plus).sum().backward()
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            generator.synthesize(w_plus)
        generator.synthesize(w_plus, fast=False)
        assert generator.synthesize(w_plus[:0]).shape == (0, 3, 32, 32)
        for dtype in (torch.float64, torch.bfloat16):
            other = deepcopy(generator).to(dtype)
            other.synthesize(w_plus.to(dtype))
            assert not was_fast(other)
    assert not was_fast(generator)
    with torch.inference_mode():  # such weights have no version counter
        untracked = drawn(CONFIGS["uneven"])
        untracked.synthesize(codes(untracked))
        assert not was_fast(untracked)


@torch.no_grad()
def test_absurd_weights_give_absurd_pictures_and_no_exception() -> None:
    generator = drawn(CONFIGS[next(iter(CONFIGS))])
    for parameter in generator.synthesis.parameters():
        parameter.fill_(3e38)
    shown = generator.synthesize(codes(generator, 1))
    assert was_fast(generator)
    assert not shown.isfinite().all()
