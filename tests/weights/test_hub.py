"""Models on the Hugging Face hub load from there, and from the library's cache."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hub_server import TOKEN, HubServer, Repository, bundle_files, go_offline
from misbehaving_server import Status, hang_up
from PIL import Image

from micromotion import Animator
from micromotion.errors import DownloadError, MicromotionError, OptionError
from micromotion.runtime.hub import HubName, is_hub_name, parse_hub_name
from micromotion.types import Frame
from micromotion.weights.bundle import find_bundle, load_bundle

NAME = "me/random"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def repository(hub: HubServer, random_bundle: Path) -> Repository:
    """The bundle with random weights, on the hub."""
    hub.repositories[NAME] = Repository(bundle_files(random_bundle))
    return hub.repositories[NAME]


def frames(model: str | Path) -> list[Frame]:
    """A few frames of a picture, as the model draws them."""
    picture = Image.new("RGB", (64, 64), (180, 140, 120))
    video = Animator.load(model, "cpu").animate(picture, "smile", aligned=True, view="model", frames=3)
    return list(video)


def test_a_model_of_the_hub_draws_the_same_frames(repository: Repository, random_bundle: Path) -> None:
    for ours, theirs in zip(frames(f"hf://{NAME}"), frames(random_bundle), strict=True):
        assert np.array_equal(ours, theirs)


def test_its_commit_is_known_and_can_be_pinned(repository: Repository) -> None:
    first = repository.head
    assert find_bundle(f"hf://{NAME}").origin == f"hf://{NAME}@{first}"
    second = repository.commit({"README.md": b"# Changed"})
    assert find_bundle(f"hf://{NAME}").origin == f"hf://{NAME}@{second}"
    loaded = load_bundle(f"hf://{NAME}@{first}", "cpu")
    assert loaded.origin == f"hf://{NAME}@{first}"
    assert f"from hf://{NAME}@{first}," in loaded.describe()


def test_only_the_recorded_files_are_fetched(hub: HubServer, repository: Repository) -> None:
    repository.commit({"model.pkl": b"\x80\x04cos\nsystem\n", "anchors/evil.safetensors": b"?" * 99})
    found = find_bundle(f"hf://{NAME}")
    assert sorted(found.motions) == ["headsTurn", "smile"]
    assert {line.split("/", 5)[5] for line in hub.asked_for if "/resolve/" in line} == {
        "bundle.json",
        "generator.safetensors",
        "inverter.safetensors",
        "anchors/headsTurn.safetensors",
        "anchors/smile.safetensors",
    }


def test_what_another_program_put_into_the_cache_is_not_played(repository: Repository) -> None:
    repository.commit({"anchors/evil.safetensors": b"?" * 99})
    folder = find_bundle(f"hf://{NAME}").folder
    (folder / "anchors/evil.safetensors").write_bytes(b"?" * 99)
    assert sorted(find_bundle(f"hf://{NAME}").motions) == ["headsTurn", "smile"]
    (folder / "regressor.safetensors").write_bytes(b"?" * 99)
    with pytest.raises(MicromotionError, match=r"does not record its regressor\.safetensors"):
        find_bundle(f"hf://{NAME}")


def test_the_cache_serves_offline(
    hub: HubServer, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = frames(f"hf://{NAME}")
    go_offline(monkeypatch)
    asked = len(hub.asked_for)
    assert all(map(np.array_equal, frames(f"hf://{NAME}"), online))
    assert len(hub.asked_for) == asked
    with pytest.raises(DownloadError, match="not in the library's cache, and HF_HUB_OFFLINE is set"):
        find_bundle("hf://me/other")


@pytest.mark.parametrize("broken", [Status(503), Status(429), hang_up], ids=["503", "429", "hangs up"])
def test_the_cache_serves_while_the_hub_is_down(
    hub: HubServer, repository: Repository, broken: Status
) -> None:
    folder = find_bundle(f"hf://{NAME}").folder
    hub.add(f"/{NAME}/resolve/main/bundle.json", broken)
    assert find_bundle(f"hf://{NAME}").folder == folder


def test_a_pinned_commit_needs_no_network_again(hub: HubServer, repository: Repository) -> None:
    pinned = find_bundle(f"hf://{NAME}").origin
    asked = len(hub.asked_for)
    assert find_bundle(pinned).origin == pinned
    assert len(hub.asked_for) == asked


def test_a_private_model_needs_a_token_which_goes_to_the_hub_alone(
    hub: HubServer, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.private = True
    with pytest.raises(DownloadError, match=r"there is no such repository, or it is private.*hf auth login"):
        find_bundle(f"hf://{NAME}")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    find_bundle(f"hf://{NAME}")
    sent = {line.split()[1].split("/")[1]: "authorization" in request.headers
            for line, request in zip(hub.asked_for, hub.requests, strict=True)}  # fmt: skip
    assert sent == {"me": True, "storage": False}


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MicromotionError, match=r"which is not installed: run `pip install "):
        find_bundle(f"hf://{NAME}")


@pytest.mark.slow
def test_the_library_is_imported_for_the_hub_alone() -> None:
    code = (
        "import sys; import micromotion.cli.main; import micromotion.weights.publish; "
        "from micromotion import Animator; Animator.load('avatar', 'cpu'); "
        "print('huggingface_hub' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "False\n", done.stderr


def test_addresses_are_parsed() -> None:
    assert parse_hub_name("hf://me/a") == HubName("me/a")
    assert parse_hub_name("hf://me/a@v1.0") == HubName("me/a", "v1.0")
    assert parse_hub_name("hf://me/a/b/c.safetensors") == HubName("me/a", None, "b/c.safetensors")
    name = HubName("me/a", COMMIT, "x.safetensors")
    assert parse_hub_name(str(name)) == name
    assert name.label == "me/a at 0123456"
    assert is_hub_name("hf://x")
    assert not is_hub_name("avatar")
    assert not is_hub_name(Path("hf://me/a"))


@pytest.mark.parametrize(
    "text",
    [
        "hf://", "hf://me", "hf://me/", "hf:///a", "hf://me/a@", "hf://me/a/", "hf://me/a/../b", "hf://me/a//b",
        "hf://me/a/.git/config", "hf://me/a/b\nc", "hf://../a", "hf://me/a@../x", "hf://me/a?x=1", "hf://u:p@h/a",
        "hf://me/a/b\\c", "hf://me/a%2e",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="is not an address on the hub: write hf://owner/name"):
        parse_hub_name(text)


def test_a_file_is_no_model(hub: HubServer) -> None:
    with pytest.raises(OptionError, match="names a file: a model is a whole repository, hf://me/a"):
        find_bundle("hf://me/a/x.safetensors")
    assert hub.asked_for == []
