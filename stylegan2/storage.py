"""Model files, read with suspicion: our safetensors format, and PyTorch checkpoints whose code never runs.

Shared by all models of the project. Every reader raises CheckpointError, one sentence for the person who
chose the file.
"""

import argparse
import json
import pickle
import tempfile
import zipfile
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

FORMAT = "micromotion/1"
ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before version 1.6

REAL = {torch.float16, torch.bfloat16, torch.float32, torch.float64}

State = dict[str, Tensor]


class CheckpointError(Exception):
    """A model file is missing, damaged, of an unknown format, or does not fit the model it claims to be."""


def is_torch_file(path: Path) -> bool:
    """Whether a file begins like a PyTorch checkpoint (True) or a safetensors file (False).

    Raises CheckpointError if there is no such file, it cannot be opened, or it is neither.
    """
    try:
        if not path.exists():
            raise CheckpointError(f"There is no model file {path}.")
        if not path.is_file():  # opening a pipe would wait for ever
            raise CheckpointError(f"{path} is not a model file but a folder or a device.")
        with path.open("rb") as file:
            start = file.read(len(LEGACY_MAGIC))
    except OSError as error:
        raise CheckpointError(f"The model file {path} cannot be opened: {error.strerror}.") from error
    if start[8:9] == b"{":
        return False
    if start.startswith(ZIP_MAGIC) or start == LEGACY_MAGIC:
        return True
    what = "is empty" if not start else "is neither a safetensors file nor a PyTorch checkpoint"
    raise CheckpointError(f"The model file {path} {what}.")


def read_torch(path: Path) -> dict[Any, Any]:
    """The dictionary in a PyTorch checkpoint, its tensors mapped from the file where its format allows.

    Only tensors and plain values are read; a file with any other object, or with compressed (unbounded)
    parts, is refused with CheckpointError and nothing in it is run.
    """
    try:
        zipped = zipfile.is_zipfile(path)
        if zipped:
            with zipfile.ZipFile(path) as archive:
                if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                    raise CheckpointError(f"{path} is a compressed archive, not a PyTorch checkpoint.")
        with torch.serialization.safe_globals([argparse.Namespace]):  # options of training
            contents = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is damaged, or holds other Python objects than tensors, which are never loaded."
        ) from error
    except Exception as error:  # torch's reader raises many kinds on damaged files
        raise CheckpointError(f"{path} is a damaged or cut short PyTorch checkpoint.") from error
    if not isinstance(contents, dict):
        raise CheckpointError(
            f"{path} holds a {type(contents).__name__}, not the dictionary of a checkpoint."
        )
    return contents


def is_plain(value: object) -> TypeGuard[Tensor]:
    """Whether something from a file is an ordinary tensor: its data in memory, not sparse, not nested."""
    if not isinstance(value, Tensor) or value.is_nested:
        return False
    return value.layout is torch.strided and value.device.type == "cpu"


def read_safetensors(path: Path, kind: str) -> tuple[dict[str, Any], State]:
    """What `write_safetensors` wrote for this kind of model: (configuration, state dict)."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if (metadata.get("format"), metadata.get("kind")) != (FORMAT, kind):
                raise CheckpointError(
                    f"{path} is a safetensors file, but not of a {kind} model in {FORMAT} format."
                )
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is not a mapping)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is a damaged or cut short safetensors file ({error}).") from error
    try:
        config = json.loads(metadata["config"])
    except (KeyError, ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} has no readable configuration of its {kind} model.")
    return config, state


def write_safetensors(path: str | Path, kind: str, config: dict[str, Any], state: State) -> None:
    """Write a state dict and its configuration under a temporary name, then rename it to `path`.

    Raises OSError if it cannot be written; `path` is then as it was before.
    """
    path = Path(path)
    metadata = {"format": FORMAT, "kind": kind, "config": json.dumps(config, sort_keys=True)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        part = Path(folder) / path.name
        part.write_bytes(save(tensors, metadata))
        part.replace(path)


def assign_state(module: nn.Module, state: State, path: Path) -> None:
    """Put a state dict into a module, which may lie on the meta device, as float32 copies.

    Names, shapes and the amount of data are checked first. Raises CheckpointError that names the first
    missing or unexpected entry or the first that does not fit; the module is then unchanged.
    """
    expected = module.state_dict()
    missing, unexpected = expected.keys() - state.keys(), state.keys() - expected.keys()
    for what, names in (("lacks", missing), ("has an unexpected", unexpected)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise CheckpointError(f"{path} does not fit its model: it {what} {min(names)}{more}.")
    for name, tensor in state.items():
        shape, wanted = list(tensor.shape), list(expected[name].shape)
        if shape != wanted:
            raise CheckpointError(f"{path} does not fit its model: {name} has shape {shape}, not {wanted}.")
        allowed = REAL if expected[name].is_floating_point() else {expected[name].dtype}
        if tensor.dtype not in allowed or not is_plain(tensor):
            raise CheckpointError(f"{path} does not fit its model: {name} is no plain array of real numbers.")
    if sum(tensor.nbytes for tensor in state.values()) > path.stat().st_size:  # views can lie
        raise CheckpointError(f"{path} is damaged: its tensors claim more numbers than the file holds.")
    module.load_state_dict({name: _own_copy(tensor) for name, tensor in state.items()}, assign=True)


def _own_copy(tensor: Tensor) -> Tensor:
    """A contiguous copy that no longer depends on the file, real numbers as float32."""
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to(dtype, copy=True, memory_format=torch.contiguous_format)
