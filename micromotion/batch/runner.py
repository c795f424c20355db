"""Runs a batch: lists the photos, leaves out those done, has an engine do the rest, keeps the results."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, Unpack

from micromotion.batch.cluster import check_ray, run_on_ray
from micromotion.batch.local import MakeWork, run_local
from micromotion.batch.outcome import Outcome
from micromotion.batch.request import Request, motions_from
from micromotion.batch.results import Known, ResultWriter, known_of
from micromotion.batch.rows import Row, RowMaker
from micromotion.batch.shard import Shard, parse_shard
from micromotion.batch.sources import Entry, is_url, list_entries
from micromotion.batch.storage import Storage
from micromotion.batch.worker import Setup, Worker
from micromotion.credentials.signing import check_credentials
from micromotion.errors import OptionError
from micromotion.option_checks import check_choice, check_whole
from micromotion.options import AnimateKeywords, AnimateOptions, options_from
from micromotion.runtime.main_memory import import_torch
from micromotion.runtime.process import usable_cores
from micromotion.weights.bundle import find_bundle

Engine = Literal["local", "ray"]
ENGINES = ("local", "ray")
MAX_WORKERS = 10_000
MAX_SENTENCES = 1000
"""Most different sentences of failures that a report holds."""

Outcomes = Generator[Outcome, None, None]
OnRow = Callable[[int, int, int], object]
"""Called with the number of rows that this run did, of those that are settled, and of all."""


@dataclass
class Report:
    """What became of a batch, or of its shard.

    Attributes:
        done: rows whose video was made in this run, or by another one meanwhile.
        before: rows that were done before.
        repeated: entries of the source that are a row already.
        refused, failed: rows without a video (see `outcome.Status`); those refused before are counted again.
        sentences: the reason of those -> how many, and the first image.
    """

    done: int = 0
    before: int = 0
    repeated: int = 0
    refused: int = 0
    failed: int = 0
    sentences: dict[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether every row has its video."""
        return self.refused == self.failed == 0

    def add(self, status: str, sentence: str, image: str) -> None:
        """Count a row of this run."""
        setattr(self, status, getattr(self, status) + 1)
        if status != "done":
            count, first = self.sentences.get(sentence, (0, image))
            if count or len(self.sentences) < MAX_SENTENCES:
                self.sentences[sentence] = (count + 1, first)


def run(
    source: str | Path,
    dest: str | Path,
    motion: object = "smile",
    options: AnimateOptions | None = None,
    *,
    timeline: str | None = None,
    full_size: bool = False,
    credentials: bool = True,
    model: str = "avatar",
    device: str = "auto",
    engine: Engine = "local",
    workers: int | None = None,
    shard: str | Shard | None = None,
    fail_fast: bool = False,
    retry: bool = False,
    on_row: OnRow | None = None,
    make: MakeWork | None = None,
    **keywords: Unpack[AnimateKeywords],
) -> Report:
    """Animate every photo of a source that has no video at the destination yet.

    Args:
        source: a folder, a glob, a picture, or a list (.jsonl, .csv, .parquet) with the column `image` and
            columns for what differs by row; a path, or a URL that fsspec knows.
        dest: a folder or a URL, for `videos/NAME-ID.mp4` and `results/*.parquet`.
        motion: a name, a list, or a mapping to strengths; it is not used if there is a timeline, a text.
        options, keywords: as for `Animator.animate`; full_size, credentials: as for `Video.save`.
        workers: how many; None: one for each GPU, or core if there is none.
        shard: "3/100", "auto/100" (see `parse_shard`), or a Shard; None: all rows.
        fail_fast: stop at the first row that is refused or fails.
        retry: try rows again that were refused before.
        make: what does the rows, instead of a `Worker`, for tests and benchmarks.

    Can be stopped at any time, also by killing it, and run again; several may run at once. Raises
    OptionError, MotionError, BundleError, CredentialsError, DownloadError and OutputError if the batch as
    such is wrong, but for no single photo. A program that calls it needs the guard
    `if __name__ == "__main__":`, as for multiprocessing.
    """
    check_choice("engine", engine, ENGINES)
    if workers is not None:
        check_whole("workers", workers, 1, MAX_WORKERS)
    if engine == "ray":
        check_ray()
    source, dest = _place(source), _place(dest)
    files = find_bundle(model)
    wanted = {} if timeline is not None else motions_from(motion, files)
    request = Request(wanted, timeline, options_from(keywords, options), full_size, credentials)
    request.key(files)  # raises what every row would
    if credentials:
        check_credentials()
    share = parse_shard(shard) if isinstance(shard, str) else shard
    entries = list_entries(source)
    if share is not None:
        entries = filter(share.has, entries)
    store = Storage(dest)
    known = known_of(store, dest)
    make = make or partial(Worker, Setup(request, model, device, dest))
    outcomes = partial(_engine(engine), make=make, workers=workers, device=device)
    batch = _Batch(RowMaker(request, files, known.digests), known, store, retry, on_row)
    return batch.run(entries, outcomes, fail_fast)


