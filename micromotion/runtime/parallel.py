"""Runs work in other threads: ahead of its use, with results in order, or where nothing interrupts it.

By hand and not by concurrent.futures because of the service's cancellations, which raise an exception
anywhere: within a Condition of Python's library it can leave the lock held, and then the pool is awaited for
ever. A SimpleQueue is one step of the interpreter.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing, nullcontext, suppress
from queue import Empty, SimpleQueue
from typing import Generic, TypeAlias, TypeVar, cast

from micromotion.runtime.process import usable_threads

MOST = 4
"""Most threads: each holds a frame's work in memory."""

T = TypeVar("T")
R = TypeVar("R")

Outcome: TypeAlias = tuple[R | None, BaseException | None]
"""A result, or the error instead."""

Answer: TypeAlias = "SimpleQueue[Outcome[R]]"
"""Receives one outcome."""


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


def read_ahead(items: Iterable[T], count: int = 2, threads: int | None = None) -> Generator[T, None, None]:
    """The same items, of which up to `count` are made in another thread before they are asked for.

    Only where the process uses several threads. Exceptions of `items` are raised at their position. If
    iteration ends early, the item in the making is awaited, and `items` closed.
    """
    if (usable_threads() if threads is None else threads) < 2:
        yield from items
        return
    made: SimpleQueue[Outcome[T] | None] = SimpleQueue()
    wanted: SimpleQueue[bool] = SimpleQueue()
    for _ in range(count):
        wanted.put(True)
    thread = threading.Thread(target=_make, args=(items, wanted, made), name="micromotion-ahead")
    try:
        thread.start()
        while (one := made.get()) is not None:
            wanted.put(True)
            yield _unpacked(one)
    finally:
        with suppress(Empty):
            while True:
                wanted.get_nowait()
        wanted.put(False)
        if thread.ident is not None:
            thread.join()


def _make(items: Iterable[T], wanted: SimpleQueue[bool], made: SimpleQueue[Outcome[T] | None]) -> None:
    """Answer each wish with an item or an error, and None after the last."""
    try:
        iterator = iter(items)
        with closing(iterator) if isinstance(iterator, Generator) else nullcontext():
            while wanted.get():
                made.put((next(iterator), None))
    except StopIteration:
        made.put(None)
    except BaseException as error:
        made.put((None, error))


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
    return _unpacked(answer.get())


def _unpacked(answer: Outcome[R]) -> R:
    done, error = answer
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
