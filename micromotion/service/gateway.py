"""What stands before Cog's server: a small HTTP server that lets through what is safe, and answers the rest.

Cog 0.23 trusts whoever calls it. It makes folders named after the caller's identifier, wherever that leads,
and one that cannot be a folder's name occupies its only slot for good; it calls back any address; anybody may
shut it down; it holds as many bodies of 100 MB in memory as callers send; it loses a cancellation that comes
before its worker has begun; and its answers quote what was sent. So its own server listens for this machine
only, and this one, in the process of `micromotion serve`, for everybody else. What passes is handed over as
it came, byte for byte, but for a null in place of an input that may be left out.
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
GLANCE = 0.05  # seconds between two looks whether a caller that waits is still there
CHUNK = 1 << 16

_NAME = NAME
_ROUTES = {
    "GET": re.compile(r"/|/health-check|/openapi\.json"),
    "POST": re.compile(rf"/predictions|/predictions/{_NAME}/cancel|/shutdown"),
    "PUT": re.compile(rf"/predictions/{_NAME}"),
}
_CANCEL = re.compile(rf"/predictions/({_NAME})/cancel")
_PASSED_ON = ("content-type", "accept", "prefer", "traceparent", "tracestate")
UNREADABLE = "The request cannot be read as HTTP, or its method is not known."


class Gate(ThreadingHTTPServer):
    """Listens at address; hands what may pass to the server on this machine's port `inner`."""

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

    def begin(self, name: str, asked: Request, digest: str, *, later: bool) -> tuple[Prediction, bool]:
        """The prediction that is asked for, and whether it is a new one.

        A PUT joins the one of its name that is going on. Raises Refusal if that one has other inputs: who
        does not know them has no business with its result. later: its caller does not wait for its end.
        """
        put = asked.method == "PUT"
        with self._lock:
            known = self._running.get(name)
            if put and known is not None:
                if known.digest != digest:
                    raise Refusal(
                        409, "A prediction of this id is going on with other inputs: choose another id."
                    )
                if known.join(kept=later):
                    return known, False
                known = None
            self.cancelled.discard(name)  # one of this name may have been cancelled before
            begun = Prediction(self.inner, asked, digest, kept=later, retry=SLOT, on_end=self._forget)
            if name and known is None and (put or not later):
                self._running[name] = begun
        return begun, True

    def _forget(self, ended: Prediction) -> None:
        with self._lock:
            for name in [name for name, each in self._running.items() if each is ended]:
                del self._running[name]

    def insist(self, name: str) -> None:
        """Cancel a prediction again and again until it has ended: the first time may have been lost."""
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
            if answer is None or answer.status != 200:  # Cog does not know it any more
                break
        self.cancelled.discard(name)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a caller that goes away is no error."""


@contextmanager
def open_gateway(
    address: tuple[str, int], inner: int, inputs: Mapping[str, Mapping[str, Any]] | None = None
) -> Iterator[None]:
    """Within the block a gate is open."""
    with Gate(address, inner, inputs) as gate:
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
    default_request_version = "HTTP/1.0"  # else what cannot be read is answered without a status
    server: Gate

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
        """Unless the alarm is cancelled before, or set anew."""
        self._alarm.cancel()
        self._alarm = threading.Timer(seconds, self._hang_up)
        self._alarm.daemon = True
        self._alarm.start()

    def do_GET(self) -> None:
        self.close_connection = True
        try:
            self._let_through()
        except Refusal as refused:
            self._refuse(refused.status, str(refused))
        except OSError:
            self._hang_up()

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = do_GET  # noqa: N815

    def _let_through(self) -> None:
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
        """Raise Refusal unless there is something at this path, for this method."""
        self.allowed = [method for method, route in _ROUTES.items() if route.fullmatch(self.path)]
        if not self.allowed:
            raise Refusal(404, "There is nothing at this path.")
        if "GET" in self.allowed:
            self.allowed.append("HEAD")
        if self.command not in self.allowed:
            raise Refusal(405, "This path does not take this method.")

    def _predict(self, size: int) -> None:
        """Begin a prediction, or join it; answer when it is over, or that it goes on where that is asked."""
        later = "respond-async" in re.split(r"[\s,;]+", self.headers.get("prefer", "").lower())
        put = self.command == "PUT"
        with self._turn(size):
            request = check_body(self._receive(size), self.server.nullable)
            name = self.path.removeprefix("/predictions").lstrip("/")
            if put and request.name not in ("", name):
                raise Refusal(422, "The id in the request must be the one in its path, or be left out.")
            headers = self._passed_on({"prefer"} if put else set())
            asked = Request(self.command, self.path, request.body, headers)
            digest = request.digest() if name or request.name else ""
            name = name or request.name
            prediction, new = self.server.begin(name, asked, digest, later=later)
            del request, asked
            if new:  # the request stays in memory until Cog has answered, or has begun
                self._wait(prediction, name, later=put and later)
        self._wait(prediction, name, later=put and later)
        answer = prediction.answer
        if put and later and (not prediction.ended.is_set() or answer.status < 400):
            answer = Answer(
                202, json.dumps({"id": name, "status": "starting" if new else "processing"}).encode()
            )
        self._send(without_echo(answer, self.server.inputs))

    def _wait(self, prediction: Prediction, name: str, *, later: bool) -> None:
        """Until the prediction has ended, or, with later, has begun; a caller that goes away leaves it."""
        while not prediction.ended.wait(GLANCE):
            if later and is_going_on(self.server.inner, name):
                return
            if select.select([self.connection], [], [], 0)[0] and not self.connection.recv(
                1, socket.MSG_PEEK
            ):
                if prediction.leave():
                    self.server.insist(name)
                raise ConnectionResetError

    def _passed_on(self, but: set[str]) -> dict[str, str]:
        return {name: self.headers[name] for name in _PASSED_ON if name in self.headers and name not in but}

    def _check_shutdown(self) -> None:
        """Only programs of this machine may end the server, and no page in a browser there."""
        near = self.client_address[0] in ("127.0.0.1", "::1", "::ffff:127.0.0.1")
        if not near or self.headers.get("origin") or self.headers.get("x-forwarded-for"):
            raise Refusal(403, "Only a program on the same machine may shut the server down.")

    def _size(self) -> int:
        if self.command in ("GET", "HEAD"):
            return 0
        if "transfer-encoding" in self.headers:
            raise Refusal(411, "The request must state the length of its body.")
        if self.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise Refusal(415, "The request must not be compressed: leave its Content-Encoding out.")
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
        self._alarm.cancel()
        return body

    def _relay(self, body: bytes) -> None:
        """Hand over what needs no prediction, and pass the answer back as it comes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.inner, timeout=PATIENCE)
        with closing(connection):
            method = "GET" if self.command == "HEAD" else self.command
            try:
                connection.request(method, self.path, body or None, self._passed_on(set()))
                found = connection.getresponse()
            except (OSError, http.client.HTTPException):
                raise Refusal(503, "The server is starting or has ended.") from None
            with closing(found):  # the socket is its own where Cog ends the connection with its answer
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
        self._hang_up_after(ANSWERING)  # else a video that nobody reads would keep one of MAX_CALLS for good
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
        """What http.server itself refuses, in JSON too: its own words would quote the request."""
        self._refuse(code, UNREADABLE)

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
