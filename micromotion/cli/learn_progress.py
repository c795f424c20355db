"""The progress of a collection: losses and time left on a terminal, otherwise occasional lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from micromotion.runtime.progress import QUIET, frame_progress, time_left

if TYPE_CHECKING:
    from micromotion.learn.text import Step

_TITLES = ("degree", "loss", "CLIP", "distance", "identity")


@contextmanager
def step_progress() -> Iterator[Callable[[Step], None]]:
    """A callback for `collect_from_text`: a bar and a table of each degree's losses, on stderr."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _reporting_lines(console)
        return
    bar = frame_progress(console)
    task = bar.add_task("Reading the model", total=None)
    with Live(bar, console=console, transient=True, refresh_per_second=4) as live:

        def on_step(step: Step) -> None:
            bar.update(task, description="Collecting", total=step.total, completed=step.done)
            live.update(Group(bar, losses_table(step)))

        yield on_step


@contextmanager
def frame_counter() -> Iterator[Callable[[int, int], None]]:
    """A callback (done, total) that draws a progress bar; silent if stderr is not a terminal."""
    with frame_progress() as bar:
        task = bar.add_task("Reading the model", total=None)
        yield lambda done, total: bar.update(task, description="Collecting", completed=done, total=total)


def losses_table(step: Step) -> Table:
    """A row per degree."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in _TITLES:
        table.add_column(title, justify="left" if title == "degree" else "right")
    columns = (step.loss, step.clip, step.l2, step.identity)
    for row, words in enumerate(step.degrees):
        table.add_row(Text(words), *(f"{float(values[row]):.4f}" for values in columns))
    return table


def _reporting_lines(console: Console) -> Callable[[Step], None]:
    """A callback that prints a line for the first and the last step, and every `QUIET` seconds."""
    began = reported = time.monotonic()
    first: int | None = None

    def on_step(step: Step) -> None:
        nonlocal reported, first, began
        now = time.monotonic()
        if first is None:
            first, began = step.done, now
        elif step.done < step.total and now - reported < QUIET:
            return
        reported = now
        left = ""
        if first < step.done < step.total:
            seconds = (now - began) / (step.done - first) * (step.total - step.done)
            left = f", {time_left(seconds)} left"
        losses = _listed(step.degrees, step.loss.tolist())
        text = f"Step {step.done} of {step.total}: loss {losses}{left}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    return on_step


def _listed(words: Sequence[str], losses: Sequence[float]) -> str:
    return ", ".join(f"{word} {loss:.3f}" for word, loss in zip(words, losses, strict=True))
