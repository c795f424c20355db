"""Pickles of other people's programs, read as data: tensors and plain containers come out, nothing is run.

Three containers hold pickles: a plain stream (NVIDIA's networks), PyTorch's older stream (each storage in
such a network) and PyTorch's zip (TorchScript archives). Numbers are mapped from the file, not copied, where
their alignment allows, and every tensor lies within its storage: memory follows the file's size.
"""

import mmap
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylegan2.pickle_machine import Budget, Inert, Machine, Refusal, Stream, pairs
from stylegan2.storage import LEGACY_MAGIC, ZIP_MAGIC, CheckpointError

__all__ = ["Inert", "read_pickle", "read_torchscript", "walk"]

MAX_DIRECTORY = 4 << 20  # bytes of a zip's table of contents; CLIP's has 70 KB
MAX_DIMENSIONS = 16
MAX_ENTRIES, MAX_DEPTH, MAX_NAME = 200_000, 16, 100

DTYPES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
}


def read_pickle(path: str | Path) -> Any:
    """What a pickle holds: plain values, containers, CPU tensors, and `Inert` for all else; nothing is run.

    `collections.OrderedDict` and dnnlib's `EasyDict` become dict; keys must be text. Tensors are understood
    as `pickle.dump` writes them, each storage a `torch.save` stream within; they may overlap, so that
    together they can claim more numbers than the file holds. Bytes come back as memoryview. Containers may
    hold themselves. Raises CheckpointError.
    """
    return _read(Path(path), lambda data: _machine(data, Budget(len(data))).run(Stream(data)))


def read_torchscript(path: str | Path) -> Any:
    """The object in a TorchScript archive (`torch.jit.save`): modules as `Inert`, attributes in `state`.

    The program in the archive is never looked at. Tensors, as in `read_pickle`, are on the CPU wherever they
    were. Raises CheckpointError, also where numbers are compressed.
    """
    return _read(Path(path), lambda data: _Archive(data).root(Budget(len(data))))


def walk(root: Inert, children: Callable[[Inert], dict[str, Any]]) -> Iterator[tuple[str, Inert]]:
    """A tree of records under dotted names, the root ("") first; `children` gives a record's entries by name.

    Raises CheckpointError, lacking the file's name, for what is no network: a record that holds itself, or
    more records, deeper, under longer names, than any network has.
    """
    waiting, entries_left = [("", root, 0)], MAX_ENTRIES
    while waiting:
        name, record, depth = waiting.pop()
        yield name, record
        entries = children(record)
        entries_left -= 1 + len(entries)
        if entries_left < 0 or depth > MAX_DEPTH:
            raise CheckpointError("nests its modules deeper, or has more of them, than any network")
        for part, child in reversed(entries.items()):
            if type(child) is Inert:
                if len(part) > MAX_NAME:
                    raise CheckpointError("has a module with a longer name than any network")
                waiting.append((f"{name}.{part}" if name else part, child, depth + 1))


def _read(path: Path, parse: Callable[[memoryview], Any]) -> Any:
    try:
        with path.open("rb") as file:
            # A private copy-on-write map: PyTorch wants memory that could be written to.
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    except OSError as error:
        raise CheckpointError(f"The model file {path} cannot be opened: {error.strerror}.") from error
    except ValueError as error:
        raise CheckpointError(f"The model file {path} is empty.") from error
    try:
        return parse(data)
    except Refusal as error:
        raise CheckpointError(f"{path} {error}.") from error
    except Exception as error:  # an instruction without its operands, and a hundred other ways
        raise CheckpointError(f"{path} is damaged, cut short, or not the pickle it claims to be.") from error


# --- what may be built ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Storage:
    numbers: Tensor  # one dimension


def _storage(data: memoryview, kind: Any, count: Any) -> _Storage:
    """`count` numbers of a storage class at the start of `data`."""
    dtype = DTYPES.get(kind.name) if type(kind) is Inert and kind.module == "torch" else None
    if dtype is None or type(count) is not int or not 0 <= count * dtype.itemsize <= len(data):
        raise Refusal("is damaged: its numbers are of an unknown kind, or fewer than it claims")
    if count == 0:
        return _Storage(torch.empty(0, dtype=dtype))
    data = data[: count * dtype.itemsize]
    numbers = torch.frombuffer(data, dtype=dtype)
    if numbers.data_ptr() % dtype.itemsize:  # compiled loops may assume alignment, and crash
        numbers = torch.frombuffer(bytearray(data), dtype=dtype)
    return _Storage(numbers)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *ignored: Any) -> Tensor:
    """A view of its storage; whether it wants gradients, and its hooks, are ignored."""
    if type(storage) is not _Storage or type(size) is not tuple or type(stride) is not tuple:
        raise Refusal("is damaged: a tensor has no storage")
    if len(size) > MAX_DIMENSIONS or len(stride) != len(size):
        raise Refusal("is damaged: a tensor has an impossible shape")
    if not all(type(number) is int and 0 <= number < 1 << 48 for number in (offset, *size, *stride)):
        raise Refusal("is damaged: a tensor has an impossible shape")
    numbers = storage.numbers
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    inside = last < len(numbers) or 0 in size
    if prod(size) > len(numbers) or not inside:
        raise Refusal("is damaged: a tensor claims more numbers than its storage holds")
    return numbers[:0].reshape(size) if 0 in size else numbers.as_strided(size, stride, offset)


