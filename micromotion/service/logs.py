"""What a log is told of long work: a line now and then, with the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable

from micromotion.learn.progress import time_left

LINES = 10
"""About so many lines for each piece of work."""


def progress_lines(
    done_what: str, unit: str, total: int, say: Callable[[str], object] = print
) -> Callable[..., None]:
    """A callback, told the number of what is done and a loss if there is one, that says so in lines.

    done_what and unit frame the numbers: with "Refined by" and "steps" a line says "Refined by 20 of 200
    steps, loss 0.1234, 8 s left.". The time counts from the first call, whatever its number is.
    """
    first, began = None, 0.0

    def report(done: int, loss: float | None = None) -> None:
        nonlocal first, began
        if first is None:
            first, began = done, time.monotonic()
        elif done % max(1, total // LINES) and done != total:
            return
        line = f"{done_what} {done} of {total} {unit}"
        if loss is not None:
            line += f", loss {loss:.4f}"
        if first < done < total:
            line += f", {time_left((time.monotonic() - began) / (done - first) * (total - done))} left"
        say(f"{line}.")

    return report
