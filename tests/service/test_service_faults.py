"""The real service after faults: killed at any stage, damaged weights, a full disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from learn_networks import SENTENCE, save_playing_bundle
from misbehaving_server import File
from public_files import Offer
from running_server import (
    ANSWER,
    CHOSEN,
    START,
    STOP,
    Server,
    data_url,
    launch,
    relatives,
    serving,
    start,
    stop,
    wait_until,
)
from service_answers import content, sentence
from shown import shown

from micromotion.service.server import LOST

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_playing_bundle(tmp_path_factory.mktemp("learning"))


@pytest.fixture(scope="module")
def photo(astronaut_file: Path) -> str:
    return data_url(astronaut_file.read_bytes())


@pytest.fixture(scope="module")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server"), model) as server:
        yield server


def worker(server: Server) -> int:
    """The process that loaded the model."""
    return next(
        each for each in relatives(server) if b"_run_worker" in Path(f"/proc/{each}/cmdline").read_bytes()
    )


def ready(server: Server) -> None:
    wait_until(lambda: server.status() == "READY", START, "the server to be ready")


# --- the service --------------------------------------------------------------------------------------------


def test_a_cancellation_before_the_worker_has_begun_is_not_lost(server: Server, photo: str) -> None:
    """The worker is stopped meanwhile and reads the cancellation first, which Cog 0.23 would then forget."""
    ready(server)
    inputs = {"image": photo, **CHOSEN, "frames": 600, "view": "model", "refine": 200}
    os.kill(worker(server), signal.SIGSTOP)
    try:
        body = {"id": "early", "input": inputs}
        assert server.call("/predictions", body, prefer="respond-async")[0] == 202
        assert server.call("/predictions/early/cancel", {})[0] == 200
    finally:
        os.kill(worker(server), signal.SIGCONT)
    ready(server)
    log = server.log.read_text()
    assert "Prediction cancelled" in log
    assert "Rendered 600 of 600 frames" not in log


def test_a_killed_worker_is_restarted(server: Server, photo: str) -> None:
    """Killed as by the kernel when memory runs out. The waiting client gets an error."""
    good = shown(content(server.predict(photo)[1]))
    ready(server)
    answers: list[Any] = []
    inputs = {"image": photo, **CHOSEN, "frames": 600}
    caller = threading.Thread(target=lambda: answers.append(server.call("/predictions", {"input": inputs})))
    caller.start()
    wait_until(lambda: any("/.micromotion-" in path for path in server.left()), ANSWER, "the video to begin")
    os.kill(worker(server), signal.SIGKILL)
    caller.join(ANSWER)
    ((status, answer),) = answers
    assert status >= 500 or answer["status"] == "failed", answer
    wait_until(lambda: LOST in server.log.read_text(), STOP, "the loss to be noticed")
    ready(server)
    assert shown(content(server.predict(photo)[1])) == good
    wait_until(
        lambda: not any(".mp4" in path for path in server.left()), STOP, "the temporary files to be removed"
    )


def test_a_service_killed_while_learning_resumes(
    model: Path, photo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the command is killed, and its children must end."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("MICROMOTION_MODEL", str(model))
    monkeypatch.setenv("MICROMOTION_CACHE", str(cache))
    asked = {"image": photo, **CHOSEN, "motion": "custom", "template": SENTENCE, "output_format": "gif"}
    server = start(tmp_path)
    try:
        assert server.call("/predictions", {"input": asked}, prefer="respond-async")[0] == 202
        wait_until(lambda: any(cache.rglob("progress.safetensors")), ANSWER, "the collection to begin")
        server.process.kill()
        server.process.wait()
        wait_until(lambda: relatives(server) == [], STOP, "its children to end")
    finally:
        stop(server, signal.SIGTERM)
    assert not list((cache / "collected").glob("*.safetensors"))
    shutil.rmtree(server.temporary)
    server = start(tmp_path)
    try:
        answer = server.predict(**asked)[1]
        content(answer, "image/gif")
        first = next(line for line in answer["logs"].splitlines() if line.startswith("Learned "))
        assert int(first.split()[1]) > 1
        assert [path.suffix for path in (cache / "collected").iterdir()] == [".safetensors"]
    finally:
        stop(server, signal.SIGTERM)


def test_a_service_killed_while_fetching_its_model_starts(
    offer: Offer, cache: Path, tmp_path: Path, photo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICROMOTION_MODEL", "tiny")
    monkeypatch.setenv("MICROMOTION_FETCH", "1")
    offer.behave("e4e.pt", File(offer.files["e4e.pt"], stall=50_000))
    server = launch(tmp_path)
    part = cache / "downloads/.e4e.pt.part"
    wait_until(lambda: part.is_file() and part.stat().st_size == 50_000, START, "the download to begin")
    server.process.kill()
    server.process.wait()
    assert not (cache / "models/tiny").exists()
    offer.behave("e4e.pt", File(offer.files["e4e.pt"]))
    server = start(tmp_path)
    try:
        content(server.predict(photo)[1])
    finally:
        assert stop(server, signal.SIGTERM) == 0


def test_damaged_weights_fail_in_setup_and_in_the_health_check(
    model: Path, photo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = shutil.copytree(model, tmp_path / "damaged")
    whole = (damaged / "generator.safetensors").read_bytes()
    (damaged / "generator.safetensors").write_bytes(whole[: len(whole) // 2])
    monkeypatch.setenv("MICROMOTION_MODEL", str(damaged))
    server = launch(tmp_path)
    try:
        wait_until(lambda: "SETUP_FAILED" in health(server), START, "the setup to fail")
        setup = server.call("/health-check")[1]["setup"]
        assert setup["status"] == "failed"
        assert "cannot be used" in setup["logs"]
        assert "generator.safetensors" in setup["logs"]
        status, answer = server.call("/predictions", {"input": {"image": photo}})
        assert status >= 400 or answer["status"] == "failed"
        assert server.process.poll() is None, "whoever asks can read why"
    finally:
        stop(server, signal.SIGTERM)


def health(server: Server) -> str:
    try:
        return server.status()
    except OSError:
        return ""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("file systems can only be mounted by root, outside of most containers")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_is_reported_and_recovered_from(
    disk: Path, model: Path, photo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICROMOTION_MODEL", str(model))
    server = start(disk)
    try:
        good = shown(content(server.predict(photo)[1]))
        wait_until(lambda: not any(".mp4" in path for path in server.left()), STOP, "the result to go")
        filler, size = disk / "filler", 2 << 20
        while size >= 4096:  # all but the last block
            try:
                with filler.open("ab") as file:
                    file.write(bytes(size))
            except OSError:
                size //= 2
        assert "disk is full" in sentence(server.predict(photo)[1])
        filler.write_bytes(filler.read_bytes()[: -len(photo) - 10_000])  # now the photo fits, but no video
        assert "No space left on device" in sentence(server.predict(photo, frames=600)[1])
        filler.unlink()
        assert shown(content(server.predict(photo)[1])) == good
    finally:
        stop(server, signal.SIGTERM)
