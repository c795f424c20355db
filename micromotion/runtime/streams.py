"""Standard streams that never raise, so that printing cannot fail a command.

Characters that an encoding lacks are written as others. If standard output is full, its text goes to standard
error; if its reader is gone, it is dropped. The command finishes its work all the same, and its exit code
depends only on that.
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

_PLAIN = "micromotion.plain"  # the registered name of our handler of encoding errors
_LETTERS = {"±": "+/-", "×": "x", "·": "-", "²": "^2", "…": "...", "→": "->", "–": "-", "—": "-", "█": "#"}
_DESERTED = {errno.EPIPE, errno.EBADF, errno.ECONNRESET}


def make_printing_safe() -> None:
    """Replace this process's standard streams; for programs, at their start.

    They keep their encodings. A stream that was closed at the start becomes /dev/null, so that no file opened
    later gets its descriptor, and with it what libraries print.
    """
    codecs.register_error(_PLAIN, _plainly)
    _fill_gaps()
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 (it stays)
    sys.stdout = _safe(sys.stdout, 1)
    sys.stderr = _safe(sys.stderr, 2)


class _Unfailing(io.FileIO):
    """A file whose `write` always succeeds; lost standard output goes to standard error.

    It holds a reference to the stream that it replaces, which could close the file when garbage-collected.
    """

    def __init__(self, number: int, stream: TextIO) -> None:
        super().__init__(number, "w", closefd=False)
        self._stream = stream
        self._noted = False

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            while (written := super().write(data)) is None:  # it is full and non-blocking
                select.select([], [self], [])
            return written
        except OSError as error:
            if self.fileno() == 1 and error.errno not in _DESERTED:
                self._report(memoryview(data).tobytes(), error)
            return memoryview(data).nbytes

    def _report(self, lost: bytes, error: OSError) -> None:
        head = b"" if self._noted else f"micromotion: nothing can be printed ({error.strerror}):\n".encode()
        self._noted = True
        with suppress(OSError):
            os.write(2, head + lost)


def _safe(stream: TextIO | None, number: int) -> TextIO:
    """A stream that writes to the same file and never raises; a stream that is not standard stays."""
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper) or stream.fileno() != number:
        return stream
    if sys.platform == "win32":  # its console is not a file
        stream.reconfigure(errors=_PLAIN)
        return stream
    with suppress(OSError):
        stream.flush()
    buffer = io.BufferedWriter(_Unfailing(number, stream))
    lines = stream.line_buffering
    return io.TextIOWrapper(buffer, stream.encoding, _PLAIN, line_buffering=lines, write_through=number == 2)


def _fill_gaps() -> None:
    """Open /dev/null as each of the descriptors 0 to 2 that is closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Replacements for characters that cannot be encoded: our own in ASCII, others as backslash escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_LETTERS.get(each) or _escaped(each) for each in letters), error.end


def _escaped(letter: str) -> str:
    return letter.encode("ascii", "backslashreplace").decode("ascii")
