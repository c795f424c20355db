"""What a generator's file lacks (mean latent, fixed noises) is filled in reproducibly and reported."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import stylegan2_reference as reference
import torch
from encoder4editing_reference import make_generator
from nvidia_pickles import their_generator, write
from public_files import SHAPE, write_e4e, write_restyle, write_rosinality
from refusals import assert_refused
from stylegan2_files import rosinality_state
from torch import Tensor
from weights_command import command

from encoder4editing import load_inverter
from micromotion.weights.bundle import find_bundle
from stylegan2 import CheckpointError, Generator, load_generator

Change = Callable[[dict[str, Any]], object]


def public(path: Path, change: Change = lambda contents: None) -> Path:
    contents: dict[str, Any] = {"g_ema": rosinality_state(), "latent_avg": torch.full((6,), 0.5)}
    change(contents)
    torch.save(contents, path)
    return path


def without_noises(contents: dict[str, Any]) -> None:
    for name in [name for name in contents["g_ema"] if name.startswith("noises.")]:
        del contents["g_ema"][name]


def told(load: Callable[[], Generator]) -> tuple[Generator, list[str]]:
    """A generator, and the warnings on loading it."""
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        generator = load()
    return generator, [str(each.message) for each in noted]


def noises(generator: Generator) -> list[Tensor]:
    return [tensor for name, tensor in generator.state_dict().items() if "synthesis.noise_" in name]


# --- the average ------------------------------------------------------------------------------------------


def test_an_average_is_the_mean_of_what_the_mapping_gives(tmp_path: Path) -> None:
    path = public(tmp_path / "x.pt", lambda contents: contents.pop("latent_avg"))
    before = torch.random.get_rng_state()
    generator, said = told(lambda: load_generator(path))
    assert torch.equal(before, torch.random.get_rng_state())
    assert said == [
        f"{path} has no average latent (latent_avg): it is computed, as the mean of what the mapping gives."
    ]
    network = reference.from_rosinality(rosinality_state())
    drawn = torch.randn(4000, 6, generator=torch.Generator().manual_seed(9)).double().numpy()
    w = torch.stack([torch.from_numpy(reference.map_z(network, z)) for z in drawn])
    distance = (generator.latent_avg - w.mean(dim=0)).abs()
    assert bool((distance < 4 * w.std(dim=0) * (1 / 4000 + 1 / 16_384) ** 0.5).all())
    assert bool((generator.latent_avg.abs() > 0).all())
    torch.randn(3)
    assert torch.equal(told(lambda: load_generator(path))[0].latent_avg, generator.latent_avg)


def test_there_is_no_warning_if_nothing_is_missing(tmp_path: Path) -> None:
    assert told(lambda: load_generator(public(tmp_path / "x.pt")))[1] == []


def test_a_given_average_is_for_files_without_one(tmp_path: Path) -> None:
    path = public(tmp_path / "x.pt", lambda contents: contents.pop("latent_avg"))
    row = torch.arange(6.0)
    for given in (row, row[None], row.expand(6, 6)):
        generator, said = told(partial(load_generator, path, average=given))
        assert torch.equal(generator.latent_avg, row)
        assert "that of the inverter is taken" in said[0]
    assert "is computed" in told(lambda: load_generator(path, average=torch.ones(7)))[1][0]
    assert load_generator(public(tmp_path / "y.pt"), average=row).latent_avg.tolist() == [0.5] * 6


def test_a_non_finite_mapping_gives_no_average(tmp_path: Path) -> None:
    def change(contents: dict[str, Any]) -> None:
        del contents["latent_avg"]
        contents["g_ema"]["style.2.bias"].fill_(torch.nan)

    assert_refused(load_generator, public(tmp_path / "x.pt", change), "lacks latent_avg", "no finite numbers")


@pytest.mark.filterwarnings("ignore:.*latent_avg")
@pytest.mark.parametrize("shape", [(6,), (1, 6), None])
def test_nvidias_pickles_may_have_it_in_another_shape_or_not(
    shape: tuple[int, ...] | None, tmp_path: Path
) -> None:
    theirs = their_generator()
    buffers = theirs["mapping"].state["_buffers"]
    average = buffers.pop("w_avg")
    if shape:
        buffers["w_avg"] = average.reshape(shape)
    loaded = load_generator(write(tmp_path / "x.pkl", theirs))
    assert torch.equal(loaded.latent_avg, average) == bool(shape)
    assert bool((loaded.latent_avg != 0).all())


def drop_average(path: Path, **options: object) -> Path:
    contents = torch.load(path, weights_only=True)
    del contents["latent_avg"]
    contents["opts"] |= options
    torch.save(contents, path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("write_it", [write_e4e, write_restyle])
def test_an_inverter_without_one_takes_that_of_its_own_generator(
    write_it: Callable[[Path], Path], tmp_path: Path
) -> None:
    path = drop_average(write_it(tmp_path / "x.pt"))
    own, said = told(lambda: load_generator(path))
    other = make_generator(SHAPE)
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        inverter = load_inverter(path, generator=other)
    assert torch.equal(inverter.latent_avg, own.latent_avg.expand(10, 24))
    assert any("that of its own generator is taken" in str(each.message) for each in noted)
    assert "is computed" in said[0]


def test_an_inverter_alone_takes_that_of_the_generator_beside_it(tmp_path: Path) -> None:
    path = drop_average(write_e4e(tmp_path / "x.pt"))
    contents = torch.load(path, weights_only=True)
    state = {name: tensor for name, tensor in contents["state_dict"].items() if "encoder" in name}
    torch.save(contents | {"state_dict": state}, path)
    generator = make_generator(SHAPE)
    with pytest.warns(UserWarning, match="that of the generator beside it is taken"):
        inverter = load_inverter(path, generator=generator)
    assert torch.equal(inverter.latent_avg, generator.latent_avg.expand(10, 24))
    with pytest.raises(CheckpointError, match=r"lacks latent_avg.* give its generator too\.$"):
        load_inverter(path)


def test_without_an_average_in_the_options_there_is_none(tmp_path: Path) -> None:
    path = drop_average(write_e4e(tmp_path / "x.pt"), start_from_latent_avg=False)
    assert not load_inverter(path).latent_avg.any()


# --- noises -----------------------------------------------------------------------------------------------


def test_noises_are_drawn_the_same_every_time(tmp_path: Path) -> None:
    path = public(tmp_path / "x.pt", without_noises)
    before = torch.random.get_rng_state()
    generator, said = told(lambda: load_generator(path))
    assert torch.equal(before, torch.random.get_rng_state())
    assert said == [f"{path} has no fixed noises: they are drawn, the same every time."]
    drawn = noises(generator)
    assert [tuple(noise.shape) for noise in drawn] == [(1, 1, side, side) for side in (4, 8, 8, 16, 16)]
    assert all(
        torch.equal(one, other)
        for one, other in zip(noises(told(lambda: load_generator(path))[0]), drawn, strict=True)
    )
    everything = torch.cat([noise.flatten() for noise in drawn])
    assert abs(float(everything.mean())) < 0.2
    assert abs(float(everything.std()) - 1) < 0.15
    assert not torch.equal(drawn[1], drawn[2])


def test_only_the_noises_that_are_missing_are_drawn(tmp_path: Path) -> None:
    path = public(tmp_path / "x.pt", lambda contents: contents["g_ema"].pop("noises.noise_3"))
    generator, said = told(lambda: load_generator(path))
    assert "1 of 5 fixed noises missing" in said[0]
    state = rosinality_state()
    all_drawn = noises(told(lambda: load_generator(public(tmp_path / "y.pt", without_noises)))[0])
    for index, noise in enumerate(noises(generator)):
        assert torch.equal(noise, all_drawn[3] if index == 3 else state[f"noises.noise_{index}"])


@pytest.mark.filterwarnings("ignore:.*fixed noises")
def test_drawn_noises_do_not_count_as_the_files(tmp_path: Path) -> None:
    """In half precision and without them a file has a quarter of the model's size."""

    def change(contents: dict[str, Any]) -> None:
        without_noises(contents)
        contents["g_ema"] = {name: tensor.half() for name, tensor in contents["g_ema"].items()}

    assert load_generator(public(tmp_path / "x.pt", change)).resolution == 16


