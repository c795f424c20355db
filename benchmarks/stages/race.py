"""Contenders that work in turns, A B C A B C, each in a process of its own.

Since they take turns, a temporary disturbance of the machine affects all alike; since each has its own
process, none sees another's allocator, caches or patches.
"""

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from micromotion.runtime import process

Work = Callable[[], object]


class Spent(NamedTuple):
    """What a work may return to replace the measured time and memory: on a GPU, in a process of its own.

    Seconds of one piece of work; peak memory in bytes; the seconds of its parts, by name.
    """

    seconds: float
    memory: int
    parts: dict[str, float] | None = None


@dataclass(frozen=True)
class Contender:
    """What to measure: make(*args) prepares, in the new process, and returns the function that is timed."""

    name: str
    make: Callable[..., Work]
    args: tuple[Any, ...] = ()
    threads: int = 4
    rounds: int | None = None  # an upper limit, for a slow contender


@dataclass
class Result:
    """Wall seconds of each round, peak memory in bytes, and what the last round's work returned."""

    name: str
    seconds: list[float] = field(default_factory=list)
    peak: int = 0
    said: object = None
    failed: str = ""

    @property
    def median(self) -> float:
        return median(self.seconds) if self.seconds else float("nan")

    @property
    def spread(self) -> float:
        """Half of the distance from the fastest round to the slowest, as a share of the median."""
        return (max(self.seconds) - min(self.seconds)) / 2 / self.median if self.seconds else float("nan")


def race(contenders: Sequence[Contender], *, rounds: int = 3, keep: bool = True) -> list[Result]:
    """Run all contenders once to warm up, then in turns for some rounds; `keep`: call `keep_memory`.

    A contender that fails has the reason in its result and drops out; the others continue.
    """
    context = multiprocessing.get_context("spawn")
    results, pipes, workers = [], [], []
    for contender in contenders:
        here, there = context.Pipe()
        worker = context.Process(target=_serve, args=(there, contender, keep))
        with _environment(contender.threads):
            worker.start()
        there.close()
        results.append(Result(contender.name))
        pipes.append(here)
        workers.append(worker)
    for result, pipe in zip(results, pipes, strict=True):  # all prepare at once, and report when ready
        _note(pipe, result)
    for number in range(-1, rounds):
        for contender, result, pipe in zip(contenders, results, pipes, strict=True):
            if not result.failed and number < (rounds if contender.rounds is None else contender.rounds):
                _send(pipe, "work")
                seconds = _note(pipe, result)
                if number >= 0 and not result.failed:
                    result.seconds.append(seconds)
    for pipe, worker in zip(pipes, workers, strict=True):
        _send(pipe, "stop")
        worker.join()
    return results


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    """For the time of the block, the environment that a contender's process starts with."""
    ours = process.threads(threads)
    before = {name: os.environ.pop(name, None) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _send(pipe: Connection, what: str) -> None:
    with suppress(OSError):  # its process has ended
        pipe.send(what)


def _note(pipe: Connection, result: Result) -> float:
    """Store a contender's answer in its result; returns the seconds that it took."""
    try:
        result.failed, seconds, result.said, result.peak = pipe.recv()
    except EOFError:
        result.failed, seconds = "it died (of too little memory, perhaps)", 0.0
    return float(seconds)


def _serve(pipe: Connection, contender: Contender, keep: bool) -> None:
    """What runs in a contender's process."""
    if keep:
        process.keep_memory()
    try:
        import torch

        torch.manual_seed(0)
        work = contender.make(*contender.args)
        pipe.send(("", 0.0, None, peak_memory()))
        while pipe.recv() == "work":
            start = time.perf_counter()
            said = work()
            took, memory = time.perf_counter() - start, peak_memory()
            if isinstance(said, Spent):
                took, memory, said = said
            pipe.send(("", took, said if isinstance(said, dict | str) else None, memory))
    except Exception as error:
        traceback.print_exc()
        pipe.send((f"{type(error).__name__}: {error}"[:200], 0.0, None, 0))


def peak_memory() -> int:
    """The peak memory of this process, in bytes; 0 if the system does not report it."""
    return _bytes(Path("/proc/self/status"), "VmHWM:")


def free_memory() -> int:
    """Bytes of memory available to processes; 0 if the system does not report it."""
    return _bytes(Path("/proc/meminfo"), "MemAvailable:")


def _bytes(path: Path, name: str) -> int:
    with suppress(OSError, StopIteration):
        lines = path.read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith(name))) * 1024
    return 0