class _Batch:
    """A run's state: what is known, what is settled, and the report."""

    def __init__(
        self, maker: RowMaker, known: Known, store: Storage, retry: bool, on_row: OnRow | None
    ) -> None:
        self._maker, self._known, self._retry, self._on_row = maker, known, retry, on_row
        self._store, self._writer = store, ResultWriter(store)
        self._seen: set[bytes] = set()
        self._settled = self._done = self._total = 0
        self.report = Report()

    def run(
        self, entries: Iterable[Entry], engine: Callable[[Iterable[Row]], Outcomes], fail_fast: bool
    ) -> Report:
        """Have the rows done that are missing. However it ends, the results that are known are written."""
        try:
            unsettled = self._unsettled(entries)
            with closing(engine(self._missing(unsettled))) as outcomes:
                for outcome in outcomes:
                    self._writer.add(outcome)
                    self.report.add(outcome.status, outcome.sentence, outcome.image)
                    self._done += 1
                    self._settle()
                    if fail_fast and outcome.status != "done":
                        break
        finally:
            self._writer.flush()
        return self.report

    def _unsettled(self, entries: Iterable[Entry]) -> list[Entry | Row]:
        """What is not settled by what is known, without reading a photo: rows to do, entries to read.

        Settled ones are counted and let go, so that a million of them need little memory.
        """
        found: list[Entry | Row] = []
        for entry in entries:
            row = self._maker.row_unread(entry)
            if row is None:
                found.append(entry)
            elif self._is_to_do(row):
                found.append(row)
            else:
                self._settled += 1
        self._total = self._settled + len(found)
        if self._settled:
            self._tell()
        return found

    def _missing(self, unsettled: Iterable[Entry | Row]) -> Iterator[Row]:
        """The rows to do; photos are read, and rows that this settles counted, as they are needed."""
        begun = False
        for each in unsettled:
            row = each
            if isinstance(row, Entry):
                row = self._maker.row(row)
                if not self._is_to_do(row):
                    self._settle()
                    continue
            if not begun:
                self._store.check_writable()
                begun = True
            yield row

    def _is_to_do(self, row: Row) -> bool:
        """Whether a row is new and has neither a video nor a refusal; the others are counted."""
        known, identity = self._known, bytes.fromhex(row.id)
        if identity in self._seen:
            self.report.repeated += 1
            return False
        self._seen.add(identity)
        has_row = known.videos.get(identity)
        if has_row is not None:
            self.report.before += 1
            if not has_row:  # its run was killed before it could write the row
                self._writer.add(Outcome.done(row))
            return False
        if identity in known.refused and not self._retry:
            self.report.add("refused", known.refused[identity], row.image)
            return False
        return True

    def _settle(self) -> None:
        self._settled += 1
        self._tell()

    def _tell(self) -> None:
        if self._on_row is not None:
            self._on_row(self._done, self._settled, self._total)


def _engine(name: Engine) -> Callable[..., Outcomes]:
    return run_on_ray if name == "ray" else _run_here


def _run_here(rows: Iterable[Row], make: MakeWork, workers: int | None, device: str) -> Outcomes:
    """`run_local` with a process for each GPU, or core if there is none."""
    return run_local(rows, make, workers or _gpus(device) or usable_cores())


def _gpus(device: str) -> int:
    """How many GPUs the workers of this machine have; torch is not imported where there is no driver."""
    if device not in ("auto", "cuda"):
        return int(device != "cpu")
    with suppress(OSError):
        ctypes.CDLL("libcuda.so.1")
        import_torch()
        import torch

        return torch.cuda.device_count()
    return 0


def _place(given: str | Path) -> str:
    """A path as an absolute one, a URL unchanged. Raises OptionError for an empty one."""
    text = str(given)
    if not text:
        raise OptionError("The source and the destination need a name.")
    return text if is_url(text) else str(Path(text).expanduser().absolute())
