"""A real HTTP server on 127.0.0.1 that serves files correctly, or with faults on purpose.

    with MisbehavingServer() as server:
        server.add("/good.bin", File(b"..."))
        server.add("/flaky.bin", InTurn(Status(500), File(content, cut=1000), File(content)))
        ... server.url("/good.bin"), server.requests ...

A behaviour is a callable that takes the request (`Exchange`) and answers it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self
from urllib.parse import parse_qs, urlsplit

CHUNK = 1 << 16


class Exchange(BaseHTTPRequestHandler):
    """One request: `headers` are the client's, `begin` and `write` answer it."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self.close_connection = True
        owner = self.server.owner
        path = urlsplit(self.path).path
        with owner.lock:
            owner.requests.append(Request(self.path, {name.lower(): v for name, v in self.headers.items()}))
        behaviour = owner.behaviours.get(path, Status(404))
        try:
            behaviour(self)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client disconnected, as it should
        finally:
            # The client must see at once that the body has ended.
            self.close_connection = True

    @property
    def query(self) -> dict[str, str]:
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.path).query).items()}

    def begin(self, status: int, headers: Mapping[str, object]) -> None:
        """Send the status and headers."""
        self.send_response(status)
        for name, value in {"Connection": "close", **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()

    def write(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()

    def pause(self, seconds: float) -> None:
        """Wait, at most until the server closes, so that no test waits for a stalled answer."""
        if self.server.owner.closing.wait(seconds):
            raise ConnectionResetError

    def log_message(self, format: str, *args: object) -> None:
        pass


Behaviour = Callable[[Exchange], None]


@dataclass(frozen=True)
class Request:
    """A client's request: the path with its query, and the headers by lower-case name."""

    path: str
    headers: Mapping[str, str]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    owner: MisbehavingServer

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class MisbehavingServer:
    """Serves `behaviours`, by path, until it is closed; 404 for every other path."""

    handler: type[Exchange] = Exchange

    def __init__(self) -> None:
        self.behaviours: dict[str, Behaviour] = {}
        self.requests: list[Request] = []
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self.handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def url(self, path: str) -> str:
        return self.base + path

    def add(self, path: str, behaviour: Behaviour) -> str:
        """Answer this path with that behaviour; returns its URL."""
        self.behaviours[path] = behaviour
        return self.url(path)

    def asked(self, path: str) -> list[Request]:
        """The requests so far for a path."""
        with self.lock:
            return [request for request in self.requests if urlsplit(request.path).path == path]


@dataclass(frozen=True)
class File:
    """A file, in memory or on disk, served correctly or with any of these faults:

    cut: break the connection after so many bytes of each answer. stall: send nothing more after so many.
    reset: break it with a TCP reset, not a clean end. pace: seconds to wait after every `chunk` bytes.
    ranges: "honoured", "ignored" (200 and all bytes), "shifted" (another range than the one asked for),
    "refused" (416 always) or "liar" (the requested range in the headers, but the first bytes).
    announce: a false Content-Length. chunked: no length. lengthless: the end of the connection ends it.
    if_range: honour If-Range. version: the ETag; None sends none.
    """

    content: bytes | Path
    cut: int | None = None
    stall: int | None = None
    reset: bool = False
    pace: float = 0.0
    chunk: int = CHUNK
    ranges: str = "honoured"
    announce: int | None = None
    chunked: bool = False
    lengthless: bool = False
    if_range: bool = True
    version: str | None = "by content"
    kind: str = "application/octet-stream"
    headers: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, exchange: Exchange) -> None:
        size = len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size
        tag = self._tag(size)
        first = self._first(exchange, tag)
        headers: dict[str, object] = {"Content-Type": self.kind, **self.headers}
        if tag is not None:
            headers["ETag"] = tag
        if first is not None and (self.ranges == "refused" or first >= size):
            exchange.begin(416, {"Content-Range": f"bytes */{size}", "Content-Length": 0})
            return
        start = first or 0
        if first is not None:
            shift = 7 if self.ranges == "shifted" else 0
            headers["Content-Range"] = f"bytes {first + shift}-{size - 1}/{size}"
            start = 0 if self.ranges == "liar" else first + shift
        if self.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif not self.lengthless:
            headers["Content-Length"] = self.announce if self.announce is not None else size - (first or 0)
        exchange.begin(200 if first is None else 206, headers)
        with io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb") as file:
            file.seek(start)
            self._send(exchange, file)

    def _tag(self, size: int) -> str | None:
        if self.version != "by content":
            return self.version
        if isinstance(self.content, bytes):
            return f'"{hashlib.sha256(self.content).hexdigest()[:16]}"'
        return f'"{size}-{self.content.stat().st_mtime_ns}"'

    def _first(self, exchange: Exchange, tag: str | None) -> int | None:
        """The first byte asked for; None for the whole file."""
        match = re.fullmatch(r"bytes=(\d+)-", exchange.headers.get("Range", ""))
        changed = self.if_range and exchange.headers.get("If-Range", tag) != tag
        return None if match is None or self.ranges == "ignored" or changed else int(match[1])

    def _send(self, exchange: Exchange, file: BinaryIO) -> None:
        sent = 0
        stop = min(limit for limit in (self.cut, self.stall, 1 << 60) if limit is not None)
        while sent < stop and (data := file.read(min(self.chunk, stop - sent))):
            exchange.write(b"%x\r\n%s\r\n" % (len(data), data) if self.chunked else data)
            sent += len(data)
            if self.pace:
                exchange.pause(self.pace)
        if self.stall is not None and sent >= self.stall:
            exchange.pause(600)
        if self.reset:
            # Linger for no time at all: closing resets.
            exchange.connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
            )
            exchange.connection.close()
        elif self.chunked and self.cut is None:
            exchange.write(b"0\r\n\r\n")


