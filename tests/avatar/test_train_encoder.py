"""Training of the encoder: latents in units of w's spread, pairs, late untying of styles, any resolution."""

from pathlib import Path

import pytest
import torch
from draws import rng
from torch import Tensor

from avatar.data.dataset import Heads
from avatar.renderer.factors import FACTORS, INDEX, Z_DIM, fill_to_norm, sample_z
from avatar.training import encoder as train_encoder
from avatar.training.encoder import (
    KEPT,
    MOVEMENT,
    SIZE,
    bound,
    change_loss,
    config_for,
    draw,
    factor_loss,
    factor_reader,
    parted,
    shown_loss,
    shrunk,
    untouched,
)
from encoder4editing import Inverter, load_inverter
from encoder4editing.identity import IdentityConfig, IdentityNet, save_identity
from stylegan2 import Generator, GeneratorConfig, save_generator

pytestmark = pytest.mark.slow


def generator(resolution: int) -> Generator:
    channels = {4 << i: 4 for i in range(resolution.bit_length() - 2)}
    config = GeneratorConfig(resolution, 8, z_dim=Z_DIM, mapping_layers=1, channels=channels)
    return Generator(config, rng(1)).eval().requires_grad_(False)


def heads(count: int, size: int) -> Heads:
    images = torch.randint(0, 256, (count, 3, size, size), generator=rng(2)).byte()
    return Heads(images, fill_to_norm(sample_z(count, rng(3))), torch.zeros(count // 2, dtype=torch.long))


@pytest.mark.parametrize("resolution", [64, 128, 256])
def test_the_encoder_fits_a_generator_of_any_resolution(resolution: int) -> None:
    model = generator(resolution)
    config = config_for(model)
    assert (config.num_styles, config.style_dim, config.input_size) == (model.num_styles, 8, SIZE)
    images, z = draw(shrunk(heads(32, 256)), torch.ones(16), model, rng(), 16)
    assert images.shape == (16, 3, SIZE, SIZE)
    assert z.shape == (16, Z_DIM)
    assert -1 <= images.min() <= images.max() <= 1
    code = Inverter(config, rng()).eval().invert(images)
    loss = shown_loss(model, None, code[:4], images[:4], z[:4])
    assert loss.isfinite()
    loss.backward()


def test_heads_are_downscaled_by_means() -> None:
    large = heads(2, 2 * SIZE)
    small = shrunk(large)
    assert small.images.dtype == torch.uint8
    expected = large.images.double().view(2, 3, SIZE, 2, SIZE, 2).mean(dim=(3, 5))
    assert (small.images - expected).abs().max() <= 0.5 + 1e-6
    assert torch.equal(small.z, large.z)
    same = heads(2, SIZE)
    assert shrunk(same) is same


def test_the_sampled_latents_belong_to_the_pictures() -> None:
    model, some = generator(SIZE), heads(32, SIZE)
    images, z = draw(some, torch.ones(16), model, rng(), 16)
    for image, code in zip(images[:12], z, strict=False):
        assert any(
            torch.equal(image, each.float() / 127.5 - 1) and torch.allclose(code[: len(FACTORS)], true)
            for each, true in zip(some.images, some.z[:, : len(FACTORS)], strict=True)
        )
    w_plus = model.mapping(z[12:])[:, None].expand(-1, model.num_styles, -1)
    made = model.synthesize(w_plus, noise=None).clamp(-1, 1)
    assert (images[12:] - made).abs().mean() < 0.02  # bfloat16


def test_styles_are_untied_one_by_one() -> None:
    free = [parted(done / 100, 12) for done in range(101)]
    assert free[0] == free[34] == 0
    assert free[-1] == free[50] == 11
    assert free == sorted(free)
    assert set(free) == set(range(12))


@pytest.mark.parametrize("free", [0, 3, 11])
def test_a_tied_style_equals_the_first(free: int) -> None:
    code = torch.randn(2, 12, 4, generator=rng(), requires_grad=True)
    result = bound(code, free)
    assert torch.equal(result[:, : free + 1], code[:, : free + 1])
    assert all(torch.equal(result[:, i], code[:, 0]) for i in range(free + 1, 12))
    (gradient,) = torch.autograd.grad(result.sum(), code)
    assert (gradient[:, free + 1 :] == 0).all()


def pair(w: Tensor, change: Tensor) -> Tensor:
    return torch.stack([w, w + change])[:, None]


def test_a_pair_is_weighted_by_its_difference() -> None:
    w, small = torch.randn(8, generator=rng()), torch.zeros(8)
    small[2] = 0.5
    truth = pair(w, small)
    assert change_loss(truth.expand(-1, 12, -1), truth) == 0
    assert change_loss(truth.expand(-1, 12, -1) + 3, truth) < 1e-6, "who it is does not matter here"
    still = change_loss(pair(w, 0 * small).expand(-1, 12, -1), truth)
    large = change_loss(pair(w, 0 * small).expand(-1, 12, -1), pair(w, 10 * small))
    assert 0.7 < still / large <= 1, "a smile that is overlooked counts as much as a stranger who is"


def test_factors_are_read_from_w() -> None:
    config = GeneratorConfig(8, 192, z_dim=Z_DIM, mapping_layers=2, channels={4: 4, 8: 4})
    model = Generator(config, rng(4)).eval()
    with torch.no_grad():
        model.mapping.get_parameter("layers.0.weight")[:, len(FACTORS) :] = 0
        z = fill_to_norm(sample_z(500, rng(5)))
        read = model.mapping(z) @ factor_reader(model)
    true = z[:, : len(FACTORS)]
    left = (read - true - (read - true).mean(dim=0)).square().mean(dim=0) / true.var(dim=0)
    assert left.max() < 0.5


def test_a_wrong_motion_costs_more_than_a_wrong_trait() -> None:
    smile, trait = torch.zeros(2, 1, len(FACTORS)), torch.zeros(2, 1, len(FACTORS))
    smile[..., INDEX["smile"]] = trait[..., INDEX["ear_size"]] = 1
    assert factor_loss(smile) == pytest.approx(MOVEMENT * float(factor_loss(trait)))


def test_augmentation_increases_gradually() -> None:
    shares = [untouched(i / 100) for i in range(101)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == 1
    assert shares[10] == 1
    assert shares[-1] == KEPT


def test_the_identity_loss_is_used_if_there_is_an_identity_network(tmp_path: Path) -> None:
    assert train_encoder.find_identity(tmp_path, torch.device("cpu")) is None
    net = IdentityNet(IdentityConfig(16, 4, (4, 4), (1, 1), 2), rng()).eval()
    save_identity(net, tmp_path / "identity.safetensors")
    identity = train_encoder.find_identity(tmp_path, torch.device("cpu"))
    model, z = generator(SIZE), sample_z(2, rng())
    code = torch.randn(2, model.num_styles, 8, generator=rng())
    images = torch.rand(2, 3, SIZE, SIZE, generator=rng()) * 2 - 1
    with torch.no_grad():
        without = shown_loss(model, None, code, images, z)
        assert shown_loss(model, identity, code, images, z) > without


def test_a_short_run_writes_an_inverter_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = heads(32, 256)
    some.differs[:] = INDEX["smile"]
    monkeypatch.setattr(train_encoder.dataset, "load", lambda *_, **__: some)
    model = generator(256)
    save_generator(model, tmp_path / "generator.safetensors")
    train_encoder.train(0, tmp_path, tmp_path, 32, 0, 1)
    half = (tmp_path / "inverter.safetensors").read_bytes()
    train_encoder.train(0, tmp_path, tmp_path, 96, 0, 1)
    assert (tmp_path / "inverter.safetensors").read_bytes() != half
    inverter = load_inverter(tmp_path / "inverter.safetensors")
    assert inverter.input_size == SIZE
    with torch.no_grad():
        code = inverter.invert(torch.zeros(1, 3, 256, 256))
        assert model.synthesize(code).shape == (1, 3, 256, 256)
