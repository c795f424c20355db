"""Start `micromotion serve` for tests, send it requests and stop it."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tools.openapi import inputs

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "micromotion", "serve"]
START, ANSWER, STOP = 180.0, 120.0, 20.0  # timeouts in seconds, generous
CHOSEN: dict[str, Any] = {"motion": "smile", "strength": 1.0, "frames": 6, "fps": 12}
EVERYTHING: dict[str, Any] = {
    **{name: words["default"] for name, (_, words) in inputs().items() if "default" in words},
    **CHOSEN,
}
"""All inputs but the image that Cog's worker passes to the predictor, including defaults."""


@dataclass(frozen=True)
class Server:
    """A running `micromotion serve`."""

    url: str
    process: subprocess.Popen[bytes]
    temporary: Path  # its folder for temporary files
    log: Path

    def call(self, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """GET, or POST with a body (text unchanged, anything else as JSON); the status and the answer."""
        data = body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
        return self._ask(urllib.request.Request(self.url + path, data), headers)

    def put(self, path: str, body: object, **headers: str) -> tuple[int, Any]:
        """As `call`, by PUT."""
        data = json.dumps(body).encode()
        return self._ask(urllib.request.Request(self.url + path, data, method="PUT"), headers)

    def _ask(self, request: urllib.request.Request, headers: dict[str, str]) -> tuple[int, Any]:
        for name, value in {"content-type": "application/json", **headers}.items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER) as response:
                status, text = response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    def predict(self, image: object, **inputs: object) -> tuple[int, Any]:
        """Request a prediction once none is running: Cog frees its only slot a moment after it answers."""
        wait_until(lambda: self.status() == "READY", ANSWER, "the server to be ready")
        return self.call("/predictions", {"input": {"image": image, **CHOSEN, **inputs}})

    def status(self) -> str:
        return str(self.call("/health-check")[1]["status"])

    def left(self) -> set[str]:
        """The names of all temporary files and folders."""
        walked = os.walk(self.temporary)  # skips what is deleted meanwhile
        return {str(Path(folder, name)) for folder, *names in walked for name in chain(*names)}


def without_gateway(server: Server) -> Server:
    """Cog's own server behind the gateway, as the container runs it."""
    for process in relatives(server):
        text = Path(f"/proc/{process}/environ").read_bytes().decode()
        about = dict(each.split("=", 1) for each in text.split("\0") if "=" in each)
        if "COG_PREDICT_TYPE_STUB" in about:
            return replace(server, url=f"http://127.0.0.1:{about['PORT']}")
    raise AssertionError("Cog's server does not run")


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:g} s in vain: {what}"
        time.sleep(0.05)


def start(folder: Path) -> Server:
    """Start the server on a free port and wait until it is ready."""
    server = launch(folder)

    def ready() -> bool:
        assert server.process.poll() is None, server.log.read_text()
        try:
            status = server.status()
        except OSError:
            return False
        assert status in ("STARTING", "READY"), server.log.read_text()
        return status == "READY"

    try:
        wait_until(ready, START, "the server to start")
    except BaseException:
        stop(server, signal.SIGTERM)
        raise
    return server


@contextmanager
def serving(folder: Path, model: Path | None = None) -> Iterator[Server]:
    """Run a server within the block, which must leave nothing; another model gets its own cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        if model is not None:
            patch.setenv("MICROMOTION_MODEL", str(model))
            patch.setenv("MICROMOTION_CACHE", str(folder / "cache"))
        server = start(folder)
    try:
        yield server
    finally:
        status = stop(server, signal.SIGINT)
    assert (status, relatives(server), server.left()) == (0, [], set())


def launch(folder: Path) -> Server:
    """Start the server on a free port."""
    temporary, log = folder / "temporary", folder / "log.txt"
    temporary.mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*COMMAND, "--port", str(port)],
            cwd=folder,
            env={
                "MICROMOTION_PRIVATE_URLS": "1",  # tests' own servers run on this machine
                **os.environ,
                "TMPDIR": str(temporary),
                "PYTHONPATH": str(ROOT),
            },
            stdout=file,
            stderr=file,
        )
    return Server(f"http://127.0.0.1:{port}", process, temporary, log)


def stop(server: Server, number: signal.Signals) -> int:
    """Stop the server with a signal; its exit status."""
    server.process.send_signal(number)
    try:
        return server.process.wait(STOP)
    finally:
        server.process.kill()


def relatives(server: Server) -> list[int]:
    """The processes started with the server's folder for temporary files, including the server."""
    mark = f"TMPDIR={server.temporary}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(part.startswith(mark) for part in (process / "environ").read_bytes().split(b"\0")):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def begin(server: Server, name: str, photo: str, webhook: str | None = None) -> None:
    """Start a long prediction, and return once it has begun to write its video."""
    inputs = {"image": photo, **CHOSEN, "frames": 600, "output_format": "mp4"}
    body = {"id": name, "input": inputs, "webhook": webhook, "webhook_events_filter": ["completed"]}
    before = server.left()
    status, answer = server.call("/predictions", body, prefer="respond-async")
    assert (status, answer["id"]) == (202, name)
    wait_until(
        lambda: any(".mp4" in Path(path).name for path in server.left() - before),
        ANSWER,
        "the video to begin",
    )
    assert server.status() == "BUSY"


def data_url(data: bytes, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
