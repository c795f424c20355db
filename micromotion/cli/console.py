"""What all commands share: some options, and how errors are told."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from micromotion.errors import DeviceMemoryError, MainMemoryError, MicromotionError
from micromotion.runtime.main_memory import is_out_of_memory, too_little_memory
from micromotion.video.output_names import typed

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
        return too_little_memory("this command")
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
