"""Workers that render nothing, to measure everything else."""

from __future__ import annotations

from collections.abc import Callable

from micromotion.batch.outcome import Outcome
from micromotion.batch.rows import Row


def nothing(index: int) -> Callable[[Row], Outcome]:
    """A worker that calls a row done."""
    return Outcome.done


def never(index: int) -> Callable[[Row], Outcome]:
    """A worker that must not be started: nothing is left to do."""
    raise AssertionError("a worker was started")
