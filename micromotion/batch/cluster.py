"""The engine on a cluster: Ray Data, with a pool of actors that each load the model once.

Only rows and outcomes, some hundred bytes each, go through Ray; photos and videos go from and to the storage
inside the actors. Actors that die are started again, also on other nodes. What they had begun is not repeated
by Ray, which would wait for a node that never returns, but by us: in another round, with the rows that have
no outcome yet.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import warnings
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from micromotion.batch.local import ATTEMPTS, MakeWork, use_one_thread
from micromotion.batch.outcome import Outcome, sentence_of
from micromotion.batch.rows import Row
from micromotion.errors import MicromotionError, OptionError

MAX_BLOCK = 64
"""Most rows that an actor does before their outcomes return."""

_PATIENCE = 10.0  # seconds that the cluster's head has to answer
_STARTS = 3  # attempts to start a cluster on this machine
_BLOCKS = 50  # for each actor, so that all end at about the same time
_ROW, _OUTCOME, _ERROR = (
    "row",
    "outcome",
    "error",
)  # columns of Ray's tables; what an outcome may hold instead


def check_ray() -> None:
    """Raise OptionError unless Ray Data is installed."""
    try:
        import pyarrow  # noqa: F401
        import ray.data  # noqa: F401
    except ImportError as error:
        raise OptionError(
            'The engine ray needs Ray: pip install "micromotion[scale]", or use --engine local.'
        ) from error


def run_on_ray(
    rows: Iterable[Row], make: MakeWork, workers: int | None, device: str = "auto"
) -> Generator[Outcome, None, None]:
    """The outcomes of the rows, as they come, from a Ray cluster: RAY_ADDRESS's, or one on this machine.

    workers: most actors; None: as many as the cluster has GPUs, or cores if there are none or the device is
    "cpu". A row is tried in up to ATTEMPTS rounds; one without an outcome then has failed. Raises
    MicromotionError if an actor cannot start, or the cluster cannot be reached or is lost. If the cluster's
    head dies, Ray ends this process.
    """
    pending = {row.id: row for row in rows}
    if not pending:
        return
    with _cluster():
        for again in range(ATTEMPTS):
            if not pending:
                return
            for outcome in _round(list(pending.values()), make, workers, device, alone=again > 0):
                if pending.pop(outcome.id, None) is not None:
                    yield outcome
    for row in pending.values():
        yield Outcome.failed(row, f"The worker died {ATTEMPTS} times with this photo: run the batch again.")


class _Actor:
    """One worker of the pool."""

    def __init__(self, make: MakeWork) -> None:
        use_one_thread()
        self._sentence = ""
        try:
            self._work = make(0)
        except Exception as error:  # else Ray would try to start it for ever
            self._sentence = sentence_of(error)

    def __call__(self, table: dict[str, Any]) -> dict[str, list[str]]:
        if self._sentence:
            return {_OUTCOME: [json.dumps({_ERROR: self._sentence})]}
        rows = (Row(**json.loads(each)) for each in table[_ROW])
        return {_OUTCOME: [json.dumps(asdict(self._work(row))) for row in rows]}


def _round(
    rows: list[Row], make: MakeWork, workers: int | None, device: str, *, alone: bool
) -> Generator[Outcome, None, None]:
    """The outcomes of the rows, but for those whose actor died.

    alone: an actor has one row at a time, so that none dies with another.
    """
    import pyarrow as pa
    import ray

    found = ray.cluster_resources()
    per_gpu = device != "cpu" and found.get("GPU", 0) >= 1
    size = max(int(found.get("GPU" if per_gpu else "CPU", 1)), 1)
    most = size if workers is None else workers
    block = 1 if alone else min(max(len(rows) // (_BLOCKS * most), 1), MAX_BLOCK)
    tables = [
        pa.table({_ROW: [json.dumps(row._asdict(), default=str) for row in rows[at : at + block]]})
        for at in range(0, len(rows), block)
    ]
    pool = ray.data.ActorPoolStrategy(
        min_size=min(size, most), max_size=most, max_tasks_in_flight_per_actor=1 if alone else None
    )
    outcomes = ray.data.from_arrow(tables).map_batches(
        _Actor,
        fn_constructor_args=(make,),
        batch_size=None,
        compute=pool,
        num_cpus=1,
        num_gpus=1 if per_gpu else 0,
        max_restarts=-1,
        max_task_retries=0,
    )
    for batch in outcomes.iter_batches(batch_size=None, prefetch_batches=0):
        yield from map(_read, batch[_OUTCOME])


def _read(text: str) -> Outcome:
    found = json.loads(text)
    if _ERROR in found:
        raise MicromotionError(f"A worker cannot start: {found[_ERROR]}")
    if found["face"] is not None:
        found["face"] = tuple(found["face"])
    return Outcome(**found)


@contextmanager
def _cluster() -> Iterator[None]:
    """A connection to the cluster, which ends with the block unless it was there before.

    Ray Data goes on after the death of an actor, and reports it to us alone.
    """
    import ray

    ours, logger = not ray.is_initialized(), logging.getLogger("ray.data")
    level = logger.level
    try:
        context = _connected(ours)
        before = context.max_errored_blocks, context.enable_progress_bars
        context.max_errored_blocks, context.enable_progress_bars = -1, False
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            context.max_errored_blocks, context.enable_progress_bars = before
    except (ray.exceptions.RayError, ConnectionError) as error:
        reason = " ".join(str(error).split())
        raise MicromotionError(f"There is no Ray cluster any more, or none yet: {reason:.200}") from error
    finally:
        logger.setLevel(level)
        if ours:
            ray.shutdown()


def _check_address() -> None:
    """Raise MicromotionError if nothing listens at RAY_ADDRESS: Ray itself would try for minutes."""
    address = os.environ.get("RAY_ADDRESS", "")
    if found := re.fullmatch(r"(?:ray://)?([^/]+):([0-9]{1,5})", address):
        try:
            socket.create_connection((found[1], int(found[2])), _PATIENCE).close()
        except OSError as error:
            raise MicromotionError(
                f"There is no Ray cluster at RAY_ADDRESS={address!r:.200}: start one, or unset the variable."
            ) from error


def _connected(ours: bool) -> Any:
    """Connect to the cluster, if that is `ours` to do; Ray Data's settings."""
    from ray.data import DataContext

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray warns of its own defaults
        if ours:
            _check_address()
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # we promise no telemetry
            _start()
        return DataContext.get_current()


def _start() -> None:
    """Connect to the cluster, or start one: again if a busy machine takes longer than Ray's half a minute.

    Raises MicromotionError if Ray cannot start, ConnectionError if its cluster does not answer.
    """
    import ray

    for attempt in range(1, _STARTS + 1):
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
            return
        except ConnectionError:
            raise
        except Exception as error:  # Ray's are of many types
            ray.shutdown()
            if attempt == _STARTS or isinstance(error, OSError | ValueError):
                reason = " ".join(str(error).split())
                advice = " Set RAY_TMPDIR to a folder with a short path." if "AF_UNIX" in reason else ""
                raise MicromotionError(f"Ray cannot start: {reason:.200}{advice}") from error
