"""Ready-made directions: the original authors' `d_latent` files, and our own files."""

import builtins
import io
import json
import marshal
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from micromotion.errors import MotionError, OutputError
from micromotion.motion.anchors import Anchors, Provenance
from micromotion.motion.directions import (
    MAX_PUBLISHED_BYTES,
    full_motion,
    read_direction,
    read_published,
    save_direction,
)
from micromotion.motion.playable import load_motion
from micromotion.motion.recipe import find_recipes
from stylegan2.checkpoints.storage import FORMAT

STYLES, DIM = 18, 512


def published_tensor(seed: int = 0) -> Tensor:
    """A tensor like the published ones: [1, styles, dim], small values."""
    return 0.02 * torch.randn(1, STYLES, DIM, generator=torch.Generator().manual_seed(seed))


def saved(path: Path, contents: object) -> Path:
    torch.save(contents, path)
    return path


def rewritten(path: Path, change: Callable[[str, bytes], bytes], compress: int = zipfile.ZIP_STORED) -> Path:
    """Rewrite a zip file with its entries changed."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compress) as archive:
        for name, data in parts.items():
            archive.writestr(name, change(name, data))
    return path


def with_pickle(path: Path, stream: bytes) -> Path:
    """A d_latent file with another pickle in it."""
    saved(path, published_tensor())
    return rewritten(path, lambda name, data: stream if name.endswith("data.pkl") else data)


def refused(path: Path, words: str, read: Callable[[Path], Any] = load_motion) -> None:
    with pytest.raises(MotionError, match=words) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


# --- the original's arithmetic ------------------------------------------------------------------------------


def test_a_hundred_frames_are_the_originals_video(tmp_path: Path) -> None:
    """main.py: w0 + i/100 · 5 · d for i = 0 … 99; here the offsets, in float64."""
    d = published_tensor()
    motion = load_motion(saved(tmp_path / "d_latent", d))
    ours = torch.stack(list(motion.path(1.0, frames=100))).double()
    originals = torch.stack([i / 100 * 5 * d[0].double() for i in range(100)])
    torch.testing.assert_close(ours, originals, rtol=3e-7, atol=0)


def test_the_full_motion_is_the_last_frame_at_any_scale() -> None:
    d = published_tensor()
    torch.testing.assert_close(full_motion(d).double(), 99 / 100 * 5 * d.double(), rtol=1e-7, atol=0)
    torch.testing.assert_close(full_motion(d, 8.0).double(), 99 / 100 * 8 * d.double(), rtol=1e-7, atol=0)
    assert full_motion(d).shape == d.shape
    with pytest.raises(MotionError, match="scale 5 is beyond"):
        full_motion(torch.full((1, 2), 3e38))


def test_a_converted_file_plays_bit_identically(tmp_path: Path) -> None:
    """With each shipped recipe, whose scale is the original's."""
    source = saved(tmp_path / "d_latent", published_tensor())
    for name, recipe in find_recipes("ffhq").items():
        target = tmp_path / f"{name}.safetensors"
        about = recipe.provenance("https://example.org/d_latent", "MIT")
        save_direction(full_motion(read_published(source), recipe.scale), target, about)
        assert read_direction(target)[1] == about
        motion = load_motion(target)
        assert motion.name == name
        assert torch.equal(motion.direction, load_motion(source).direction)


# --- d_latent files as they come ----------------------------------------------------------------------------


