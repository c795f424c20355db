"""Runs work ahead of its use, on several cores, with results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from micromotion.runtime.process import usable_threads

MOST = 4
"""Most threads: each holds a frame's work in memory."""

T = TypeVar("T")
R = TypeVar("R")


def ahead(work: Callable[[T], R], items: Sequence[T], threads: int | None = None) -> Generator[R, None, None]:
    """work(item) for each item, in order; up to `threads` (as many as the process uses, at most 4) run ahead.

    The work must suit threads: NumPy and torch release the GIL while they calculate. Its exceptions are
    raised here, at the item's turn. If iteration ends early, running work is awaited, pending work dropped.
    """
    threads = min(usable_threads(), MOST) if threads is None else threads
    if threads < 2 or len(items) < 2:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="micromotion-frames") as pool:
        yield from _in_order(pool, work, items, threads)


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], threads: int
) -> Iterator[R]:
    pending: deque[Future[R]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for each in pending:
            each.cancel()
