"""What all commands share: some options, how errors are told, and how progress is shown, on stderr."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
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

from micromotion.errors import DeviceMemoryError, MainMemoryError, MicromotionError
from micromotion.runtime.main_memory import is_out_of_memory, too_little_memory
from micromotion.video.output_names import typed

QUIET = 10.0  # seconds between two lines about one download where stderr is no terminal

Report = Callable[[str, int, int | None], None]
"""Called with a file's name, the bytes that are here, and the bytes in all (None: not known)."""

Step = Callable[[str], None]
"""Called with a line about what is being done."""

Model = Annotated[
    str,
    typer.Option(
        parser=typed,
        metavar="NAME|FOLDER",
        help="The model: avatar; ffhq, photo-real, after `micromotion weights fetch ffhq`; one of your own; "
        "or a bundle folder.",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Debug = Annotated[
    bool, typer.Option("--debug", envvar="MICROMOTION_DEBUG", help="Show the whole traceback of an error.")
]


@contextmanager
def cli_errors(debug: bool) -> Iterator[None]:
    """Tell any error as one sentence on stderr and exit with 1; with debug, let it show its traceback."""
    try:
        yield
    except (typer.Exit, typer.Abort, BrokenPipeError):
        raise
    except Exception as error:
        if debug:
            raise
        typer.echo(f"micromotion: {_sentence(error)}", err=True)
        raise typer.Exit(1) from error


def _sentence(error: Exception) -> str:
    """What an error says to people, in one line that a terminal may show."""
    said = _shown(" ".join(str(error).split()))
    if isinstance(error, DeviceMemoryError | MainMemoryError):
        return said
    if is_out_of_memory(error):  # also where it was taken for damage
        return too_little_memory("this")
    if isinstance(error, MicromotionError):
        return said
    if isinstance(error, ImportError) or (isinstance(error, OSError) and ".so" in said and not error.errno):
        return (
            f"A library that is needed cannot be loaded ({said}): install micromotion again, with what it "
            "requires, in an environment of its own."
        )
    return f"unexpected {type(error).__name__}: {said} (--debug shows where)"


def _shown(text: str) -> str:
    """The text with what would command a terminal escaped (for its encoding see `streams`)."""
    return "".join(ascii(each)[1:-1] if unicodedata.category(each) in ("Cc", "Cs") else each for each in text)


def frame_progress(console: Console | None = None) -> Progress:
    """A progress bar that counts frames, on stderr or a given console; silent where that is no terminal."""
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
def download_progress() -> Iterator[tuple[Report, Step]]:
    """Two callbacks, for downloads and for other steps: a bar with speed and time left at a terminal,
    elsewhere a line now and then."""
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
    """A size for people: 37 kB, 1.2 GB; "unknown" where it is not known."""
    if count is None:
        return "unknown"
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 999.5:
            break
        size, unit = size / 1000, larger
    return f"{size:.1f} {unit}" if size < 9.95 and unit != "B" else f"{size:.0f} {unit}"


def _reporting_lines(console: Console) -> Report:
    """A line when a download begins and when it is whole, and one every `QUIET` seconds between."""
    said: dict[str, float] = {}

    def report(name: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        finished = total is not None and done >= total
        if name in said and not finished and now - said[name] < QUIET:
            return
        if said.get(name) == float("inf"):
            return
        said[name] = float("inf") if finished else now
        _say(console, f"{name}: {in_bytes(done)} of {in_bytes(total)}")

    return report


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
