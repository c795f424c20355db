"""A file that is still on its way: its lock, its bytes so far, and the one step that gives it its name.

Beside `target` lie, hidden: `.target.lock`, which one download at a time holds; `.target.part`, a beginning
of the file; and `.target.part.json`, which names the part's source and version where no hash will tell.
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
# A link in the part's place would have us write into somebody else's file.
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def hidden(target: Path, suffix: str) -> Path:
    """The hidden file beside the target that ends in .suffix."""
    return target.with_name(f".{target.name}.{suffix}")


def is_right(path: Path, size: int | None, sha256: str | None) -> bool:
    """Is there a file of this size and SHA-256? Where neither is known, one that is not empty will do.

    Raises DownloadError if there is something else than a file, or it cannot be read.
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
    """Hold the target's lock; while another process or thread holds it, wait and call `waiting` now and then.

    The operating system frees it when the process that holds it dies, however it dies.
    Raises DownloadError if there can be no lock file.
    """
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    while (file := _try_lock(target)) is None:
        waiting()
        time.sleep(_POLL)
    try:
        yield
    finally:
        with suppress(OSError):  # removed while it is held; Windows keeps an open file, which does no harm
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
            # The holder before us may have removed the file that we opened: then its lock says nothing.
            mine = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except OSError as error:
            if error.errno not in _BUSY:
                raise
        finally:
            if not mine:
                file.close()
    return file if mine else None


class Part:
    """The beginning of a file, on disk, with its length and SHA-256 kept up to date. Use it in a `with`.

    Opening it takes over what an earlier attempt left. Whatever happens, the bytes stay for the next attempt
    until `restart` or `publish`. Every method raises DownloadError where the disk refuses.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = hidden(target, "part")
        self.length = 0
        self._note = hidden(target, "part.json")
        self._hash = hashlib.sha256()

    def __enter__(self) -> Self:
        with disk_errors(self.target):
            # Not buffered: what has arrived is on its way to the disk, and closing has nothing left to do.
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
        """Throw all bytes away."""
        with disk_errors(self.target):
            self._file.seek(0)
            self._file.truncate()
            self._note.unlink(missing_ok=True)
        self.length = 0
        self._hash = hashlib.sha256()

    def append(self, chunk: bytes) -> None:
        """Write the chunk behind what is there."""
        left = memoryview(chunk)
        with disk_errors(self.target):
            while left:
                written = self._file.write(left)
                self._hash.update(left[:written])
                self.length += written
                left = left[written:]

    def note(self, address: str, version: str | None) -> None:
        """Keep beside the part which address its bytes are from, and the version that its server names."""
        with disk_errors(self.target):
            self._note.write_text(json.dumps({"address": address, "version": version}), encoding="utf-8")

    def forget(self) -> None:
        """The bytes may come from several sources: no version describes them any more."""
        with disk_errors(self.target):
            self._note.unlink(missing_ok=True)

    def version(self, address: str) -> str | None:
        """The version that `note` was given for this address; None if it is not known."""
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            return str(note["version"]) if note["address"] == address and note["version"] else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def publish(self) -> None:
        """Give the file its name, in one step, once its bytes are safe on the disk."""
        with disk_errors(self.target):
            os.fsync(self._file.fileno())
            self._file.close()
            self.path.replace(self.target)
            self._note.unlink(missing_ok=True)
        if sys.platform != "win32":
            with suppress(OSError):  # the new name survives a power cut; not every file system can
                folder = os.open(self.target.parent, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn what the operating system says about files into a DownloadError that a person understands."""
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
