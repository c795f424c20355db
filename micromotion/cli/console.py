"""Shared by all commands: common options, and error output."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from micromotion.errors import DeviceMemoryError, MainMemoryError, MicromotionError
from micromotion.motion.library import fetch_motion
from micromotion.runtime.hub import is_hub_name
from micromotion.runtime.main_memory import is_out_of_memory, too_little_memory
from micromotion.video.output_names import typed
from micromotion.weights.bundle import BundleFiles, find_bundle

Model = Annotated[
    str,
    typer.Option(
        parser=typed,
        metavar="NAME|FOLDER|hf://…",
        help="The model: avatar; ffhq, photo-real, after `micromotion weights fetch ffhq`; one of your own; "
        "a bundle folder; or hf://owner/name on the Hugging Face hub.",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Debug = Annotated[
    bool, typer.Option("--debug", envvar="MICROMOTION_DEBUG", help="Show the whole traceback of an error.")
]


def find_model(name: str) -> BundleFiles:
    """Find a bundle as `find_bundle` does; says on stderr at which commit one from the hub is."""
    found = find_bundle(name)
    if found.origin:
        typer.echo(f"Model: {found.origin}", err=True)
    return found


def fetch_hub_motion(name: str) -> str:
    """A motion's name as it is, or for one on the hub its file's path; says its commit on stderr."""
    if not is_hub_name(name):
        return name
    path, origin = fetch_motion(name)
    typer.echo(f"Motion: {origin}", err=True)
    return str(path)


def scaled_once() -> Callable[[str], None]:
    """A function that says on stderr that a video is scaled down, each sentence once."""
    printed: set[str] = set()

    def on_scaled(sentence: str) -> None:
        if sentence not in printed:
            typer.echo(f"micromotion: {sentence} --full-size keeps the full size.", err=True)
        printed.add(sentence)

    return on_scaled


@contextmanager
def stop_told() -> Iterator[None]:
    """Say, when Ctrl-C or SIGTERM ends a command, that it leaves nothing unfinished."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        typer.echo("micromotion: stopped; no unfinished file is left.", err=True)
        raise


@contextmanager
def cli_errors(debug: bool) -> Iterator[None]:
    """Print any error as one sentence on stderr and exit with 1; with debug, show the traceback."""
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
    """The error message as one line that is safe to print on a terminal."""
    message = _shown(" ".join(str(error).split()))
    if isinstance(error, DeviceMemoryError | MainMemoryError):
        return message
    if is_out_of_memory(error):  # also if it was reported as damage
        return too_little_memory("this command")
    if isinstance(error, MicromotionError):
        return message
    if isinstance(error, ImportError) or (
        isinstance(error, OSError) and ".so" in message and not error.errno
    ):
        return (
            f"A required library cannot be loaded ({message}): reinstall micromotion with its dependencies "
            "in a separate environment."
        )
    return f"unexpected {type(error).__name__}: {message} (--debug shows where)"


def _shown(text: str) -> str:
    """The text with terminal control characters escaped (for its encoding see `streams`)."""
    return "".join(ascii(each)[1:-1] if unicodedata.category(each) in ("Cc", "Cs") else each for each in text)
