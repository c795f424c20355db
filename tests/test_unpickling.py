"""Restricted unpickling: what is data comes out, and nothing that a file says is ever done."""

import argparse
import io
import pickle
import struct
import subprocess
import sys
import time
import tracemalloc
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
from hostile_pickles import FORMS, called, data, named, text

from encoder4editing import load_inverter
from encoder4editing.identity import load_identity
from micromotion.clip_model import load_clip
from micromotion.errors import MotionError
from micromotion.motion import load_motion
from stylegan2 import CheckpointError, load_generator
from stylegan2.storage import file_kind, read_torch
from stylegan2.unpickling import Inert, read_pickle, read_saved, read_torchscript, walk

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Detected pickle protocol"),
    pytest.mark.filterwarnings("ignore:'torch.load' received a zip file that looks like a TorchScript"),
]

READERS: dict[str, Callable[[Path], Any]] = {
    "pickle": read_pickle,
    "torchscript": read_torchscript,
    "zip": read_saved,
    "legacy": read_saved,
}
LOADERS = {
    "generator": load_generator,
    "inverter": load_inverter,
    "identity": load_identity,
    "clip": load_clip,
    "motion": load_motion,
}
PROGRAMS = list(hostile_pickles.programs(Path("canary")))


def assert_sentence(error: Exception, path: Path) -> None:
    sentence = str(error)
    assert path.name in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert len(sentence.replace(str(path), "")) < 300


def assert_refused(path: Path, *mentions: str, read: Callable[[Path], Any] = read_pickle) -> None:
    with pytest.raises((CheckpointError, MotionError)) as caught:
        read(path)
    assert_sentence(caught.value, path)
    for mention in mentions:
        assert mention in str(caught.value)


def write(path: Path, *instructions: bytes) -> Path:
    path.write_bytes(hostile_pickles.START + b"".join(instructions) + pickle.STOP)
    return path


# --- what is data comes out -------------------------------------------------------------------------------


class Ordered(OrderedDict):  # type: ignore[type-arg]
    """Stands for dnnlib's EasyDict, which is a dictionary as well."""


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_come_back(protocol: int, tmp_path: Path) -> None:
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


def test_sets_and_bytes_come_back(tmp_path: Path) -> None:
    values = {
        "sets": [set(), {"a", "b"}, frozenset({"c"})],
        "bytes": [b"", b"x", b"y" * 300, bytearray(b"z")],
    }
    (tmp_path / "file").write_bytes(pickle.dumps(values, 5))
    read = read_pickle(tmp_path / "file")
    assert read["sets"] == values["sets"]
    assert [bytes(each) for each in read["bytes"]] == values["bytes"]


def test_the_oldest_protocols_come_back(tmp_path: Path) -> None:
    values = {"a": [1, 2.5, None, True, "text", 1 << 99], "b": ({"c": "d"}, (), [])}
    for protocol in (0, 1):
        (tmp_path / "file").write_bytes(pickle.dumps(values, protocol))
        assert read_pickle(tmp_path / "file") == values


DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.int64, torch.bool]


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_tensors_come_back(protocol: int, tmp_path: Path) -> None:
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


def test_a_storage_may_be_a_zip_within(tmp_path: Path) -> None:
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


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
        self.names = ["a", "b"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) + len(self.names)


@pytest.mark.parametrize("half", [False, True])
def test_a_torchscript_archive_is_read_without_its_code(half: bool, tmp_path: Path) -> None:
    network = Network().half() if half else Network()
    path = tmp_path / "model.pt"
    torch.jit.save(torch.jit.script(network), path)
    archive = zipfile.ZipFile(path)
    with zipfile.ZipFile(tmp_path / "bare.pt", "w") as bare:  # any code that were run would be missed
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
    """A list of texts is a record without any."""
    return record.state or {}


