"""Hostile repositories: nothing of them is executed, written elsewhere or loaded; one sentence says why."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from faulty_downloads import assert_sentence
from hub_server import HubServer, Repository, bundle_files

from micromotion.errors import BundleError
from micromotion.weights import hub as hub_bundles
from micromotion.weights.bundle import find_bundle, load_bundle
from micromotion.weights.hub import MAX_FILE_BYTES, MAX_FILES, recorded_parts

NAME = "me/random"
GENERATOR = "generator.safetensors"
ZEROS = "0" * 64


@pytest.fixture
def files(random_bundle: Path) -> dict[str, bytes]:
    """The files of a good repository."""
    return bundle_files(random_bundle)


def refusal(hub: HubServer, files: dict[str, bytes]) -> str:
    """The sentence that refuses a repository with these files; nothing but the library's cache is written."""
    hub.repositories[NAME] = Repository(files)
    with pytest.raises(BundleError) as caught:
        find_bundle(f"hf://{NAME}")
    assert_sentence(re.sub(r"\.(safetensors|json)", "", str(caught.value)))
    assert len(str(caught.value)) < 400
    return str(caught.value)


def rewritten(files: dict[str, bytes], change: Callable[[dict[str, Any]], object]) -> dict[str, bytes]:
    """The files with a changed bundle.json."""
    about = json.loads(files["bundle.json"])
    change(about)
    return files | {"bundle.json": json.dumps(about).encode()}


def replaced(files: dict[str, bytes], part: str, content: bytes) -> dict[str, bytes]:
    """The files with another part, rightly recorded."""
    entry = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return rewritten(files | {part: content}, lambda about: about["files"].update({part: entry}))