@dataclass(frozen=True)
class Status:
    """An answer with a status and a short text."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"no"

    def __call__(self, exchange: Exchange) -> None:
        exchange.begin(self.code, {"Content-Length": len(self.body), **self.headers})
        exchange.write(self.body)


def redirect(to: str, code: int = 302) -> Status:
    """A redirect to another address, absolute or relative."""
    return Status(code, {"Location": to})


def page(text: str) -> Status:
    """A web page."""
    return Status(200, {"Content-Type": "text/html; charset=utf-8"}, text.encode())


class InTurn:
    """The first request gets the first behaviour, and so on; the last one serves all further requests."""

    def __init__(self, *behaviours: Behaviour) -> None:
        self._behaviours = list(behaviours)
        self._lock = threading.Lock()

    def __call__(self, exchange: Exchange) -> None:
        with self._lock:
            behaviour = self._behaviours.pop(0) if len(self._behaviours) > 1 else self._behaviours[0]
        behaviour(exchange)


def gzipped(content: bytes) -> Status:
    """The file, compressed, whatever the client accepts."""
    return Status(200, {"Content-Encoding": "gzip"}, gzip.compress(content))


def drip_headers(exchange: Exchange) -> None:
    """Send headers that never end, a byte at a time."""
    exchange.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        exchange.write(b"x")
        exchange.pause(0.02)


def drip_chunk_extension(exchange: Exchange) -> None:
    """Send a chunked body whose first chunk never begins."""
    exchange.begin(200, {"Transfer-Encoding": "chunked"})
    exchange.write(b"5;x=")
    while True:
        exchange.write(b"x")
        exchange.pause(0.02)


def hang_up(exchange: Exchange) -> None:
    """Disconnect without an answer."""
    exchange.connection.shutdown(socket.SHUT_RDWR)


def babble(exchange: Exchange) -> None:
    """Answer with something that is not HTTP."""
    exchange.write(b"220 smtp.example ready\r\n")


def endless(exchange: Exchange) -> None:
    """Send a body without a length that never ends."""
    exchange.begin(200, {"Content-Type": "application/octet-stream"})
    while True:
        exchange.write(bytes(CHUNK))
        exchange.pause(0.0005)


@dataclass(frozen=True)
class DrivePage:
    """Google Drive with a large file: first a page, and the file only with the page's `uuid` in the query.

    action: the target of the page's form; by default this address.
    """

    file: Behaviour
    id: str
    uuid: str = "0b7a-uuid"
    action: str | None = None

    def __call__(self, exchange: Exchange) -> None:
        query = exchange.query
        if query.get("id") == self.id and query.get("uuid") == self.uuid and query.get("confirm") == "t":
            self.file(exchange)
            return
        action = self.action or f"http://{exchange.headers['Host']}/download"
        page(
            "<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>"
            '<p class="uc-warning-caption">Google Drive can\'t scan this file for viruses.</p>'
            f'<form id="download-form" action="{action}" method="get">'
            '<input type="submit" id="uc-download-link" value="Download anyway"/>'
            f'<input type="hidden" name="id" value="{self.id}">'
            '<input type="hidden" name="export" value="download">'
            '<input type="hidden" name="confirm" value="t">'
            f'<input type="hidden" name="uuid" value="{self.uuid}"></form></body></html>'
        )(exchange)


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for a condition that another thread or process fulfils; AssertionError if it does not."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)
