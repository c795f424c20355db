"""The gateway before Cog's server: a small HTTP server that forwards safe requests and refuses the others.

Cog 0.23 trusts its callers. It makes folders named after the caller's id, wherever that leads, and an id that
cannot be a folder's name blocks its only slot for good; it calls any webhook; anybody may shut it down; it
holds as many bodies of 100 MB in memory as callers send; it loses a cancellation that arrives before its
worker has begun; and its responses echo the input. So Cog's server listens on this machine only, and the
gateway, in the process of `micromotion serve`, for everybody else. Requests are forwarded byte for byte,
except that a null for an optional input is removed.
"""

from __future__ import annotations

import http.client
import json
import re
import select
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from micromotion.service.answers import Answer, refusal, without_echo
from micromotion.service.cog_client import PATIENCE, Prediction, Request, ask, is_going_on
from micromotion.service.prediction_request import MAX_VALUES as MAX_VALUES
from micromotion.service.prediction_request import NAME, Refusal, check_body

MAX_BODY = 100 << 20
"""Largest body of a request, in bytes; Cog's own limit."""

MAX_CALLS = 64
"""Most concurrent callers."""

LARGE = 1 << 20
MAX_LARGE = 2
"""Most bodies of more than LARGE bytes in memory at a time; others wait."""

RECEIVING = 60.0  # seconds to receive a whole request
ANSWERING = 600.0  # seconds for the caller to read the whole response
WAITING = 10.0  # seconds that a large body waits for its turn
SLOT = 1.0  # seconds; Cog frees its only slot a moment after it has responded
AGAIN = 0.3  # seconds between repeated cancellations of a prediction that has not ended
INSISTING = 60.0  # seconds for which they are repeated
GLANCE = 0.05  # seconds between checks that a waiting caller is still connected
CHUNK = 1 << 16

_NAME = NAME
_ROUTES = {
    "GET": re.compile(r"/|/health-check|/openapi\.json"),
    "POST": re.compile(rf"/predictions|/predictions/{_NAME}/cancel|/shutdown"),
    "PUT": re.compile(rf"/predictions/{_NAME}"),
}
_CANCEL = re.compile(rf"/predictions/({_NAME})/cancel")
_FORWARDED = ("content-type", "accept", "prefer", "traceparent", "tracestate")
UNREADABLE = "The request cannot be read as HTTP, or its method is not known."


class Gateway(ThreadingHTTPServer):
    """Listens at address; forwards safe requests to the server on this machine's port `inner`."""

    daemon_threads = True
    request_queue_size = MAX_CALLS

    def __init__(
        self, address: tuple[str, int], inner: int, inputs: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """inputs: the schema of each input of a prediction, by its name."""
        self.inputs = inputs or {}
        self.nullable = [name for name, about in self.inputs.items() if about.get("nullable")]
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.inner = inner
        self.large = threading.BoundedSemaphore(MAX_LARGE)
        self.cancelled: set[str] = set()
        self._running: dict[str, Prediction] = {}
        self._lock = threading.Lock()
        self._calls = threading.BoundedSemaphore(MAX_CALLS)
        super().__init__(address, _Call)

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)  # without HTTPServer's look-up of the host name
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

    def begin(self, name: str, request: Request, digest: str, *, later: bool) -> tuple[Prediction, bool]:
        """The requested prediction, and whether it is new.

        A PUT joins the running prediction of its name. Raises Refusal if that has other inputs: its result is
        only for callers who know them. later: the caller does not wait for its end.
        """
        put = request.method == "PUT"
        with self._lock:
            known = self._running.get(name)
            if put and known is not None:
                if known.digest != digest:
                    raise Refusal(
                        409, "A prediction of this id is going on with other inputs: choose another id."
                    )
                if known.join(detached=later):
                    return known, False
                known = None
            self.cancelled.discard(name)  # one of this name may have been cancelled before
            begun = Prediction(self.inner, request, digest, detached=later, retry=SLOT, on_end=self._forget)
            if name and known is None and (put or not later):
                self._running[name] = begun
        return begun, True

    def _forget(self, ended: Prediction) -> None:
        with self._lock:
            for name in [name for name, each in self._running.items() if each is ended]:
                del self._running[name]

    def insist(self, name: str) -> None:
        """Repeat a cancellation until the prediction has ended: the first may have been lost."""
        if name and name not in self.cancelled:
            self.cancelled.add(name)
            threading.Thread(target=self._insist, args=[name], daemon=True).start()

    def _insist(self, name: str) -> None:
        end = time.monotonic() + INSISTING
        while time.monotonic() < end:
            time.sleep(AGAIN)
            if name not in self.cancelled:
                return
            answer = ask(self.inner, Request("POST", f"/predictions/{name}/cancel"))
            if answer is None or answer.status != 200:  # Cog no longer knows it
                break
        self.cancelled.discard(name)

    def handle_error(self, request: object, client_address: object) -> None:
        """Log nothing: a caller that disconnects is no error."""


