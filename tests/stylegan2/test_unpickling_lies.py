"""Tensors and archives that claim more than they hold, and files that are damaged, are refused."""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile_pickles
import numpy as np
import pytest
import torch
from hostile_pickles import called, data, named, text
from pickles import LAYOUT, QUIET, READERS, Network, aligned, assert_refused, write
from refusals import assert_sentence

from stylegan2 import CheckpointError
from stylegan2.checkpoints.unpickling import read_pickle, read_torchscript

pytestmark = QUIET


def storage(count: int = 6, **changes: Any) -> bytes:
    """The instructions for a storage of float32 numbers as PyTorch pickles it, with changed parts."""
    parts: dict[str, Any] = {
        "info": {"little_endian": True},
        "kind": torch.FloatStorage,
        "claimed": count,
        "stored": count,
    }
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


# --- tensors that lie -------------------------------------------------------------------------------------


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
def test_false_storages_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    assert_refused(write(tmp_path / "file", rebuilt(storage(**changes))))


@pytest.mark.parametrize("inner", [b"N", text("PK"), data(b""), data(b"PK\x03\x04"), data(b"x" * 100), b"}"])
def test_invalid_storages_are_refused(inner: bytes, tmp_path: Path) -> None:
    assert_refused(
        write(tmp_path / "file", rebuilt(called(named("torch.storage", "_load_from_bytes"), inner)))
    )
    assert_refused(write(tmp_path / "file", rebuilt(inner)))
    assert_refused(write(tmp_path / "file", called(named("torch._utils", "_rebuild_parameter"), inner)))


# --- archives that lie ------------------------------------------------------------------------------------


def archive(
    path: Path, change: Callable[[dict[str, bytes]], object] = lambda parts: None, **how: Any
) -> Path:
    """Write a TorchScript archive with Python's zip library, with changed entries."""
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


@pytest.mark.slow
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
def test_false_archives_are_refused(change: Callable[[dict[str, bytes]], object], tmp_path: Path) -> None:
    assert_refused(archive(tmp_path / "model.pt", change), read=read_torchscript)


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "model.pt", compression=zipfile.ZIP_DEFLATED)
    assert_refused(path, "compressed", read=read_torchscript)


def test_archives_with_overlapping_parts_are_refused(tmp_path: Path) -> None:
    """Twenty entries that all point at the same data: an archive whose contents exceed its size."""
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


# --- damaged files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", READERS)
def test_truncated_files_are_refused(form: str, good: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "cut"
    whole = good[form]
    for kept in sorted({*range(0, len(whole), max(1, len(whole) // 100)), len(whole) - 1}):
        path.write_bytes(whole[:kept])
        assert_refused(path, read=READERS[form])


@pytest.mark.slow
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


def test_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for read in READERS.values():
        assert_refused(tmp_path / "missing", "cannot be opened", read=read)
        assert_refused(tmp_path, "cannot be opened", read=read)
        assert_refused(tmp_path / "empty", "empty", read=read)
