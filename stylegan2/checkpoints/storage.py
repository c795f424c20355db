"""Reads untrusted model files: our safetensors format, and PyTorch checkpoints without running their code.

Shared by all models of the project. Every reader raises CheckpointError, one sentence for the user who chose
the file. (`stylegan2.checkpoints.unpickling` parses the pickles.)
"""

import json
import os
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeGuard

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from stylegan2.checkpoints.unpickling import LEGACY_MAGIC, ZIP_MAGIC, Inert, part_names, read_saved
from stylegan2.errors import CheckpointError, one_line

FORMAT = "micromotion/1"
REAL = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
DTYPES = {  # their names in safetensors
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}

State = dict[str, Tensor]
FileKind = Literal["safetensors", "torch", "torchscript", "pickle"]


def file_kind(path: Path) -> FileKind:
    """The kind of a model file, by its contents.

    It is "safetensors"; "torch", written by torch.save; "torchscript", an archive with code; or "pickle", any
    other Python pickle of protocol 2 to 5. Raises CheckpointError if there is no such file, it cannot be
    opened, or it is none of these.
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
        return "safetensors"
    if start.startswith(ZIP_MAGIC):
        return "torchscript" if _holds_code(path) else "torch"
    if start == LEGACY_MAGIC:
        return "torch"
    if start[:1] == b"\x80" and start[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        return "pickle"
    what = "is empty" if not start else "is neither a safetensors file nor a PyTorch checkpoint"
    raise CheckpointError(f"The model file {path} {what}.")


def _holds_code(path: Path) -> bool:
    try:
        parts = [name.split("/") for name in part_names(path)]
    except CheckpointError:
        return False  # damaged: reading it will raise
    return any(part[1:] == ["constants.pkl"] or (len(part) > 2 and part[1] == "code") for part in parts)


def read_torch(path: Path) -> dict[Any, Any]:
    """The dictionary in a PyTorch checkpoint, its tensors mapped from the file where its format allows.

    Tensors, plain values and records are read as by `read_saved`. Raises CheckpointError, also if the file
    holds something other than a dictionary.
    """
    contents = read_saved(path)
    if not isinstance(contents, dict):
        what = (
            f"{contents.module}.{contents.name}" if isinstance(contents, Inert) else type(contents).__name__
        )
        raise CheckpointError(f"{path} holds a {one_line(what)}, not the dictionary of a checkpoint.")
    return contents


def is_plain(value: object) -> TypeGuard[Tensor]:
    """Whether a value from a file is an ordinary tensor: on the CPU, not sparse, not nested."""
    return isinstance(value, Tensor) and _is_dense(value) and value.device.type == "cpu"


def read_safetensors(
    path: Path, kind: str, device: str | torch.device = "cpu"
) -> tuple[dict[str, Any], State]:
    """The configuration and the state dict, on `device`, of a `write_safetensors` file of this kind.

    On the CPU nothing is read yet: the tensors are private maps of the file, so that changes to them stay in
    memory. The file may be renamed, replaced or deleted meanwhile, but not overwritten in place.
    """
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            if (metadata.get("format"), metadata.get("kind")) != (FORMAT, kind):
                raise CheckpointError(
                    f"{path} is a safetensors file, but not of a {kind} model in {FORMAT} format."
                )
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is not a mapping)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is a damaged or cut short safetensors file ({one_line(error)})."
        ) from error
    try:
        config = json.loads(metadata["config"])
    except (KeyError, ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} has no readable configuration of its {kind} model.")
    return config, state


def is_ours(path: Path) -> bool:
    """Whether a file is safetensors that names this project as its writer. Raises CheckpointError."""
    return file_kind(path) == "safetensors" and _metadata(path).get("format", "").startswith("micromotion/")


def safetensors_kind(path: str | Path) -> str:
    """The kind of model that a safetensors file declares; "" if none. Raises CheckpointError."""
    return _metadata(path).get("kind", "")


def read_foreign(path: Path) -> dict[str, Any]:
    """Another project's safetensors file as a checkpoint: `{"state_dict", "opts"}`.

    The tensors are as in `read_safetensors`. The options are the texts in the file's header; if one of them
    is called opts and holds a JSON object, that object's entries. Raises CheckpointError.
    """
    metadata = _metadata(path)
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is not a mapping)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is a damaged or cut short safetensors file ({one_line(error)})."
        ) from error
    try:
        options = json.loads(metadata["opts"])
    except (KeyError, ValueError, RecursionError):
        options = None
    return {"state_dict": state, "opts": options if isinstance(options, dict) else metadata}


def _metadata(path: str | Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is a damaged or cut short safetensors file ({one_line(error)})."
        ) from error


def write_safetensors(path: str | Path, kind: str, config: dict[str, Any], state: State) -> None:
    """Write a state dict and its configuration as `write_tensors` does; `read_safetensors` reads them."""
    config_text = json.dumps(config, sort_keys=True)
    write_tensors(path, {"format": FORMAT, "kind": kind, "config": config_text}, state)


def write_tensors(path: str | Path, metadata: dict[str, str], state: State) -> None:
    """Write tensors and metadata as safetensors, to a temporary file that is then renamed to `path`.

    The header is sorted: equal contents give equal bytes. The tensors are written one by one; none is held
    twice. Raises OSError if the file cannot be written; `path` is then unchanged.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        part = Path(folder) / path.name
        with part.open("wb") as file:
            _write(file, metadata, state)
            file.flush()
            os.fsync(file.fileno())  # or a power cut may leave the new name with old or no contents
        part.replace(path)


