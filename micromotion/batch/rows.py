"""The rows of a batch: a photo, what is asked for it, and an id that both decide."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from micromotion.batch.request import Request
from micromotion.batch.sources import Entry, is_url
from micromotion.errors import MicromotionError
from micromotion.face.images import MAX_BYTES
from micromotion.weights.bundle import BundleFiles
from micromotion.weights.bundle_record import ABOUT

VIDEOS = "videos"
ID_LETTERS = 20  # 80 bits: among a billion rows, the chance that two are equal is one in a million
MAX_NAME = 60
_EDITION = 1  # counts changes of what an id is made from
_HARMFUL = re.compile(r"[^A-Za-z0-9._-]+")


class Row(NamedTuple):
    """A photo to animate.

    Attributes:
        id: 20 hexadecimal digits, from the source, the name, the request and the model.
        image: the photo's path or URL.
        name: harmless: up to 60 letters, digits, dots, dashes and underscores.
        version: of the source: an object's etag, a local file's size and time of change; "" if unknown.
        digest: the SHA-256 of a local file's content; "" for others.
        overrides: what the row's list sets for it.
    """

    id: str
    image: str
    name: str
    version: str
    digest: str
    overrides: Mapping[str, Any]

    @property
    def video(self) -> str:
        """The path of its video, relative to the destination."""
        return f"{VIDEOS}/{self.name}-{self.id}.mp4"


Digests = Mapping[bytes, bytes]
"""`digest_key` of a local file -> the SHA-256 of its content, as far as remembered."""


class RowMaker:
    """Makes the rows of one request and model; reads a local file only if its digest is not remembered."""

    def __init__(self, request: Request, model: BundleFiles, digests: Digests) -> None:
        self._request, self._model, self._digests = request, model, digests
        about = (model.folder / ABOUT).read_bytes()  # which has the hash of each of its files
        self._model_key = hashlib.sha256(about).hexdigest()
        self._ends: dict[str, bytes] = {}
        self._end = self._made_end({})  # of most rows

    def rows(self, entries: Iterable[Entry]) -> Iterator[Row]:
        """A row for each entry, in order. An entry that cannot be played is a row too."""
        return map(self.row, entries)

    def row(self, entry: Entry) -> Row:
        """The row of an entry; a local file is read unless its digest is remembered."""
        found = self.row_unread(entry)
        return self._row(entry, False, self._read(entry.image)) if found is None else found

    def row_unread(self, entry: Entry) -> Row | None:
        """The same, but None if its photo has to be read."""
        is_remote = is_url(entry.image)
        digest = "" if is_remote else self._remembered(entry)
        return None if digest is None else self._row(entry, is_remote, digest)

    def _row(self, entry: Entry, is_remote: bool, digest: str) -> Row:
        name = harmless(entry.name or stem(entry.image, is_remote))
        source = json.dumps(digest or f"{entry.image}|{entry.version}")
        made_from = hashlib.sha256(f'[{_EDITION}, {source}, "{name}", '.encode())  # as JSON, a million times
        made_from.update(self._made_end(entry.overrides) if entry.overrides else self._end)
        identity = made_from.hexdigest()[:ID_LETTERS]
        return Row(identity, entry.image, name, entry.version, digest, entry.overrides)

    def _made_end(self, overrides: Mapping[str, Any]) -> bytes:
        """What an id is made from besides the photo and the name: the request of such a row, and the model.

        A request that cannot be played is known by what the row says.
        """
        said = json.dumps(overrides, sort_keys=True, default=str)
        if said not in self._ends:
            if len(self._ends) > 10_000:  # each row has its own
                self._ends.clear()
            try:
                found = self._request.overridden(overrides, self._model).key(self._model)
                key = json.dumps(found, sort_keys=True)
            except (MicromotionError, TypeError, ValueError, OverflowError):  # the worker says why
                key = f"{self._request}|{said}"
            self._ends[said] = f"{json.dumps(key)}, {json.dumps(self._model_key)}]".encode()
        return self._ends[said]

    def _remembered(self, entry: Entry) -> str | None:
        """The digest of a local file that was read before; None if it was not."""
        if not (entry.version and self._digests):
            return None
        found = self._digests.get(digest_key(entry.image, entry.version))
        return None if found is None else found.hex()

    @staticmethod
    def _read(image: str) -> str:
        """The SHA-256 of a local file; "" if it cannot be read, or is too large for a picture."""
        path = Path(image)
        try:
            if not path.is_file() or path.stat().st_size > MAX_BYTES:
                return ""
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return ""


def digest_key(image: str, version: str) -> bytes:
    """What a local file's digest is remembered by: 16 bytes, from its path, size and time of change."""
    return hashlib.blake2b(f"{image}|{version}".encode(errors="surrogateescape"), digest_size=16).digest()


def harmless(name: str) -> str:
    """A name that is safe in a path and a URL: ASCII letters, digits, . _ -; "photo" if there are none."""
    if not name.isascii():
        name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return _HARMFUL.sub("_", name).strip("._-")[:MAX_NAME] or "photo"


def stem(image: str, is_remote: bool) -> str:
    """The file's name in a path or URL, without its suffix."""
    path = unquote(image.partition("?")[0]) if is_remote else image
    base = path.rstrip("/").rpartition("/")[2]
    return base.rpartition(".")[0] or base
