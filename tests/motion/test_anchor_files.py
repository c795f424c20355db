import json
import stat
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from draws import normal
from torch import Tensor

from micromotion.errors import MotionError, OutputError
from micromotion.motion.anchors import KIND, Anchors, Provenance
from micromotion.motion.files import MAX_BYTES
from micromotion.motion.playable import load_motion
from stylegan2.checkpoints.storage import FORMAT

STYLES, DIM = 4, 64
DEGREES = torch.linspace(0, 1, 11)


def good_tensors() -> dict[str, Any]:
    return {"w_plus": normal(11, STYLES, DIM), "degrees": DEGREES.clone()}


def good_metadata(**changes: str) -> dict[str, str]:
    return {"format": FORMAT, "kind": KIND, "provenance": "{}"} | changes


def write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None) -> Path:
    safetensors.torch.save_file(tensors, path, metadata)
    return path


def test_anchors_survive_a_round_trip(tmp_path: Path) -> None:
    about: Provenance = {"bundle": "avatar", "motion": "Lächeln", "seed": 7, "loss": 0.25}
    saved = Anchors(**good_tensors(), provenance=about)
    saved.save(tmp_path / "smile.safetensors")
    loaded = Anchors.load(str(tmp_path / "smile.safetensors"))
    assert torch.equal(loaded.w_plus, saved.w_plus)
    assert torch.equal(loaded.degrees, saved.degrees)
    assert loaded.provenance == about
    assert [path.name for path in tmp_path.iterdir()] == ["smile.safetensors"]
    assert stat.S_IMODE((tmp_path / "smile.safetensors").stat().st_mode) & 0o444
    safetensors.torch.load_file(tmp_path / "smile.safetensors")


def test_equal_anchors_give_equal_bytes(tmp_path: Path) -> None:
    about = {"a": 1, "b": 2}
    for index in range(8):
        Anchors(**good_tensors(), provenance=dict(sorted(about.items(), reverse=index % 2 == 0))).save(
            tmp_path / f"{index}.safetensors"
        )
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_the_loaded_anchors_outlive_their_file(tmp_path: Path) -> None:
    path = write(tmp_path / "smile.safetensors", good_tensors(), good_metadata())
    anchors = Anchors.load(path)
    path.write_bytes(b"")
    assert torch.equal(anchors.w_plus, good_tensors()["w_plus"])