def aligned(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """An entry whose contents begin at a multiple of 64 bytes, as PyTorch writes them."""
    entry = zipfile.ZipInfo(name)
    entry.extra = bytes(-(archive.fp.tell() + 30 + len(name)) % 64)  # type: ignore[union-attr]
    return entry


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


# --- what torch.save writes -------------------------------------------------------------------------------


def snapshot() -> dict[str, Any]:
    """What a training run keeps, of every sort that is met with."""
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
    named_parameter.note = "kept"  # type: ignore[attr-defined]
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
    """Equal, but for what is read as a record."""
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


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize(("zipped", "protocol"), [(True, 2), (True, 3), (True, 4), (True, 5), (False, 2)])
def test_checkpoints_come_back(zipped: bool, protocol: int, tmp_path: Path) -> None:
    path, contents = tmp_path / "file", snapshot()
    if protocol > 3:
        del contents["opts"].pairs  # a set of tuples is a set there
    if not zipped:
        del contents["16 bits"]  # torch cannot read what it writes of it there
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
def test_storages_come_back_and_tensors_from_a_gpu(zipped: bool, tmp_path: Path) -> None:
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
    """The older format with one storage of 6 numbers and a tensor over a part of it, as PyTorch 0.3 wrote."""

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
    parts = {"keys": ["0"], "count": 6, "numbers": np.arange(6, dtype=np.float32).tobytes()} | changes
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
def test_old_streams_that_lie_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD_LIES[name]())
    assert_refused(tmp_path / "file", read=read_torch)


class Called:
    def __reduce__(self) -> Any:
        return eval, ("1",)


@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoints_with_other_objects_are_refused(zipped: bool, tmp_path: Path) -> None:
    """Also where they would not be used: who put them there meant harm, or the file is something else."""
    contents = snapshot() | {"opts": {"a": [Called()]}}
    torch.save(contents, tmp_path / "file", _use_new_zipfile_serialization=zipped)
    assert_refused(tmp_path / "file", "other Python objects", "eval", read=read_torch)
    torch.save(Path, tmp_path / "file", _use_new_zipfile_serialization=zipped)
    assert_refused(tmp_path / "file", "holds a pathlib.Path, not the dictionary", read=read_torch)


# --- nothing is done --------------------------------------------------------------------------------------


def test_the_hostile_pickles_are_dangerous(tmp_path: Path) -> None:
    """Otherwise refusing them would show nothing: Python's own unpickler obeys every one."""
    for number, stream in enumerate(hostile_pickles.programs(tmp_path / "canary").values()):
        replaced = hostile_pickles.programs(tmp_path / f"{number:06}")  # the same length
        assert len(replaced) == len(PROGRAMS)
        (tmp_path / f"{number}.pkl").write_bytes(list(replaced.values())[number])
        assert stream
    program = (
        "import pickle, sys, pathlib\n"
        "for name in sys.argv[1:]:\n"
        "    try: pickle.loads(pathlib.Path(name).read_bytes())\n"
        "    except Exception as error: print(name, repr(error))\n"
    )
    files = sorted(tmp_path.glob("*.pkl"))
    result = subprocess.run(
        [sys.executable, "-c", program, *map(str, files)], capture_output=True, text=True, timeout=120
    )
    obeyed = [tmp_path / f"{number:06}" for number in range(len(PROGRAMS))]
    deadline = time.monotonic() + 30
    while not all(folder.is_dir() for folder in obeyed) and time.monotonic() < deadline:
        time.sleep(0.05)  # some of them start a process and do not wait for it
    harmless = [name for name, folder in zip(PROGRAMS, obeyed, strict=True) if not folder.is_dir()]
    assert harmless == [], result.stdout + result.stderr


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("loader", LOADERS)
def test_no_loader_does_what_a_file_says(loader: str, form: str, tmp_path: Path) -> None:
    load, canary = LOADERS[loader], tmp_path / "canary"
    sys.modules.pop("this", None)
    streams = hostile_pickles.programs(canary) | hostile_pickles.quiet()
    for name, stream in streams.items():
        path = tmp_path / "hostile.file"
        FORMS[form](stream, path)
        loaded = set(sys.modules)
        assert_refused(path, read=load)
        assert not canary.exists(), name
        assert "this" not in sys.modules, name
        assert "antigravity" not in set(sys.modules) - loaded, name


@pytest.mark.parametrize("form", READERS)
def test_no_reader_does_what_a_file_says(form: str, tmp_path: Path) -> None:
    """They may return records, but nothing else has happened."""
    canary = tmp_path / "canary"
    streams = hostile_pickles.programs(canary) | hostile_pickles.quiet()
    loaded = set(sys.modules)
    for name, stream in streams.items():
        path = tmp_path / "hostile.file"
        FORMS[form](stream, path)
        try:
            read = READERS[form](path)
        except CheckpointError as error:
            assert_sentence(error, path)
        else:
            assert type(read) in (Inert, dict), name
        assert not canary.exists(), name
        assert set(sys.modules) == loaded, name


