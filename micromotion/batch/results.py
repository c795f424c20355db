"""The results of a batch, as rows: Parquet, or JSONL without pyarrow, in parts that are written whole.

A run writes parts of its own, the first after ten seconds, later ones less often, so that their number stays
small; what a part did not hold when its run was killed is found again by its video, or done again.
"""

from __future__ import annotations

import io
import json
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from itertools import chain
from typing import Any

from micromotion.batch.outcome import RANK, Outcome, Status
from micromotion.batch.rows import ID_LETTERS, VIDEOS, digest_key
from micromotion.batch.storage import Storage, storage_errors
from micromotion.errors import OutputError

RESULTS = "results"
_FIRST = 10.0  # seconds before the first part
_SHARE = 0.05  # of the run's time between two parts
_MOST = 20_000  # rows in a part, which bounds memory


class ResultWriter:
    """Collects the outcomes of a run and writes them in parts."""

    def __init__(self, store: Storage) -> None:
        self._store = store
        self._run = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"
        self._rows: list[Outcome] = []
        self._parts = 0
        self._began = self._written = time.monotonic()

    def add(self, outcome: Outcome) -> None:
        """Add a row; write a part if it is time. Raises as `flush` does."""
        self._rows.append(outcome)
        now = time.monotonic()
        due = max(_FIRST, _SHARE * (now - self._began))
        if len(self._rows) >= _MOST or now - self._written >= due:
            self.flush()

    def flush(self) -> None:
        """Write the rows that no part holds yet. Raises OutputError."""
        if not self._rows:
            return
        content, suffix = _encoded(self._rows)
        with storage_errors("The results cannot be written", OutputError):
            self._store.put(content, f"{RESULTS}/{self._run}-{self._parts:04d}{suffix}")
        self._parts += 1
        self._written = time.monotonic()
        self._rows.clear()


@dataclass
class Known:
    """What earlier runs left at a destination; ids as 10 bytes, so that a million need little memory.

    videos: id of each video -> whether it has a row too. refused: ids of the rows that would be refused
    again, and why. digests: see `rows.Digests`.
    """

    videos: dict[bytes, bool] = field(default_factory=dict)
    refused: dict[bytes, str] = field(default_factory=dict)
    digests: dict[bytes, bytes] = field(default_factory=dict)


def known_of(store: Storage, url: str) -> Known:
    """What is known of a destination, which may not exist yet. Raises DownloadError if it cannot be read."""
    known = Known()
    sentences: dict[str, str] = {}  # one object for all rows of the same sentence
    with storage_errors(f"{url!r:.200} cannot be read"):
        for name, _ in _missing_ok(store, VIDEOS):
            video = _video_id(name)
            if video is not None:
                known.videos[video] = False
        for columns in _stored(store, ("id", "image", "version", "digest", "status", "sentence")):
            for letters, image, version, digest, status, sentence in zip(*columns, strict=True):
                identity = bytes.fromhex(letters)
                if digest:
                    known.digests[digest_key(image, version)] = bytes.fromhex(digest)
                if status == "done" and identity in known.videos:
                    known.videos[identity] = True
                elif status == "refused":
                    known.refused[identity] = sentences.setdefault(sentence, sentence)
    return known


def _video_id(path: str) -> bytes | None:
    """The id in a video's name; None for hidden files, which are of runs that were killed, and others."""
    name = path.rpartition("/")[2]
    if name[:1] == "." or name[-4:] != ".mp4":
        return None
    try:
        return bytes.fromhex(name[-4 - ID_LETTERS : -4])
    except ValueError:
        return None


def read_results(dest: str) -> list[Outcome]:
    """The results at a destination, one for each id, sorted by image: the best of each, the last if equal.

    Raises DownloadError if they cannot be read.
    """
    best: dict[str, Outcome] = {}
    with storage_errors(f"{dest!r:.200} cannot be read"):
        names = tuple(each.name for each in fields(Outcome))
        for values in chain.from_iterable(zip(*each, strict=True) for each in _stored(Storage(dest), names)):
            row = dict(zip(names, values, strict=True))
            row["face"] = tuple(row["face"]) if row["face"] is not None else None
            outcome = Outcome(**row)
            before = best.get(outcome.id)
            if before is None or _order(outcome) > _order(before):
                best[outcome.id] = outcome
    return sorted(best.values(), key=lambda each: (each.image, each.id))


def _order(outcome: Outcome) -> tuple[int, bool, float]:
    status: Status = outcome.status
    return RANK[status], outcome.seconds is not None, outcome.finished


def _stored(store: Storage, names: tuple[str, ...]) -> Iterator[list[list[Any]]]:
    """These columns of all parts, some thousand rows at a time."""
    for path, _ in _missing_ok(store, RESULTS):
        base = path.rpartition("/")[2]
        if base[:1] != "." and base.endswith((".parquet", ".jsonl")):
            yield from _decoded(store.get(f"{RESULTS}/{base}"), base, names)


def _missing_ok(store: Storage, folder: str) -> Iterable[tuple[str, str]]:
    try:
        yield from store.listing(folder)
    except FileNotFoundError:
        return


def _decoded(content: bytes, path: str, names: tuple[str, ...]) -> Iterator[list[list[Any]]]:
    if path.endswith(".jsonl"):
        rows = [json.loads(line) for line in content.splitlines()]
        yield [[row[name] for row in rows] for name in names]
        return
    from pyarrow.parquet import ParquetFile

    for batch in ParquetFile(io.BytesIO(content)).iter_batches(batch_size=4096, columns=list(names)):
        yield [batch.column(name).to_pylist() for name in names]


def _encoded(rows: list[Outcome]) -> tuple[bytes, str]:
    """The rows as a file, and its suffix."""
    names = [each.name for each in fields(Outcome)]
    found = [{name: _text(getattr(each, name)) for name in names} for each in rows]
    try:
        import pyarrow as pa
        from pyarrow.parquet import write_table
    except ImportError:
        return "".join(json.dumps(each) + "\n" for each in found).encode(), ".jsonl"
    kinds = {"seconds": pa.float64(), "finished": pa.float64(), "face": pa.list_(pa.float64())}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in names])
    file = io.BytesIO()
    write_table(pa.Table.from_pylist(found, schema), file, compression="zstd")
    return file.getvalue(), ".parquet"


def _text(value: Any) -> Any:
    """A text that UTF-8 can hold: a file's name may have bytes that it cannot."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