def test_nvidias_pickles_may_lack_noises_and_an_average_over_training(tmp_path: Path) -> None:
    theirs = their_generator()
    path = write(tmp_path / "whole.pkl", theirs)
    expected = load_generator(path).state_dict()
    for part in theirs.modules():
        part.state["_buffers"].pop("noise_const", None)
    generator, said = told(lambda: load_generator(write(tmp_path / "x.pkl", theirs)))
    assert "no fixed noises" in said[0]
    for name, tensor in generator.state_dict().items():
        assert torch.equal(tensor, expected[name]) == ("synthesis.noise_" not in name)


# --- the output of `weights add` --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("latent_avg"), "has no average latent (latent_avg): that of the inverter is taken."),
        (without_noises, "has no fixed noises: they are drawn, the same every time."),
        (lambda c: c.update(g=c.pop("g_ema")), "has no average over its training (g_ema): the generator g"),
    ],
    ids=["average", "noises", "g"],
)
def test_filled_in_tensors_are_reported_in_one_line(change: Change, words: str, tmp_path: Path) -> None:
    e4e, path = write_e4e(tmp_path / "e4e.pt"), write_rosinality(tmp_path / "generator.pt")
    contents = torch.load(path, weights_only=True)
    change(contents)
    torch.save(contents, path)
    result = command("add", e4e, path, "--name", "mine")
    assert result.exit_code == 0, result.stderr
    assert [line for line in result.stderr.splitlines() if f"{path} {words}" in line]
    generator = load_generator(find_bundle("mine").folder / "generator.safetensors")
    average = make_generator(SHAPE).latent_avg if "latent_avg" in words else torch.full((24,), 0.25)
    assert torch.equal(generator.latent_avg, average)
