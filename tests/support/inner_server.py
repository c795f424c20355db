"""A small server in place of Cog's, for tests of the gateway."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Inner(ThreadingHTTPServer):
    """Records requests, and answers as its attributes say."""

    daemon_threads = True

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, bytes, dict[str, str]]] = []
        self.statuses: list[int] = []
        self.answer = b'{"answer": 1}'
        self.going_on: set[str] = set()
        self.hold = threading.Event()
        self.hold.set()
        self.gone = threading.Event()
        self.broken = threading.Event()
        super().__init__(("127.0.0.1", 0), Answer)

    def handle_error(self, *_: object) -> None:
        """The client disconnected before the answer was sent."""
        self.broken.set()


class Answer(BaseHTTPRequestHandler):
    server: Inner

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.calls.append((self.command, self.path, body, headers))
        if body == b"{}" and self.path.removeprefix("/predictions/") in self.server.going_on:
            self.send_response(202)
            self.end_headers()
            return
        while not self.server.hold.wait(0.05):
            self.connection.settimeout(0.05)
            try:
                if not self.connection.recv(1):
                    self.server.gone.set()
                    return
            except TimeoutError:
                continue
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(self.server.answer)

    do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def running_inner() -> Iterator[Inner]:
    """Run an Inner on a free port within the block."""
    with Inner() as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        try:
            yield server
        finally:
            server.hold.set()
            server.shutdown()
            thread.join()
