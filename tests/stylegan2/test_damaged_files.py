"""Damaged and invalid generator files."""

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import refusals
import torch
from safetensors.torch import load_file, save_file
from stylegan2_files import CONFIG, METADATA, assert_refused, rosinality_state, save_own, save_public
from torch import Tensor

from stylegan2 import load_generator


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return save_own(tmp_path)


@pytest.fixture
def public(tmp_path: Path) -> Path:
    return save_public(tmp_path)


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Write a rosinality checkpoint with changed contents."""

    def write(path: Path) -> None:
        contents: dict[str, Any] = {"g_ema": rosinality_state(), "latent_avg": torch.ones(6)}
        change(contents)
        torch.save(contents, path)

    return write


def compressed(path: Path) -> None:
    torch.save({"g_ema": rosinality_state(), "latent_avg": torch.ones(6)}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


BAD_PUBLIC: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a tensor": (lambda path: torch.save(torch.ones(3), path), "Tensor"),
    "another model": (lambda path: torch.save({"state_dict": {}}, path), "no generator"),
    "average of 18 styles": (edited(lambda c: c.update(latent_avg=torch.ones(18, 6))), "[18, 6]"),
    "no dictionary": (edited(lambda c: c.update(g_ema=[1, 2])), "g_ema"),
    "no tensor": (edited(lambda c: c["g_ema"].update({"input.input": "text"})), "input.input"),
    "numbered names": (edited(lambda c: c["g_ema"].update({7: torch.ones(1)})), "7"),
    "missing": (edited(lambda c: c["g_ema"].pop("convs.2.activate.bias")), "synthesis.convs.3.bias"),
    "missing constant": (edited(lambda c: c["g_ema"].pop("input.input")), "synthesis.constant"),
    "missing mapping": (edited(lambda c: c["g_ema"].pop("style.1.weight")), "mapping.layers.0.weight"),
    "unknown": (edited(lambda c: c["g_ema"].update(extra=torch.ones(1))), "extra"),
    "flat constant": (edited(lambda c: c["g_ema"].update({"input.input": torch.ones(1)})), "dimensions"),
    "wrong shape": (edited(lambda c: c["g_ema"].update({"conv1.noise.weight": torch.ones(2)})), "[2]"),
    "other filter": (
        edited(lambda c: c["g_ema"].update({"to_rgbs.1.upsample.kernel": torch.ones(4, 4)})),
        "filter",
    ),
    "integers": (
        edited(lambda c: c["g_ema"].update({"conv1.noise.weight": torch.ones(1, dtype=torch.int32)})),
        "synthesis.convs.0.noise_strength",
    ),
    "sparse": (
        edited(lambda c: c["g_ema"].update({"conv1.noise.weight": torch.ones(1).to_sparse()})),
        "conv1.noise.weight",
    ),
    "without data": (
        edited(lambda c: c["g_ema"].update({"conv1.noise.weight": torch.ones(1, device="meta")})),
        "conv1.noise.weight",
    ),
    "huge view": (
        edited(lambda c: c["g_ema"].update({"convs.1.conv.weight": torch.ones(1).expand(1, 8000, 7, 3, 3)})),
        "",
    ),
    "endless width": (
        edited(lambda c: c["g_ema"].update({"input.input": torch.ones(1).expand(1, 10**9, 4, 4)})),
        "impossible",
    ),
    "compressed": (compressed, "compressed"),
}


# --- bad PyTorch files ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize(("write", "mention"), BAD_PUBLIC.values(), ids=BAD_PUBLIC.keys())
def test_bad_pytorch_files_are_refused(write: Callable[[Path], Any], mention: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.pt"
    write(path)
    assert_refused(path, mention)


def test_views_that_claim_more_than_the_file_holds_are_refused(tmp_path: Path) -> None:
    """Every shape fits, but 2 MB of numbers are one repeated number."""
    state = rosinality_state()
    for i, (out, width) in enumerate(((256, 5), (256, 256), (3, 256))):
        one = torch.ones(1)
        state[f"convs.{i}.conv.weight"] = one.expand(1, out, width, 3, 3)
        state[f"convs.{i}.conv.modulation.weight"] = one.expand(width, 6)
        state[f"convs.{i}.conv.modulation.bias"] = one.expand(width)
        state[f"convs.{i}.activate.bias"] = one.expand(out)
    state["to_rgbs.0.conv.weight"] = one.expand(1, 3, 256, 1, 1)
    state["to_rgbs.0.conv.modulation.weight"] = one.expand(256, 6)
    state["to_rgbs.0.conv.modulation.bias"] = one.expand(256)
    torch.save({"g_ema": state, "latent_avg": torch.ones(6)}, tmp_path / "views.pt")
    assert_refused(tmp_path / "views.pt", "more numbers than the file holds")


class Bomb:
    """Creates a folder when Python unpickles it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("how", ["zip", "legacy", "plain pickle"])