@contextmanager
def open_gateway(
    address: tuple[str, int], inner: int, inputs: Mapping[str, Mapping[str, Any]] | None = None
) -> Iterator[None]:
    """Run a gateway within the block."""
    with Gateway(address, inner, inputs) as gateway:
        thread = threading.Thread(target=gateway.serve_forever, args=[0.2], daemon=True)
        thread.start()
        try:
            yield
        finally:
            gateway.shutdown()
            thread.join()


class _Call(BaseHTTPRequestHandler):
    """Handles one caller; each connection carries one request."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "micromotion", ""
    default_request_version = "HTTP/1.0"  # else unreadable requests get a response without a status
    server: Gateway

    def setup(self) -> None:
        super().setup()
        self._alarm = threading.Timer(0, self._hang_up)  # not started

    def handle(self) -> None:
        self._hang_up_after(RECEIVING)
        try:
            self.handle_one_request()
        finally:
            self._alarm.cancel()

    def _hang_up_after(self, seconds: float) -> None:
        """Start the alarm anew; it closes the connection unless cancelled before."""
        self._alarm.cancel()
        self._alarm = threading.Timer(seconds, self._hang_up)
        self._alarm.daemon = True
        self._alarm.start()

    def do_GET(self) -> None:
        self.close_connection = True
        try:
            self._forward()
        except Refusal as refused:
            self._refuse(refused.status, str(refused))
        except OSError:
            self._hang_up()

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = do_GET  # noqa: N815

    def _forward(self) -> None:
        self._check_route()
        if self.path == "/shutdown":
            self._check_shutdown()
        size = self._size()
        if self.path.startswith("/predictions") and not _CANCEL.fullmatch(self.path):
            self._predict(size)
            return
        with self._turn(size):
            body = self._receive(size)
        self._relay(body)

    def _check_route(self) -> None:
        """Raise Refusal unless this path exists and allows this method."""
        self.allowed = [method for method, route in _ROUTES.items() if route.fullmatch(self.path)]
        if not self.allowed:
            raise Refusal(404, "There is nothing at this path.")
        if "GET" in self.allowed:
            self.allowed.append("HEAD")
        if self.command not in self.allowed:
            raise Refusal(405, "This path does not take this method.")

    def _predict(self, size: int) -> None:
        """Start or join a prediction; respond when it has ended, or with respond-async once it runs."""
        later = "respond-async" in re.split(r"[\s,;]+", self.headers.get("prefer", "").lower())
        put = self.command == "PUT"
        with self._turn(size):
            request = check_body(self._receive(size), self.server.nullable, self.server.inputs)
            name = self.path.removeprefix("/predictions").lstrip("/")
            if put and request.name not in ("", name):
                raise Refusal(422, "The id in the request must be the one in its path, or be left out.")
            headers = self._forwarded_headers({"prefer"} if put else set())
            forwarded = Request(self.command, self.path, request.body, headers)
            digest = request.digest() if name or request.name else ""
            name = name or request.name
            prediction, new = self.server.begin(name, forwarded, digest, later=later)
            del request, forwarded
            if new:  # the request stays in memory until Cog has responded, or has begun
                self._wait(prediction, name, later=put and later)
        self._wait(prediction, name, later=put and later)
        answer = prediction.answer
        if put and later and (not prediction.ended.is_set() or answer.status < 400):
            answer = Answer(
                202, json.dumps({"id": name, "status": "starting" if new else "processing"}).encode()
            )
        self._send(without_echo(answer, self.server.inputs))

    def _wait(self, prediction: Prediction, name: str, *, later: bool) -> None:
        """Wait until the prediction has ended, or, with later, begun; a disconnected caller leaves it."""
        while not prediction.ended.wait(GLANCE):
            if later and is_going_on(self.server.inner, name):
                return
            if select.select([self.connection], [], [], 0)[0] and not self.connection.recv(
                1, socket.MSG_PEEK
            ):
                if prediction.leave():
                    self.server.insist(name)
                raise ConnectionResetError

    def _forwarded_headers(self, but: set[str]) -> dict[str, str]:
        return {name: self.headers[name] for name in _FORWARDED if name in self.headers and name not in but}

    def _check_shutdown(self) -> None:
        """Raise Refusal unless the caller is a program of this machine, not a page in a browser."""
        local = self.client_address[0] in ("127.0.0.1", "::1", "::ffff:127.0.0.1")
        if not local or self.headers.get("origin") or self.headers.get("x-forwarded-for"):
            raise Refusal(403, "Only a program on the same machine may shut the server down.")

    def _size(self) -> int:
        if self.command in ("GET", "HEAD"):
            return 0
        if "transfer-encoding" in self.headers:
            raise Refusal(411, "The request must state the length of its body.")
        if self.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise Refusal(415, "The request must not be compressed: leave its Content-Encoding out.")
        length = self.headers.get("content-length", "0")
        if not re.fullmatch(r"\d{1,15}", length):
            raise Refusal(400, "The length of the body is not a number.")
        if int(length) > MAX_BODY:
            raise Refusal(413, f"The request is larger than {MAX_BODY >> 20} MB.")
        return int(length)

    @contextmanager
    def _turn(self, size: int) -> Iterator[None]:
        """Within the block, a body of this size may be in memory; large ones wait their turn."""
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
        self._alarm.cancel()
        return body

    def _relay(self, body: bytes) -> None:
        """Forward a request that needs no prediction, and stream the response back."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.inner, timeout=PATIENCE)
        with closing(connection):
            method = "GET" if self.command == "HEAD" else self.command
            try:
                connection.request(method, self.path, body or None, self._forwarded_headers(set()))
                found = connection.getresponse()
            except (OSError, http.client.HTTPException):
                raise Refusal(503, "The server is starting or has ended.") from None
            with closing(found):  # it owns the socket if Cog closes the connection after its response
                self._pass_back(found)

    def _pass_back(self, found: http.client.HTTPResponse) -> None:
        if found.status != 200:
            answer = Answer(found.status, found.read(), found.headers.get("content-type", ""))
            self._send(without_echo(answer, self.server.inputs))
            return
        cancelled = _CANCEL.fullmatch(self.path)
        if cancelled:
            self.server.insist(cancelled[1])
        self._begin_answer(200, found.headers.get("content-type", ""), found.headers.get("content-length"))
        while self.command != "HEAD" and (chunk := found.read(CHUNK)):
            self.wfile.write(chunk)

    def _send(self, answer: Answer) -> None:
        self._begin_answer(answer.status, answer.kind, str(len(answer.body)))
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _begin_answer(self, status: int, kind: str, length: str | None) -> None:
        self._hang_up_after(ANSWERING)  # else a video that nobody reads would block one of MAX_CALLS for good
        self.send_response(status)
        for name, value in (("content-type", kind), ("content-length", length)):
            if value:
                self.send_header(name, value)
        if status == 405:
            self.send_header("allow", ", ".join(self.allowed))
        self.send_header("connection", "close")
        self.end_headers()

    def _refuse(self, status: int, sentence: str) -> None:
        with suppress(OSError):
            self._send(refusal(status, sentence))
            self._drain()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer http.server's own refusals in JSON too: its messages would echo the request."""
        self._refuse(code, UNREADABLE)

    def _drain(self) -> None:
        """Read some of what still arrives: closing with unread data would lose the response in transit."""
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(1.0)
        end = time.monotonic() + 5.0
        while time.monotonic() < end and self.connection.recv(CHUNK):
            pass

    def _hang_up(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: Cog's log has every prediction."""
