"""A hub that fails: one sentence says what and why, without addresses and tokens, and the next try works."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest
from faulty_downloads import assert_sentence, start_python
from hub_server import TOKEN, HubServer, Repository, bundle_files
from misbehaving_server import (
    Behaviour,
    File,
    InTurn,
    Status,
    babble,
    drip_headers,
    hang_up,
    page,
    wait_until,
)

from micromotion.errors import DownloadError
from micromotion.weights.bundle import find_bundle

NAME = "me/random"
RECORD, PART = f"/{NAME}/resolve/main/bundle.json", "generator.safetensors"


@pytest.fixture
def repository(hub: HubServer, random_bundle: Path) -> Repository:
    hub.repositories[NAME] = Repository(bundle_files(random_bundle))
    return hub.repositories[NAME]


def failure(model: str = f"hf://{NAME}") -> str:
    """The sentence of a failing download."""
    with pytest.raises(DownloadError) as caught:
        find_bundle(model)
    said = str(caught.value)
    assert_sentence(said.replace(".safetensors", "").replace(".json", ""))
    assert "http" not in said
    assert TOKEN not in said
    assert "Signature" not in said
    return said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (Status(500), "it answers 500; try again later"),
        (Status(503), "it answers 503; try again later"),
        (Status(429, {"Retry-After": "3600"}), "it answers 429, too many requests"),
        (Status(401), "it answers 401, this is not allowed; log in, with `hf auth login` or HF_TOKEN"),
        (Status(403), "it answers 403, this is not allowed"),
        (Status(404), "it answers 404"),
        (Status(404, {"X-Error-Code": "RepoNotFound"}), "there is no such repository, or it is private"),
        (Status(404, {"X-Error-Code": "EntryNotFound"}), "the repository has no such file"),
        (Status(404, {"X-Error-Code": "RevisionNotFound"}), "there is no such revision"),
        (Status(403, {"X-Error-Code": "GatedRepo"}), "its terms must be accepted on its page first"),
        (page("<h1>A captive portal</h1>"), "the transfer failed"),
        (hang_up, "it cannot be reached, or breaks the connection"),
        (babble, "it cannot be reached, or breaks the connection"),
    ],
)
def test_a_request_that_fails(
    hub: HubServer, repository: Repository, behaviour: Behaviour, reason: str
) -> None:
    hub.add(RECORD, behaviour)
    said = failure()
    assert said.startswith("bundle.json of me/random could not be fetched from the Hugging Face hub: ")
    assert reason in said
    del hub.behaviours[RECORD]
    assert find_bundle(f"hf://{NAME}").name == "random"


@pytest.mark.slow
def test_a_hub_that_does_not_answer(hub: HubServer, repository: Repository) -> None:
    hub.add(RECORD, drip_headers)
    assert "could not be fetched" in failure()
    hub.add(RECORD, File(b"x", stall=0))
    assert "could not be fetched" in failure()


def stored(hub: HubServer, repository: Repository) -> tuple[str, bytes]:
    """The path of the generator in the hub's storage, and its content."""
    content = repository.main[PART]
    return f"/storage/{hashlib.sha256(content).hexdigest()}", content


def test_a_storage_that_refuses(hub: HubServer, repository: Repository) -> None:
    path, content = stored(hub, repository)
    for behaviour, reason in ((Status(403), "answers 403"), (Status(500), "answers 500")):
        hub.add(path, behaviour)
        said = failure()
        assert said.startswith(f"{PART} of {NAME} at {repository.head[:7]} could not be fetched")
        assert reason in said
    hub.add(path, File(content))
    assert find_bundle(f"hf://{NAME}").name == "random"


def test_a_download_that_breaks_off_is_tried_again_and_the_log_shows_no_signature(
    hub: HubServer, repository: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    path, content = stored(hub, repository)
    hub.add(path, InTurn(File(content, cut=1000), File(content, cut=2000), File(content)))
    assert (find_bundle(f"hf://{NAME}").folder / PART).read_bytes() == content
    assert len(hub.asked(path)) == 3
    assert caplog.text.count(f"{path}?… peer closed connection") == 2
    assert "Signature" not in caplog.text


@pytest.mark.parametrize("reset", [False, True])
def test_a_download_that_always_breaks_off(
    hub: HubServer, repository: Repository, tmp_path: Path, reset: bool
) -> None:
    path, content = stored(hub, repository)
    hub.add(path, File(b"", announce=len(content), reset=reset))
    assert "it cannot be reached, or breaks the connection" in failure()
    assert not list(tmp_path.rglob(PART))
    hub.add(path, File(content))
    assert (find_bundle(f"hf://{NAME}").folder / PART).read_bytes() == content


@pytest.mark.parametrize("change", [lambda c: c[:-10], lambda c: c + b"more"], ids=["short", "long"])
def test_a_storage_that_sends_another_length(hub: HubServer, repository: Repository, change: object) -> None:
    hub.lie(PART, change)  # type: ignore[arg-type]
    assert "could not be fetched" in failure()
    hub.lies.clear()
    hub.storage.clear()
    assert find_bundle(f"hf://{NAME}").name == "random"


def test_a_slow_download_ends(hub: HubServer, repository: Repository) -> None:
    path, content = stored(hub, repository)
    hub.add(path, File(content, pace=0.02, chunk=len(content) // 10))
    assert (find_bundle(f"hf://{NAME}").folder / PART).read_bytes() == content


def test_a_hub_that_is_not_there(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    nowhere = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", nowhere)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "it cannot be reached, or breaks the connection; try again later" in failure()


def test_a_wrong_revision_or_name(hub: HubServer, repository: Repository) -> None:
    assert "there is no such revision" in failure(f"hf://{NAME}@v9")
    assert "there is no such repository" in failure("hf://me/other")
    assert "that is no name of a repository" in failure("hf://me/a--b")


def test_a_disk_that_is_full(hub: HubServer, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import file_download

    def full(*given: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(file_download, "http_get", full)
    assert "the disk is full; make room in the library's cache" in failure()


@pytest.mark.slow
def test_a_killed_download_leaves_nothing_wrong(
    hub: HubServer, repository: Repository, tmp_path: Path
) -> None:
    path, content = stored(hub, repository)
    hub.add(path, File(content, stall=len(content) // 2))
    code = "import sys; from micromotion.weights.bundle import find_bundle; find_bundle(sys.argv[1])"
    process = start_python(code, f"hf://{NAME}")
    wait_until(lambda: bool(hub.asked(path)), 60)
    process.kill()
    process.communicate()
    assert not list(tmp_path.rglob(PART))
    hub.add(path, File(content))
    assert (find_bundle(f"hf://{NAME}").folder / PART).read_bytes() == content
