"""A webhook receiver for asynchronous predictions."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


@dataclass(frozen=True)
class Webhook:
    url: str
    calls: list[dict[str, Any]]


@contextmanager
def listening() -> Iterator[Webhook]:
    """Run a webhook receiver within the block."""
    calls: list[dict[str, Any]] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            calls.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Listener) as listener:
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        try:
            yield Webhook(f"http://127.0.0.1:{listener.server_port}", calls)
        finally:
            listener.shutdown()
            thread.join()
