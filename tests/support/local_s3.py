"""An S3 on this machine: moto's server, behind a proxy that fails now and then."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

START = 60.0  # seconds that moto's server may take to start
FAULTS = (None, None, 500, None, 503, None, "after", None, None, "slow", None)
"""What happens to requests, in turn: an error; an error although it was carried out; half a second's wait."""


class Proxy(ThreadingHTTPServer):
    """Passes requests on, but for the faults; counts both."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = port
        self.faults: tuple[int | str | None, ...] = ()
        self.failed = 0
        self.asked: list[tuple[str, str]] = []
        """The method and path of each request."""
        self._numbers = count()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fault(self) -> int | str | None:
        """What is to happen to this request."""
        if not self.faults:
            return None
        return self.faults[next(self._numbers) % len(self.faults)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.asked.append((self.command, self.path))
        fault = self.server.fault()
        if isinstance(fault, int):
            self.server.failed += 1
            self._answer(fault, {}, _error(fault))
            return
        if fault == "slow":
            time.sleep(0.5)
        connection = http.client.HTTPConnection("127.0.0.1", self.server.behind)
        connection.request(self.command, self.path, body, dict(self.headers))
        found = connection.getresponse()
        content = found.read()
        if fault == "after":
            self.server.failed += 1
            self._answer(500, {}, _error(500))
        else:
            self._answer(found.status, dict(found.getheaders()), content)
        connection.close()

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass_on  # noqa: N815 (http.server's names)

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        length = headers.get("content-length", headers.get("Content-Length", "0"))
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


def _error(status: int) -> bytes:
    code = "SlowDown" if status == 503 else "InternalError"
    return f"<Error><Code>{code}</Code><Message>Try again</Message></Error>".encode()


@contextmanager
def local_s3() -> Iterator[Proxy]:
    """A running S3, to which the environment's variables lead; it holds the bucket `shop`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    moto = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    proxy = Proxy(port)
    variables = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": proxy.url,
    }
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        _wait_for(moto, port)
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("shop")
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        moto.kill()
        moto.wait()
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _wait_for(moto: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        assert moto.poll() is None, "moto's server ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("moto's server did not start")
