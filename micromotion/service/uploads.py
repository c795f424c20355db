"""Input files of the service, from data URLs or http(s) URLs, within limits.

Cog 0.23 fetches any http URL, from any address, of any size, for as long as bytes trickle in, and cannot be
cancelled meanwhile. `install`, called in the worker's setup, replaces that.
"""

from __future__ import annotations

import re
from typing import Any

from micromotion.face.images import MAX_BYTES
from micromotion.runtime.url_files import BLANK, open_url

_SCHEME = re.compile(r"(data|https?):", re.IGNORECASE)


def install() -> None:
    """Make Cog's worker in this process read its input files by `take_in`.

    The prediction gets the path of a file that is deleted with the path object.
    """
    from cog import types

    class Taken(types.Path):
        file: Any  # open as long as the path lives

    def validate(cls: type[types.Path], value: Any) -> Any:
        if not isinstance(value, str):
            return value
        file = take_in(value)
        path = Taken(file.name)
        path.file = file
        return path

    types.Path.validate = classmethod(validate)


def as_sent(value: object) -> object:
    """A prediction's input file as Cog passes it, but a URL that Cog did not recognise is taken in here.

    Cog looks for data:, http:// and https:// in lower case, without a blank before.
    """
    from cog import types

    if isinstance(value, str) and _SCHEME.match(value.lstrip(BLANK)):
        return types.Path.validate(value)
    return value


def discard(*sent: object) -> None:
    """Delete the input files of a prediction that has ended, before the garbage collector would."""
    for each in sent:
        file = getattr(each, "file", None)
        if file is not None:
            file.close()


def take_in(url: str) -> Any:
    """`open_url`, for files of MAX_BYTES."""
    return open_url(url, MAX_BYTES)