def test_names_are_only_words(tmp_path: Path) -> None:
    """What would be called stays as it is written."""
    read = read_pickle(write(tmp_path / "file", hostile_pickles.programs(Path("x"))["eval"][2:-1]))
    assert (read.module, read.name, read.state) == ("builtins", "eval", None)
    assert read.args == ("__import__('os').mkdir('x')",)
    poisoned = called(named("a", "b")) + b"}" + text("__class__") + named("builtins", "type") + b"sb"
    record = read_pickle(write(tmp_path / "file", poisoned))
    assert type(record) is Inert
    assert list(record.state) == ["__class__"]


@pytest.mark.parametrize("form", READERS)
@pytest.mark.parametrize("name", hostile_pickles.bombs())
def test_bombs_do_not_go_off(name: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylegan2.pickle_machine.MAX_STEPS", 200_000)  # a fifth of the time to wait
    path = tmp_path / "bomb"
    FORMS[form](hostile_pickles.bombs()[name], path)
    tracemalloc.start()
    try:
        READERS[form](path)
    except CheckpointError as error:
        assert_sentence(error, path)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 50e6 + 100 * path.stat().st_size


@pytest.mark.parametrize(
    ("name", "mention"),
    [
        ("a key of tuples of tuples", "keys are not text"),
        ("a key of tuples of tuples, by the memo", "keys are not text"),
        ("keys that are numbers", "keys are not text"),
        ("a key that is a long number", "keys are not text"),
        ("a set of tuples of tuples", "keys are not text"),
        ("a key as long as a book", "keys are not text"),
        ("one list of pairs, made a dictionary again and again", "more instructions"),
        ("one storage, unpacked again and again", "again and again"),
    ],
)
def test_bombs_are_named(name: str, mention: str, tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(hostile_pickles.bombs()[name])
    assert_refused(tmp_path / "bomb", mention)


def test_no_loader_waits_for_ever(tmp_path: Path) -> None:
    """For such a key torch.load takes longer than the world has stood, in either of its formats."""
    stream = hostile_pickles.bombs()["a key of tuples of tuples, by the memo"]
    for form, write_form in FORMS.items():
        write_form(stream, tmp_path / f"{form}.file")
    hostile_pickles.crowded_zip(stream, tmp_path / "crowded.file")
    program = (
        "import sys, pathlib, test_unpickling\n"
        "for load in test_unpickling.LOADERS.values():\n"
        "    for path in map(pathlib.Path, sys.argv[1:]):\n"
        "        test_unpickling.assert_refused(path, read=load)\n"
        "        print(path)\n"
    )
    command = [sys.executable, "-c", program, *map(str, sorted(tmp_path.glob("*.file")))]
    result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == len(LOADERS) * (len(FORMS) + 1)


def test_a_long_table_of_contents_is_not_read(tmp_path: Path) -> None:
    hostile_pickles.crowded_zip(b"\x80\x02}.", tmp_path / "file")
    tracemalloc.start()
    assert file_kind(tmp_path / "file") == "torch"
    assert_refused(tmp_path / "file", "table of contents", read=read_torch)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


def test_endless_programs_are_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylegan2.pickle_machine.MAX_STEPS", 10_000)
    path = tmp_path / "file"
    assert read_pickle(write(path, b"\x8f0" * 4_998 + b"N")) is None  # and the first, and the last
    assert_refused(write(path, b"\x8f0" * 5_000 + b"N"), "more instructions")


@pytest.mark.parametrize(
    "instructions",
    [
        *(b"", b"R", b"t", b"(", b"0", b"]R", b"N)R", b"K\x01)\x81", b"NNb", b"]K\x01s", b"}(K\x01u", b"NNa"),
        *(b"h\x05", b"}]K\x02s", b"(K\x01o", b"Q", b"]Q", b"\x97", b"\x93", b"K\x01K\x02\x93", b"(e"),
        *(b"2", b"b", b"\xff"),
    ],
    ids=repr,
)
def test_instructions_out_of_place_are_refused(instructions: bytes, tmp_path: Path) -> None:
    assert_refused(write(tmp_path / "file", instructions))


# --- tensors that lie -------------------------------------------------------------------------------------

LAYOUT = (b"K\x00", b"K\x02K\x03\x86", b"K\x03K\x01\x86", b"\x89", b"N")  # offset 0, [2, 3], steps [3, 1]


def storage(count: int = 6, **changes: Any) -> bytes:
    """The instructions for a storage of float32 numbers as PyTorch pickles it, after changes to its parts."""
    parts = {"info": {"little_endian": True}, "kind": torch.FloatStorage, "claimed": count, "stored": count}
    parts |= {"word": "storage", "view": None, "magic": hostile_pickles.MAGIC} | changes

    class Reference:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> Any:
            if isinstance(value, Reference):
                return (parts["word"], parts["kind"], "0", "cpu", parts["claimed"], parts["view"])
            return None

    stream = io.BytesIO()
    Pickler(stream, 2).dump(Reference())
    head = parts["magic"] + pickle.dumps(1001, 2) + pickle.dumps(parts["info"], 2)
    numbers = np.arange(count, dtype=np.float32).tobytes()
    blob = head + stream.getvalue() + pickle.dumps(["0"], 2) + struct.pack("<q", parts["stored"]) + numbers
    return called(named("torch.storage", "_load_from_bytes"), data(blob))


def rebuilt(inner: bytes, *layout: bytes) -> bytes:
    return called(named("torch._utils", "_rebuild_tensor_v2"), inner, *(layout or LAYOUT))


def test_the_storages_written_here_are_good(tmp_path: Path) -> None:
    assert read_pickle(write(tmp_path / "file", rebuilt(storage()))).tolist() == [[0, 1, 2], [3, 4, 5]]


BIG = b"\x8a\x06\x00\x00\x00\x00\x00\x20"  # 2^45
LIES = {
    "too many": (b"K\x00", b"K\x03K\x03\x86", b"K\x03K\x01\x86"),
    "beyond the end": (b"K\x01", *LAYOUT[1:3]),
    "long steps": (b"K\x00", b"K\x02K\x03\x86", b"K\x04K\x01\x86"),
    "before the start": (b"J\xff\xff\xff\xff", *LAYOUT[1:3]),
    "backwards": (b"K\x05", b"K\x02K\x03\x86", b"J\xfd\xff\xff\xffJ\xff\xff\xff\xff\x86"),
    "one number, repeated": (b"K\x00", BIG + BIG + b"\x86", b"K\x00K\x00\x86"),
    "no steps": (b"K\x00", b"K\x02K\x03\x86", b")"),
    "text": (b"K\x00", text("23"), text("31")),
    "true and false": (b"\x88", b"\x88\x88\x86", b"\x88\x88\x86"),
    "negative size": (b"K\x00", b"J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86", b"K\x03K\x01\x86"),
    "a hundred dimensions": (b"K\x00", b"(" + b"K\x01" * 100 + b"t", b"(" + b"K\x01" * 100 + b"t"),
}


@pytest.mark.parametrize("name", LIES)
def test_tensors_that_claim_more_than_they_have_are_refused(name: str, tmp_path: Path) -> None:
    assert_refused(write(tmp_path / "file", rebuilt(storage(), *LIES[name])))


def test_an_empty_tensor_is_harmless_however_large(tmp_path: Path) -> None:
    layout = (b"K\x00", b"K\x00" + BIG + BIG + b"\x87", b"K\x00K\x00K\x00\x87")
    assert read_pickle(write(tmp_path / "file", rebuilt(storage(), *layout))).numel() == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"claimed": 7, "stored": 7},
        {"claimed": 1 << 50, "stored": 1 << 50},
        {"claimed": -1, "stored": -1},
        {"claimed": 5},
        {"stored": 7},
        {"claimed": "6", "stored": 6},
        {"kind": torch.ComplexFloatStorage},
        {"kind": torch.Tensor},
        {"kind": "FloatStorage"},
        {"kind": torch.DoubleStorage},
        {"info": {"little_endian": False}},
        {"info": []},
        {"word": "module"},
        {"view": ("1", 0, 3)},
        {"magic": b"\x80\x02K\x01."},
    ],
    ids=str,
)
def test_storages_that_lie_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    assert_refused(write(tmp_path / "file", rebuilt(storage(**changes))))


