"""Generator files with random weights, in our format and in rosinality's."""

import json
from functools import partial
from pathlib import Path

import refusals
import torch
from torch import Tensor

from stylegan2 import Generator, GeneratorConfig, load_generator, save_generator

CONFIG = GeneratorConfig(16, 6, 6, 2, channels={4: 5, 8: 7, 16: 3})
METADATA = {"format": "micromotion/1", "kind": "stylegan2", "config": json.dumps(CONFIG.to_dict())}


def small_generator() -> Generator:
    generator = Generator(CONFIG, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.1)
        generator.latent_avg += 0.5
    return generator


def rosinality_state() -> dict[str, Tensor]:
    """The state of a 16×16 generator in rosinality's format, all random, noise strengths included."""
    rng = torch.Generator().manual_seed(5)
    kernel = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 16
    state: dict[str, Tensor] = {}

    def put(name: str, *shape: int) -> None:
        state[name] = torch.randn(shape, generator=rng)

    def conv(name: str, out: int, width: int, size: int) -> None:
        put(f"{name}.conv.weight", 1, out, width, size, size)
        put(f"{name}.conv.modulation.weight", width, 6)
        put(f"{name}.conv.modulation.bias", width)

    def styled(name: str, out: int, width: int, up: bool) -> None:
        conv(name, out, width, 3)
        put(f"{name}.noise.weight", 1)
        put(f"{name}.activate.bias", out)
        if up:
            state[f"{name}.conv.blur.kernel"] = kernel

    def to_rgb(name: str, width: int, up: bool) -> None:
        if up:
            state[f"{name}.upsample.kernel"] = kernel
        put(f"{name}.bias", 1, 3, 1, 1)
        conv(name, 3, width, 1)

    for i in (1, 2):
        put(f"style.{i}.weight", 6, 6)
        put(f"style.{i}.bias", 6)
        state[f"style.{i}.weight"] *= 100
        state[f"style.{i}.bias"] *= 20
    put("input.input", 1, 5, 4, 4)
    styled("conv1", 5, 5, False)
    to_rgb("to_rgb1", 5, False)
    for i, (out, width) in enumerate(((7, 5), (7, 7), (3, 7), (3, 3))):
        styled(f"convs.{i}", out, width, i % 2 == 0)
    to_rgb("to_rgbs.0", 7, True)
    to_rgb("to_rgbs.1", 3, True)
    for i, side in enumerate((4, 8, 8, 16, 16)):
        put(f"noises.noise_{i}", 1, 1, side, side)
    return state


def save_own(folder: Path) -> Path:
    """Save `small_generator` in our format."""
    save_generator(small_generator(), folder / "generator.safetensors")
    return folder / "generator.safetensors"


def save_public(folder: Path) -> Path:
    """Save `rosinality_state` as that project does."""
    torch.save({"g_ema": rosinality_state(), "latent_avg": torch.ones(6)}, folder / "public.pt")
    return folder / "public.pt"


assert_refused = partial(refusals.assert_refused, load_generator)
