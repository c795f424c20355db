"""The standard streams of a command, so made that printing can never fail it.

What a terminal or a file has no letter for is written in other letters. Where standard output has no room,
what was to go there goes to standard error; where nobody listens any more, it is dropped. The command's work
is done all the same, and its exit code says whether it was.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_PLAIN = "micromotion.plain"  # what the handler of letters that cannot be encoded is registered as
_LETTERS = {"±": "+/-", "×": "x", "·": "-", "²": "^2", "…": "...", "→": "->", "–": "-", "—": "-", "█": "#"}
_DESERTED = {errno.EPIPE, errno.EBADF, errno.ECONNRESET}


def make_printing_safe() -> None:
    """Replace this process's standard streams; for a program of its own, at its start.

    They keep their encodings. A stream that was closed before the start is /dev/null from here on, so that no
    file that is opened later gets its number, and with it what libraries print.
    """
    codecs.register_error(_PLAIN, _plainly)
    _fill_gaps()
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 (it stays)
    sys.stdout = _safe(sys.stdout, 1)
    sys.stderr = _safe(sys.stderr, 2)


class _Unfailing(io.FileIO):
    """A file to write to whose `write` always succeeds; what was lost of standard output goes to error.

    It keeps the stream that it stands for, which might close the file if nobody else did.
    """

    def __init__(self, number: int, stream: TextIO) -> None:
        super().__init__(number, "w", closefd=False)
        self._stream = stream
        self._told = False

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            while (written := super().write(data)) is None:  # it is full, and somebody set it not to block
                select.select([], [self], [])
            return written
        except OSError as error:
            if self.fileno() == 1 and error.errno not in _DESERTED:
                self._tell(memoryview(data).tobytes(), error)
            return memoryview(data).nbytes

    def _tell(self, lost: bytes, error: OSError) -> None:
        before = b"" if self._told else f"micromotion: nothing can be printed ({error.strerror}):\n".encode()
        self._told = True
        with suppress(OSError):
            os.write(2, before + lost)


def _safe(stream: TextIO | None, number: int) -> TextIO:
    """A stream that writes to the same place and never raises; one that is not ours stays as it is."""
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper) or stream.fileno() != number:
        return stream
    if sys.platform == "win32":  # its console is no file
        stream.reconfigure(errors=_PLAIN)
        return stream
    with suppress(OSError):
        stream.flush()
    buffer = io.BufferedWriter(_Unfailing(number, stream))
    lines = stream.line_buffering
    return io.TextIOWrapper(buffer, stream.encoding, _PLAIN, line_buffering=lines, write_through=number == 2)


def _fill_gaps() -> None:
    """Open /dev/null under each of the three first numbers that is closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Other letters for those that cannot be encoded: our own signs in ASCII, the rest by its number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_LETTERS.get(each) or _escaped(each) for each in letters), error.end


def _escaped(letter: str) -> str:
    return letter.encode("ascii", "backslashreplace").decode("ascii")