def _write(file: BinaryIO, metadata: dict[str, str], state: State) -> None:
    names = sorted(state, key=lambda name: (-state[name].itemsize, name))  # so every tensor is aligned
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name in names:
        tensor = state[name]
        start, end = end, end + tensor.nbytes
        about = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        header[name] = about
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in names:
        flat = state[name].detach().cpu().contiguous().reshape(-1)
        file.write(flat.view(torch.uint8).numpy().data)


@contextmanager
def skeleton() -> Iterator[None]:
    """Build modules on the meta device: they take no memory and draw no random numbers."""
    with torch.device("meta"), _OnlyShapes():
        yield


class _OnlyShapes(TorchFunctionMode):
    """Makes torch.randn return torch.empty, and a tensor multiplied or divided by a number itself.

    On the meta device torch imports its whole compiler to infer the shapes of these: 2 s and 60 MB.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.randn:
            kwargs.pop("generator", None)
            return torch.empty(*args, **kwargs)
        if func in (torch.Tensor.mul, torch.Tensor.div) and len(args) == 2 and not kwargs:
            tensor, factor = args
            if isinstance(factor, int | float) and tensor.is_meta and tensor.is_floating_point():
                return tensor
        return func(*args, **kwargs)


def assign_state(module: nn.Module, state: State, path: Path, made: Collection[str] = ()) -> None:
    """Assign a state dict read from `path` to a module, which may be on the meta device.

    Every tensor is converted to its dtype in the module, and the module moves to the state's device. From our
    own safetensors files a tensor of that dtype is used as it is; all others are copied, so that they no
    longer depend on the file. Names, shapes and the amount of data are checked first, the latter without the
    entries in `made`, which were not read. Raises CheckpointError that names the first missing or unexpected
    entry or the first that does not fit; the module is then unchanged.
    """
    expected = module.state_dict()
    missing, unexpected = expected.keys() - state.keys(), state.keys() - expected.keys()
    for what, names in (("lacks", missing), ("has an unexpected", unexpected)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise CheckpointError(f"{path} does not fit its model: it {what} {one_line(min(names))}{more}.")
    for name, tensor in state.items():
        shape, wanted = list(tensor.shape), list(expected[name].shape)
        if shape != wanted:
            raise CheckpointError(f"{path} does not fit its model: {name} has shape {shape}, not {wanted}.")
        allowed = REAL if expected[name].is_floating_point() else {expected[name].dtype}
        if tensor.dtype not in allowed or not _is_dense(tensor):
            raise CheckpointError(f"{path} does not fit its model: {name} is no plain array of real numbers.")
    copy = not is_ours(path)  # in all other formats tensors may share memory, and claim more
    read = sum(tensor.nbytes for name, tensor in state.items() if name not in made)
    if copy and read > path.stat().st_size:
        raise CheckpointError(f"{path} is damaged: its tensors claim more numbers than the file holds.")
    fitting = {name: _fit(tensor, expected[name].dtype, copy) for name, tensor in state.items()}
    module.load_state_dict(fitting, assign=True)
    module.to(next(iter(state.values())).device)


def _fit(tensor: Tensor, dtype: torch.dtype, copy: bool) -> Tensor:
    """A contiguous tensor of that dtype: the same one, or a copy if requested or needed."""
    misaligned = tensor.data_ptr() % tensor.itemsize != 0
    return tensor.detach().to(dtype, copy=copy or misaligned, memory_format=torch.contiguous_format)


def _is_dense(tensor: Tensor) -> bool:
    return not tensor.is_nested and tensor.layout is torch.strided and tensor.device.type != "meta"
