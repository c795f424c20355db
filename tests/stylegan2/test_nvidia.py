"""NVIDIA's network pickles, written as by its training loop, compared to the slow reference."""

import pickle
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import refusals
import stylegan2_reference as reference
import torch
from nvidia_pickles import WIDTHS, Persistent, module, their_generator, write
from torch import Tensor

from encoder4editing import EncoderConfig, Inverter, save_inverter
from micromotion.weights.convert import Given, convert
from stylegan2 import GeneratorConfig, load_generator

CONFIG = GeneratorConfig(16, 6, z_dim=4, mapping_layers=2, channels=WIDTHS)
SOURCE = "import pathlib\npathlib.Path({!r}).mkdir()\n"


def their_network(generator: Persistent) -> reference.Network:
    """The same weights for the reference."""

    def own(path: str) -> dict[str, Any]:
        state = generator[path].state
        return reference.numbers(state["_parameters"] | state["_buffers"])

    def layer(path: str) -> reference.Layer:
        weights, style = own(path), own(f"{path}.affine")
        noise = weights["noise_strength"] * weights["noise_const"] if "noise_const" in weights else None
        return reference.Layer(weights["weight"], style["weight"], style["bias"], weights["bias"], noise)

    mapping = [(own(f"mapping.fc{i}")["weight"], own(f"mapping.fc{i}")["bias"]) for i in range(2)]
    convs = [
        layer(f"synthesis.{name}") for name in ("b4.conv1", "b8.conv0", "b8.conv1", "b16.conv0", "b16.conv1")
    ]
    rgbs = [layer(f"synthesis.b{side}.torgb") for side in WIDTHS]
    return reference.Network(mapping, own("synthesis.b4")["const"], convs, rgbs)


def assert_close(ours: Tensor, theirs: reference.Array) -> None:
    assert (ours - torch.from_numpy(theirs)).abs().max() <= 1e-5 * np.abs(theirs).max()


assert_refused = partial(refusals.assert_refused, load_generator)


@pytest.mark.parametrize("protocol", [3, 4, 5])
@torch.no_grad()
def test_a_pickle_of_nvidias_gives_the_reference_picture(protocol: int, tmp_path: Path) -> None:
    theirs = their_generator()
    generator = load_generator(write(tmp_path / "ffhq.pkl", theirs, protocol))
    assert generator.config == CONFIG
    assert torch.equal(generator.latent_avg, theirs["mapping"].state["_buffers"]["w_avg"])
    network = their_network(theirs)
    rng = torch.Generator().manual_seed(0)
    z, w_plus = torch.randn(4, generator=rng), torch.randn(6, 6, generator=rng)
    assert_close(generator.mapping(z[None])[0], reference.map_z(network, z.double().numpy()))
    assert_close(
        generator.synthesize(w_plus[None])[0], reference.synthesize(network, w_plus.double().numpy(), 16)
    )


@torch.no_grad()
def test_the_clamp_of_half_precision_training_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clamp = 1.5
    theirs = their_generator(clamp)
    generator = load_generator(write(tmp_path / "ffhq.pkl", theirs))
    assert generator.config.conv_clamp == clamp
    network, w_plus = their_network(theirs), torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    free = reference.synthesize(network, w_plus.double().numpy(), 16)
    leaky, modulated = reference.leaky, reference.modulated

    def clamped(layer: reference.Layer, *args: Any, **how: Any) -> reference.Array:
        out = modulated(layer, *args, **how)
        bias = layer.bias[:, None, None]
        return out if how["demodulate"] else (out + bias).clip(-clamp, clamp) - bias

    monkeypatch.setattr(reference, "leaky", lambda x: leaky(x).clip(-clamp, clamp))
    monkeypatch.setattr(reference, "modulated", clamped)
    expected = reference.synthesize(network, w_plus.double().numpy(), 16)
    assert np.abs(expected - free).max() > 0.1 * np.abs(free).max()
    assert_close(generator.synthesize(w_plus[None])[0], expected)


def test_it_becomes_the_generator_of_a_model(tmp_path: Path) -> None:
    narrow: dict[str, Any] = {
        "widths": (8, 8, 8, 8),
        "depths": (1, 1, 1, 1),
        "fpn_width": 8,
        "head_width": 8,
        "se_reduction": 4,
    }
    inverter = Inverter(EncoderConfig(input_size=32, num_styles=6, style_dim=6, **narrow))
    save_inverter(inverter, tmp_path / "inverter")
    path = write(tmp_path / "ffhq", their_generator())
    folder = tmp_path / "model"
    folder.mkdir()
    parts = convert([Given(each, "here", "none") for each in (path, tmp_path / "inverter")], folder, name="x")
    assert parts[0] == ["generator.safetensors", "generator.half.safetensors"]
    converted = load_generator(folder / "generator.safetensors").state_dict()
    for name, tensor in load_generator(path).state_dict().items():
        assert torch.equal(converted[name], tensor), name


def test_the_source_in_the_file_is_not_executed(tmp_path: Path) -> None:
    theirs, canary = their_generator(), tmp_path / "canary"
    for part in theirs.modules():
        part.source = SOURCE.format(str(canary))
    before = set(sys.modules)
    load_generator(write(tmp_path / "ffhq.pkl", theirs))
    assert not canary.exists()
    assert not {name for name in set(sys.modules) - before if "persistence" in name or "dnnlib" in name}