def test_tensors_are_read_however_they_were_saved(tmp_path: Path) -> None:
    """On a GPU, with requires_grad, as a parameter, without the leading axis, as a view of more."""
    d = published_tensor()
    on_gpu = saved(tmp_path / "on_gpu", d.clone().requires_grad_())
    rewritten(on_gpu, lambda _, data: data.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"))
    with zipfile.ZipFile(on_gpu) as archive:
        assert b"cuda:0" in archive.read("on_gpu/data.pkl")
    files = [
        on_gpu,
        saved(tmp_path / "parameter", torch.nn.Parameter(d)),
        saved(tmp_path / "bare", d[0]),
        saved(tmp_path / "view", torch.cat([d + 1, d])[1:]),
        saved(tmp_path / "turned", d[0].T.contiguous().T),
    ]
    for path in files:
        read = read_published(path)
        path.write_bytes(b"")  # the file's contents are gone
        assert torch.equal(read, d[0])
        assert read.is_contiguous()
        assert not read.requires_grad
        assert type(read) is Tensor


def test_the_format_is_detected_from_contents_not_names(tmp_path: Path) -> None:
    d = published_tensor()
    saved(tmp_path / "smile.safetensors", d)
    save_direction(d[0], tmp_path / "smile.pt", {})
    codes = torch.stack([torch.zeros(STYLES, DIM), d[0]])
    Anchors(codes, torch.tensor([0.0, 1.0])).save(tmp_path / "smile.pkl")
    assert torch.equal(load_motion(tmp_path / "smile.safetensors").direction, full_motion(d[0]))
    assert torch.equal(load_motion(tmp_path / "smile.pt").direction, d[0])
    torch.testing.assert_close(load_motion(tmp_path / "smile.pkl").direction, d[0], rtol=1e-3, atol=1e-4)
    assert {load_motion(path).name for path in tmp_path.iterdir()} == {"smile"}


BAD_CONTENTS = {
    "NaN": (torch.full((1, 2, 3), torch.nan), "NaN or infinity"),
    "infinity": (torch.full((1, 2, 3), torch.inf), "NaN or infinity"),
    "two of them": (torch.ones(2, 2, 3), r"must be \[styles, dim\], not \[2, 2, 3\]"),
    "one axis": (torch.ones(512), r"not \[512\]"),
    "no axis": (torch.tensor(1.0), r"not \[\]"),
    "empty": (torch.ones(1, 0, 512), r"not \[0, 512\]"),
    "float64": (torch.ones(1, 2, 3).double(), "one float32 tensor"),
    "float16": (torch.ones(1, 2, 3).half(), "one float32 tensor"),
    "whole numbers": (torch.ones(1, 2, 3).int(), "one float32 tensor"),
    "sparse": (torch.eye(3).to_sparse(), "one float32 tensor|cannot be read"),
    "nowhere": (torch.ones(1, 2, 3, device="meta"), "one float32 tensor|cannot be read"),
    "a dictionary": ({"d": torch.ones(1, 2, 3)}, "one float32 tensor"),
    "a list": ([torch.ones(1, 2, 3)], "one float32 tensor"),
    "words": ("smile", "one float32 tensor"),
    "a boast": (torch.ones(1, 1, 1).expand(1, 2**20, 2**20), "claims more data"),
}


@pytest.mark.parametrize(("contents", "words"), BAD_CONTENTS.values(), ids=BAD_CONTENTS.keys())
def test_other_contents_are_refused(contents: object, words: str, tmp_path: Path) -> None:
    refused(saved(tmp_path / "d_latent", contents), words)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    good = saved(tmp_path / "good", published_tensor()).read_bytes()
    path = tmp_path / "d_latent"
    for end in (4, 30, 100, 500, 20_000, len(good) - 200, len(good) - 1):
        path.write_bytes(good[:end])
        refused(path, "cannot be read")
    path.write_bytes(b"PK\x03\x04" + bytes(1000))
    refused(path, "cannot be read")
    zipfile.ZipFile(path, "w").close()
    refused(path, "cannot be read")


def test_a_truncated_tensor_does_not_read_neighbouring_data(tmp_path: Path) -> None:
    path = saved(tmp_path / "d_latent", published_tensor())
    rewritten(path, lambda name, data: data[:4096] if name.endswith("data/0") else data)
    refused(path, "damaged")


def test_sizes_are_checked_before_allocation(tmp_path: Path) -> None:
    bomb = rewritten(
        saved(tmp_path / "bomb", torch.zeros(1, STYLES, DIM)), lambda _, data: data, zipfile.ZIP_DEFLATED
    )
    refused(bomb, "compressed archive")
    large = saved(tmp_path / "large", torch.zeros(1, MAX_PUBLISHED_BYTES // 4, 1))
    refused(large, "larger than 1 MB")


def test_the_format_before_torch_1_6_is_read(tmp_path: Path) -> None:
    path, d = tmp_path / "d_latent", published_tensor()
    torch.save(d, path, _use_new_zipfile_serialization=False)
    assert torch.equal(read_published(path), d[0])
    path.write_bytes(path.read_bytes()[:-1])
    refused(path, "cannot be read")


# --- malicious pickles --------------------------------------------------------------------------------------


class Reduced:
    """Pickles as a call of any function."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call

    def __call__(self) -> None:
        """Never called; it only makes the object callable, as the function of another call must be."""


def wicked(marker: Path) -> dict[str, bytes]:
    """Pickle streams that would create a file if they were executed."""
    code = compile(f"open({str(marker)!r}, 'w')", "x", "exec")
    command = f"touch {marker}"
    nested = b"\x80\x04\x8c\x05posix\x8c\x0dsystem.__call\x93."  # a dotted name of protocol 4
    return {
        "os.system": pickle.dumps(Reduced(os.system, command), 2),
        "os.system, protocol 4": pickle.dumps(Reduced(os.system, command), 4),
        "eval": pickle.dumps(Reduced(eval, f"open({str(marker)!r}, 'w')"), 2),
        "exec of a code object": pickle.dumps(
            Reduced(exec, Reduced(marshal.loads, marshal.dumps(code)), {}), 2
        ),
        "a function made of code": pickle.dumps(
            Reduced(
                Reduced(
                    Reduced(getattr, Reduced(__import__, "types"), "FunctionType"),
                    Reduced(marshal.loads, marshal.dumps(code)),
                    {},
                )
            ),
            2,
        ),
        "getattr of a getattr": pickle.dumps(
            Reduced(Reduced(getattr, Reduced(__import__, "os"), "system"), command), 2
        ),
        "a nested global": nested,
        "inside an allowed container": pickle.dumps({"a": [(Reduced(os.system, command),)]}, 2),
        "INST": b"(S'" + command.encode() + b"'\nios\nsystem\n.",
        "an allowed module's other name": b"ctorch.serialization\nos.system\n(S'"
        + command.encode()
        + b"'\ntR.",
        "torch.load once more": b"ctorch\nload\n(S'/dev/null'\ntR.",
        "memory without end": b"\x80\x02" + b"(" * 100_000 + b".",
    }


@pytest.mark.parametrize("name", wicked(Path("x")).keys())
def test_malicious_pickles_are_refused_and_nothing_runs(name: str, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    stream = wicked(marker)[name]
    refused(with_pickle(tmp_path / "d_latent", stream), "published direction")
    bare = tmp_path / "bare"
    bare.write_bytes(stream)
    refused(bare, "cannot be read as a micromotion")
    assert not marker.exists()


def test_the_malicious_pickles_would_work(tmp_path: Path) -> None:
    """Executed by Python's unpickler; otherwise the test above proves nothing."""
    worked = set()
    for name, stream in wicked(tmp_path / "executed").items():
        marker = tmp_path / "executed"
        marker.unlink(missing_ok=True)
        try:
            pickle.Unpickler(io.BytesIO(stream)).load()
        except Exception:
            continue
        if marker.exists():
            worked.add(name)
    assert worked >= {"os.system", "eval", "exec of a code object", "INST", "getattr of a getattr"}
    assert builtins.eval is eval


# --- our own files of directions ----------------------------------------------------------------------------


def test_a_direction_survives_a_round_trip(tmp_path: Path) -> None:
    path, d = tmp_path / "smile.safetensors", published_tensor()[0]
    about: Provenance = {"source": "https://example.org", "scale": 5.0, "Höhe": 3}
    save_direction(d.double().requires_grad_(), path, about)
    read, provenance = read_direction(path)
    assert torch.equal(read, d)
    assert provenance == about
    assert [item.name for item in tmp_path.iterdir()] == ["smile.safetensors"]
    first = path.read_bytes()
    save_direction(d, path, dict(reversed(about.items())))
    assert path.read_bytes() == first
    assert torch.equal(load_motion(path).direction, d)


def test_impossible_directions_are_not_saved(tmp_path: Path) -> None:
    path = tmp_path / "smile.safetensors"
    for direction, words in (
        (torch.ones(3), "must be"),
        (torch.ones(1, 3, 4), "must be"),
        (torch.ones(0, 4), "must be"),
        (torch.full((2, 2), torch.nan), "NaN"),
        (torch.full((2, 2), 1e300, dtype=torch.float64), "NaN or infinity"),
    ):
        with pytest.raises(MotionError, match=words):
            save_direction(direction, path, {})
    with pytest.raises(MotionError, match="provenance"):
        save_direction(torch.ones(2, 2), path, {"degrees": [1, 2]})  # type: ignore[dict-item]  # wrong on purpose
    with pytest.raises(OutputError, match="cannot be written"):
        save_direction(torch.ones(2, 2), tmp_path / "nowhere" / "smile.safetensors", {})
    assert list(tmp_path.iterdir()) == []


GOOD = {"format": FORMAT, "kind": "direction", "provenance": "{}"}
BAD_FILES = {
    "no metadata": ({"direction": torch.ones(2, 3)}, None, "does not say"),
    "another kind": ({"direction": torch.ones(2, 3)}, GOOD | {"kind": "generator"}, "does not say"),
    "anchors by name": ({"direction": torch.ones(2, 3)}, GOOD | {"kind": "anchors"}, "must contain degrees"),
    "another format": ({"direction": torch.ones(2, 3)}, GOOD | {"format": "micromotion/2"}, "does not say"),
    "another name": ({"d": torch.ones(2, 3)}, GOOD, "must contain direction"),
    "one more": ({"direction": torch.ones(2, 3), "d": torch.ones(1)}, GOOD, "nothing else"),
    "float64": ({"direction": torch.ones(2, 3).double()}, GOOD, "must be float32"),
    "one in front": ({"direction": torch.ones(1, 2, 3)}, GOOD, r"not \[1, 2, 3\]"),
    "empty": ({"direction": torch.ones(0, 3)}, GOOD, r"not \[0, 3\]"),
    "NaN": ({"direction": torch.full((2, 3), torch.nan)}, GOOD, "NaN"),
    "provenance": ({"direction": torch.ones(2, 3)}, GOOD | {"provenance": "[]"}, "must map names"),
}


@pytest.mark.parametrize(("tensors", "metadata", "words"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_files_of_something_else_are_refused(
    tensors: dict[str, Tensor], metadata: dict[str, str] | None, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "smile.safetensors"
    safetensors.torch.save_file(tensors, path, metadata)
    refused(path, words)


def test_a_header_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": [2**30, 512], "data_offsets": [0, 2**41]}
    header = json.dumps({"__metadata__": GOOD, "direction": entry}).encode()
    path = tmp_path / "smile.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(100))
    refused(path, "cannot be read as a micromotion")
