"""Check the names of a command's outputs: plausible names, and none of its inputs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from micromotion.errors import OutputError

Place = str | os.PathLike[str]
Named = tuple[Place, str]
"""A file, and its role in the command: (Path("me.jpg"), "the photo itself")."""

LONGEST = 255
"""Most bytes in a file name, on nearly all file systems."""


def check_apart(outputs: Sequence[Named], inputs: Iterable[Named]) -> None:
    """Raise OutputError if an output would replace an input or another output, or is inside another output.

    Compares files, not names: resolves hard and symbolic links, `..`, case-insensitive file systems,
    /proc/self/fd.
    """
    read = list(inputs)
    written: list[Named] = []
    for path, what in outputs:
        for other, its in (*read, *written):
            if is_same(path, other):
                raise OutputError(f"{os.fspath(path)} is {its}; name another file.")
        for other, _ in written:
            for inner, outer in ((path, other), (other, path)):
                if _is_within(inner, outer):
                    raise OutputError(
                        f"{os.fspath(inner)} lies in {os.fspath(outer)}, which is another output; "
                        "name a file in another folder."
                    )
        written.append((path, f"{what} already"))


def is_same(one: Place, other: Place) -> bool:
    """Whether two paths are the same file or folder, or would be if it existed."""
    try:
        if Path(one).samefile(other):
            return True
    except OSError:  # one of them does not exist, or is not accessible
        pass
    return os.path.realpath(one) == os.path.realpath(other)


def check_place(target: Path, noun: str, cannot: str) -> None:
    """Check, before any work, that a single file can be written there; leaves no trace.

    Raises OutputError: it is a folder, or its folder is missing or not writable; `cannot` begins the
    sentence.
    """
    try:
        if target.is_dir():
            raise OutputError(f"{target} is a folder: choose another name for the {noun}.")
        tempfile.TemporaryFile(dir=target.absolute().parent).close()  # root ignores permissions, so try
    except (OSError, ValueError) as error:
        raise OutputError(f"{cannot}: {getattr(error, 'strerror', None) or error}.") from error


def check_folder_name(text: str) -> None:
    """Raise OutputError for names that are unlikely to be meant as a new folder.

    These are `-`, an option mistaken for another option's value, and the current folder: replacing it would
    leave the shell in a deleted folder.
    """
    if text == "-":
        raise OutputError("Nothing is written to standard output: name a file such as video.mp4, not '-'.")
    if text.startswith("-"):
        raise OutputError(f"{text!r} looks like an option; for a folder of that name write ./{text}.")
    if Path(text).is_dir() and Path(text).samefile(os.curdir):
        raise OutputError(f"{text!r} is the current folder; name a new folder for the PNG frames.")


def default_name(photo: Path, ending: str) -> Path:
    """The photo's name with its suffix replaced by `ending`, in the current folder, shortened to LONGEST."""
    stem = photo.stem
    while len(os.fsencode(stem + ending)) > LONGEST and stem:
        stem = stem[:-1]
    return Path(stem + ending)


def typed_path(text: str) -> Path:
    """A typed path; expands `~` also where the shell does not (--sheet=~/x.png)."""
    return Path(typed(text))


def typed(text: str) -> str:
    """Like `typed_path`, but as text, which may not be a path, or whose trailing slash matters."""
    if not text.startswith("~") or os.path.lexists(text):
        return text
    with suppress(RuntimeError):  # no home folder
        home = Path(text).expanduser()
        return f"{home}{os.sep}" if text.endswith(os.sep) else str(home)
    return text


def _is_within(inner: Place, outer: Place) -> bool:
    return Path(os.path.realpath(outer)) in Path(os.path.realpath(inner)).parents
