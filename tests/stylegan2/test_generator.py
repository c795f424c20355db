"""The generator against a slow float64 reference; noise, truncation, early stops and training."""

import numpy as np
import pytest
import stylegan2_reference as reference
import torch
from torch import Tensor

from stylegan2 import Generator, GeneratorConfig

CONFIGS = {
    "smallest": GeneratorConfig(8, style_dim=5, z_dim=3, mapping_layers=1, channels={4: 3, 8: 2}),
    "uneven": GeneratorConfig(32, 12, 7, 3, channels={4: 9, 8: 16, 16: 5, 32: 1}),
    "other lr": GeneratorConfig(16, 8, 8, 4, mapping_lr_multiplier=0.1, channels={4: 8, 8: 8, 16: 4}),
    "larger": GeneratorConfig(64, 24, 24, 8, channels={4: 32, 8: 32, 16: 24, 32: 12, 64: 8}),
}


def randomised(config: GeneratorConfig, seed: int = 0) -> Generator:
    """A generator whose noise strengths, biases and mean latent are random too: zeros hide errors."""
    rng = torch.Generator().manual_seed(seed)
    generator = Generator(config, rng)
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith(("noise_strength", "bias")):
                spread = 20.0 if name.startswith("mapping") else 0.5
                parameter.add_(spread * torch.randn(parameter.shape, generator=rng))
        generator.latent_avg += torch.randn(config.style_dim, generator=rng)
    return generator.eval()


def draw_w_plus(generator: Generator, batch: int = 2, seed: int = 1) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(batch, generator.num_styles, generator.style_dim, generator=rng)


def reference_images(generator: Generator, w_plus: Tensor, resolution: int, *, noise: bool = True) -> Tensor:
    network = reference.from_ours(generator.state_dict())
    images = [reference.synthesize(network, w, resolution, noise=noise) for w in w_plus.double().numpy()]
    return torch.from_numpy(np.stack(images))


