"""A bucket of any size on this machine: its listings are made as they are asked for, its objects are files.

`shop/portraits/…` is made up, `shop/FOLDER/…` is a folder on disk. It only reads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

PAGE = 1000  # keys in an answer, as S3 gives
WHEN = "2026-01-01T00:00:00.000Z"


def key(number: int) -> str:
    """The key of a photo; they are in the order of their numbers."""
    return f"portraits/{number // 10_000:03d}/{number:09d}.jpg"


def etag(number: int) -> str:
    """The version of a photo."""
    return f"{number * 2654435761 % 2**64:032x}"


@dataclass(frozen=True)
class Listed:
    """How many objects there are, and the key and etag of each by its number."""

    count: int
    object: Callable[[int], tuple[str, str]]


class Bucket(ThreadingHTTPServer):
    """Answers what a batch asks an S3 that holds all of its photos, videos and results."""

    daemon_threads = True

    def __init__(self, rows: int, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._rows, self._folder = rows, folder
        self._listed: dict[str, Listed] = {}
        self._lock = threading.Lock()

    def page(self, prefix: str, start: int) -> str:
        """A page of a listing, from the number of its first key."""
        with self._lock:
            if prefix not in self._listed:
                self._listed[prefix] = self._found(prefix)
        found = self._listed[prefix]
        shown = [found.object(number) for number in range(start, min(start + PAGE, found.count))]
        more = start + PAGE < found.count
        token = f"<NextContinuationToken>{start + PAGE}</NextContinuationToken>" if more else ""
        contents = "".join(
            f"<Contents><Key>{escape(name)}</Key><LastModified>{WHEN}</LastModified><ETag>&quot;{tag}&quot;"
            f"</ETag><Size>100000</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for name, tag in shown
        )
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>shop</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(shown)}</KeyCount>"
            f"<MaxKeys>{PAGE}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>{token}{contents}"
            "</ListBucketResult>"
        )

    def object(self, name: str) -> bytes | None:
        """The content of a stored object; None if there is none."""
        path = self._folder / name
        return path.read_bytes() if path.is_file() else None

    def _found(self, prefix: str) -> Listed:
        if prefix.startswith("portraits"):
            return Listed(self._rows, lambda number: (key(number), etag(number)))
        folder, base = self._folder / prefix, prefix.rstrip("/")
        names = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
        return Listed(len(names), lambda number: (f"{base}/{names[number]}", "0" * 32))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Bucket

    def do_GET(self) -> None:
        """A page of a listing, or an object."""
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if "list-type" in asked:
            page = self.server.page(asked.get("prefix", ""), int(asked.get("continuation-token", 0)))
            self._answer(200, page.encode(), "application/xml")
            return
        found = self.server.object(unquote(parts.path).removeprefix("/shop/"))
        self._answer(404 if found is None else 200, found or b"", "application/octet-stream")

    do_HEAD = do_GET  # noqa: N815 (http.server's name)

    def _answer(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", kind)
        self.send_header("ETag", f'"{"0" * 32}"')
        self.send_header("Last-Modified", formatdate(0, usegmt=True))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def running_bucket(rows: int, folder: Path) -> Iterator[dict[str, str]]:
    """The environment's variables that lead to a bucket."""
    server = Bucket(rows, folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        }
    finally:
        server.shutdown()
        server.server_close()
