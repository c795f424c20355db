"""NVIDIA's network pickles, written here as its training loop writes them.

The classes that NVIDIA's pickles name exist as stand-ins only while a file is written, not when it is read.
"""

import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

WIDTHS = {4: 5, 8: 7, 16: 3}


class Persistent:
    """An object that carries its class's source, as `torch_utils.persistence` pickles it."""

    def __init__(self, class_name: str, state: dict[str, Any]) -> None:
        self.class_name, self.state, self.source = class_name, state, "raise SystemExit\n"

    def __reduce__(self) -> tuple[Any, ...]:
        meta = {"type": "class", "version": 6, "module_src": self.source, "class_name": self.class_name}
        return reconstruct, (meta | {"state": self.state},), None

    def __getitem__(self, path: str) -> "Persistent":
        """The module of that dotted name."""
        found = self
        for name in path.split("."):
            found = found.state["_modules"][name]
        return found

    def modules(self) -> Iterator["Persistent"]:
        yield self
        for child in self.state["_modules"].values():
            yield from child.modules()


def reconstruct(meta: dict[str, Any]) -> None:
    """A stub, of which only the name is needed."""


class EasyDict(dict[str, Any]):
    """A dictionary with attributes."""


reconstruct.__module__, reconstruct.__qualname__ = "torch_utils.persistence", "_reconstruct_persistent_obj"
EasyDict.__module__ = "dnnlib.util"


@contextmanager
def their_modules() -> Iterator[None]:
    """Provide the modules that pickle looks up when it writes a class or function by name."""
    names = ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util")
    modules = {name: types.ModuleType(name) for name in names}
    vars(modules["torch_utils.persistence"])["_reconstruct_persistent_obj"] = reconstruct
    vars(modules["dnnlib.util"])["EasyDict"] = EasyDict
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def module(
    class_name: str,
    parameters: dict[str, Any] | None = None,
    buffers: dict[str, Any] | None = None,
    modules: dict[str, Persistent] | None = None,
    **attributes: Any,
) -> Persistent:
    """The attributes of a torch.nn.Module, as it pickles them."""
    state: dict[str, Any] = {"training": False, "_parameters": OrderedDict(parameters or {})}
    state["_buffers"] = OrderedDict(buffers or {})
    state |= {"_non_persistent_buffers_set": set(), "_backward_hooks": OrderedDict()}
    state["_modules"] = OrderedDict(modules or {})
    state |= attributes | {"_init_args": (5, 7), "_init_kwargs": {}}
    return Persistent(class_name, state)


def their_generator(clamp: float | None = None) -> Persistent:
    """A generator with random weights and nonzero noise strengths and biases."""
    rng = torch.Generator().manual_seed(5)

    def parameter(*shape: int) -> Tensor:
        return torch.nn.Parameter(torch.randn(shape, generator=rng), requires_grad=False)

    def linear(inside: int, outside: int, activation: str, multiplier: float) -> Persistent:
        weight, bias = parameter(outside, inside) / multiplier, parameter(outside) / (4 * multiplier)
        weights = {"weight": weight, "bias": bias}
        gains = {"weight_gain": multiplier / np.sqrt(inside), "bias_gain": multiplier}
        return module("FullyConnectedLayer", weights, activation=activation, **gains)

    def kernel() -> Tensor:
        return torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64

    def layer(inside: int, outside: int, side: int, up: int) -> Persistent:
        weights = {
            "weight": parameter(outside, inside, 3, 3),
            "noise_strength": parameter(),
            "bias": parameter(outside),
        }
        noise = torch.randn(side, side, generator=rng)
        return module(
            "SynthesisLayer",
            weights,
            {"resample_filter": kernel(), "noise_const": noise},
            {"affine": linear(6, inside, "linear", 1)},
            resolution=side,
            up=up,
            use_noise=True,
            activation="lrelu",
            conv_clamp=clamp,
            padding=1,
            act_gain=np.sqrt(2),
        )

    def block(side: int) -> Persistent:
        width, layers, own = WIDTHS[side], {}, {}
        if side == 4:
            own["const"] = parameter(width, 4, 4)
        else:
            layers["conv0"] = layer(WIDTHS[side // 2], width, side, 2)
        layers["conv1"] = layer(width, width, side, 1)
        rgb = {"weight": parameter(3, width, 1, 1), "bias": parameter(3)}
        affine = {"affine": linear(6, width, "linear", 1)}
        layers["torgb"] = module(
            "ToRGBLayer", rgb, {}, affine, conv_clamp=clamp, weight_gain=1 / np.sqrt(width)
        )
        filters = {"resample_filter": kernel()}
        return module(
            "SynthesisBlock", own, filters, layers, resolution=side, architecture="skip", is_last=side == 16
        )

    mapping = {"fc0": linear(4, 6, "lrelu", 0.01), "fc1": linear(6, 6, "lrelu", 0.01)}
    average = {"w_avg": torch.randn(6, generator=rng)}
    parts = {
        "synthesis": module(
            "SynthesisNetwork", {}, {}, {f"b{side}": block(side) for side in WIDTHS}, num_ws=6
        ),
        "mapping": module("MappingNetwork", {}, average, mapping, z_dim=4, c_dim=0, num_ws=6),
    }
    return module("Generator", {}, {}, parts, z_dim=4, c_dim=0, w_dim=6, img_resolution=16, img_channels=3)


def write(path: Path, generator: Any, protocol: int = 4) -> Path:
    """Write the pickle that training saves: the networks, the training set's options and the augmentation."""
    options = EasyDict(class_name="training.dataset.ImageFolderDataset", path="ffhq.zip", max_size=None)
    networks = {
        "G": their_generator(),
        "D": module("Discriminator"),
        "G_ema": generator,
        "augment_pipe": None,
    }
    with their_modules():
        path.write_bytes(pickle.dumps({"training_set_kwargs": options} | networks, protocol))
    return path
