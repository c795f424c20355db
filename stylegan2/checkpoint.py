"""Reading and writing generators.

Each public format is one function from what a file holds to (configuration, state dict in our names).
"""

from pathlib import Path

import torch

from stylegan2.generator import Generator, GeneratorConfig
from stylegan2.rosinality import from_rosinality
from stylegan2.storage import (
    CheckpointError,
    State,
    assign_state,
    is_torch_file,
    read_safetensors,
    read_torch,
    write_safetensors,
)

KIND = "stylegan2"


def load_generator(path: str | Path) -> Generator:
    """Read a generator in any supported format: float32, on the CPU and in eval mode.

    Supported are our own safetensors files and rosinality's stylegan2-pytorch `.pt` (`g_ema` and
    `latent_avg`). Raises CheckpointError, in one sentence, for anything else and for what is missing,
    damaged or does not fit.
    """
    path = Path(path)
    config, state = _read_public(path) if is_torch_file(path) else _read_own(path)
    with torch.device("meta"):  # no memory, no random numbers: every tensor comes from the file
        generator = Generator(config)
    assign_state(generator, state, path)
    return generator.eval()


def save_generator(generator: Generator, path: str | Path) -> None:
    """Write a generator as safetensors that `load_generator` reads: whole, or not at all (OSError)."""
    write_safetensors(path, KIND, generator.config.to_dict(), generator.state_dict())


def _read_own(path: Path) -> tuple[GeneratorConfig, State]:
    values, state = read_safetensors(path, KIND)
    try:
        return GeneratorConfig.from_dict(values), state
    except ValueError as error:
        raise CheckpointError(f"{path} describes an impossible generator: {error}.") from error


def _read_public(path: Path) -> tuple[GeneratorConfig, State]:
    contents = read_torch(path)
    try:
        if "g_ema" in contents:
            return from_rosinality(contents)
    except CheckpointError as error:
        raise CheckpointError(f"{path} {error}.") from error
    except ValueError as error:
        raise CheckpointError(f"{path} describes an impossible generator: {error}.") from error
    raise CheckpointError(f"{path} is a PyTorch checkpoint, but holds no generator in a format known here.")
