"""Requests to Cog's own server on this machine, and the predictions that go on there.

Cog 0.23 answers a PUT of a prediction that is going on at once, with its state: whoever wants its result has
no way to it. And one that was begun with `Prefer: respond-async` is told only to its webhook. So a prediction
is always asked for with the answer, here, and any number of callers wait for that.
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

PATIENCE = 60.0  # seconds for an answer that needs no prediction
GOING_ON = 202
"""Cog's answer to a PUT of a prediction that is going on, whatever its body."""


@dataclass(frozen=True)
class Request:
    """What Cog's server is asked."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def ask(port: int, request: Request) -> Answer | None:
    """The answer to a request that needs no prediction; None if nobody is there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    with suppress(OSError, http.client.HTTPException), closing(connection):
        return _asked(connection, request)
    return None


def is_going_on(port: int, name: str) -> bool:
    """Whether Cog works on a prediction of this name. Where it does not, the empty request begins none."""
    answer = ask(port, Request("PUT", f"/predictions/{name}", b"{}", {"content-type": JSON}))
    return answer is not None and answer.status == GOING_ON


def _asked(connection: http.client.HTTPConnection, request: Request) -> Answer:
    connection.request(request.method, request.path, request.body or None, dict(request.headers))
    with closing(connection.getresponse()) as answer:
        return Answer(answer.status, answer.read(), answer.headers.get("content-type", ""))


class Prediction:
    """A prediction that was asked for, for one caller at first; others may join.

    ended: set when answer is there.
    """

    def __init__(
        self, port: int, request: Request, digest: str, *, kept: bool, retry: float,
        on_end: Callable[[Prediction], None],
    ) -> None:  # fmt: skip
        """digest: of its inputs. kept: goes on without any caller. retry: seconds to wait for a free slot."""
        self.digest = digest
        self.ended = threading.Event()
        self.answer = refusal(503, "The server is starting or has ended.")
        self._kept = kept
        self._callers = 1
        self._broken_off = False
        self._lock = threading.Lock()
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        threading.Thread(target=self._run, args=[request, retry, on_end], daemon=True).start()

    def join(self, *, kept: bool) -> bool:
        """Whether one more caller may wait for it: not once it was broken off."""
        with self._lock:
            if not self._broken_off:
                self._callers += 1
                self._kept |= kept
            return not self._broken_off

    def leave(self) -> bool:
        """One caller does not wait any more; whether that breaks it off, as nobody else waits."""
        with self._lock:
            self._callers -= 1
            if self._callers or self._kept or self._broken_off:
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
            return _asked(self._connection, request)
