"""What stands before Cog's server: a small HTTP server that lets through what is safe, and answers the rest.

Cog 0.23 trusts whoever calls it. It makes folders named after the caller's identifier, wherever that leads,
and one that cannot be a folder's name occupies its only slot for good; it calls back any address; anybody may
shut it down; it holds as many bodies of 100 MB in memory as callers send; and it loses a cancellation that
comes before its worker has begun. So its own server listens for this machine only, and this one, in the
process of `micromotion serve`, for everybody else. What passes is handed over as it came, byte for byte.
"""

from __future__ import annotations

import http.client
import json
import re
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from micromotion.errors import DownloadError
from micromotion.places import check_url, find_addresses

MAX_BODY = 100 << 20
"""Largest body of a request, in bytes; Cog's own limit."""

MAX_VALUES = 1000
"""Most values in a request: each takes far more memory than its letter in the text."""

MAX_CALLS = 64
"""Most callers at a time."""

LARGE = 1 << 20
MAX_LARGE = 2
"""At most so many bodies of more than LARGE bytes are in memory at a time; others wait."""

RECEIVING = 60.0  # seconds for a request to come in, all of it
ANSWERING = 600.0  # seconds for the caller to take the answer, all of it
WAITING = 10.0  # seconds that a large body waits for its turn
SLOT = 1.0  # seconds; Cog frees its only slot a moment after it has answered
AGAIN = 0.3  # seconds after which a prediction is cancelled again, if it has not ended
INSISTING = 60.0  # seconds for which this goes on
CHUNK = 1 << 16

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
_ROUTES = {
    "GET": re.compile(r"/|/health-check|/openapi\.json"),
    "POST": re.compile(rf"/predictions|/predictions/{_NAME}/cancel|/shutdown"),
    "PUT": re.compile(rf"/predictions/{_NAME}"),
}
_CANCEL = re.compile(rf"/predictions/({_NAME})/cancel")
_PASSED_ON = ("content-type", "accept", "prefer", "traceparent", "tracestate")