class Bomb:
    """Runs on unpickling."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("the pickle was executed",)


def pickled(path: Path) -> bytes:
    torch.save({"g_ema": Bomb()}, path)
    return path.read_bytes()


@pytest.mark.parametrize(
    "content",
    [b"\x80\x04cposix\nsystem\n", b"", b"../../../etc/passwd", b"#!/bin/sh\n", b"\0" * 100],
    ids=["pickle", "empty", "the target of a link", "script", "zeros"],
)
def test_a_part_that_is_no_safetensors(hub: HubServer, files: dict[str, bytes], content: bytes) -> None:
    said = refusal(hub, replaced(files, GENERATOR, content))
    assert "is not a safetensors file" in said or "records no size" in said


def test_a_checkpoint_of_pytorch_by_the_name_of_a_safetensors(
    hub: HubServer, files: dict[str, bytes], tmp_path: Path
) -> None:
    said = refusal(hub, replaced(files, GENERATOR, pickled(tmp_path / "bomb.pt")))
    assert f"{GENERATOR} of {NAME} at " in said
    assert "is not a safetensors file: it is not used" in said


@pytest.mark.parametrize("length", [9, 100, -1], ids=["header only", "in the header", "last byte"])
def test_a_safetensors_that_is_cut_short(hub: HubServer, files: dict[str, bytes], length: int) -> None:
    said = refusal(hub, replaced(files, GENERATOR, files[GENERATOR][:length]))
    assert "is damaged or cut short" in said


def test_a_header_that_claims_a_terabyte(hub: HubServer, files: dict[str, bytes]) -> None:
    content = (1 << 40).to_bytes(8, "little") + b"{" + files[GENERATOR][9:]
    assert "is damaged or cut short" in refusal(hub, replaced(files, GENERATOR, content))


@pytest.mark.parametrize(
    "part",
    [
        "../../evil.safetensors", "/etc/evil.safetensors", "anchors/../../evil.safetensors",
        "a\\b.safetensors", ".hidden.safetensors", "anchors/deep/x.safetensors", "other/x.safetensors",
        "model.pkl", "model.pt", "bundle.json", "code.py", "anchors", "", "x.safetensors\0",
        "x.safetensors\n",
    ],
)  # fmt: skip
def test_a_record_that_names_anything_else(hub: HubServer, files: dict[str, bytes], part: str) -> None:
    entry = {"bytes": 5, "sha256": ZEROS}
    said = refusal(hub, rewritten(files, lambda about: about["files"].update({part: entry})))
    assert "only safetensors of the model and in anchors/ are taken" in said
    assert not [line for line in hub.asked_for if "bundle.json" not in line]


def test_other_bytes_than_recorded(hub: HubServer, files: dict[str, bytes]) -> None:
    other = files[GENERATOR][:-1] + b"\x7f"
    said = refusal(hub, files | {GENERATOR: other})
    assert "does not match the SHA-256 in its bundle.json: try again" in said


def test_another_length_than_recorded(hub: HubServer, files: dict[str, bytes]) -> None:
    said = refusal(hub, files | {GENERATOR: files[GENERATOR] + b"more"})
    size = len(files[GENERATOR])
    assert f"has {size + 4} bytes, not the {size} that are recorded for it" in said
    assert f"GET /{NAME}" not in " ".join(line for line in hub.asked_for if GENERATOR in line)


def test_bytes_that_changed_on_the_way_are_fetched_again(hub: HubServer, files: dict[str, bytes]) -> None:
    for part, of in ((GENERATOR, "the SHA-256 in its bundle.json"), ("bundle.json", "the hub's hash of it")):
        hub.lie(part, lambda content: content[:-1] + b"?")
        assert f"does not match {of}" in refusal(hub, files)
        hub.lies.clear()
        assert find_bundle(f"hf://{NAME}").name == "random"
        hub.repositories[NAME].commit({"bundle.json": files["bundle.json"] + b" "})
        files = dict(hub.repositories[NAME].main)


@pytest.mark.parametrize("record", [[], "", 1, None, {}, {"a": 1}, {GENERATOR: []}, {GENERATOR: {}}])
def test_a_record_of_the_wrong_shape(hub: HubServer, files: dict[str, bytes], record: object) -> None:
    said = refusal(hub, rewritten(files, lambda about: about.update(files=record)))
    assert "bundle.json" in said
    assert "records" in said


@pytest.mark.parametrize(
    "entry",
    [
        {"bytes": -1, "sha256": ZEROS}, {"bytes": True, "sha256": ZEROS}, {"bytes": 1.5, "sha256": ZEROS},
        {"bytes": "1", "sha256": ZEROS}, {"bytes": 5, "sha256": "0" * 63}, {"bytes": 5, "sha256": "G" * 64},
        {"bytes": 5, "sha256": ["0"]}, {"bytes": 5}, {"sha256": ZEROS},
    ],
)  # fmt: skip
def test_an_entry_of_the_wrong_shape(hub: HubServer, files: dict[str, bytes], entry: object) -> None:
    said = refusal(hub, rewritten(files, lambda about: about["files"].update({GENERATOR: entry})))
    assert f"records no size and SHA-256 of {GENERATOR}" in said


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b"[]", "is not of the format 'micromotion-bundle/1'"),
        (b'{"format": "other"}', "is not of the format"),
        (b'{"format": "micromotion-bundle/1"}', "does not say the model's name"),
        (b'{"format": "micromotion-bundle/1", "name": "../x"}', "gives the model no plain name"),
        (b'{"format": "micromotion-bundle/1", "name": "x"}', "records no files"),
        (b" " * (1 << 20) + b"{}", "has 1.0 MB, more than the 1 MB that are taken"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bundle_json_that_cannot_be_used(hub: HubServer, text: bytes, reason: str) -> None:
    assert reason in refusal(hub, {"bundle.json": text})


def test_a_part_larger_than_is_taken_is_not_downloaded(hub: HubServer, files: dict[str, bytes]) -> None:
    def grow(about: dict[str, Any]) -> None:
        about["files"][GENERATOR]["bytes"] = MAX_FILE_BYTES + 1

    hub.sizes[GENERATOR] = MAX_FILE_BYTES + 1
    assert "has 4,096.0 MB, more than the 4096 MB that are taken" in refusal(hub, rewritten(files, grow))
    assert not [line for line in hub.asked_for if GENERATOR in line]


def test_a_part_that_is_larger_than_its_record_says(hub: HubServer, files: dict[str, bytes]) -> None:
    hub.sizes[GENERATOR] = 1 << 50
    assert f"{GENERATOR} of {NAME} at " in refusal(hub, files)
    digest = hashlib.sha256(files[GENERATOR]).hexdigest()
    assert f"GET /storage/{digest}" not in hub.asked_for


def test_more_in_all_than_is_taken(
    hub: HubServer, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    total = sum(len(content) for part, content in files.items() if part != "bundle.json")
    monkeypatch.setattr(hub_bundles, "MAX_TOTAL_BYTES", total - 1)
    assert "The model of me/random at " in refusal(hub, files)
    monkeypatch.setattr(hub_bundles, "MAX_TOTAL_BYTES", total)
    assert find_bundle(f"hf://{NAME}").name == "random"


def test_too_many_files() -> None:
    entry = {"bytes": 1, "sha256": ZEROS}
    about = {"name": "x", "files": {f"anchors/{i}.safetensors": entry for i in range(MAX_FILES)}}
    assert len(recorded_parts(about, "a/b")) == MAX_FILES
    about["files"]["anchors/more.safetensors"] = entry  # type: ignore[index]
    with pytest.raises(BundleError, match="records 201 files; at most 200 are taken"):
        recorded_parts(about, "a/b")


def test_a_repository_without_a_generator(hub: HubServer, files: dict[str, bytes]) -> None:
    said = refusal(hub, rewritten(files, lambda about: about["files"].pop(GENERATOR)))
    assert f"The model in hf://{NAME}@" in said
    assert f"{GENERATOR} missing" in said


def test_parts_that_are_other_networks(hub: HubServer, files: dict[str, bytes]) -> None:
    hub.repositories[NAME] = Repository(replaced(files, GENERATOR, files["inverter.safetensors"]))
    with pytest.raises(BundleError, match="cannot be used"):
        load_bundle(f"hf://{NAME}", "cpu")
