"""A full-size e4e checkpoint as its authors publish it, with random weights: 1.2 GB, 18 styles, 1024×1024.

Names and shapes are spelled out here from the public format (omertov/encoder4editing, whose generator is
rosinality/stylegan2-pytorch), not taken from our own classes.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SIZE = 1024
STYLES = 18
UNITS = [(64, 3), (128, 4), (256, 14), (512, 3)]  # width and depth of IR-SE50's stages
HEADS = [4] * 3 + [5] * 4 + [6] * 11  # convolutions from a map of 16, 32 or 64 pixels down to one
WIDTHS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}

OPTIONS: dict[str, Any] = {
    "encoder_type": "Encoder4Editing",
    "dataset_type": "ffhq_encode",
    "start_from_latent_avg": True,
    "learn_in_w": False,
    "stylegan_size": SIZE,
    "stylegan_weights": "pretrained_models/stylegan2-ffhq-config-f.pt",
    "checkpoint_path": None,
    "device": "cuda:0",
    "progressive_steps": [0, 20000, 22000],
    "delta_norm_lambda": 0.0002,
}


def write_published_e4e(path: Path, rng: torch.Generator) -> None:
    """Write the checkpoint; noise strengths, biases and running statistics are not zero."""
    parts = [*_encoder(rng), *_decoder(rng)]
    average = torch.randn(512, generator=rng).mul(0.3).expand(STYLES, 512).clone()
    torch.save({"state_dict": dict(parts), "latent_avg": average, "opts": OPTIONS}, path)


def _encoder(rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    def conv(name: str, out: int, width: int, size: int, gain: float = 2.0) -> tuple[str, Tensor]:
        weight = torch.randn(out, width, size, size, generator=rng)
        return f"encoder.{name}.weight", weight.mul_(math.sqrt(gain / (width * size * size)))

    def bias(name: str, width: int) -> tuple[str, Tensor]:
        return f"encoder.{name}.bias", torch.randn(width, generator=rng).mul_(0.1)

    def norm(name: str, width: int, gain: float = 1.0) -> Iterator[tuple[str, Tensor]]:
        yield f"encoder.{name}.weight", torch.rand(width, generator=rng).add_(0.5).mul_(gain)
        yield bias(name, width)
        yield f"encoder.{name}.running_mean", torch.randn(width, generator=rng).mul_(0.1)
        yield f"encoder.{name}.running_var", torch.rand(width, generator=rng).add_(0.5)
        yield f"encoder.{name}.num_batches_tracked", torch.tensor(1000)

    def unit(name: str, out: int, width: int) -> Iterator[tuple[str, Tensor]]:
        if out != width:
            yield conv(f"{name}.shortcut_layer.0", out, width, 1)
            yield from norm(f"{name}.shortcut_layer.1", out)
        yield from norm(f"{name}.res_layer.0", width)
        yield conv(f"{name}.res_layer.1", out, width, 3)
        yield f"encoder.{name}.res_layer.2.weight", torch.full((out,), 0.25)
        yield conv(f"{name}.res_layer.3", out, out, 3)
        yield from norm(f"{name}.res_layer.4", out, gain=0.2)
        yield conv(f"{name}.res_layer.5.fc1", out // 16, out, 1)
        yield conv(f"{name}.res_layer.5.fc2", out, out // 16, 1)

    yield conv("input_layer.0", 64, 3, 3)
    yield from norm("input_layer.1", 64)
    yield "encoder.input_layer.2.weight", torch.full((64,), 0.25)
    index, width = 0, 64
    for out, depth in UNITS:
        for _ in range(depth):
            yield from unit(f"body.{index}", out, width)
            index, width = index + 1, out
    for style, count in enumerate(HEADS):
        for layer in range(count):  # every second module is an activation, without weights
            yield conv(f"styles.{style}.convs.{2 * layer}", 512, 512, 3)
            yield bias(f"styles.{style}.convs.{2 * layer}", 512)
        yield f"encoder.styles.{style}.linear.weight", torch.randn(512, 512, generator=rng).mul_(0.1)
        yield bias(f"styles.{style}.linear", 512)
    for name, width in (("latlayer1", 256), ("latlayer2", 128)):
        yield conv(name, 512, width, 1)
        yield bias(name, 512)


def _decoder(rng: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(taps, taps) / 16  # sums to 4: it fills in the zeros of an up-sampling

    def put(name: str, *shape: int, scale: float = 1.0) -> tuple[str, Tensor]:
        return f"decoder.{name}", torch.randn(shape, generator=rng).mul_(scale)

    def conv(name: str, out: int, width: int, size: int, scale: float = 1.0) -> Iterator[tuple[str, Tensor]]:
        yield put(f"{name}.conv.weight", 1, out, width, size, size, scale=scale)
        yield put(f"{name}.conv.modulation.weight", width, 512)
        yield f"decoder.{name}.conv.modulation.bias", torch.ones(width)

    def styled(name: str, out: int, width: int, up: bool) -> Iterator[tuple[str, Tensor]]:
        yield from conv(name, out, width, 3)
        yield put(f"{name}.noise.weight", 1, scale=0.2)
        yield put(f"{name}.activate.bias", out, scale=0.1)
        if up:
            yield f"decoder.{name}.conv.blur.kernel", kernel

    def to_rgb(name: str, width: int, up: bool) -> Iterator[tuple[str, Tensor]]:
        yield from conv(name, 3, width, 1, scale=0.15)
        yield put(f"{name}.bias", 1, 3, 1, 1, scale=0.05)
        if up:
            yield f"decoder.{name}.upsample.kernel", kernel

    for layer in range(1, 9):
        yield put(f"style.{layer}.weight", 512, 512, scale=100)
        yield put(f"style.{layer}.bias", 512, scale=10)
    yield put("input.input", 1, 512, 4, 4)
    yield from styled("conv1", 512, 512, up=False)
    yield from to_rgb("to_rgb1", 512, up=False)
    sides = list(WIDTHS)[1:]
    for index, side in enumerate(sides):
        yield from styled(f"convs.{2 * index}", WIDTHS[side], WIDTHS[side // 2], up=True)
        yield from styled(f"convs.{2 * index + 1}", WIDTHS[side], WIDTHS[side], up=False)
        yield from to_rgb(f"to_rgbs.{index}", WIDTHS[side], up=True)
    for index, side in enumerate([4, *(side for side in sides for _ in range(2))]):
        yield put(f"noises.noise_{index}", 1, 1, side, side)
