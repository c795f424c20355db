"""Training of the avatar's identity network: people, loss, run and file."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from draws import rng
from safetensors.torch import load_file
from torch import Tensor, nn
from training_data import smooth_pictures, unit

from avatar.data import dataset, people
from avatar.renderer.factors import FACTORS, factors_from_z, sample_training_z
from avatar.training import identity as train_identity
from avatar.training.identity import Album, arcface, settle, verification
from encoder4editing.identity import IdentityConfig, IdentityNet, load_identity, save_identity

pytestmark = pytest.mark.slow

TINY = IdentityConfig(input_size=32, feature_dim=16, widths=(8, 12), depths=(1, 1), se_reduction=4)


def test_a_persons_traits_are_constant_and_all_else_varies() -> None:
    f = factors_from_z(people.draw(rng(), 20, 6))
    for factor in FACTORS:
        spread = f[factor.name].view(20, 6).std(dim=1)
        if factor.name in people.PASSING:
            assert (spread > 1e-3).float().mean() > 0.8, factor.name
        elif factor.name in people.TRAITS:
            assert spread.max() < 1e-4, factor.name
    shapes = f["chin"].view(20, 6)[:, 0]
    assert shapes.std() > 0.3
    assert {"chin", "skin_tone", "nose_width"} <= set(people.TRAITS)
    assert not {"hair_cut", "beard", "age", "glasses"} & set(people.TRAITS)


def test_hair_is_usually_preserved() -> None:
    views = factors_from_z(people.draw(rng(), 200, 8))["hair_cut"].view(200, 8)
    usual = views.median(dim=1, keepdim=True).values
    assert 0.55 < ((views - usual).abs() < 1e-4).float().mean() < 0.75


def test_a_generator_draws_people(tmp_path: Path) -> None:
    from stylegan2 import Generator, GeneratorConfig, save_generator

    config = GeneratorConfig(16, 8, z_dim=256, mapping_layers=1, channels={4: 8, 8: 8, 16: 8})
    save_generator(Generator(config, rng()), tmp_path / "generator.safetensors")
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        people.make_shard(tmp_path / folder, 3, 0, size=8, generator=tmp_path / "generator.safetensors")
    one, two = (load_file(tmp_path / folder / "people-00003.safetensors") for folder in ("one", "two"))
    assert one["images"].shape == (dataset.SHARD, 3, 8, 8)
    assert one["person"].tolist()[:: people.VIEWS] == list(range(48, 64))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert one["images"].float().std() > 1
    assert dataset.check(tmp_path / "one/people-00003.safetensors", 8) == 8


def slow_arcface(features: Tensor, directions: Tensor, person: Tensor, margin: float) -> float:
    total = 0.0
    for x, own in zip(features, person.tolist(), strict=True):
        angles = [math.acos(float(x @ d) / float(d.norm())) for d in directions]
        logits = [math.cos(a) for a in angles]
        logits[own] = math.cos(angles[own] + margin)
        if angles[own] + margin > math.pi:
            logits[own] = math.cos(angles[own]) - margin * math.sin(margin)
        scaled = [train_identity.SCALE * v for v in logits]
        total += math.log(sum(math.exp(v) for v in scaled)) - scaled[own]
        total += train_identity.PULL * (1 - math.cos(angles[own]))
    return total / len(features)


@pytest.mark.parametrize("margin", [0.0, 0.3, 1.0])
def test_arcface_agrees_with_its_definition(margin: float) -> None:
    features, person = unit(6, 0), torch.tensor([0, 1, 2, 3, 3, 0])
    directions = 2 * unit(4, 1)
    directions[2] = -features[2] + 0.1  # an angle near π
    found = float(arcface(features, directions, person, margin))
    assert found == pytest.approx(slow_arcface(features, directions, person, margin), rel=1e-5)


def test_a_few_people_are_learned_and_distinguished() -> None:
    person = torch.arange(4).repeat_interleave(4)
    data = people.People(smooth_pictures(4)[person], sample_training_z(4, rng())[person], person, 4)
    album = Album(4, 0, TINY)
    optimiser = torch.optim.Adam(album.parameters(), 5e-3)
    losses = []
    for step in range(25):
        loss = train_identity.step_loss(album, data, torch.arange(16), rng(step), 0.2)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.3 * sum(losses[:5])
    settle(album.net, album.net.features, data.images, rng())
    figures = verification(album.net, data)
    assert figures["accuracy"] == 1
    assert figures["same"] > 0.8 > figures["different"] + 0.3


def test_the_accuracy_of_chance_and_of_a_perfect_network() -> None:
    class Colour(nn.Module):
        """Features that are the mean colour: perfect if every person has a different colour."""

        linear = nn.Linear(1, 1)

        def features(self, images: Tensor) -> Tensor:
            return nn.functional.normalize(images.mean(dim=(2, 3)) + 1e-3, dim=1)

    colour = torch.tensor([[255, 128, 128], [128, 255, 128], [128, 128, 255]], dtype=torch.uint8)
    person = torch.arange(3).repeat(4)
    pictures = colour[person][:, :, None, None].expand(-1, -1, 8, 8)
    z = sample_training_z(12, rng())
    net: Any = Colour()
    figures = verification(net, people.People(pictures, z, person, 3))
    assert figures["accuracy"] == 1
    assert figures["same"] == pytest.approx(1, abs=1e-4)
    blind = people.People(pictures[:1].expand(12, -1, -1, -1), z, person, 3)
    assert verification(net, blind)["accuracy"] == pytest.approx(0.5)


def test_an_identity_file_loads_with_the_same_features(tmp_path: Path) -> None:
    net = IdentityNet(train_identity.CONFIG, rng()).eval()
    for module in net.modules():  # statistics of another size than a fresh network's
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-0.1, 0.1, generator=rng(1))
            module.running_var.uniform_(0.5, 2.0, generator=rng(2))
    save_identity(net, tmp_path / "identity.safetensors", half=True)
    assert (tmp_path / "identity.safetensors").stat().st_size < 2_000_000
    assert all(p.dtype == torch.float32 for p in net.parameters())  # the training network is unchanged
    again = load_identity(tmp_path / "identity.safetensors")
    pictures = smooth_pictures(3).float() / 127.5 - 1
    with torch.no_grad():
        cosine = (again.features(pictures) * net.features(pictures)).sum(dim=1)
    assert cosine.min() > 0.9999
