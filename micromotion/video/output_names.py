"""What the outputs of a command may be called: a name that is meant as one, and no file that it reads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from micromotion.errors import OutputError

Place = str | os.PathLike[str]
Named = tuple[Place, str]
"""A file, and what it is to the command: (Path("me.jpg"), "the photo itself")."""

LONGEST = 255
"""Bytes of a file's name, on nearly all file systems."""


def check_apart(outputs: Sequence[Named], inputs: Iterable[Named]) -> None:
    """Raise OutputError if an output would replace an input or another output, or lies within one.

    By whatever path: links of either kind, `..`, upper and lower case where these are one, /proc/self/fd.
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
                        f"{os.fspath(inner)} lies in {os.fspath(outer)}, which is an output of its own; "
                        "name a file in another folder."
                    )
        written.append((path, f"{what} already"))


def is_same(one: Place, other: Place) -> bool:
    """Whether two paths lead to one file or folder, or would, if it were there."""
    try:
        if Path(one).samefile(other):
            return True
    except OSError:  # one of them is not there, or out of reach
        pass
    return os.path.realpath(one) == os.path.realpath(other)


def check_folder_name(text: str) -> None:
    """Raise OutputError for what is hardly meant as the name of a new folder.

    That is `-`, an option that has become the value of another, and the folder that the command runs in: a
    new one would take its place, and whoever stands in it would stand in none.
    """
    if text == "-":
        raise OutputError("Nothing is written to standard output: name a file such as video.mp4, not '-'.")
    if text.startswith("-"):
        raise OutputError(f"{text!r} looks like an option; for a folder of that name write ./{text}.")
    if Path(text).is_dir() and Path(text).samefile(os.curdir):
        raise OutputError(f"{text!r} is the current folder; name a new folder for the PNG frames.")


def default_name(photo: Path, ending: str) -> Path:
    """The photo's name with this ending for its suffix, in the current folder, no longer than it may be."""
    stem = photo.stem
    while len(os.fsencode(stem + ending)) > LONGEST and stem:
        stem = stem[:-1]
    return Path(stem + ending)


def typed_path(text: str) -> Path:
    """A path as it was typed; `~` is the home folder also where no shell has seen to it (--sheet=~/x.png)."""
    return Path(typed(text))


def typed(text: str) -> str:
    """As `typed_path`, for what may be something else than a path, or whose last slash matters."""
    if not text.startswith("~") or os.path.lexists(text):
        return text
    with suppress(RuntimeError):  # nobody's home
        home = Path(text).expanduser()
        return f"{home}{os.sep}" if text.endswith(os.sep) else str(home)
    return text


def _is_within(inner: Place, outer: Place) -> bool:
    return Path(os.path.realpath(outer)) in Path(os.path.realpath(inner)).parents
