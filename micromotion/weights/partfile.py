"""A partial download: its lock, its bytes so far, and the atomic rename that publishes it.

Hidden files beside `target`: `.target.lock`, held by one download at a time; `.target.part`, the file's first
bytes; and `.target.part.json`, the part's source and version, used where no hash is known.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from micromotion.errors import DownloadError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP}
_BUSY = {errno.EAGAIN, errno.EACCES, errno.EDEADLK, errno.ENOENT}
_POLL = 0.1  # seconds
# O_NOFOLLOW: through a symlink in the part's place we would write into somebody else's file.
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def hidden(target: Path, suffix: str) -> Path:
    """The hidden file beside the target that ends in .suffix."""
    return target.with_name(f".{target.name}.{suffix}")


def is_right(path: Path, size: int | None, sha256: str | None) -> bool:
    """Is the path a file of this size and SHA-256? Where neither is known, any non-empty file is right.

    Raises DownloadError if the path is not a file, or cannot be read.
    """
    with disk_errors(path):
        if not path.exists():
            return False
        if not path.is_file():
            kind = "a folder" if path.is_dir() else "not a file"
            raise DownloadError(f"{path} is in the way, it is {kind}: remove it or choose another place.")
        length = path.stat().st_size
        if length == 0 or size not in (None, length):
            return False
        if sha256 is None:
            return True
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256


@contextmanager
def locked(target: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the target's lock; while another process or thread holds it, poll and call `waiting` each time.

    The operating system releases it when its process dies, however it dies.
    Raises DownloadError if the lock file cannot be created.
    """
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    while (file := _try_lock(target)) is None:
        waiting()
        time.sleep(_POLL)
    try:
        yield
    finally:
        with suppress(OSError):  # removed while held; Windows cannot remove an open file, which is harmless
            hidden(target, "lock").unlink()
        file.close()


def _try_lock(target: Path) -> BinaryIO | None:
    """The lock file, opened and locked; None while another holds it."""
    path = hidden(target, "lock")
    mine = False
    with disk_errors(target):
        file = path.open("ab")
        try:
            if sys.platform == "win32":
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The previous holder may have removed the file that we opened: then its lock is void.
            mine = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except OSError as error:
            if error.errno not in _BUSY:
                raise
        finally:
            if not mine:
                file.close()
    return file if mine else None


class Part:
    """The first bytes of a file, on disk, with their running length and SHA-256. A context manager.

    Opening it takes over an earlier attempt's bytes. They stay for the next attempt, whatever happens, until
    `restart` or `publish`. Every method raises DownloadError on a disk error.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = hidden(target, "part")
        self.length = 0
        self._note = hidden(target, "part.json")
        self._hash = hashlib.sha256()

    def __enter__(self) -> Self:
        with disk_errors(self.target):
            # Unbuffered: every chunk goes straight to the operating system; closing flushes nothing.
            self._file = os.fdopen(os.open(self.path, _FLAGS, 0o666), "r+b", buffering=0)
            while chunk := self._file.read(1 << 20):
                self._hash.update(chunk)
                self.length += len(chunk)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if not self.length:
            for path in (self.path, self._note):
                with suppress(OSError):
                    path.unlink()

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def restart(self) -> None:
        """Discard all bytes."""
        with disk_errors(self.target):
            self._file.seek(0)
            self._file.truncate()
            self._note.unlink(missing_ok=True)
        self.length = 0
        self._hash = hashlib.sha256()

    def append(self, chunk: bytes) -> None:
        """Append the chunk."""
        left = memoryview(chunk)
        with disk_errors(self.target):
            while left:
                written = self._file.write(left)
                self._hash.update(left[:written])
                self.length += written
                left = left[written:]

    def note(self, address: str, version: str | None) -> None:
        """Store beside the part the address its bytes come from, and the server's version of it."""
        with disk_errors(self.target):
            self._note.write_text(json.dumps({"address": address, "version": version}), encoding="utf-8")

    def forget(self) -> None:
        """Delete the note: the bytes may now come from several sources, which no version describes."""
        with disk_errors(self.target):
            self._note.unlink(missing_ok=True)

    def version(self, address: str) -> str | None:
        """The version that `note` stored for this address; None if unknown."""
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            return str(note["version"]) if note["address"] == address and note["version"] else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def publish(self) -> None:
        """Flush the part to disk and rename it to the target, atomically."""
        with disk_errors(self.target):
            os.fsync(self._file.fileno())
            self._file.close()
            self.path.replace(self.target)
            self._note.unlink(missing_ok=True)
        if sys.platform != "win32":
            with suppress(OSError):  # makes the rename durable, where the file system can
                folder = os.open(self.target.parent, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn an OSError into a DownloadError that says what to do."""
    try:
        yield
    except OSError as error:
        folder = target.parent.absolute()
        if error.errno in _FULL:
            reason = f"the disk is full or at its limit; free some room in {folder} and try again"
        elif error.errno in _FORBIDDEN:
            reason = f"{folder} may not be read or written; change its permissions or choose another folder"
        elif error.errno in _NO_LOCKS:
            reason = f"the file system of {folder} has no locks; choose another folder"
        else:
            reason = f"{os.strerror(error.errno or errno.EIO)}; choose another folder than {folder}"
        raise DownloadError(f"{target.name} cannot be stored: {reason}.") from error
