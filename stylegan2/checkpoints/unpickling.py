"""Reads untrusted pickles as data, as tensors and plain containers, without running any code.

Three containers hold pickles: a plain stream (NVIDIA's networks), PyTorch's older stream (checkpoints before
its version 1.6, and each storage in such a network) and PyTorch's zip (checkpoints since, and TorchScript
archives). Numbers are mapped from the file, not copied, where their alignment allows, and every tensor is
within its storage: memory is proportional to the file's size.
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

from stylegan2.checkpoints.pickle_machine import Budget, Inert, Machine, PickleRefusal, Stream, pairs
from stylegan2.errors import CheckpointError, one_line

__all__ = ["Inert", "part_names", "read_pickle", "read_saved", "read_torchscript", "walk"]

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before version 1.6

MAX_DIRECTORY = 4 << 20  # bytes of a zip's table of contents; CLIP's has 70 KB
MAX_DIMENSIONS, MAX_NUMBERS = 16, 1 << 60
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
    "UntypedStorage": torch.uint8,
    "_UntypedStorage": torch.uint8,
}

# What else a checkpoint may construct: parts of training options, counters, and tensors of other kinds. They
# become records. A file that names anything else, such as os.system, is no checkpoint and is refused.
HARMLESS = {
    "_codecs": {"encode"},
    "argparse": {"Namespace"},
    "builtins": {"bytearray", "complex", "frozenset", "range", "set", "slice"},
    "__builtin__": {"bytearray", "complex", "frozenset", "set", "slice", "xrange"},
    "collections": {"Counter", "deque"},
    "numpy": {"dtype", "ndarray"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.numeric": {"_frombuffer"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
    "pathlib": {"Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath"},
    "pathlib._local": {"Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath"},
    "torch": {"Size", "device"},
    "torch._tensor": {"_rebuild_from_type_v2"},
    "torch._utils": {
        "_rebuild_device_tensor_from_numpy",
        "_rebuild_meta_tensor_no_storage",
        "_rebuild_qtensor",
        "_rebuild_sparse_tensor",
        "_rebuild_tensor_v3",
    },
    "torch.serialization": {"_get_layout"},
}


def read_pickle(path: str | Path) -> Any:
    """The object in a pickle: plain values, containers, CPU tensors, and `Inert` for all else; no code runs.

    `collections.OrderedDict` and dnnlib's `EasyDict` become dict; keys must be text. Tensors are read as
    `pickle.dump` writes them, each storage an inner `torch.save` stream; they may overlap, so that together
    they can claim more numbers than the file holds. Bytes are returned as memoryview. Containers may contain
    themselves. Raises CheckpointError.
    """
    return _read(Path(path), lambda data: _machine(data, Budget(len(data))).run(Stream(data)))


def read_saved(path: str | Path) -> Any:
    """The object in a file of `torch.save`, in PyTorch's zip or its older format.

    As `read_pickle`, but tensors are on the CPU wherever they were saved from. Raises CheckpointError, also
    for Python objects that checkpoints do not have (see `HARMLESS`) and for damaged or compressed files.
    """
    return _read(Path(path), lambda data: _saved(data, Budget(len(data)), _harmless))


def read_torchscript(path: str | Path) -> Any:
    """The object in a TorchScript archive (`torch.jit.save`): modules as `Inert`, attributes in `state`.

    The program in the archive is ignored. Tensors, as in `read_pickle`, are on the CPU wherever they were
    saved from. Raises CheckpointError, also if numbers are compressed.
    """
    return _read(Path(path), lambda data: _Archive(data).root(Budget(len(data))))


def part_names(path: str | Path) -> list[str]:
    """The names of the parts of a zip archive. Raises CheckpointError, also if there are too many."""
    return _read(Path(path), lambda data: [part.filename for part in _directory(data)])


def walk(root: Inert, children: Callable[[Inert], dict[str, Any]]) -> Iterator[tuple[str, Inert]]:
    """A tree of records under dotted names, the root ("") first; `children` gives a record's entries by name.

    Raises CheckpointError, lacking the file's name, if this is no network: a record contains itself, or there
    are more records, nested deeper or with longer names, than any network has.
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
                if type(part) is not str or len(part) > MAX_NAME:
                    raise CheckpointError("has a module with a number or a long text for its name")
                waiting.append((f"{name}.{part}" if name else part, child, depth + 1))


def _read(path: Path, parse: Callable[[memoryview], Any]) -> Any:
    try:
        with path.open("rb") as file:
            # A private copy-on-write map: PyTorch requires writable memory.
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except OSError as error:
        raise CheckpointError(f"The model file {path} cannot be opened: {error.strerror}.") from error
    except ValueError as error:
        raise CheckpointError(f"The model file {path} is empty.") from error
    try:
        made = parse(memoryview(pages))
        if hasattr(mmap, "MADV_DONTNEED"):  # releases the pages of headers; nothing was written yet
            pages.madvise(mmap.MADV_DONTNEED)
        return made
    except PickleRefusal as error:
        raise CheckpointError(f"{path} {error}.") from error
    except Exception as error:  # an instruction without its operands, for example
        raise CheckpointError(f"{path} is damaged, cut short, or not the pickle it claims to be.") from error


