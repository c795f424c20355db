"""Requests to Cog's server on this machine, and the predictions that run there.

Cog 0.23 answers a PUT of a running prediction at once, with its state: there is no way to wait for its
result. And the result of one started with `Prefer: respond-async` goes only to its webhook. So here every
prediction is requested synchronously, and any number of callers wait for its response.
"""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field

from micromotion.service.answers import JSON, Answer, refusal

PATIENCE = 60.0  # seconds for a response that needs no prediction
GOING_ON = 202
"""Cog's status for a PUT of a running prediction, whatever its body."""


@dataclass(frozen=True)
class Request:
    """A request to Cog's server."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def ask(port: int, request: Request) -> Answer | None:
    """The response to a request that needs no prediction; None if the server does not respond."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    with suppress(OSError, http.client.HTTPException), closing(connection):
        return _exchange(connection, request)
    return None


def is_going_on(port: int, name: str) -> bool:
    """Whether Cog runs a prediction of this name. If not, the empty request starts none."""
    answer = ask(port, Request("PUT", f"/predictions/{name}", b"{}", {"content-type": JSON}))
    return answer is not None and answer.status == GOING_ON


def _exchange(connection: http.client.HTTPConnection, request: Request) -> Answer:
    connection.request(request.method, request.path, request.body or None, dict(request.headers))
    with closing(connection.getresponse()) as answer:
        return Answer(answer.status, answer.read(), answer.headers.get("content-type", ""))


class Prediction:
    """A requested prediction, with one caller at first; others may join.

    ended: set once answer is available.
    """

    def __init__(
        self, port: int, request: Request, digest: str, *, detached: bool, retry: float,
        on_end: Callable[[Prediction], None],
    ) -> None:  # fmt: skip
        """digest: of its inputs. detached: runs on without callers. retry: seconds to wait for a slot."""
        self.digest = digest
        self.ended = threading.Event()
        self.answer = refusal(503, "The server is starting or has ended.")
        self._detached = detached
        self._callers = 1
        self._broken_off = False
        self._lock = threading.Lock()
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        threading.Thread(target=self._run, args=[request, retry, on_end], daemon=True).start()

    def join(self, *, detached: bool) -> bool:
        """Add a caller; False if the prediction was already broken off."""
        with self._lock:
            if not self._broken_off:
                self._callers += 1
                self._detached |= detached
            return not self._broken_off

    def leave(self) -> bool:
        """Remove a caller; whether that breaks the prediction off, as nobody else waits."""
        with self._lock:
            self._callers -= 1
            if self._callers or self._detached or self._broken_off:
                return False
            self._broken_off = True
            if self._connection.sock is not None:
                with suppress(OSError):
                    self._connection.sock.shutdown(socket.SHUT_RDWR)
            return True

    def _run(self, request: Request, retry: float, on_end: Callable[[Prediction], None]) -> None:
        end = time.monotonic() + retry
        busy = {409, GOING_ON} if request.method == "PUT" else {409}
        with suppress(OSError, http.client.HTTPException):
            while True:
                self.answer = self._ask(request)
                if self.answer.status not in busy or time.monotonic() > end:
                    break
                time.sleep(retry / 20)
        on_end(self)
        self.ended.set()

    def _ask(self, request: Request) -> Answer:
        with closing(self._connection):
            self._connection.connect()
            with self._lock:
                if self._broken_off:
                    raise ConnectionAbortedError
            return _exchange(self._connection, request)