@pytest.mark.parametrize("inner", [b"N", text("PK"), data(b""), data(b"PK\x03\x04"), data(b"x" * 100), b"}"])
def test_what_is_no_storage_is_refused(inner: bytes, tmp_path: Path) -> None:
    assert_refused(
        write(tmp_path / "file", rebuilt(called(named("torch.storage", "_load_from_bytes"), inner)))
    )
    assert_refused(write(tmp_path / "file", rebuilt(inner)))
    assert_refused(write(tmp_path / "file", called(named("torch._utils", "_rebuild_parameter"), inner)))


# --- archives that lie ------------------------------------------------------------------------------------


def archive(
    path: Path, change: Callable[[dict[str, bytes]], object] = lambda parts: None, **how: Any
) -> Path:
    """A TorchScript archive, written by Python's zip library, after a change of its parts."""
    torch.jit.save(torch.jit.script(Network()), path)
    with zipfile.ZipFile(path) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    change(parts)
    with zipfile.ZipFile(path, "w", **how) as target:
        for name, contents in parts.items():
            entry = aligned(target, name)
            entry.compress_type = target.compression
            target.writestr(entry, contents)
    return path


def test_the_archives_written_here_are_good(tmp_path: Path) -> None:
    assert read_torchscript(archive(tmp_path / "model.pt")).name == "Network"


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: parts.pop("model/data.pkl"),
        lambda parts: parts.pop("model/data/0"),
        lambda parts: parts.update({"model/data/0": b"short"}),
        lambda parts: parts.update({"model/byteorder": b"big"}),
        lambda parts: parts.update({"other/data.pkl": b"N."}),
        lambda parts: parts.update({f"model/{i:0100}": b"" for i in range(30_000)}),
    ],
    ids=[
        "no pickle",
        "no numbers",
        "too few numbers",
        "big-endian",
        "two models",
        "a long table of contents",
    ],
)
def test_archives_that_lie_are_refused(change: Callable[[dict[str, bytes]], object], tmp_path: Path) -> None:
    assert_refused(archive(tmp_path / "model.pt", change), read=read_torchscript)


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "model.pt", compression=zipfile.ZIP_DEFLATED)
    assert_refused(path, "compressed", read=read_torchscript)


