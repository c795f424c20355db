"""Other projects' checkpoints for `weights add`: layouts × defects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from public_files import write_e4e, write_rosinality
from safetensors.torch import save_file

from abuse.items import FAILED, SUCCEEDED, Command, Item, expected

Contents = dict[str, Any]
Layout = Callable[[Contents], Contents]
Spoil = Callable[[Contents], object]


def checkpoints() -> Iterator[Item]:
    """Checkpoints with a valid e4e and an invalid generator."""
    for layout, wrap in LAYOUTS.items():
        for name, spoil in SPOILT.items():
            arguments = partial(_add, wrap, spoil)
            yield Command("bundles", f"checkpoint, {layout}: {name}", arguments, expected(FAILED))
        arguments = partial(_add, wrap, lambda contents: None)
        yield Command("bundles", f"checkpoint, {layout}: sound", arguments, expected(SUCCEEDED))
    for name, make in ODD.items():
        arguments = partial(_add, make, lambda contents: None)
        yield Command("bundles", f"checkpoint: {name}", arguments, expected(FAILED))


def _add(wrap: Layout, spoil: Spoil, folder: Path) -> Sequence[str]:
    files = folder / "model"
    files.mkdir()
    path = write_rosinality(files / "generator.pt")
    contents = torch.load(path, weights_only=True)
    spoil(contents)
    wrapped = wrap(contents)
    if wrapped.get("as") == "safetensors":
        path = files / "generator.safetensors"
        save_file(wrapped["tensors"], path, {"format": "pt", "opts": "[" * 50_000})
    else:
        torch.save(wrapped, path)
    return ["weights", "add", str(write_e4e(files / "e4e.pt")), str(path), "--name", folder.name]


def _prefixed(prefix: str, contents: Contents) -> Contents:
    return contents | {"g_ema": {f"{prefix}{name}": each for name, each in contents["g_ema"].items()}}


def _flat(contents: Contents) -> Contents:
    named = contents["g_ema"] | {name: each for name, each in contents.items() if name == "latent_avg"}
    tensors = {name: each.clone().contiguous() for name, each in named.items()}
    return {"as": "safetensors", "tensors": tensors}


LAYOUTS: dict[str, Layout] = {
    "plain": lambda contents: contents,
    "module.": partial(_prefixed, "_orig_mod.module."),
    "bare g": lambda contents: {"g": contents.pop("g_ema"), **contents},
    "nested": lambda contents: {"a": {"b": {"c": contents}}, "optimizer": {"state": {0: {}}}},
    "safetensors": _flat,
}


def _each(change: Callable[[torch.Tensor], torch.Tensor], contents: Contents) -> None:
    state = contents["g_ema"]
    state.update({name: change(each) for name, each in state.items() if "kernel" not in name})


def _put(name: str, value: object, contents: Contents) -> None:
    contents["g_ema"][name] = value


def _without(prefix: str, contents: Contents) -> None:
    contents["g_ema"] = {
        name: each for name, each in contents["g_ema"].items() if not name.startswith(prefix)
    }


SPOILT: dict[str, Spoil] = {
    "integers": partial(_each, lambda each: each.int()),
    "one number each": partial(_each, lambda each: each.flatten()[:1]),
    "an average of other length": lambda contents: contents.update(latent_avg=torch.ones(7)),
    "an average of integers": lambda contents: contents.update(latent_avg=torch.ones(24).int()),
    "no mapping": partial(_without, "style."),
    "no constant": partial(_without, "input."),
    "a tensor more": partial(_put, "extra", torch.ones(3)),
    "an endless layer": partial(_put, "conv1.activate.bias", torch.ones(1 << 20)),
    "noise of another size": partial(_put, "noises.noise_2", torch.ones(1, 1, 9, 9)),
}


def _itself(contents: Contents) -> Contents:
    around: Contents = {"epoch": 1}
    around["again"] = around
    return around


def _deep(contents: Contents) -> Contents:
    for _ in range(150):
        contents = {"state_dict": contents}
    return contents


def _many_ways(contents: Contents) -> Contents:
    contents = {"x": torch.ones(1)}
    for _ in range(100):  # reachable on 2^100 paths
        contents = {"a": contents, "b": contents}
    return contents


def _tall(contents: Contents) -> Contents:
    """A 4096² generator of width one, without noises and mean latent: a small file, much to fill in."""
    state = {
        name: each
        for name, each in contents["g_ema"].items()
        if name.startswith(("style.", "conv1", "to_rgb1"))
    }
    narrow = {"conv.weight": (1, 1, 1, 3, 3), "conv.modulation.weight": (1, 24), "conv.modulation.bias": (1,)}
    narrow |= {"noise.weight": (1,), "activate.bias": (1,)}
    rgb = {"conv.weight": (1, 3, 1, 1, 1), "conv.modulation.weight": (1, 24), "conv.modulation.bias": (1,)}
    layers = {"conv1": narrow, "to_rgb1": rgb | {"bias": (1, 3, 1, 1)}}
    layers |= {f"convs.{index}": narrow for index in range(20)}
    layers |= {f"to_rgbs.{index}": rgb | {"bias": (1, 3, 1, 1)} for index in range(10)}
    for layer, shapes in layers.items():
        state.update({f"{layer}.{name}": torch.ones(shape) for name, shape in shapes.items()})
    return {"g_ema": state | {"input.input": torch.ones(1, 1, 4, 4)}}


def _views(contents: Contents) -> Contents:
    one = torch.ones(1)
    numbers = {name: each for name, each in contents["g_ema"].items() if "kernel" not in name}
    return {"module": {name: one.expand(each.shape) for name, each in numbers.items()}}


ODD: dict[str, Layout] = {
    "a dictionary within itself": _itself,
    "150 dictionaries deep": _deep,
    "2^100 ways to one tensor": _many_ways,
    "4096 pixels of width one": _tall,
    "views of one number": _views,
    "an average of 10^12 rows": lambda contents: (
        contents | {"latent_avg": torch.ones(1, 1).expand(10**12, 24)}
    ),
    "two halves of a generator": lambda contents: {
        "g_ema": dict([*contents["g_ema"].items()][::2]),
        "g": dict([*contents["g_ema"].items()][1::2]),
    },
    "names of 100 kB": lambda contents: _prefixed("x." * 50_000, contents),
}
