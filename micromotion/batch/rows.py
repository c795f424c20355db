"""The rows of a batch: a photo, what is asked for it, and an id that both decide."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
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


@dataclass(frozen=True, slots=True)
class Row:
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
        self._keys: dict[str, str] = {}

    def rows(self, entries: Iterable[Entry]) -> Iterator[Row]:
        """A row for each entry, in order. An entry that cannot be played is a row too."""
        for entry in entries:
            name = harmless(entry.name or stem(entry.image))
            digest = "" if is_url(entry.image) else self._digest(entry)
            source = digest or f"{entry.image}|{entry.version}"
            made_from = json.dumps([_EDITION, source, name, self._key(entry.overrides), self._model_key])
            identity = hashlib.sha256(made_from.encode()).hexdigest()[:ID_LETTERS]
            yield Row(identity, entry.image, name, entry.version, digest, entry.overrides)

    def _key(self, overrides: Mapping[str, Any]) -> str:
        """The request of such a row, as text; one that cannot be played is known by what the row says."""
        said = json.dumps(overrides, sort_keys=True, default=str)
        if said not in self._keys:
            if len(self._keys) > 10_000:  # each row has its own
                self._keys.clear()
            try:
                key = self._request.overridden(overrides, self._model).key(self._model)
                self._keys[said] = json.dumps(key, sort_keys=True)
            except (MicromotionError, TypeError, ValueError, OverflowError):  # the worker says why
                self._keys[said] = f"{self._request}|{said}"
        return self._keys[said]

    def _digest(self, entry: Entry) -> str:
        """The SHA-256 of a local file; "" if it cannot be read, or is too large for a picture."""
        remembered = self._digests.get(digest_key(entry.image, entry.version)) if entry.version else None
        if remembered is not None:
            return remembered.hex()
        path = Path(entry.image)
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
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "_", plain).strip("._-")[:MAX_NAME] or "photo"


def stem(image: str) -> str:
    """The file's name in a path or URL, without its suffix."""
    path = unquote(image.partition("?")[0]) if is_url(image) else image
    base = path.rstrip("/").rpartition("/")[2]
    return base.rpartition(".")[0] or base