def test_a_malicious_pickle_executes_nothing(how: str, tmp_path: Path) -> None:
    path, trace = tmp_path / "bad.pt", tmp_path / "trace"
    contents = {"g_ema": rosinality_state(), "latent_avg": Bomb(trace)}
    if how == "plain pickle":
        path.write_bytes(pickle.dumps(contents))
    else:
        torch.save(contents, path, _use_new_zipfile_serialization=how == "zip")
    assert_refused(path)
    assert not trace.exists()


# --- damaged and foreign files ----------------------------------------------------------------------------


def test_files_that_are_not_checkpoints_are_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "missing.safetensors", "no model file")
    assert_refused(tmp_path, "folder")
    assert_refused(tmp_path / ("long" * 200))
    path = tmp_path / "file.safetensors"
    rng = np.random.default_rng(0)
    for contents in (
        b"",
        b"x",
        b"This is a text, not a model.\n",
        bytes(1000),
        rng.bytes(1000),
        b"PK\x03\x04" + rng.bytes(500),
        b"\xff" * 8 + b"{",  # a header of 2^64 bytes
        (10**7).to_bytes(8, "little") + b"{" * 200,
        (200).to_bytes(8, "little") + b"{" * 200,
    ):
        path.write_bytes(contents)
        assert_refused(path)


@pytest.mark.parametrize("kept", [9, 100, 3000, -1], ids=str)
@pytest.mark.parametrize("which", ["own", "public", "legacy"])
def test_truncated_files_are_refused(which: str, kept: int, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue("public" if which == "legacy" else which)
    if which == "legacy":
        torch.save(torch.load(path), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:kept])
    assert_refused(path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("which", ["own", "public"])
def test_flipped_bytes_are_refused_or_harmless(which: str, request: pytest.FixtureRequest) -> None:
    """Whatever is wrong inside, only CheckpointError is raised."""
    path: Path = request.getfixturevalue(which)
    size = 6000 if which == "own" else path.stat().st_size
    assert refusals.count_of_flipped(load_generator, path, [(0, size)] * 150) > 10


def without(name: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda state: state.pop(name)


def with_(name: str, tensor: Tensor) -> Callable[[dict[str, Tensor]], object]:
    return lambda state: state.update({name: tensor})


@pytest.mark.parametrize(
    ("change", "mention"),
    [
        (without("latent_avg"), "lacks latent_avg"),
        (lambda state: (state.pop("latent_avg"), state.pop("synthesis.noise_1")), "and 1 more"),
        (with_("taps", torch.ones(4)), "unexpected taps"),
        (with_("latent_avg", torch.ones(7)), "shape [7], not [6]"),
        (with_("latent_avg", torch.ones(6, dtype=torch.int64)), "latent_avg is no"),
    ],
)
def test_contents_that_do_not_fit_are_refused(
    own: Path, change: Callable[[dict[str, Tensor]], object], mention: str
) -> None:
    state = load_file(own)
    change(state)
    save_file(state, own, METADATA)
    assert_refused(own, mention)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        METADATA | {"format": "other/1"},
        METADATA | {"kind": "e4e"},
        {"format": "micromotion/1", "kind": "stylegan2"},
        METADATA | {"config": "{"},
        METADATA | {"config": "[" * 100_000},
        METADATA | {"config": "[]"},
        METADATA | {"config": "{}"},
        METADATA | {"config": json.dumps(CONFIG.to_dict() | {"resolution": 2**40})},
        METADATA | {"config": json.dumps(CONFIG.to_dict() | {"resolution": "16"})},
        METADATA | {"config": json.dumps(CONFIG.to_dict() | {"mapping_layers": 10**12})},
        METADATA | {"config": json.dumps(CONFIG.to_dict() | {"unknown": 1})},
        METADATA | {"config": json.dumps(CONFIG.to_dict() | {"un\nknown" * 1000: 1})},
        METADATA | {"config": json.dumps(CONFIG.to_dict() | {"resolution": "16\n" * 1000})},
        METADATA | {"config": json.dumps(CONFIG.to_dict() | {"channels": [5, 7, 3]})},
        METADATA | {"config": json.dumps(CONFIG.to_dict() | {"channels": {"four": 5}})},
        METADATA | {"config": json.dumps(CONFIG.to_dict() | {"channels": {"4": 5, "8": 7, "16": 10**9}})},
    ],
    ids=lambda metadata: str(metadata)[-60:],
)
def test_bad_metadata_is_refused(own: Path, metadata: dict[str, str] | None) -> None:
    save_file(load_file(own), own, metadata)
    assert_refused(own)