def _parameter(tensor: Any, *ignored: Any) -> Tensor:
    if type(tensor) is not Tensor:
        raise Refusal("is damaged: a parameter is no tensor")
    return tensor


def _inner_storage(blob: Any, budget: Budget) -> _Storage:
    """A storage that lies in the pickle as a whole `torch.save` stream."""
    if type(blob) is not memoryview:
        raise Refusal("is damaged: a storage is no byte string")
    budget.unpack(len(blob))
    zipped = blob[: len(ZIP_MAGIC)] == ZIP_MAGIC
    storage = _Archive(blob).root(budget) if zipped else _legacy_storage(blob, budget)
    if type(storage) is not _Storage:
        raise Refusal("is damaged: a storage holds something else")
    return storage


def _legacy_storage(blob: memoryview, budget: Budget) -> _Storage:
    """Five pickles (magic number, version, machine, reference, keys), the count as int64, and the numbers."""
    if blob[: len(LEGACY_MAGIC)] != LEGACY_MAGIC:
        raise Refusal("is damaged: a storage is no PyTorch stream")
    stream = Stream(blob)
    _, _, origin, reference, _ = (
        _machine(blob, budget, lambda reference: reference).run(stream) for _ in range(5)
    )
    if type(origin) is not dict or origin.get("little_endian") is not True:
        raise Refusal("was written on a big-endian machine")
    word, kind, _, _, count, view = reference
    (stored,) = struct.unpack("<q", stream.read(8))
    if word != "storage" or view is not None or type(count) is not int or stored != count:
        raise Refusal("is damaged: a storage does not match its description")
    return _storage(blob[stream.tell() :], kind, count)


def _machine(data: memoryview, budget: Budget, load_storage: Callable[[Any], Any] | None = None) -> Machine:
    def dictionary(items: Any = ()) -> dict[str, Any]:
        budget.step(len(items))
        if type(items) not in (list, tuple) or not all(type(pair) in (list, tuple) for pair in items):
            raise Refusal("makes a dictionary of something else than pairs")
        return pairs([part for key, value in items for part in (key, value)])

    builders: dict[tuple[str, str], Callable[..., Any]] = {
        ("collections", "OrderedDict"): dictionary,
        ("dnnlib", "EasyDict"): dictionary,
        ("dnnlib.util", "EasyDict"): dictionary,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch._utils", "_rebuild_parameter"): _parameter,
        ("torch.storage", "_load_from_bytes"): lambda blob: _inner_storage(blob, budget),
    }
    return Machine(data, budget, builders, load_storage)


# --- zip archives -----------------------------------------------------------------------------------------


class _Archive:
    """A zip as PyTorch writes it: one folder with `data.pkl`, and each storage a part of `data/`."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        with zipfile.ZipFile(Stream(data, MAX_DIRECTORY)) as archive:
            parts = archive.infolist()
        parts = [part for part in parts if part.compress_type == zipfile.ZIP_STORED]  # its code is not
        if sum(part.file_size for part in parts) > len(data):
            raise Refusal("is damaged: the parts of the archive overlap")
        self.parts = {part.filename: part for part in parts}
        roots = [name for name in self.parts if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(roots) != 1:
            raise Refusal("is a compressed archive, or one of something else than a PyTorch model")
        self.folder = roots[0].removesuffix("data.pkl")
        self.storages: dict[str, tuple[str, int, _Storage]] = {}

    def part(self, name: str) -> memoryview:
        """The contents of a part, without a copy."""
        if self.folder + name not in self.parts:
            raise Refusal("is damaged: the archive lacks a part, or has it compressed")
        part = self.parts[self.folder + name]
        header = self.data[max(part.header_offset, 0) :]
        start = part.header_offset + 30 + sum(struct.unpack_from("<HH", header, 26))
        if part.header_offset < 0 or start + part.file_size > len(self.data):
            raise Refusal("is damaged: a part of the archive lies outside it")
        return self.data[start : start + part.file_size]

    def root(self, budget: Budget) -> Any:
        """The object in data.pkl."""
        if self.folder + "byteorder" in self.parts and self.part("byteorder") != b"little":
            raise Refusal("was written on a big-endian machine")
        pickle = self.part("data.pkl")
        return _machine(pickle, budget, self.load_storage).run(Stream(pickle))

    def load_storage(self, reference: Any) -> _Storage:
        """What ("storage", class, key, device, count) refers to; read once, however often it is asked for."""
        word, kind, key, _, count = reference
        if word != "storage" or type(key) is not str or type(kind) is not Inert:
            raise Refusal("is damaged: a reference is to no storage")
        if key not in self.storages:
            self.storages[key] = kind.name, count, _storage(self.part(f"data/{key}"), kind, count)
        name, known, storage = self.storages[key]
        if (name, known) != (kind.name, count):
            raise Refusal("is damaged: two references to one storage differ")
        return storage
