"""Work that is done ahead, on several cores at once, and handed out in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from micromotion.runtime.process import usable_cores

MOST = 4
"""Threads at most: each holds a frame's work in memory."""

T = TypeVar("T")
R = TypeVar("R")


def ahead(work: Callable[[T], R], items: Sequence[T], threads: int | None = None) -> Generator[R, None, None]:
    """work(item) for each item, in order; up to `threads` (one a core, 4 at most) are worked on ahead.

    The work must be one that threads can share: NumPy and torch let others run while they calculate. What it
    raises is raised here, in its place. When the iteration ends early, what has begun is waited for, and what
    has not is dropped.
    """
    threads = min(usable_cores(), MOST) if threads is None else threads
    if threads < 2 or len(items) < 2:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="micromotion-frames") as pool:
        yield from _in_order(pool, work, items, threads)


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], threads: int
) -> Iterator[R]:
    under_way: deque[Future[R]] = deque()
    try:
        for item in items:
            under_way.append(pool.submit(work, item))
            if len(under_way) > threads:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        for each in under_way:
            each.cancel()
