"""Restricted unpickling, also of `torch.save`: data are returned, and everything else becomes a record."""

import argparse
import io
import pickle
import struct
import types
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile_pickles
import numpy as np
import pytest
import torch
from hostile_pickles import called, data, named
from pickles import LAYOUT, QUIET, Network, aligned, assert_refused, write

from stylegan2 import CheckpointError
from stylegan2.checkpoints.storage import read_torch
from stylegan2.checkpoints.unpickling import Inert, read_pickle, read_torchscript, walk

pytestmark = QUIET


class Ordered(OrderedDict[str, Any]):
    """A stand-in for dnnlib's EasyDict, which is a dictionary as well."""


# --- data are returned ------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_survive_a_round_trip(protocol: int, tmp_path: Path) -> None:
    long = 1 << 200
    values = {
        "none": None,
        "numbers": [0, 1, 255, 65535, -1, 1 << 31, long, -long, 1.5, float("inf"), True, False],
        "texts": ["", "ä" * 300, "x" * 70_000, "\ud800"],
        "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "ordered": OrderedDict(a=1, b=OrderedDict()),
        "shared": [[1], [1]],
    }
    values["again"] = values["texts"]
    (tmp_path / "file").write_bytes(pickle.dumps(values, protocol))
    read = read_pickle(tmp_path / "file")
    assert read == values
    assert type(read["ordered"]) is dict
    assert read["again"] is read["texts"]


def test_sets_and_bytes_survive_a_round_trip(tmp_path: Path) -> None:
    values = {
        "sets": [set(), {"a", "b"}, frozenset({"c"})],
        "bytes": [b"", b"x", b"y" * 300, bytearray(b"z")],
    }
    (tmp_path / "file").write_bytes(pickle.dumps(values, 5))
    read = read_pickle(tmp_path / "file")
    assert read["sets"] == values["sets"]
    assert [bytes(each) for each in read["bytes"]] == values["bytes"]


def test_the_oldest_protocols_are_read(tmp_path: Path) -> None:
    values: dict[str, object] = {"a": [1, 2.5, None, True, "text", 1 << 99], "b": ({"c": "d"}, (), [])}
    for protocol in (0, 1):
        (tmp_path / "file").write_bytes(pickle.dumps(values, protocol))
        assert read_pickle(tmp_path / "file") == values


DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.int64, torch.bool]


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_tensors_survive_a_round_trip(protocol: int, tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    tensors: dict[str, torch.Tensor] = {str(d): (10 * torch.randn(3, 4, generator=rng)).to(d) for d in DTYPES}
    tensors["scalar"] = torch.tensor(7.5)
    tensors["empty"] = torch.zeros(0, 5)
    tensors["transposed"] = torch.randn(3, 4, 5, generator=rng).permute(2, 0, 1)
    tensors["channels last"] = torch.randn(2, 3, 4, 5, generator=rng).to(memory_format=torch.channels_last)
    tensors["part"] = torch.arange(100.0)[10:30:3]
    tensors["parameter"] = torch.nn.Parameter(torch.randn(3, generator=rng))
    (tmp_path / "file").write_bytes(pickle.dumps(tensors, protocol))
    read = read_pickle(tmp_path / "file")
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert type(read[name]) is torch.Tensor, name
        assert read[name].dtype == tensor.dtype, name
        assert torch.equal(read[name], tensor), name
        assert read[name].data_ptr() % tensor.itemsize == 0, name
        assert not read[name].requires_grad


def test_a_storage_may_be_a_nested_zip(tmp_path: Path) -> None:
    storage, stream = torch.arange(6.0)._typed_storage(), io.BytesIO()
    torch.save(storage, stream)
    inner = called(named("torch.storage", "_load_from_bytes"), data(stream.getvalue()))
    path = write(tmp_path / "file", called(named("torch._utils", "_rebuild_tensor_v2"), inner, *LAYOUT))
    assert read_pickle(path).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_changing_what_was_read_does_not_change_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(before := pickle.dumps([torch.ones(8), torch.ones(8, dtype=torch.uint8)]))
    for tensor in read_pickle(tmp_path / "file"):
        tensor.zero_()
    assert (tmp_path / "file").read_bytes() == before


def test_everything_else_is_a_record(tmp_path: Path) -> None:
    value = {
        "slice": slice(1, 2),
        "exact": np.float64(2.5),
        "path": Path("x"),
        "class": Inert,
        "items": Ordered(a=1),
    }
    value["object"] = types.SimpleNamespace(a=[1])
    (tmp_path / "file").write_bytes(pickle.dumps(value))
    read = read_pickle(tmp_path / "file")
    assert all(type(each) is Inert for each in read.values())
    assert (read["slice"].module, read["slice"].name, read["slice"].args) == (
        "builtins",
        "slice",
        (1, 2, None),
    )
    assert read["exact"].name == "scalar"
    assert (read["class"].name, read["class"].args) == ("Inert", None)
    assert read["object"].state == {"a": [1]}
    assert repr(read["object"]) == "<inert types.SimpleNamespace>"


@pytest.mark.parametrize("half", [False, True])
def test_a_torchscript_archive_is_read_without_its_code(half: bool, tmp_path: Path) -> None:
    network = Network().half() if half else Network()
    path = tmp_path / "model.pt"
    torch.jit.save(torch.jit.script(network), path)
    archive = zipfile.ZipFile(path)
    with zipfile.ZipFile(tmp_path / "bare.pt", "w") as bare:  # executed code would fail
        for name in archive.namelist():
            if "/code/" not in name:
                bare.writestr(aligned(bare, name), archive.read(name))
    for file in (path, tmp_path / "bare.pt"):
        root = read_torchscript(file)
        assert type(root) is Inert
        assert root.name == "Network"
        found = {}
        for module, record in walk(root, attributes):
            for name, value in attributes(record).items():
                if isinstance(value, torch.Tensor):
                    found[f"{module}.{name}"] = value
        expected = network.state_dict()
        assert found.keys() == expected.keys()
        assert all(found[name].dtype == tensor.dtype for name, tensor in expected.items())
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def attributes(record: Inert) -> dict[str, Any]:
    """A list of strings is a record without attributes."""
    return record.state or {}


def test_a_tree_of_records_is_walked_by_name() -> None:
    def record(**state: Any) -> Inert:
        made = Inert("a", "b", ())
        made.state = state
        return made

    root = record(x=record(y=record()), z=record(), number=1)
    assert [name for name, _ in walk(root, lambda each: each.state)] == ["", "x", "x.y", "z"]
    round_and_round = record()
    round_and_round.state["again"] = round_and_round
    wide = record()
    for _ in range(14):  # 10^14 paths to one record
        wide = record(**{str(i): wide for i in range(10)})
    numbered = record()
    numbered.state[7] = record()
    for bad in (round_and_round, wide, record(**{"x" * 1000: record()}), numbered):
        with pytest.raises(CheckpointError):
            list(walk(bad, lambda each: each.state))


def snapshot() -> dict[str, Any]:
    """A training run's state, with every kind of value found in practice."""
    rng = torch.Generator().manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(5, 3, generator=rng)).sum().backward()
    optimizer.step()
    both = torch.randn(6, 4, generator=rng)
    tensors: dict[str, Any] = {str(d): (10 * torch.randn(3, 5, generator=rng)).to(d) for d in DTYPES}
    tensors |= {"wide": both.T, "part": both[2:5, 1], "one row for all": both[:1].expand(18, -1)}
    tensors |= {"scalar": torch.tensor(7.5), "empty": torch.zeros(0, 5)}
    tensors |= {"grad": torch.ones(3, requires_grad=True), "parameter": torch.nn.Parameter(both)}
    named_parameter = torch.nn.Parameter(both)
    vars(named_parameter)["note"] = "kept"
    options = {"lr": 1e-4, "ids": [1, None, True], "betas": (0.9, 0.99), "device": torch.device("cuda:0")}
    options |= {"path": Path("x"), "size": torch.Size([2, 3]), "dtype": torch.float16, "exact": np.float64(2)}
    options |= {"array": np.arange(3), "flags": {"a", "b"}, "pairs": {(1, 2)}, "slice": slice(1, 2)}
    return {
        "g_ema": net.state_dict(),  # an OrderedDict with an attribute _metadata
        "g_optim": optimizer.state_dict(),  # its keys are numbers
        "tensors": tensors,
        "with attributes": named_parameter,
        "counts": defaultdict(list, {"a": [1], None: [], 0.5: [], True: [], -3: []}),
        "opts": argparse.Namespace(**options),
        "numbers": [1 << 80, -1, 2.5, float("inf")],
        "sparse": torch.eye(2).to_sparse(),
        "nowhere": torch.ones(2, device="meta"),
        "16 bits": torch.ones(2, dtype=torch.uint16),
    }


def assert_same(read: Any, expected: Any, where: str = "") -> None:
    """Check equality, except for values that are read as records."""
    if isinstance(expected, dict):
        assert type(read) is dict, where
        assert list(read) == list(expected), where
        for key, value in expected.items():
            assert_same(read[key], value, f"{where}/{key}")
    elif isinstance(expected, list | tuple) and not isinstance(expected, torch.Size):
        assert type(read) is type(expected), where
        assert len(read) == len(expected), where
        for index, value in enumerate(expected):
            assert_same(read[index], value, f"{where}/{index}")
    elif isinstance(expected, argparse.Namespace):
        assert (read.module, read.name) == ("argparse", "Namespace")
        assert_same(read.state, vars(expected), where)
    elif type(read) is Inert:
        records = {"sparse", "nowhere", "16 bits", "device", "path", "size", "dtype", "exact", "array"}
        assert where.split("/")[-1] in records | {"flags", "pairs", "slice"}, where
    elif isinstance(expected, torch.Tensor):
        assert type(read) is torch.Tensor, where
        assert (read.dtype, read.stride()) == (expected.dtype, expected.stride()), where
        assert torch.equal(read, expected), where
        assert not read.requires_grad
        assert read.data_ptr() % read.itemsize == 0
    else:
        assert (type(read), read) == (type(expected), expected), where