class Refusal(Exception):  # noqa: N818
    """A request that is not let through: the status, and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Gate(ThreadingHTTPServer):
    """Listens at address; hands what may pass to the server on this machine's port `inner`."""

    daemon_threads = True
    request_queue_size = MAX_CALLS

    def __init__(self, address: tuple[str, int], inner: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.inner = inner
        self.large = threading.BoundedSemaphore(MAX_LARGE)
        self.cancelled: set[str] = set()
        self._calls = threading.BoundedSemaphore(MAX_CALLS)
        super().__init__(address, _Call)

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)  # without HTTPServer's look for this machine's name
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._calls.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._calls.release()

    def insist(self, name: str) -> None:
        """Cancel a prediction again and again until it has ended: the first time may have been lost."""
        if name and name not in self.cancelled:
            self.cancelled.add(name)
            threading.Thread(target=self._insist, args=[name], daemon=True).start()

    def _insist(self, name: str) -> None:
        end = time.monotonic() + INSISTING
        while time.monotonic() < end:
            time.sleep(AGAIN)
            if name not in self.cancelled or self._cancel(name) != 200:
                break
        self.cancelled.discard(name)

    def _cancel(self, name: str) -> int:
        """Cog's answer: 200 as long as it knows the prediction; 0 if there is none."""
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", self.inner, timeout=RECEIVING)
            with closing(connection):
                connection.request("POST", f"/predictions/{name}/cancel")
                return connection.getresponse().status
        return 0

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a caller that goes away is no error."""


@contextmanager
def open_gate(address: tuple[str, int], inner: int) -> Iterator[None]:
    """Within the block a gate is open."""
    with Gate(address, inner) as gate:
        thread = threading.Thread(target=gate.serve_forever, args=[0.2], daemon=True)
        thread.start()
        try:
            yield
        finally:
            gate.shutdown()
            thread.join()


class _Call(BaseHTTPRequestHandler):
    """One caller; every connection carries one request."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "micromotion", ""
    server: Gate

    def handle(self) -> None:
        self._hang_up_after(RECEIVING)
        try:
            self.handle_one_request()
        finally:
            self._alarm.cancel()

    def _hang_up_after(self, seconds: float) -> None:
        """Unless the alarm is cancelled before."""
        self._alarm = threading.Timer(seconds, self._hang_up)
        self._alarm.daemon = True
        self._alarm.start()

    def do_GET(self) -> None:
        self.close_connection = True
        try:
            self._let_through()
        except Refusal as refusal:
            self._answer(refusal.status, str(refusal))
        except OSError:
            self._hang_up()

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = do_GET  # noqa: N815

    def _let_through(self) -> None:
        known = _ROUTES.get(self.command)
        if not any(route.fullmatch(self.path) for route in _ROUTES.values()):
            raise Refusal(404, "There is nothing at this path.")
        if known is None or not known.fullmatch(self.path):
            raise Refusal(405, "This path does not take this method.")
        if self.path == "/shutdown":
            self._check_shutdown()
        size = self._size()
        with self._turn(size):
            body = self._receive(size)
            self._alarm.cancel()
            cancelled = _CANCEL.fullmatch(self.path)
            name = cancelled[1] if cancelled else self._begun(body)
            try:
                upstream = self._ask(body)
            except ConnectionResetError:  # then Cog cancels it
                self.server.insist(name)
                raise
            del body
        try:
            if cancelled and self.found.status == 200:
                self.server.insist(name)
            self._pass_back()
        finally:
            self.found.close()  # the socket is its own where Cog ends the connection with its answer
            upstream.close()

    def _begun(self, body: bytes) -> str:
        """The name of the prediction that is asked for, where the caller gives it one; else ""."""
        if not self.path.startswith("/predictions"):
            return ""
        name = check_body(body) or self.path.removeprefix("/predictions").lstrip("/")
        self.server.cancelled.discard(name)  # one of this name may have been cancelled before
        return name

    def _check_shutdown(self) -> None:
        """Only programs of this machine may end the server, and no page in a browser there."""
        near = self.client_address[0] in ("127.0.0.1", "::1", "::ffff:127.0.0.1")
        if not near or self.headers.get("origin") or self.headers.get("x-forwarded-for"):
            raise Refusal(403, "Only a program on the same machine may shut the server down.")

    def _size(self) -> int:
        if self.command == "GET":
            return 0
        if "transfer-encoding" in self.headers:
            raise Refusal(411, "The request must state the length of its body.")
        told = self.headers.get("content-length", "0")
        if not re.fullmatch(r"\d{1,15}", told):
            raise Refusal(400, "The length of the body is no number.")
        if int(told) > MAX_BODY:
            raise Refusal(413, f"The request is larger than {MAX_BODY >> 20} MB.")
        return int(told)

    @contextmanager
    def _turn(self, size: int) -> Iterator[None]:
        """Within the block a body of this size may be in memory."""
        if size <= LARGE:
            yield
            return
        if not self.server.large.acquire(timeout=WAITING):
            raise Refusal(503, "Too many large requests come in at once: try again in a moment.")
        try:
            yield
        finally:
            self.server.large.release()

    def _receive(self, size: int) -> bytes:
        body = self.rfile.read(size) if size else b""
        if len(body) < size:
            raise Refusal(400, "The request broke off.")
        return body

    def _ask(self, body: bytes) -> http.client.HTTPConnection:
        """Hand the request over; where Cog's slot is not free yet, once more a moment later."""
        headers = {name: self.headers[name] for name in _PASSED_ON if name in self.headers}
        end = time.monotonic() + SLOT
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.server.inner)
            try:
                connection.request(self.command, self.path, body or None, headers)
            except OSError:
                connection.close()
                raise Refusal(503, "The server is starting or has ended.") from None
            self._wait(connection)
            self.found = connection.getresponse()
            if self.found.status != 409 or time.monotonic() > end:
                return connection
            connection.close()
            time.sleep(SLOT / 20)

    def _wait(self, connection: http.client.HTTPConnection) -> None:
        """Until Cog answers; a caller that goes away meanwhile ends its request there."""
        while True:
            ready, _, _ = select.select([connection.sock, self.connection], [], [])
            if connection.sock in ready:
                return
            if not self.connection.recv(1, socket.MSG_PEEK):
                connection.close()
                raise ConnectionResetError
            time.sleep(0.05)  # more than one request at a time: the next one is not read

    def _pass_back(self) -> None:
        answer = self.found
        self._hang_up_after(ANSWERING)  # else a film that nobody reads would keep one of MAX_CALLS for good
        self.send_response(answer.status)
        for name in ("content-type", "content-length"):
            if answer.headers.get(name):
                self.send_header(name, answer.headers[name])
        self.send_header("connection", "close")
        self.end_headers()
        while chunk := answer.read(CHUNK):
            self.wfile.write(chunk)

    def _answer(self, status: int, sentence: str) -> None:
        text = json.dumps({"detail": sentence, "status": "STARTING" if status == 503 else "refused"})
        with suppress(OSError):
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.send_header("connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(text.encode())
            self._drain()

    def _drain(self) -> None:
        """Take a little of what still comes: a connection closed over it would lose the answer on its way."""
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(1.0)
        end = time.monotonic() + 5.0
        while time.monotonic() < end and self.connection.recv(CHUNK):
            pass

    def _hang_up(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: Cog's log has every prediction."""


def check_body(body: bytes) -> str | None:
    """The identifier in a prediction's request, if there is one.

    Raises Refusal unless the request is a JSON object whose identifier and webhook are harmless. What is
    inside `input` is Cog's to judge, by the schema.
    """
    if sum(map(body.count, (b"{", b"[", b",", b":"))) > MAX_VALUES:
        raise Refusal(422, f"The request holds more than {MAX_VALUES} values.")
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "The request is not JSON.") from None
    if not isinstance(request, dict):
        raise Refusal(422, "The request is no JSON object.")
    name = request.get("id")
    if name is not None and not (isinstance(name, str) and re.fullmatch(_NAME, name)):
        raise Refusal(422, "The id must be 1 to 100 letters, digits, dots, dashes and underscores.")
    webhook = request.get("webhook")
    if webhook is not None:
        try:
            find_addresses(check_url(webhook if isinstance(webhook, str) else ""))
        except DownloadError as error:
            raise Refusal(422, f"The webhook cannot be called. {error}") from None
    return name
