"""Model files: recognised by contents, memory-mapped, and written atomically."""

import json
import os
import pickle
import resource
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from stylegan2.checkpoints.storage import (
    CheckpointError,
    assign_state,
    file_kind,
    read_safetensors,
    read_torch,
    skeleton,
    write_safetensors,
    write_tensors,
)

KIND = "test"


class Net(nn.Module):
    """A module with one tensor of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 5, generator=torch.Generator("cpu")))
        self.halved = nn.Parameter(torch.zeros(4, dtype=torch.float16))
        self.scalar = nn.Parameter(torch.zeros(()))
        self.count: Tensor
        self.register_buffer("count", torch.tensor(0))
        self.fixed: Tensor
        self.register_buffer("fixed", torch.ones(2, device="cpu"), persistent=False)


def state() -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {
        "weight": torch.randn(3, 5, generator=rng),
        "halved": torch.randn(4, generator=rng).half(),
        "scalar": torch.tensor(0.25),
        "count": torch.tensor(7),
    }


def net_on_meta() -> Net:
    with skeleton():
        return Net()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    write_safetensors(path, KIND, {"a": 1}, state())
    return path


def mapped(path: Path) -> int:
    """How often a file is mapped into this process."""
    return Path("/proc/self/maps").read_text().count(str(path))


linux = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux' /proc")

# --- recognition -------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_files_are_recognised_by_their_contents(path: Path, tmp_path: Path) -> None:
    assert file_kind(path) == "safetensors"
    torch.save(state(), tmp_path / "a.pkl")
    assert file_kind(tmp_path / "a.pkl") == "torch"
    torch.save(state(), tmp_path / "b.safetensors", _use_new_zipfile_serialization=False)
    assert file_kind(tmp_path / "b.safetensors") == "torch"
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), str(tmp_path / "c.pt"))
    assert file_kind(tmp_path / "c.pt") == "torchscript"
    for protocol in (2, 3, 4, 5):
        (tmp_path / "d.pt").write_bytes(pickle.dumps({"G_ema": 1}, protocol=protocol))
        assert file_kind(tmp_path / "d.pt") == "pickle"


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["a/data.pkl", "a/data/0"], "torch"),
        (["a/data.pkl", "a/constants.pkl"], "torchscript"),
        (["a/data.pkl", "a/code/net.py"], "torchscript"),
        (["constants.pkl", "code", "a/b/constants.pkl", "a/b/code/c"], "torch"),
        ([], "torch"),
    ],
    ids=str,
)
def test_code_in_an_archive_makes_it_torchscript(names: list[str], kind: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        archive.writestr("a/version", "3")
        for name in names:
            archive.writestr(name, "")
    assert file_kind(tmp_path / "x") == kind


@pytest.mark.parametrize(
    "contents",
    [b"", b"\x80", b"\x80\x01}.", b"\x80\x06}.", b"}q\x00.", b"PK\x05\x06" + bytes(18), b"text" * 9],
)
def test_other_contents_than_models_are_refused(contents: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(contents)
    with pytest.raises(CheckpointError, match=r"^The model file .*x (is empty|is neither .*)\.$"):
        file_kind(tmp_path / "x")


def test_missing_and_special_files_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for wrong in (tmp_path / "missing", tmp_path, tmp_path / "pipe", tmp_path / ("x" * 300)):
        with pytest.raises(CheckpointError):
            file_kind(wrong)


def test_an_archive_cut_short_is_left_to_its_reader(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "x")
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes()[:-30])
    assert file_kind(tmp_path / "x") == "torch"
    with pytest.raises(CheckpointError, match="cut short"):
        read_torch(tmp_path / "x")


# --- reading -----------------------------------------------------------------------------------


def test_written_tensors_survive_a_round_trip(path: Path) -> None:
    config, found = read_safetensors(path, KIND)
    assert config == {"a": 1}
    assert found.keys() == state().keys()
    for name, tensor in state().items():
        assert torch.equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype


@linux
def test_tensors_are_mapped_and_changes_to_them_stay_in_memory(path: Path) -> None:
    before = path.read_bytes()
    net = net_on_meta()
    found = read_safetensors(path, KIND)[1]
    addresses = {name: tensor.data_ptr() for name, tensor in found.items()}
    assign_state(net, found, path)
    del found
    assert mapped(path) == 1
    assert {name: tensor.data_ptr() for name, tensor in net.state_dict().items()} == addresses
    with torch.no_grad():
        for tensor in net.state_dict().values():
            tensor += 1
    assert path.read_bytes() == before
    assert torch.equal(net.weight, state()["weight"] + 1)
    del net, tensor
    assert mapped(path) == 0


def test_the_file_may_be_replaced_or_deleted_while_it_is_mapped(path: Path) -> None:
    found = read_safetensors(path, KIND)[1]
    write_safetensors(path, KIND, {}, {name: tensor * 0 for name, tensor in state().items()})
    assert not read_safetensors(path, KIND)[1]["weight"].any()
    path.unlink()
    assert all(torch.equal(found[name], tensor) for name, tensor in state().items())


def test_every_tensor_takes_the_modules_dtype(path: Path) -> None:
    contents = {"weight": state()["weight"].half(), "halved": state()["halved"].float()}
    write_safetensors(path, KIND, {}, state() | contents)
    net = net_on_meta()
    assign_state(net, read_safetensors(path, KIND)[1], path)
    assert (net.weight.dtype, net.halved.dtype, net.count.dtype) == (
        torch.float32,
        torch.float16,
        torch.int64,
    )
    assert torch.equal(net.weight, contents["weight"].float())
    assert torch.equal(net.halved, state()["halved"])
    assert all(parameter.requires_grad for parameter in net.parameters())


@linux
def test_other_peoples_tensors_are_copied(tmp_path: Path) -> None:
    """They may share memory with one another, which must not affect training."""
    one = torch.ones(4)
    torch.save({"a": one, "b": one, "padding": torch.ones(9)}, tmp_path / "x")
    net = nn.ParameterDict({"a": torch.zeros(4), "b": torch.zeros(4)})
    contents = read_torch(tmp_path / "x")
    assert mapped(tmp_path / "x") == 1
    assign_state(net, {name: contents[name] for name in "ab"}, tmp_path / "x")
    del contents
    assert mapped(tmp_path / "x") == 0
    with torch.no_grad():
        net["a"] += 1
    assert torch.equal(net["b"], one)


def blob(header: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps({"__metadata__": {"format": "micromotion/1", "kind": KIND, "config": "{}"}} | header)
    text += " " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text.encode() + data


def test_misaligned_tensors_are_copied(tmp_path: Path) -> None:
    """Such a file is valid, but some processors and libraries cannot compute at such addresses."""
    odd = {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}
    number = {"dtype": "F32", "shape": [2], "data_offsets": [1, 9]}
    data = b"\x07" + torch.tensor([1.5, -2.0]).numpy().tobytes()
    (tmp_path / "x").write_bytes(blob({"odd": odd, "number": number}, data))
    with skeleton():
        net = nn.Module()
        net.register_buffer("odd", torch.zeros(1, dtype=torch.uint8))
        net.register_buffer("number", torch.zeros(2))
    assign_state(net, read_safetensors(tmp_path / "x", KIND)[1], tmp_path / "x")
    assert net.get_buffer("number").tolist() == [1.5, -2.0]
    assert net.get_buffer("number").data_ptr() % 4 == 0


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"1234"),
        ({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"1234"),
        ({"x": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 4]}}, b"1234"),
        ({"x": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
        ({"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"1234"),
        ({"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, b"1234"),
        ({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"12345678"),
        ({"x\n" * 10**4: {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"1234"),
        (
            {
                "x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                "y": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
            },
            b"1234",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_false_headers_are_refused(header: dict[str, Any], data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(blob(header, data))
    with pytest.raises(CheckpointError, match=r"x is a damaged or cut short safetensors file \(.{,200}\)\.$"):
        read_safetensors(tmp_path / "x", KIND)


def test_a_state_that_does_not_fit_leaves_the_module_alone(path: Path) -> None:
    net = Net()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    good = read_safetensors(path, KIND)[1]
    for bad, mention in (
        ({"weight": torch.ones(5, 3)}, r"weight has shape \[5, 3\], not \[3, 5\]\.$"),
        ({"weight": torch.ones(3, 5, dtype=torch.int64)}, r"weight is no plain array"),
        ({"weight": torch.ones(3, 5, device="meta")}, r"weight is no plain array"),
        ({"count": torch.tensor(7.0)}, r"count is no plain array"),
        ({"more": torch.ones(1), "x" * 500: torch.ones(1)}, r"an unexpected more and 1 more\.$"),
        ({"x" * 500: torch.ones(1)}, r"an unexpected x{199}…\.$"),
        ({"a\n\u2028\x1b[2Jb": torch.ones(1)}, r"an unexpected a \[2Jb\.$"),
    ):
        with pytest.raises(CheckpointError, match=mention):
            assign_state(net, good | bad, path)
    with pytest.raises(CheckpointError, match=r"lacks count and 1 more\.$"):
        assign_state(net, {name: good[name] for name in ("weight", "halved")}, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.slow
def test_laying_out_a_model_is_quick_and_draws_nothing() -> None:
    """Torch imports its compiler for most arithmetic on the meta device: seconds, at every start."""
    code = (
        "import sys, torch\n"
        "from stylegan2.checkpoints.storage import skeleton\n"
        "with skeleton():\n"
        "    x = torch.randn(2, 3, generator=torch.Generator('cpu'))\n"
        "    x = 3 * (x / 2)\n"
        "    y = torch.randn((4,), dtype=torch.float16) * 0.5\n"
        "    assert (torch.ones(2, device='cpu') / 2).tolist() == [0.5, 0.5]\n"
        "assert x.is_meta and x.shape == (2, 3), x\n"
        "assert y.is_meta and y.shape == (4,) and y.dtype == torch.float16, y\n"
        "assert torch.randn(1).device.type == 'cpu'\n"
        "from stylegan2 import Generator, GeneratorConfig\n"
        "with skeleton():\n"
        "    generator = Generator(GeneratorConfig(1024)).use_half()\n"
        "assert all(tensor.is_meta for tensor in generator.state_dict().values())\n"
        "assert 'torch._dynamo' not in sys.modules and 'sympy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)


# --- writing -----------------------------------------------------------------------------------


def test_equal_contents_give_equal_bytes(path: Path, tmp_path: Path) -> None:
    shuffled = dict(reversed(state().items()))
    write_safetensors(tmp_path / "other", KIND, {"a": 1}, shuffled)
    assert (tmp_path / "other").read_bytes() == path.read_bytes()
    write_safetensors(tmp_path / "other", KIND, {"b": 2, "a": 1}, shuffled)
    write_safetensors(path, KIND, {"a": 1, "b": 2}, state())
    assert (tmp_path / "other").read_bytes() == path.read_bytes()


def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
    """Every dtype, empty tensors, views and other memory formats; and each tensor is aligned."""
    rng = torch.Generator().manual_seed(1)
    grid = torch.randn(2, 3, 4, 4, generator=rng)
    tensors = {
        "double": grid.double(),
        "bfloat": grid.bfloat16(),
        "half": grid.half()[:, :1],
        "channels last": grid.contiguous(memory_format=torch.channels_last),
        "transposed": grid.transpose(0, 3),
        "expanded": grid[:1].expand(5, -1, -1, -1),
        "stepped": grid[0, 0, 0, ::2],
        "repeated": torch.ones(1).expand(5),
        "none": torch.zeros(0, 3),
        "bytes": torch.arange(3, dtype=torch.uint8),
        "flags": torch.tensor([True, False, True]),
        "long": torch.tensor(-(2**40)),
        "int": torch.tensor([3], dtype=torch.int32),
        "short": torch.tensor([3], dtype=torch.int16),
        "char": torch.tensor([-3], dtype=torch.int8),
        "trained": nn.Parameter(grid),
        "ü \"'\\\n": grid[0, 0],
    }
    write_safetensors(tmp_path / "x", KIND, {}, tensors)
    found = safetensors.torch.load_file(tmp_path / "x")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
        assert found[name].data_ptr() % found[name].itemsize == 0


def test_the_order_of_metadata_and_tensors_does_not_matter(tmp_path: Path) -> None:
    for name, order in (("one", 1), ("other", -1)):
        metadata = {key: key * 3 for key in "zyxabc"[::order]}
        write_tensors(tmp_path / name, metadata, dict(list(state().items())[::order]))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    with safetensors.safe_open(tmp_path / "one", framework="pt") as file:
        assert file.metadata() == {key: key * 3 for key in "abcxyz"}


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """A disk that is full after this many bytes of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 100, 100_000])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(size: int, path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    large = {"weight": torch.ones(200, 500)}
    with disk_of(size), pytest.raises(OSError, match="File too large"):
        write_safetensors(path, KIND, {}, large)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.rglob("*")] == [path.name]


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(file: object) -> None:
        raise KeyboardInterrupt

    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_safetensors(path, KIND, {}, {"weight": torch.ones(3)})
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.rglob("*")] == [path.name]
