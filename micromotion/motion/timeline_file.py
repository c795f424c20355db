"""Read a timeline file in any common encoding: UTF-8, UTF-16 with a byte order mark, Windows-1252."""

from __future__ import annotations

import codecs
import sys
from contextlib import ExitStack
from pathlib import Path
from unicodedata import category

from micromotion.errors import OptionError
from micromotion.motion.timeline_text import MAX_TEXT

_BYTE_ORDER_MARKS = (  # UTF-32 first: its mark starts with UTF-16's
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MOST_BYTES = 4 * (MAX_TEXT + 2)  # at most four bytes per character in all of these


def read_timeline_file(name: str) -> str:
    """The text of a file, or of standard input for the name `-`; truncated slightly above MAX_TEXT.

    Line breaks become newlines. Raises OptionError if it cannot be read or is not text.
    """
    try:
        with ExitStack() as stack:
            file = sys.stdin.buffer if name == "-" else stack.enter_context(Path(name).open("rb"))
            content = file.read(_MOST_BYTES)
        return _decoded(content, whole=len(content) < _MOST_BYTES)[: MAX_TEXT + 1]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise OptionError(f"The timeline file {name!r} cannot be read: {reason}.") from error


def _decoded(content: bytes, *, whole: bool) -> str:
    """Decode bytes, whose last character may be incomplete unless `whole`. Raises ValueError."""
    marked = next((encoding for mark, encoding in _BYTE_ORDER_MARKS if content.startswith(mark)), None)
    for encoding in (marked,) if marked else ("utf-8", "cp1252"):
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(content, final=whole)
        except UnicodeDecodeError:
            continue
        if not any(category(letter) == "Cc" and not letter.isspace() for letter in text):
            return text.replace("\r\n", "\n").replace("\r", "\n")
    raise ValueError("no text")
