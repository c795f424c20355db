"""Reading and writing generators.

Each public format is one function from what a file holds to (configuration, state dict in our names).
"""

from pathlib import Path
from typing import Any

import torch

from stylegan2.errors import about
from stylegan2.fast_gpu import kernels_for
from stylegan2.generator import Generator, GeneratorConfig
from stylegan2.nvidia import from_nvidia
from stylegan2.rosinality import from_decoder, from_rosinality, holds_decoder
from stylegan2.storage import (
    CheckpointError,
    State,
    assign_state,
    file_kind,
    read_safetensors,
    read_torch,
    skeleton,
    write_safetensors,
)
from stylegan2.unpickling import read_pickle

KIND = "stylegan2"


def load_generator(path: str | Path, *, device: str | torch.device = "cpu", half: bool = False) -> Generator:
    """Read a generator in any supported format, recognised by its contents, in eval mode on `device`.

    Supported are our own safetensors files, rosinality's stylegan2-pytorch `.pt` (`g_ema` and `latent_avg`),
    the decoder in a checkpoint of e4e, pSp or ReStyle, and NVIDIA's stylegan2-ada-pytorch `.pkl` (`G_ema`).
    The weights are float32, or with `half` as `Generator.use_half` says; on a GPU our kernels are compiled
    then (`stylegan2.fast_gpu`), so that the first picture does not wait for them. No random numbers are
    drawn; of our own files, which are mapped (see `read_safetensors`), and of other files' other parts no
    copy is made.

    Raises CheckpointError, in one sentence, for anything else and for what is missing, damaged or does not
    fit.
    """
    path = Path(path)
    return _build(*_read(path, device), path, device, half)


def generator_in(
    contents: dict[Any, Any], path: Path, *, device: str | torch.device = "cpu", half: bool = False
) -> Generator:
    """As `load_generator`, from what `read_torch` has read from `path` already."""
    return _build(*_from_torch(contents, path), path, device, half)


def _build(
    config: GeneratorConfig, state: State, path: Path, device: str | torch.device, half: bool
) -> Generator:
    with skeleton():  # every tensor comes from the file
        generator = Generator(config)
    if half:
        generator.use_half()
    assign_state(generator, state, path)
    generator = generator.to(device).eval()
    if half and generator.latent_avg.is_cuda:
        kernels_for(generator.latent_avg.device)
    return generator


def save_generator(generator: Generator, path: str | Path) -> None:
    """Write a generator as safetensors that `load_generator` reads: whole, or not at all (OSError)."""
    write_safetensors(path, KIND, generator.config.to_dict(), generator.state_dict())


def _read(path: Path, device: str | torch.device) -> tuple[GeneratorConfig, State]:
    """The configuration and state dict in a file; from our own format on `device`, else on the CPU."""
    kind = file_kind(path)
    if kind == "torch":
        return _from_torch(read_torch(path), path)
    if kind == "pickle":
        network = read_pickle(path)
        with about(path, "generator"):
            return from_nvidia(network)
    if kind == "safetensors":
        values, state = read_safetensors(path, KIND, device)
        with about(path, "generator"):
            return GeneratorConfig.from_dict(values), state
    raise CheckpointError(f"{path} is a TorchScript archive, but holds no generator in a format known here.")


def _from_torch(contents: dict[Any, Any], path: Path) -> tuple[GeneratorConfig, State]:
    with about(path, "generator"):
        if "g_ema" in contents:
            return from_rosinality(contents)
        if holds_decoder(contents):
            return from_decoder(contents)
        raise CheckpointError("is a PyTorch checkpoint, but holds no generator in a format known here")
