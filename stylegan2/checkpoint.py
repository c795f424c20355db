"""Reading and writing generators: our own safetensors format, and public formats translated to it.

Each public format is one function that turns a file into (configuration, state dict in our names).
Files are untrusted: no pickle but torch's weights-only reader, and nothing is built before the sizes are checked.
"""

import json
import os
import re
import tempfile
import zipfile
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from stylegan2.generator import Generator, GeneratorConfig

FORMAT = "micromotion/1"
KIND = "stylegan2"

State = dict[str, Tensor]
Module = TypeVar("Module", bound=nn.Module)


class CheckpointError(Exception):
    """A model file is missing, damaged, of an unknown format, or does not fit the model that it says it holds."""


def load_generator(path: str | Path) -> Generator:
    """Read a generator in any supported format: float32, on the CPU and in eval mode.

    Supported are our own safetensors files and rosinality's stylegan2-pytorch `.pt` (keys `g_ema` and `latent_avg`).
    Raises CheckpointError, in one sentence, for anything else.
    """
    path = Path(path)
    read = _read_rosinality if _is_torch_file(path) else _read_own
    config, state = read(path)
    with torch.device("meta"):
        generator = Generator(config)
    assign_state(generator, state, path)
    return generator.eval()


def save_generator(generator: Generator, path: str | Path) -> None:
    """Write a generator as safetensors that `load_generator` reads; complete or not at all."""
    write_safetensors(path, KIND, generator.config.to_dict(), generator.state_dict())


# --- shared with other models of the project ---------------------------------------------------------------------------


def write_safetensors(path: str | Path, kind: str, config: dict[str, Any], state: State) -> None:
    """Write a state dict with its configuration under a temporary name, then rename it to `path`."""
    path = Path(path)
    metadata = {"format": FORMAT, "kind": kind, "config": json.dumps(config, sort_keys=True)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    try:
        save_file(tensors, temporary, metadata)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def read_safetensors(path: str | Path, kind: str) -> tuple[dict[str, Any], State]:
    """Read what `write_safetensors` wrote: (configuration, state dict). Raises CheckpointError."""
    path = Path(path)
    _require_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT or metadata.get("kind") != kind:
                raise CheckpointError(
                    f"{path} is a safetensors file, but not one that holds a {kind} model ({FORMAT})."
                )
            config = json.loads(metadata["config"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a model checkpoint, or is damaged or cut short ({error})."
        ) from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} has no readable configuration of its {kind} model.")
    return config, state


def assign_state(module: nn.Module, state: State, path: str | Path) -> None:
    """Put a state dict into a module (which may be on the meta device) as float32, after checking names and shapes.

    Raises CheckpointError naming the first missing or unexpected key, or the first wrong shape; the module is then unchanged.
    """
    expected = module.state_dict()
    for what, names in (
        ("lacks", expected.keys() - state.keys()),
        ("has an unexpected", state.keys() - expected.keys()),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise CheckpointError(f"{path} does not fit its model: it {what} {min(names)}{more}.")
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{path} does not fit its model: {name} has the shape {list(tensor.shape)}, not {list(expected[name].shape)}."
            )
        if not tensor.is_floating_point() and expected[name].is_floating_point():
            raise CheckpointError(
                f"{path} does not fit its model: {name} holds {tensor.dtype}, not real numbers."
            )
    ready = {
        name: tensor.to(torch.float32) if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }
    module.load_state_dict(ready, assign=True)


def _require_file(path: Path) -> None:
    if not path.exists():
        raise CheckpointError(f"There is no file {path}.")
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file.")


# --- one reader per format -----------------------------------------------------------------------------------------------


def _read_own(path: Path) -> tuple[GeneratorConfig, State]:
    config, state = read_safetensors(path, KIND)
    try:
        return GeneratorConfig.from_dict(config), state
    except ValueError as error:
        raise CheckpointError(f"{path} describes an impossible generator: {error}.") from error


def _is_torch_file(path: Path) -> bool:
    return False


def _read_rosinality(path: Path) -> tuple[GeneratorConfig, State]:
    raise NotImplementedError