# --- what may be built ------------------------------------------------------------------------------------


Others = Callable[[str, str, tuple[Any, ...]], Inert]


@dataclass(frozen=True)
class _Storage:
    numbers: Tensor  # one dimension


def _storage(data: memoryview, kind: Any, count: Any) -> _Storage:
    """`count` numbers of a storage class at the start of `data`."""
    known = type(kind) is Inert and kind.module in ("torch", "torch.storage")
    dtype = DTYPES.get(kind.name) if known else None
    if dtype is None or type(count) is not int or not 0 <= count * dtype.itemsize <= len(data):
        raise PickleRefusal("is damaged: its numbers are of an unknown kind, or fewer than it claims")
    if count == 0:
        return _Storage(torch.empty(0, dtype=dtype))
    data = data[: count * dtype.itemsize]
    numbers = torch.frombuffer(data, dtype=dtype)
    if numbers.data_ptr() % dtype.itemsize:  # compiled loops may assume alignment, and crash
        numbers = torch.frombuffer(bytearray(data), dtype=dtype)
    return _Storage(numbers)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *ignored: Any) -> Tensor:
    """A view of the storage, which may contain a number many times; gradients and hooks are ignored."""
    if type(storage) is not _Storage or type(size) is not tuple or type(stride) is not tuple:
        raise PickleRefusal("is damaged: a tensor has no storage")
    if len(size) > MAX_DIMENSIONS or len(stride) != len(size):
        raise PickleRefusal("is damaged: a tensor has an impossible shape")
    if not all(type(number) is int and 0 <= number < MAX_NUMBERS for number in (offset, *size, *stride)):
        raise PickleRefusal("is damaged: a tensor has an impossible shape")
    numbers = storage.numbers
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if (last >= len(numbers) and 0 not in size) or prod(size) >= MAX_NUMBERS:
        raise PickleRefusal("is damaged: a tensor claims more numbers than its storage holds")
    if 0 in size:
        return numbers[:0].reshape(size)
    return numbers.as_strided(size, stride, numbers.storage_offset() + offset)


def _parameter(tensor: Any, *ignored: Any) -> Tensor:
    if type(tensor) is not Tensor:
        raise PickleRefusal("is damaged: a parameter is no tensor")
    return tensor


def _inner_storage(blob: Any, budget: Budget) -> _Storage:
    """A storage that the pickle contains as a complete `torch.save` stream."""
    if type(blob) is not memoryview:
        raise PickleRefusal("is damaged: a storage is no byte string")
    budget.unpack(len(blob))
    storage = _saved(blob, budget)
    if type(storage) is not _Storage:
        raise PickleRefusal("is damaged: a storage holds something else")
    return storage


def _harmless(module: str, name: str, args: tuple[Any, ...]) -> Inert:
    if name not in HARMLESS.get(module, ()):
        what = one_line(f"{module[:80]}.{name[:80]}")
        raise PickleRefusal(
            f"holds other Python objects than checkpoints do ({what}), which are never loaded"
        )
    return Inert(module, name, args)


def _machine(
    data: memoryview,
    budget: Budget,
    load_storage: Callable[[Any], Any] | None = None,
    others: Others = Inert,
) -> Machine:
    def dictionary(items: Any = ()) -> dict[Any, Any]:
        budget.step(len(items))
        if type(items) not in (list, tuple) or not all(type(pair) in (list, tuple) for pair in items):
            raise PickleRefusal("makes a dictionary of something else than pairs")
        return pairs([part for key, value in items for part in (key, value)])

    builders: dict[tuple[str, str], Callable[..., Any]] = {
        ("collections", "OrderedDict"): dictionary,
        ("collections", "defaultdict"): lambda *ignored: {},  # its items follow
        ("dnnlib", "EasyDict"): dictionary,
        ("dnnlib.util", "EasyDict"): dictionary,
        ("torch._utils", "_rebuild_tensor"): _tensor,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch._utils", "_rebuild_parameter"): _parameter,
        ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
        ("torch.storage", "_load_from_bytes"): lambda blob: _inner_storage(blob, budget),
    }
    return Machine(data, budget, builders, load_storage, others)


# --- what torch.save writes -------------------------------------------------------------------------------


def _saved(data: memoryview, budget: Budget, others: Others = Inert) -> Any:
    """The object in a PyTorch file, or in a stream of the same format."""
    if data[: len(ZIP_MAGIC)] == ZIP_MAGIC:
        return _Archive(data).root(budget, others)
    if data[: len(LEGACY_MAGIC)] == LEGACY_MAGIC:
        return _legacy(data, budget, others)
    raise PickleRefusal("is damaged: it holds no PyTorch stream")


