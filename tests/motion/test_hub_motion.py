"""Motions on the Hugging Face hub are fetched, checked, and played; anything else there is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from faulty_downloads import assert_sentence
from hub_server import HubServer, Repository, go_offline
from PIL import Image
from random_networks import random_anchors

from micromotion import Animator, parse_timeline
from micromotion.errors import DownloadError, MotionError, OptionError
from micromotion.motion.library import MAX_BYTES, fetch_motion, find_motion
from micromotion.motion.timeline_text import TimelineError
from micromotion.options import check_motion
from micromotion.weights.bundle import find_bundle

NOD = "hf://me/motions/calm/nod.safetensors"


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    random_anchors(5).save(tmp_path / "nod.safetensors")
    return (tmp_path / "nod.safetensors").read_bytes()


@pytest.fixture
def repository(hub: HubServer, content: bytes) -> Repository:
    hub.repositories["me/motions"] = Repository({"calm/nod.safetensors": content, "README.md": b"# Motions"})
    return hub.repositories["me/motions"]


def refusal(hub: HubServer, content: bytes) -> str:
    hub.repositories["me/motions"] = Repository({"calm/nod.safetensors": content})
    with pytest.raises(MotionError) as caught:
        fetch_motion(NOD)
    assert_sentence(str(caught.value).replace(".safetensors", ""))
    return str(caught.value)


def test_a_motion_of_the_hub_plays_as_its_file(
    hub: HubServer, repository: Repository, animator: Animator, tmp_path: Path
) -> None:
    picture = Image.new("RGB", (64, 64), (180, 140, 120))
    ours = animator.animate(picture, tmp_path / "nod.safetensors", aligned=True, view="model", frames=3)
    theirs = animator.animate(picture, NOD, aligned=True, view="model", frames=3)
    assert all(map(np.array_equal, ours, theirs))
    together = animator.animate(picture, {NOD: 1.0, "smile": 0.5}, aligned=True, view="model", frames=3)
    assert len(list(together)) == 3
    story = parse_timeline(f"0.1s {NOD}=0.5, 0.2s smile", lambda name: find_motion(name, animator.bundle))
    assert len(list(animator.animate(picture, story, aligned=True, view="model", fps=10))) == 3


def test_its_commit_can_be_pinned(repository: Repository, random_bundle: Path) -> None:
    first = fetch_motion(NOD)
    assert str(first.name) == f"hf://me/motions@{repository.head}/calm/nod.safetensors"
    repository.commit({"calm/nod.safetensors": b"other"})
    assert find_motion(str(first.name), find_bundle(random_bundle)) == first.path
    with pytest.raises(MotionError):
        fetch_motion(NOD)


def test_the_cache_serves_offline(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fetch_motion(NOD).path
    go_offline(monkeypatch)
    assert fetch_motion(NOD).path == path
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE is set"):
        fetch_motion("hf://me/motions/other.safetensors")


def test_a_file_that_is_too_large_is_not_downloaded(hub: HubServer, content: bytes) -> None:
    hub.sizes["calm/nod.safetensors"] = MAX_BYTES + 1
    assert "has 32.0 MB, more than the 32 MB that are taken" in refusal(hub, content)
    assert not [line for line in hub.asked_for if line.startswith("GET")]


def test_what_is_no_safetensors_or_damaged(hub: HubServer, content: bytes) -> None:
    assert "is not a safetensors file" in refusal(hub, b"\x80\x04cposix\nsystem\n")
    assert "is damaged or cut short" in refusal(hub, content[:-1])


def test_other_bytes_than_the_hub_announces_are_fetched_again(hub: HubServer, content: bytes) -> None:
    hub.lie("calm/nod.safetensors", lambda content: content[:-1] + b"\0")
    assert "does not match the hub's hash of it" in refusal(hub, content)
    hub.lies.clear()
    assert fetch_motion(NOD).path.read_bytes() == content


def test_a_safetensors_of_something_else(hub: HubServer, random_bundle: Path, animator: Animator) -> None:
    network = (random_bundle / "generator.safetensors").read_bytes()
    hub.repositories["me/motions"] = Repository({"calm/nod.safetensors": network})
    with pytest.raises(MotionError, match=r"cannot be used|is not"):
        animator.animate(Image.new("RGB", (64, 64)), NOD, aligned=True)


def test_a_motion_of_another_model(hub: HubServer, content: bytes, animator: Animator) -> None:
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"]["provenance"] = json.dumps({"model": "other", "generator": "0" * 64})
    text = json.dumps(header).encode()
    other = len(text).to_bytes(8, "little") + text + content[8 + length :]
    hub.repositories["me/motions"] = Repository({"calm/nod.safetensors": other})
    assert hashlib.sha256(other).hexdigest() != hashlib.sha256(content).hexdigest()
    with pytest.raises(MotionError, match="was learned for the model 'other'"):
        animator.animate(Image.new("RGB", (64, 64)), NOD, aligned=True)


def test_whoever_may_name_only_known_motions_cannot_name_it(hub: HubServer, repository: Repository) -> None:
    """As the service and the page check what callers send."""
    with pytest.raises(TimelineError):
        parse_timeline(f"0.1s {NOD}", lambda name: check_motion(name, ["smile"]))
    assert hub.asked_for == []


def test_an_address_without_a_file(hub: HubServer) -> None:
    for address in ("hf://me/motions", "hf://me/motions/nod.pt", "hf://me/motions/nod"):
        with pytest.raises(
            OptionError, match=r"is not a motion's file: write hf://me/motions/NAME\.safetensors"
        ):
            fetch_motion(address)
    assert hub.asked_for == []
