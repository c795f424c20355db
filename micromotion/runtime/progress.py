"""Progress display: bars on stderr if it is a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

QUIET = 10.0  # seconds between two lines about one download if stderr is not a terminal

DownloadReport = Callable[[str, int, int | None], None]
"""Called with a file's name, the bytes so far, and the bytes in all (None: unknown)."""

StepReport = Callable[[str], None]
"""Called with a line that describes the current step."""

LINES = 10
"""Approximate number of lines per task."""


def time_left(seconds: float) -> str:
    """A duration as text: 8 s, 3 min, 2.5 h."""
    if seconds < 99.5:
        return f"{max(0, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"


def progress_lines(
    done_what: str, unit: str, total: int, say: Callable[[str], object] = print
) -> Callable[..., None]:
    """A callback that takes the number done, and optionally a loss, and prints progress lines.

    done_what and unit frame the numbers: with "Refined by" and "steps" a line is "Refined by 20 of 200 steps,
    loss 0.1234, 8 s left.". The time counts from the first call, whatever its number.
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


def frame_progress(console: Console | None = None) -> Progress:
    """A progress bar that counts frames, on stderr or a given console; silent unless that is a terminal."""
    console = console or Console(stderr=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


@contextmanager
def row_progress() -> Iterator[Callable[[int, int, int], None]]:
    """A callback that takes the numbers of rows done now, settled, and in all: a bar with rate and time left
    in a terminal, otherwise a line now and then."""
    console = Console(stderr=True)
    began = printed = time.monotonic()
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("Listing", total=None)

        def report(done: int, settled: int, total: int) -> None:
            nonlocal printed
            now = time.monotonic()
            pace = "done before"
            if done:
                rate = done / max(now - began, 1e-9)
                pace = f"{_in_a_minute(rate)}, {time_left((total - settled) / rate)} left"
            if console.is_terminal:
                progress.update(task, description=pace, completed=settled, total=total)
            elif now - printed >= QUIET:
                printed = now
                _say(console, f"{settled} of {total} photos, {pace}.")

        yield report


def _in_a_minute(rate: float) -> str:
    """A rate per second as text."""
    return f"{60 * rate:.0f} a minute" if rate < 100 else f"{rate:.0f} a second"


@contextmanager
def download_progress() -> Iterator[tuple[DownloadReport, StepReport]]:
    """Two callbacks, for downloads and for other steps: a bar with speed and time left in a terminal,
    otherwise a line now and then."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _reporting_lines(console), lambda step: _say(console, step)
        return
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task("", total=None, visible=False)
        current = ""

        def report(name: str, done: int, total: int | None) -> None:
            nonlocal current
            if name != current:
                current = name
                progress.reset(task, total=total, completed=done, description=name, visible=True)
            progress.update(task, completed=done, total=total)

        def step(text: str) -> None:
            nonlocal current
            current = ""
            progress.update(task, visible=False)
            _say(console, text)

        yield report, step


def in_bytes(count: int | None) -> str:
    """A size as text: 37 kB, 1.2 GB; "unknown" for None."""
    if count is None:
        return "unknown"
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 999.5:
            break
        size, unit = size / 1000, larger
    return f"{size:.1f} {unit}" if size < 9.95 and unit != "B" else f"{size:.0f} {unit}"


def _reporting_lines(console: Console) -> DownloadReport:
    """Print a line when a download begins and when it ends, and one every `QUIET` seconds between."""
    printed: dict[str, float] = {}

    def report(name: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        finished = total is not None and done >= total
        if name in printed and not finished and now - printed[name] < QUIET:
            return
        if printed.get(name) == float("inf"):
            return
        printed[name] = float("inf") if finished else now
        _say(console, f"{name}: {in_bytes(done)} of {in_bytes(total)}")

    return report


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