def _legacy(data: memoryview, budget: Budget, others: Others) -> Any:
    """The object in PyTorch's older format: five pickles (magic number, version, machine, object, keys), then
    the storages under those keys.

    The storages come last, so the object's pickle is read twice, first to learn their types.
    """
    kinds: dict[str, Any] = {}
    storages: dict[str, _Storage] = {}

    def note(reference: Any) -> None:
        key, kind, count, _ = _legacy_reference(reference)
        if key in kinds and (kinds[key][0].name, kinds[key][1]) != (kind.name, count):
            raise PickleRefusal("is damaged: two references to one storage differ")
        kinds[key] = kind, count

    def load_storage(reference: Any) -> _Storage:
        key, _, _, view = _legacy_reference(reference)
        numbers = storages[key].numbers
        return storages[key] if view is None else _Storage(_part(numbers, *view))

    stream = Stream(data)
    _, _, origin = (_machine(data, budget).run(stream) for _ in range(3))
    if type(origin) is not dict or origin.get("little_endian") is not True:
        raise PickleRefusal("was written on a big-endian machine")
    again = Stream(data)
    again.seek(stream.tell())
    skimmer = _machine(data, budget, note, others)
    skimmer.builders = dict.fromkeys(skimmer.builders, lambda *ignored: Inert("", "", ()))
    skimmer.run(stream)
    for key in _machine(data, budget).run(stream):
        kind, count = kinds[key] if type(key) is str else (None, None)
        (stored,) = struct.unpack("<q", stream.read(8))
        if stored != count:
            raise PickleRefusal("is damaged: a storage does not match its description")
        storages[key] = _storage(data[stream.tell() :], kind, count)
        stream.seek(stream.tell() + storages[key].numbers.nbytes)
    return _machine(data, budget, load_storage, others).run(again)


def _legacy_reference(reference: Any) -> tuple[str, Inert, int, Any]:
    """Key, class, count and view (None, or its own key, its offset and its count) of a storage."""
    word, kind, key, _, count, view = reference
    if word != "storage" or type(kind) is not Inert or type(key) is not str or type(count) is not int:
        raise PickleRefusal("is damaged: a reference is to no storage")
    return key, kind, count, view


def _part(numbers: Tensor, key: Any, offset: Any, count: Any) -> Tensor:
    """A storage that is a part of another one, as before PyTorch 0.4."""
    if type(offset) is not int or type(count) is not int or not 0 <= offset <= offset + count <= len(numbers):
        raise PickleRefusal("is damaged: a storage lies outside of the one it is a part of")
    return numbers[offset : offset + count]


def _directory(data: memoryview) -> list[zipfile.ZipInfo]:
    """A zip's table of contents, if it is not too long for a model."""
    with zipfile.ZipFile(Stream(data, MAX_DIRECTORY)) as archive:
        return archive.infolist()


class _Archive:
    """A zip as PyTorch writes it: one folder with `data.pkl`, and each storage a part of `data/`."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        parts = [
            part for part in _directory(data) if part.compress_type == zipfile.ZIP_STORED
        ]  # its code is not
        if sum(part.file_size for part in parts) > len(data):
            raise PickleRefusal("is damaged: the parts of the archive overlap")
        self.parts = {part.filename: part for part in parts}
        roots = [name for name in self.parts if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(roots) != 1:
            raise PickleRefusal("is a compressed archive, or one of something else than a PyTorch model")
        self.folder = roots[0].removesuffix("data.pkl")
        self.storages: dict[str, tuple[str, int, _Storage]] = {}

    def part(self, name: str) -> memoryview:
        """The contents of a part, not copied."""
        if self.folder + name not in self.parts:
            raise PickleRefusal("is damaged: the archive lacks a part, or has it compressed")
        part = self.parts[self.folder + name]
        header = self.data[max(part.header_offset, 0) :]
        start = part.header_offset + 30 + sum(struct.unpack_from("<HH", header, 26))
        if part.header_offset < 0 or start + part.file_size > len(self.data):
            raise PickleRefusal("is damaged: a part of the archive lies outside it")
        return self.data[start : start + part.file_size]

    def root(self, budget: Budget, others: Others = Inert) -> Any:
        """The object in data.pkl."""
        if self.folder + "byteorder" in self.parts and self.part("byteorder") != b"little":
            raise PickleRefusal("was written on a big-endian machine")
        pickle = self.part("data.pkl")
        return _machine(pickle, budget, self.load_storage, others).run(Stream(pickle))

    def load_storage(self, reference: Any) -> _Storage:
        """The storage for a reference ("storage", class, key, device, count); each is read only once."""
        word, kind, key, _, count = reference
        if word != "storage" or type(key) is not str or type(kind) is not Inert:
            raise PickleRefusal("is damaged: a reference is to no storage")
        if key not in self.storages:
            self.storages[key] = kind.name, count, _storage(self.part(f"data/{key}"), kind, count)
        name, known, storage = self.storages[key]
        if (name, known) != (kind.name, count):
            raise PickleRefusal("is damaged: two references to one storage differ")
        return storage
