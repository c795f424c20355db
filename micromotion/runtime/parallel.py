"""Runs work in other threads: ahead of its use, with results in order, or where nothing interrupts it.

By hand and not by concurrent.futures because of the service's cancellations, which raise an exception
anywhere: within a Condition of Python's library it can leave the lock held, and then the pool is awaited for
ever. A SimpleQueue is one step of the interpreter.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, TypeAlias, TypeVar, cast

from micromotion.runtime.process import usable_threads

MOST = 4
"""Most threads: each holds a frame's work in memory."""

T = TypeVar("T")
R = TypeVar("R")

Answer: TypeAlias = "SimpleQueue[tuple[R | None, BaseException | None]]"
"""Receives one result, or the error instead."""


def ahead(work: Callable[[T], R], items: Sequence[T], threads: int | None = None) -> Generator[R, None, None]:
    """work(item) for each item, in order; up to `threads` (as many as the process uses, at most 4) run ahead.

    The work must suit threads: NumPy and torch release the GIL while they calculate. Its exceptions are
    raised here, at the item's turn. If iteration ends early, running work is awaited, pending work dropped.
    """
    threads = min(usable_threads(), MOST) if threads is None else threads
    if threads < 2 or len(items) < 2:
        yield from map(work, items)
        return
    pool = _Pool(work, threads)
    pending: deque[Answer[R]] = deque()
    try:
        pool.start()
        for item in items:
            pending.append(pool.submit(item))
            if len(pending) > threads:
                yield _result(pending.popleft())
        while pending:
            yield _result(pending.popleft())
    finally:
        pool.close()


def uninterrupted(work: Callable[[], R]) -> R:
    """work() in a thread of its own, awaited: a Ctrl-C or a cancellation is raised here when it is done.

    For code that calls back into Python and drops what is raised there. Raises what the work raises.
    """
    pool: _Pool[None, R] = _Pool(lambda _: work(), 1)
    try:
        pool.start()
        return _result(pool.submit(None))
    finally:
        pool.close()


def _result(answer: Answer[R]) -> R:
    done, error = answer.get()
    if error is not None:
        raise error
    return cast("R", done)


class _Pool(Generic[T, R]):
    """Threads that take items from a queue and answer each in a queue of its own."""

    def __init__(self, work: Callable[[T], R], size: int) -> None:
        self._work, self._size = work, size
        self._tasks: SimpleQueue[tuple[T, Answer[R]] | None] = SimpleQueue()
        self._started: list[threading.Thread] = []

    def start(self) -> None:
        for _ in range(self._size):
            thread = threading.Thread(target=self._run, name="micromotion-frames")
            thread.start()
            self._started.append(thread)

    def submit(self, item: T) -> Answer[R]:
        answer: Answer[R] = SimpleQueue()
        self._tasks.put((item, answer))
        return answer

    def close(self) -> None:
        """Drop what no thread has begun, and wait for the rest."""
        with suppress(Empty):
            while True:
                self._tasks.get_nowait()
        for _ in range(self._size):  # even for a thread whose start was interrupted
            self._tasks.put(None)
        for thread in self._started:
            thread.join()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            item, answer = task
            try:
                answer.put((self._work(item), None))
            except BaseException as error:
                answer.put((None, error))
