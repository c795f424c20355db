"""The error that the readers of model files raise, and helpers that put the file's name into its message."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class CheckpointError(Exception):
    """A model file is missing, damaged, of an unknown format, or does not fit the model it claims to be."""


def one_line(words: object) -> str:
    """Text that may come from a file, such as a name, as one printable line of at most 200 characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(words)).split())
    return line if len(line) <= 200 else f"{line[:199]}…"


@contextmanager
def about(path: Path, what: str = "model") -> Iterator[None]:
    """Complete the errors raised in the block, whose messages lack the file's name, to full sentences.

    A CheckpointError "lacks x" becomes "PATH lacks x."; a ValueError, for impossible sizes, becomes a
    CheckpointError "PATH describes an impossible WHAT: …".
    """
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path} {error}.") from error
    except ValueError as error:
        raise CheckpointError(f"{path} describes an impossible {what}: {one_line(error)}.") from error