# --- files of torch.save ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize(("zipped", "protocol"), [(True, 2), (True, 3), (True, 4), (True, 5), (False, 2)])
def test_checkpoints_survive_a_round_trip(zipped: bool, protocol: int, tmp_path: Path) -> None:
    path, contents = tmp_path / "file", snapshot()
    if protocol > 3:
        del contents["opts"].pairs  # a set of tuples is a set there
    if not zipped:
        del contents["16 bits"]  # which torch itself cannot read back
    torch.save(contents, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    expected = torch.load(path, weights_only=False)
    before = path.read_bytes()
    read = read_torch(path)
    assert_same(read, expected)
    wide, part = read["tensors"]["wide"], read["tensors"]["part"]
    wide.zero_()
    assert not part.any()  # they share their storage, as they did
    assert path.read_bytes() == before


@pytest.mark.parametrize("zipped", [True, False])
def test_storages_and_tensors_from_a_gpu_are_read(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "file"
    numbers = torch.arange(6.0)
    torch.save({"a": numbers, "b": numbers}, path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"X\x03\x00\x00\x00cpu", b"X\x03\x00\x00\x00xla"))
    assert path.read_bytes() != data
    assert read_torch(path)["b"].tolist() == [0, 1, 2, 3, 4, 5]
    torch.save({"typed": numbers._typed_storage(), "bytes": torch.ones(3).untyped_storage()}, path)
    assert {type(each).__name__ for each in read_torch(path).values()} == {"_Storage"}


def old_stream(view: Any, size: int, **changes: Any) -> bytes:
    """The older format of PyTorch 0.3, with one storage of 6 numbers and a tensor over a part of it."""

    class Reference:
        pass

    class Rebuilt:
        def __reduce__(self) -> Any:
            return torch._utils._rebuild_tensor, (Reference(), 0, (size,), (1,))

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> Any:
            reference = ("storage", torch.FloatStorage, "0", "cpu", 6, view)
            return reference if isinstance(value, Reference) else None

    stream = io.BytesIO()
    Pickler(stream, 2).dump({"x": Rebuilt()})
    parts: dict[str, Any] = {
        "keys": ["0"],
        "count": 6,
        "numbers": np.arange(6, dtype=np.float32).tobytes(),
    } | changes
    head = hostile_pickles.MAGIC + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    keys = pickle.dumps(parts["keys"], 2) + struct.pack("<q", parts["count"])
    return head + stream.getvalue() + keys + parts["numbers"]


def test_storages_may_be_parts_of_others(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(old_stream(("1", 2, 3), 3))
    assert torch.load(path, weights_only=False)["x"].tolist() == [2, 3, 4]
    assert read_torch(path)["x"].tolist() == [2, 3, 4]


OLD_LIES: dict[str, Callable[[], bytes]] = {
    "a part outside": lambda: old_stream(("1", 4, 3), 3),
    "a part before": lambda: old_stream(("1", -1, 3), 3),
    "a part of negative length": lambda: old_stream(("1", 4, -2), 0),
    "a tensor beyond its part": lambda: old_stream(("1", 2, 3), 4),
    "a part without a place": lambda: old_stream(("1", None, 3), 3),
    "a part that is a number": lambda: old_stream(7, 3),
    "no keys": lambda: old_stream(None, 6, keys=[]),
    "other keys": lambda: old_stream(None, 6, keys=["1"]),
    "keys that are numbers": lambda: old_stream(None, 6, keys=[0]),
    "keys that take for ever": lambda: old_stream(None, 6, keys=[nested()]),
    "another count": lambda: old_stream(None, 6, count=5),
    "a negative count": lambda: old_stream(None, 6, count=-1),
    "too few numbers": lambda: old_stream(None, 6, numbers=bytes(23)),
}


def nested() -> tuple[Any, ...]:
    key: tuple[Any, ...] = ()
    for _ in range(60):
        key = (key, key)
    return key


@pytest.mark.parametrize("name", OLD_LIES)
def test_false_old_streams_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD_LIES[name]())
    assert_refused(tmp_path / "file", read=read_torch)


class Called:
    def __reduce__(self) -> Any:
        return eval, ("1",)


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoints_with_other_objects_are_refused(zipped: bool, tmp_path: Path) -> None:
    """Even if they were unused: such a file is hostile, or of another kind."""
    contents = snapshot() | {"opts": {"a": [Called()]}}
    torch.save(contents, tmp_path / "file", _use_new_zipfile_serialization=zipped)
    assert_refused(tmp_path / "file", "other Python objects", "eval", read=read_torch)
    torch.save(Path, tmp_path / "file", _use_new_zipfile_serialization=zipped)
    assert_refused(tmp_path / "file", "holds a pathlib.Path, not the dictionary", read=read_torch)
