"""The engine without a cluster: worker processes on this machine, each with one row at a time.

A thread holds each process and waits for it. A process that dies is replaced, and its row done again.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue

from micromotion.batch.outcome import Outcome, sentence_of
from micromotion.batch.rows import Row
from micromotion.errors import MainMemoryError, MicromotionError

ATTEMPTS = 3
"""How often a row is begun whose worker dies."""

ROW_SECONDS = 3600.0
"""A worker that takes longer for a row is ended, and counts as dead."""

_STOP = 5.0  # seconds that a worker has to tidy up

Work = Callable[[Row], Outcome]
MakeWork = Callable[[int], Work]
"""Called in a worker process with its index; it may take long, and ends the batch by a MicromotionError."""


def run_local(rows: Iterable[Row], make: MakeWork, workers: int) -> Generator[Outcome, None, None]:
    """The outcomes of the rows, as they come, from that many processes of one thread each.

    Rows are taken as they are needed: at most two for each worker are begun or wait. Closing the generator
    ends the processes at once; what they were doing is lost, and nothing half-written stays. Raises what
    `make` raises.
    """
    idle: SimpleQueue[_Process] = SimpleQueue()
    processes = [_Process(make, index) for index in range(workers)]
    for each in processes:
        idle.put(each)

    def do(row: Row) -> Outcome:
        process = idle.get()
        try:
            return process.do(row)
        finally:
            idle.put(process)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="micromotion-batch")
    running: set[Future[Outcome]] = set()
    try:
        for row in rows:
            if len(running) >= 2 * workers:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (each.result() for each in done)
            running.add(pool.submit(do, row))
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (each.result() for each in done)
    finally:
        for future in running:
            future.cancel()
        for process in processes:
            process.end()
        for process in processes:
            process.join()
        pool.shutdown()


class _Process:
    """A worker process, started when it is needed, and anew after it has died."""

    def __init__(self, make: MakeWork, index: int) -> None:
        self._make, self._index = make, index
        self._ended = False
        self._lock = threading.Lock()  # of the process: one thread does rows, another ends it
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def do(self, row: Row) -> Outcome:
        """Have a row done. Raises the MicromotionError with which the worker could not start."""
        started = False
        for _ in range(ATTEMPTS):
            if self._ended:
                break
            with suppress(EOFError, OSError):  # it died
                pipe = self._started()
                started = True
                pipe.send(row)
                if pipe.poll(ROW_SECONDS):
                    return _received(pipe)
            self._discard()
        if not started and not self._ended:
            raise MainMemoryError(
                "A worker died while it loaded the model: use fewer workers, which need less memory."
            )
        return Outcome.failed(row, f"The worker died {ATTEMPTS} times with this photo: run the batch again.")

    def end(self) -> None:
        """Ask the process to tidy up and end; none is started any more."""
        with self._lock:
            self._ended = True
            if self._process is not None:
                self._process.terminate()

    def join(self) -> None:
        """Wait until it has ended; kill it if it does not."""
        with self._lock:
            process = self._process
        if process is not None:
            process.join(_STOP)
            process.kill()
            process.join()

    def _started(self) -> Connection:
        """The pipe to a process that is ready. Raises EOFError if it has died, or none may be started."""
        if self._pipe is not None:
            return self._pipe
        context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks
        ours, theirs = context.Pipe()
        with self._lock:
            if self._ended:
                raise EOFError
            arguments = (theirs, self._make, self._index)
            self._process = context.Process(target=_serve, args=arguments, daemon=True)
            self._process.start()
        theirs.close()  # so that its death ends the pipe
        self._pipe = ours
        _received(ours)
        return ours

    def _discard(self) -> None:
        with self._lock:
            process, self._process = self._process, None
            pipe, self._pipe = self._pipe, None
        if process is not None:
            process.kill()
            process.join()
        if pipe is not None:
            pipe.close()


def _received(pipe: Connection) -> Outcome:
    answer = pipe.recv()
    if isinstance(answer, Exception):
        raise answer
    outcome: Outcome = answer
    return outcome


def _serve(pipe: Connection, make: MakeWork, index: int) -> None:
    """A worker process: do the rows that come, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes: the first one decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    use_one_thread()
    with suppress(EOFError, BrokenPipeError):
        try:
            work = make(index)
        except Exception as error:
            known = isinstance(error, MicromotionError)
            pipe.send(error if known else MicromotionError(f"A worker cannot start: {sentence_of(error)}"))
            return
        pipe.send(None)
        while True:
            pipe.send(work(pipe.recv()))


def use_one_thread() -> None:
    """Make this process use one thread, before it imports torch."""
    from micromotion.runtime.process import configure_process

    os.environ["OMP_NUM_THREADS"] = "1"
    configure_process()