def test_archives_with_overlapping_parts_are_refused(tmp_path: Path) -> None:
    """Twenty entries that all point at one part: an archive larger inside than outside."""
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as target:
        target.writestr("model/data.pkl", b"N.")
        target.writestr("model/data/0", bytes(100_000))
        (first,) = (each for each in target.filelist if each.filename.endswith("/0"))
        for number in range(1, 20):
            again = zipfile.ZipInfo(f"model/data/{number}")
            again.header_offset, again.CRC = first.header_offset, first.CRC
            again.file_size = again.compress_size = first.file_size
            target.filelist.append(again)
    assert_refused(tmp_path / "model.pt", "overlap", read=read_torchscript)


# --- damaged files ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("good")
    values = {
        "a": torch.randn(3, 4),
        "b": OrderedDict(c=np.float64(1), d={"e"}),
        "f": [1, (2, 3), "text"] * 5,
    }
    torch.save(values, folder / "zip")
    torch.save(values, folder / "legacy", _use_new_zipfile_serialization=False)
    return {
        "pickle": pickle.dumps(values),
        "torchscript": archive(folder / "model.pt").read_bytes(),
        "zip": (folder / "zip").read_bytes(),
        "legacy": (folder / "legacy").read_bytes(),
    }


@pytest.mark.parametrize("form", READERS)
def test_files_cut_short_are_refused(form: str, good: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "cut"
    whole = good[form]
    for kept in sorted({*range(0, len(whole), max(1, len(whole) // 100)), len(whole) - 1}):
        path.write_bytes(whole[:kept])
        assert_refused(path, read=READERS[form])


@pytest.mark.parametrize("form", READERS)
def test_flipped_bits_are_refused_or_harmless(form: str, good: dict[str, bytes], tmp_path: Path) -> None:
    path, rng, refused = tmp_path / "flipped", np.random.default_rng(0), 0
    whole = np.frombuffer(good[form], dtype=np.uint8)
    for _ in range(200):
        bad = whole.copy()
        where = rng.integers(0, len(bad), 2)
        bad[where] ^= (1 << rng.integers(0, 8, 2)).astype(np.uint8)
        path.write_bytes(bad.tobytes())
        try:
            READERS[form](path)
        except CheckpointError as error:
            assert_sentence(error, path)
            refused += 1
    assert refused > 10


def test_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for read in READERS.values():
        assert_refused(tmp_path / "missing", "cannot be opened", read=read)
        assert_refused(tmp_path, "cannot be opened", read=read)
        assert_refused(tmp_path / "empty", "empty", read=read)