def test_saving_replaces_or_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "smile.safetensors"
    path.write_text("old")
    Anchors(**good_tensors()).save(path)
    Anchors.load(path)
    with pytest.raises(OutputError, match="cannot be written to"):
        Anchors(**good_tensors()).save(tmp_path / "nowhere" / "smile.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(OutputError, match="cannot be written to"):
        Anchors(**good_tensors()).save(tmp_path / "folder.safetensors")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["folder.safetensors", "smile.safetensors"]


def test_anchors_are_stored_as_float32(tmp_path: Path) -> None:
    half = Anchors(good_tensors()["w_plus"].double(), torch.arange(11))
    assert half.w_plus.dtype == half.degrees.dtype == torch.float32
    half.save(tmp_path / "smile.safetensors")
    Anchors.load(tmp_path / "smile.safetensors")


BAD_TENSORS = {
    "not increasing": ({"degrees": DEGREES.flip(0)}, "must increase"),
    "a degree twice": ({"degrees": DEGREES.round()}, "must increase"),
    "NaN degree": ({"degrees": DEGREES / 0}, "degrees contains NaN"),
    "NaN code": ({"w_plus": torch.full((11, STYLES, DIM), torch.nan)}, "w_plus contains NaN"),
    "infinite code": (
        {"w_plus": torch.full((11, STYLES, DIM), torch.inf)},
        "w_plus contains NaN or infinity",
    ),
    "one anchor": ({"w_plus": torch.ones(1, STYLES, DIM), "degrees": torch.zeros(1)}, "2 to 128 anchors"),
    "no anchor": ({"w_plus": torch.ones(0, STYLES, DIM), "degrees": torch.zeros(0)}, "2 to 128 anchors"),
    "too many": ({"w_plus": torch.ones(500, 1, 1), "degrees": torch.arange(500.0)}, "these are 500"),
    "no styles": ({"w_plus": torch.ones(11, 0, DIM)}, "need w_plus"),
    "no styles axis": ({"w_plus": torch.ones(11, DIM)}, "need w_plus"),
    "scalar degrees": ({"degrees": torch.tensor(1.0)}, "need w_plus"),
    "other lengths": ({"degrees": DEGREES[:5].clone()}, r"\[11, 4, 64\] and \[5\]"),
}


@pytest.mark.parametrize(("changes", "words"), BAD_TENSORS.values(), ids=BAD_TENSORS.keys())
def test_impossible_anchors_are_refused(changes: dict[str, Tensor], words: str, tmp_path: Path) -> None:
    """In memory, and from a file, whose name the error then contains."""
    with pytest.raises(MotionError, match=words):
        Anchors(**(good_tensors() | changes))
    path = write(tmp_path / "smile.safetensors", good_tensors() | changes, good_metadata())
    with pytest.raises(MotionError, match=words) as caught:
        Anchors.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


BAD_FILES = {
    "no metadata": (good_tensors(), None, "does not say"),
    "another kind": (good_tensors(), good_metadata(kind="stylegan2"), "does not say"),
    "another format": (good_tensors(), good_metadata(format="micromotion/2"), "does not say"),
    "a tensor missing": ({"w_plus": good_tensors()["w_plus"]}, good_metadata(), "and nothing else"),
    "a tensor more": (good_tensors() | {"more": torch.ones(1)}, good_metadata(), "and nothing else"),
    "float64": (
        {name: tensor.double() for name, tensor in good_tensors().items()},
        good_metadata(),
        "must be float32",
    ),
    "provenance no JSON": (good_tensors(), good_metadata(provenance="{"), "not valid JSON"),
    "provenance too deep": (good_tensors(), good_metadata(provenance="[" * 10**5), "not valid JSON"),
    "provenance a list": (good_tensors(), good_metadata(provenance="[1]"), "must map names"),
    "provenance nested": (good_tensors(), good_metadata(provenance='{"a": {}}'), "must map names"),
    "provenance NaN": (good_tensors(), good_metadata(provenance='{"a": NaN}'), "must map names"),
}


@pytest.mark.parametrize(("tensors", "metadata", "words"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_file_of_something_else_is_refused(
    tensors: dict[str, Tensor], metadata: dict[str, str] | None, words: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "smile.safetensors", tensors, metadata)
    with pytest.raises(MotionError, match=words) as caught:
        load_motion(path)
    assert str(path) in str(caught.value)


def test_files_that_are_not_anchors_are_refused(tmp_path: Path) -> None:
    good = write(tmp_path / "good.safetensors", good_tensors(), good_metadata()).read_bytes()
    path = tmp_path / "smile.safetensors"
    for content in (b"", b"GIF89a", b"x" * 1000, good[:4], good[:100], good[:-1], good + b"more"):
        path.write_bytes(content)
        with pytest.raises(MotionError, match=r"smile\.safetensors cannot be read as a micromotion"):
            load_motion(path)
    with pytest.raises(MotionError, match="does not exist"):
        load_motion(tmp_path / "missing.safetensors")
    with pytest.raises(MotionError, match="not accessible"):
        load_motion(tmp_path / ("long" * 999))
    with pytest.raises(MotionError, match="a folder or a device"):
        load_motion(tmp_path)
    with pytest.raises(MotionError, match="a folder or a device"):
        load_motion("/dev/zero")


def test_absurd_sizes_are_refused_before_allocation(tmp_path: Path) -> None:
    huge = tmp_path / "huge.safetensors"
    with huge.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(MotionError, match="larger than 32 MB"):
        load_motion(huge)
    header = {
        "__metadata__": good_metadata(),
        "w_plus": {"dtype": "F32", "shape": [2**30, 18, 512], "data_offsets": [0, 2**30 * 18 * 512 * 4]},
        "degrees": {"dtype": "F32", "shape": [2**30], "data_offsets": [0, 2**32]},
    }
    text = json.dumps(header).encode()
    boastful = tmp_path / "boastful.safetensors"
    boastful.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(MotionError, match="cannot be read as a micromotion"):
        load_motion(boastful)


def test_a_pickle_is_not_executed(tmp_path: Path) -> None:
    class Mischief:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "executed",))

    path = tmp_path / "smile.safetensors"
    torch.save({"w_plus": Mischief()}, path)
    with pytest.raises(MotionError, match="cannot be read"):
        load_motion(path)
    assert not (tmp_path / "executed").exists()