def test_values_stored_only_as_arguments_are_found(tmp_path: Path) -> None:
    theirs = their_generator(2.0)
    for part in theirs.modules():
        state, made_with = part.state, part.state["_init_kwargs"]
        for name in ("conv_clamp", "activation", "architecture", "c_dim"):
            if name in state:
                made_with[name] = state.pop(name)
        if "bias_gain" in state:
            made_with["lr_multiplier"] = 0.02 * state.pop("bias_gain") / 0.01
    config = load_generator(write(tmp_path / "ffhq.pkl", theirs)).config
    assert (config.conv_clamp, config.mapping_lr_multiplier) == (2.0, 0.02)


def attribute(path: str, name: str, value: Any) -> Callable[[Persistent], None]:
    return lambda generator: (generator[path] if path else generator).state.update({name: value})


def tensor(path: str, kind: str, name: str, value: Any) -> Callable[[Persistent], None]:
    return lambda generator: generator[path].state[kind].update({name: value})


def without(path: str, kind: str, name: str) -> Callable[[Persistent], None]:
    return lambda generator: generator[path].state[kind].pop(name)


def every(name: str, value: Any) -> Callable[[Persistent], None]:
    def change(generator: Persistent) -> None:
        for part in generator.modules():
            if name in part.state:
                part.state[name] = value

    return change


REFUSED: dict[str, tuple[Callable[[Persistent], None], str]] = {
    "classes": (attribute("", "c_dim", 10), "class-conditional"),
    "classes in the mapping": (attribute("mapping", "c_dim", 10), "class-conditional"),
    "classes of a wrong kind": (attribute("mapping", "c_dim", torch.ones(2)), "class-conditional"),
    "resnet": (every("architecture", "resnet"), "architecture"),
    "orig": (attribute("synthesis.b8", "architecture", "orig"), "architecture"),
    "ReLU": (attribute("synthesis.b8.conv1", "activation", "relu"), "leaky ReLU"),
    "linear mapping": (attribute("mapping.fc1", "activation", "linear"), "leaky ReLU"),
    "two multipliers": (attribute("mapping.fc1", "bias_gain", 0.02), "learning-rate multiplier"),
    "multiplier of 0": (every("bias_gain", 0), "impossible"),
    "no bias": (tensor("synthesis.b8.conv0", "_parameters", "bias", None), "synthesis.convs.1.bias"),
    "no constant": (without("synthesis.b4", "_parameters", "const"), "synthesis.constant"),
    "no mapping": (without("mapping", "_modules", "fc0"), "mapping.layers.0.weight"),
    "no synthesis": (lambda generator: generator.state["_modules"].pop("synthesis"), "synthesis.constant"),
    "a missing block": (without("synthesis", "_modules", "b8"), "impossible"),
    "unknown entry": (tensor("mapping", "_buffers", "extra", torch.ones(1)), "mapping.extra"),
    "an odd resolution": (
        lambda g: g["synthesis"].state["_modules"].update(b12=g["synthesis.b8"]),
        "synthesis.b12",
    ),
    "wrong shape": (tensor("synthesis.b8.torgb", "_parameters", "bias", torch.ones(4)), "[4]"),
    "grey": (tensor("synthesis.b4.torgb", "_parameters", "weight", torch.ones(1, 5, 1, 1)), "[1, 5, 1, 1]"),
    "text": (tensor("mapping", "_buffers", "w_avg", "text"), "mapping.w_avg"),
    "no first layer": (without("synthesis.b8", "_modules", "conv0"), "synthesis.convs.1"),
    "a module that is something else": (
        lambda g: g["synthesis"].state["_modules"].update(b8=slice(1)),
        "no module",
    ),
    "no list of modules": (lambda g: g["synthesis"].state.update(_modules=[1]), "no module"),
    "a network of a thousand parts": (
        lambda g: g["synthesis"].state["_modules"].update({f"b{i}": module("") for i in range(1000)}),
        "no module",
    ),
    "a network within itself": (lambda g: g["mapping"].state["_modules"].update(again=g), "deeper"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_other_generators_are_refused(name: str, tmp_path: Path) -> None:
    change, mention = REFUSED[name]
    theirs = their_generator()
    change(theirs)
    assert_refused(write(tmp_path / "other.pkl", theirs), mention)


@pytest.mark.parametrize("contents", [None, "text", [1], {"state": 1}, slice(1), torch.ones(1)], ids=repr)
def test_other_pickles_are_refused(contents: Any, tmp_path: Path) -> None:
    assert_refused(write(tmp_path / "other.pkl", contents), "G_ema")
    (tmp_path / "other.pkl").write_bytes(pickle.dumps(contents))
    assert_refused(tmp_path / "other.pkl", "G_ema")


@pytest.mark.slow
def test_truncated_files_are_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.pkl", their_generator()).read_bytes()
    path = tmp_path / "cut.pkl"
    for kept in [2, 3, 100, *np.linspace(500, len(whole) - 1, 30).astype(int)]:
        path.write_bytes(whole[:kept])
        assert_refused(path, "")


@pytest.mark.slow
def test_flipped_bytes_are_refused_or_harmless(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.pkl", their_generator())
    assert refusals.count_of_flipped(load_generator, path, [(0, path.stat().st_size)] * 60) > 5
