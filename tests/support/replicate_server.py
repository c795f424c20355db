"""Replicate's HTTP API in front of a server of ours, for Replicate's own clients.

Its routes and answers are those of replicate.com/docs/reference/http, as far as these clients use them.
Unlike Replicate it returns a video as a data URL, and keeps uploaded files in memory.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from running_server import ANSWER, Server

TOKEN = "r8_secret"
ENDED = ("succeeded", "failed", "canceled")
_ROUTES = [
    ("POST", r"/v1/predictions", "create"),
    ("POST", r"/v1/models/([\w.-]+)/([\w.-]+)/predictions", "create"),
    ("GET", r"/v1/predictions/(\w+)", "show"),
    ("POST", r"/v1/predictions/(\w+)/cancel", "cancel"),
    ("GET", r"/v1/models/([\w.-]+)/([\w.-]+)/versions/([\w.-]+)", "version"),
    ("POST", r"/v1/files", "upload"),
    ("GET", r"/files/(\w+)", "download"),  # what a model fetches, without the caller's token
]


def now() -> str:
    return datetime.now(UTC).isoformat()


@dataclass
class Running:
    """A prediction: what is shown of it, and whether it has ended."""

    shown: dict[str, Any]
    ended: threading.Event = field(default_factory=threading.Event)


class Problem(Exception):  # noqa: N818
    """A refusal, as RFC 7807 has it."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.body = {"status": status, "title": title, "detail": detail}


class ReplicateServer(ThreadingHTTPServer):
    """Answers as Replicate does, by the predictions of `server`; calls: the routes that were used."""

    daemon_threads = True

    def __init__(self, server: Server) -> None:
        self.behind = server
        self.calls: list[str] = []
        self.files: dict[str, tuple[str, bytes]] = {}
        self.predictions: dict[str, Running] = {}
        super().__init__(("127.0.0.1", 0), _Call)
        self.url = f"http://127.0.0.1:{self.server_port}"

    def begin(self, model: str, body: dict[str, Any]) -> Running:
        """A prediction that has begun; raises Problem if its inputs are refused."""
        name, inputs = secrets.token_hex(13), {"input": body.get("input")}
        end = time.monotonic() + ANSWER
        while True:  # Replicate queues; one of ours runs at a time
            path = f"/predictions/{name}"
            status, answer = self.behind.put(path, inputs, prefer="respond-async")
            if status != 409 or time.monotonic() > end:
                break
            time.sleep(0.1)
        if status != 202:
            raise Problem(status, "Input validation failed", _in_words(answer["detail"]))
        begun = Running(
            {
                "id": name,
                "model": model,
                "version": body.get("version", "hidden"),
                "input": inputs["input"],
                "output": None,
                "logs": "",
                "error": None,
                "status": "starting",
                "metrics": {},
                "created_at": now(),
                "urls": {
                    verb: f"{self.url}/v1{path}{end}" for verb, end in (("get", ""), ("cancel", "/cancel"))
                },
            }
        )
        self.predictions[name] = begun
        threading.Thread(target=self._follow, args=[begun, path, inputs], daemon=True).start()
        return begun

    def _follow(self, running: Running, path: str, inputs: dict[str, Any]) -> None:
        """Wait for the end of a prediction that has begun: the same PUT joins it."""
        _, answer = self.behind.put(path, inputs)
        told = {name: answer.get(name) for name in ("output", "logs", "error", "metrics")}
        running.shown |= {**told, "status": answer.get("status", "failed"), "completed_at": now()}
        running.ended.set()


def _in_words(detail: Any) -> str:
    if isinstance(detail, str):
        return detail
    return "\n".join(f"- {'.'.join(each['loc'][1:])}: {each['msg']}" for each in detail)


class _Call(BaseHTTPRequestHandler):
    server: ReplicateServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            status, answer = self._answer()
        except Problem as problem:
            status, answer = problem.status, problem.body
        kind = "application/json"
        if isinstance(answer, tuple):
            kind, data = answer
        else:
            data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_GET  # noqa: N815

    def _answer(self) -> tuple[int, Any]:
        for method, pattern, name in _ROUTES:
            found = re.fullmatch(pattern, self.path)
            if found and method == self.command:
                self.server.calls.append(f"{method} {pattern}")
                if name != "download" and self.headers.get("authorization") != f"Bearer {TOKEN}":
                    raise Problem(401, "Unauthenticated", "You did not pass a valid authentication token")
                answer: tuple[int, Any] = getattr(self, f"_{name}")(*found.groups())
                return answer
        raise Problem(404, "Not found", f"There is no {self.command} {self.path}")

    def _create(self, owner: str = "", model: str = "") -> tuple[int, Any]:
        running = self.server.begin(f"{owner}/{model}", json.loads(self.body))
        wait = re.fullmatch(r"wait(?:=(\d+))?", self.headers.get("prefer", ""))
        if wait:
            running.ended.wait(float(wait[1] or 60))
        return 201, running.shown

    def _show(self, name: str) -> tuple[int, Any]:
        running = self._known(name)
        if not running.ended.is_set():
            running.shown["status"] = "processing"
        return 200, running.shown

    def _cancel(self, name: str) -> tuple[int, Any]:
        running = self._known(name)
        self.server.behind.call(f"/predictions/{name}/cancel", {})
        running.ended.wait(ANSWER)
        return 200, running.shown

    def _known(self, name: str) -> Running:
        if name not in self.server.predictions:
            raise Problem(404, "Not found", "There is no such prediction")
        return self.server.predictions[name]

    def _version(self, owner: str, model: str, version: str) -> tuple[int, Any]:
        schema = self.server.behind.call("/openapi.json")[1]
        about = {"id": version, "created_at": now(), "cog_version": schema["info"]["version"]}
        return 200, {**about, "openapi_schema": schema}

    def _upload(self) -> tuple[int, Any]:
        boundary = b"--" + self.headers["content-type"].partition("boundary=")[2].strip('"').encode()
        for part in self.body.split(boundary)[1:-1]:
            head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
            about = head.decode()
            if 'name="content"' in about:
                return 201, self._keep(about, content.removesuffix(b"\r\n"))
        raise Problem(400, "Bad request", "There is no part named content")

    def _keep(self, about: str, content: bytes) -> dict[str, Any]:
        name = secrets.token_hex(13)
        filename = re.search(r'filename="([^"]*)"', about)
        kind = re.search(r"content-type: ([^\r\n;]+)", about, re.IGNORECASE)
        self.server.files[name] = (kind[1] if kind else "application/octet-stream", content)
        return {
            "id": name,
            "name": filename[1] if filename else "",
            "content_type": self.server.files[name][0],
            "size": len(content),
            "etag": name,
            "checksums": {"sha256": hashlib.sha256(content).hexdigest()},
            "metadata": {},
            "created_at": now(),
            "expires_at": now(),
            "urls": {"get": f"{self.server.url}/files/{name}"},
        }

    def _download(self, name: str) -> tuple[int, Any]:
        if name not in self.server.files:
            raise Problem(404, "Not found", "There is no such file")
        return 200, self.server.files[name]

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def replicating(server: Server) -> Iterator[ReplicateServer]:
    """Run a ReplicateServer on a free port within the block."""
    with ReplicateServer(server) as running:
        thread = threading.Thread(target=running.serve_forever, args=[0.05])
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()