def assert_close(ours: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    assert ours.shape == expected.shape
    assert (ours.double() - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.fixture(scope="module", params=CONFIGS.values(), ids=list(CONFIGS))
def generator(request: pytest.FixtureRequest) -> Generator:
    return randomised(request.param)


@torch.no_grad()
def test_mapping_equals_the_reference(generator: Generator) -> None:
    z = 3 * torch.randn(4, generator.config.z_dim, generator=torch.Generator().manual_seed(2))
    network = reference.from_ours(generator.state_dict())
    lr = generator.config.mapping_lr_multiplier
    expected = np.stack([reference.map_z(network, v, lr) for v in z.double().numpy()])
    assert_close(generator.mapping(z), torch.from_numpy(expected))


@torch.no_grad()
def test_synthesis_equals_the_reference_at_every_resolution(generator: Generator) -> None:
    w_plus = draw_w_plus(generator)
    for resolution in generator.config.resolutions:
        image = generator.synthesize(w_plus, resolution=resolution)
        assert image.dtype == torch.float32
        assert image.shape == (2, 3, resolution, resolution)
        assert_close(image, reference_images(generator, w_plus, resolution))
    assert torch.equal(image, generator.synthesize(w_plus))


@torch.no_grad()
def test_synthesis_equals_the_reference_to_double_precision() -> None:
    generator = randomised(CONFIGS["uneven"]).double()
    w_plus = draw_w_plus(generator).double()
    assert_close(generator.synthesize(w_plus), reference_images(generator, w_plus, 32), 1e-12)


@torch.no_grad()
def test_without_noise(generator: Generator) -> None:
    w_plus = draw_w_plus(generator)
    expected = reference_images(generator, w_plus, generator.resolution, noise=False)
    assert_close(generator.synthesize(w_plus, noise=None), expected)
    assert not torch.allclose(generator.synthesize(w_plus), expected.float(), atol=1e-3)


@torch.no_grad()
def test_seeded_noise_is_the_seeds_own_and_differs_between_images() -> None:
    generator = randomised(CONFIGS["uneven"])
    w_plus = draw_w_plus(generator, batch=1).expand(2, -1, -1)

    def draw(seed: int, resolution: int | None = None) -> Tensor:
        return generator.synthesize(w_plus, noise=torch.Generator().manual_seed(seed), resolution=resolution)

    assert torch.equal(draw(1), draw(1))
    assert not torch.allclose(draw(1), draw(2), atol=1e-3)
    assert not torch.allclose(draw(1)[0], draw(1)[1], atol=1e-3)
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():  # the numbers come smallest resolution first, so these are the ones used at 8×8
        first = [torch.randn(2, 1, size, size, generator=rng) for size in (4, 8, 8)]
    by_hand = []
    for b in range(2):
        fixed = randomised(CONFIGS["uneven"])
        for i, noise in enumerate(first):
            fixed.synthesis.get_buffer(f"noise_{i}").copy_(noise[b : b + 1])
        by_hand.append(fixed.synthesize(w_plus[b : b + 1], resolution=8))
    assert torch.allclose(draw(1, 8), torch.cat(by_hand), atol=1e-5)


@torch.no_grad()
def test_noise_drawn_beforehand_is_the_same_as_noise_drawn_while_rendering() -> None:
    generator = randomised(CONFIGS["uneven"])
    w_plus = draw_w_plus(generator)
    for batch, shared in ((2, w_plus), (1, w_plus[:1])):
        noise = generator.draw_noise(torch.Generator().manual_seed(1), batch)
        while_rendering = generator.synthesize(shared, noise=torch.Generator().manual_seed(1))
        assert torch.equal(generator.synthesize(shared, noise=noise), while_rendering)
    assert torch.allclose(generator.synthesize(w_plus, noise=noise)[0], while_rendering[0], atol=1e-5)
    assert generator.synthesize(w_plus, noise=noise, resolution=8).shape == (2, 3, 8, 8)
    for wrong in (noise[:-1], noise[::-1], [*noise[:-1], noise[-1][0]], []):
        with pytest.raises(ValueError, match="drawn noise"):
            generator.synthesize(w_plus, noise=wrong)


@torch.no_grad()
def test_fixed_noise_gives_the_same_picture_and_leaves_the_global_generator_alone() -> None:
    generator = randomised(CONFIGS["uneven"])
    w_plus = draw_w_plus(generator)
    before = torch.random.get_rng_state()
    first = generator.synthesize(w_plus)
    generator.synthesize(w_plus, noise=torch.Generator().manual_seed(3))
    assert torch.equal(first, generator.synthesize(w_plus))
    assert torch.equal(before, torch.random.get_rng_state())


@torch.no_grad()
def test_images_of_a_batch_do_not_depend_on_each_other() -> None:
    generator = randomised(CONFIGS["larger"])
    w_plus = draw_w_plus(generator, batch=3)
    single = torch.cat([generator.synthesize(w[None]) for w in w_plus])
    assert_close(generator.synthesize(w_plus), single.double())


def test_each_style_reaches_the_image_only_through_its_own_layer() -> None:
    """The last style drives the last RGB layer alone: it cannot change an image that stops before it."""
    generator = randomised(CONFIGS["uneven"])
    w_plus = draw_w_plus(generator).requires_grad_()
    for resolution, used in ((4, 2), (8, 4), (16, 6), (32, 8)):
        image = generator.synthesize(w_plus, resolution=resolution)
        (gradient,) = torch.autograd.grad(image.square().sum(), w_plus)
        assert (gradient.abs().amax((0, 2)) > 0).tolist() == [i < used for i in range(8)]


def test_truncation() -> None:
    generator = randomised(CONFIGS["uneven"])
    w_plus = draw_w_plus(generator)
    assert torch.allclose(generator.truncate(w_plus, 1.0), w_plus, atol=1e-6)
    assert torch.equal(generator.truncate(w_plus, 0.0), generator.latent_avg.expand_as(w_plus))
    expected = 0.3 * generator.latent_avg + 0.7 * w_plus[:, 0]
    assert torch.allclose(generator.truncate(w_plus[:, 0], 0.7), expected, atol=1e-6)


def test_a_fresh_generator_is_parametrised_for_training() -> None:
    config = GeneratorConfig(16, 64, 64, 2, channels={4: 64, 8: 48, 16: 32})
    generator = Generator(config, torch.Generator().manual_seed(0))
    for name, parameter in generator.named_parameters():
        if name.endswith("modulation.bias"):
            assert (parameter == 1).all(), name
        elif name.endswith(("bias", "noise_strength")):
            assert (parameter == 0).all(), name
        else:
            unit = 100 if name.startswith("mapping") else 1
            assert parameter.std().item() == pytest.approx(unit, rel=0.15), name
    again = Generator(config, torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(generator.parameters(), again.parameters(), strict=True))
    assert (generator.num_styles, generator.style_dim, generator.resolution) == (6, 64, 16)


@pytest.mark.parametrize("autocast", [False, True])
def test_gradients_reach_every_parameter(autocast: bool) -> None:
    generator = Generator(CONFIGS["larger"], torch.Generator().manual_seed(0))
    z = torch.randn(3, generator.config.z_dim, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        w = generator.mapping(z)
        images = generator.synthesize(w[:, None].expand(-1, generator.num_styles, -1))
        loss = (images - 1).square().mean()
    loss.backward()
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.slow
def test_gradients_are_those_of_the_function() -> None:
    generator = randomised(CONFIGS["smallest"]).double().requires_grad_(False)
    w_plus = draw_w_plus(generator, batch=1).double().requires_grad_()
    assert torch.autograd.gradcheck(generator.synthesize, (w_plus,))


@torch.no_grad()
def test_bfloat16_autocast_stays_close_and_returns_float32() -> None:
    generator = randomised(CONFIGS["larger"])
    w_plus = draw_w_plus(generator)
    with torch.autocast("cpu", torch.bfloat16):
        image = generator.synthesize(w_plus)
        w = generator.mapping(w_plus[:, 0])
    assert image.dtype == w.dtype == torch.float32
    assert torch.equal(w, generator.mapping(w_plus[:, 0]))
    assert_close(image, generator.synthesize(w_plus).double(), 0.03)


def test_the_default_widths_are_configuration_f() -> None:
    config = GeneratorConfig(1024)
    assert config.num_styles == 18
    assert list(config.channels.values()) == [512, 512, 512, 512, 512, 256, 128, 64, 32]
    assert GeneratorConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    "values",
    [
        {"resolution": 4},
        {"resolution": 48},
        {"resolution": 2**20},
        {"resolution": 16.0},
        {"style_dim": 0},
        {"z_dim": -1},
        {"mapping_layers": 10**9},
        {"mapping_lr_multiplier": 0.0},
        {"mapping_lr_multiplier": float("nan")},
        {"channels": {4: 8, 8: 8}},
        {"channels": {4: 8, 8: 8, 16: 8, 32: 8}},
        {"channels": {4: 8, 8: 0, 16: 8}},
        {"channels": {4: 8, 8: True, 16: 8}},
    ],
    ids=str,
)
def test_impossible_configurations_are_refused(values: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(values)).replace("channels", "channels|width")):
        GeneratorConfig(**{"resolution": 16} | values)


def test_arguments_that_do_not_fit_are_refused() -> None:
    generator = randomised(CONFIGS["smallest"])
    w_plus = draw_w_plus(generator)
    for wrong in (w_plus[:, :3], w_plus[..., :4], w_plus[0]):
        with pytest.raises(ValueError, match="W\\+"):
            generator.synthesize(wrong)
    with pytest.raises(ValueError, match="resolution"):
        generator.synthesize(w_plus, resolution=16)
    with pytest.raises(ValueError, match="noise"):
        generator.synthesize(w_plus, noise="random")  # type: ignore[arg-type]  # wrong on purpose
