"""What the readers of model files raise, and how a file's name and its own words come into it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class CheckpointError(Exception):
    """A model file is missing, damaged, of an unknown format, or does not fit the model it claims to be."""


def one_line(words: object) -> str:
    """Words that a file may have put in, such as names, for use in a sentence: one line, not too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(words)).split())
    return line if len(line) <= 200 else f"{line[:199]}…"


@contextmanager
def about(path: Path, what: str = "model") -> Iterator[None]:
    """Complete the complaints of the block, which lack the file's name, to sentences.

    A CheckpointError "lacks x" becomes "PATH lacks x."; a ValueError, of sizes that cannot be, becomes a
    CheckpointError "PATH describes an impossible WHAT: …".
    """
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path} {error}.") from error
    except ValueError as error:
        raise CheckpointError(f"{path} describes an impossible {what}: {one_line(error)}.") from error
