"""A folder, on this machine or behind a URL that fsspec knows: listed, read, and written whole.

Importing this module imports no library of a store. Names are relative to the folder.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from micromotion.errors import DownloadError, MicromotionError, OutputError
from micromotion.face.images import MAX_BYTES
from micromotion.runtime.folders import make_folder

ATTEMPTS = 6
FIRST_WAIT = 0.25  # seconds before the second attempt, doubled for each further one

_WHOLE = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory")
"""Protocols of stores in which an object appears when it is complete."""
_FINAL = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)
_VERSIONS = ("ETag", "etag", "md5Hash", "content_md5", "blob_id", "LastModified", "mtime", "created")
"""What stores call that which changes with an object, the best first."""

_BEFORE_MAGIC = re.compile(r"[^*?\[]+(?=/)")
"""The folder of a glob."""

T = TypeVar("T")


def is_web(url: str) -> bool:
    """Whether a URL is one of http or https."""
    return url[:8].lower().startswith(("http://", "https://"))


class Storage:
    """A folder or one object, by its path or URL.

    Each operation is tried up to ATTEMPTS times, unless the answer is final, and raises OSError, or an error
    of the store's library, if none succeeds.
    """

    def __init__(self, url: str) -> None:
        """Raises OutputError if the protocol is unknown, or its library is missing."""
        from fsspec.core import url_to_fs

        try:
            self._fs, self._root = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise OutputError(
                f"{url!r:.120} cannot be opened: {' '.join(str(error).split()):.200}"
            ) from error
        protocol = self._fs.protocol
        self._protocols = (protocol,) if isinstance(protocol, str) else tuple(protocol)
        self._is_local = "file" in self._protocols
        self._scheme = urlsplit(url).scheme

    def url(self, name: str) -> str:
        """The path or URL of what `listing` and `matching` name."""
        return name if self._is_local else f"{self._scheme}://{name}"

    def listing(self, folder: str = "") -> Iterator[tuple[str, str]]:
        """The full name of each file in the folder and below, and its version, "" on this machine.

        Nothing if the folder does not exist. Local files and S3's objects are not all held in memory.
        """
        root = self._path(folder) if folder else self._root
        if self._is_local:
            yield from ((name, "") for name in _files(root))
            return
        if "s3" in self._protocols:
            yield from self._pages(root)
            return
        found = _retried(partial(self._fs.find, root, detail=True))
        yield from ((name, _version(found[name])) for name in sorted(found))

    def matching(self) -> Iterator[tuple[str, str]]:
        """The same for the files that match the folder's name, which is a glob."""
        folder = _BEFORE_MAGIC.match(self._root)
        if "s3" in self._protocols and folder is not None:
            from fsspec.utils import glob_translate

            pattern = re.compile(glob_translate(self._root))
            yield from (each for each in self._pages(folder[0]) if pattern.match(each[0]))
            return
        found = _retried(partial(self._fs.glob, self._root, detail=True))
        yield from ((n, _version(found[n])) for n in sorted(found) if found[n].get("type") != "directory")

    def version(self) -> str:
        """The version of the object itself; "" if there is none."""
        with suppress(Exception):  # its row will say what is wrong
            return _version(_retried(partial(self._fs.info, self._root)))
        return ""

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        return bool(_retried(partial(self._fs.exists, self._path(name))))

    def read(self) -> bytes:
        """The first MAX_BYTES + 1 bytes of the object itself."""
        return bytes(_retried(partial(_head, self._fs, self._root)))

    def get(self, name: str) -> bytes:
        """All bytes of one of our own files."""
        return bytes(_retried(partial(self._fs.cat_file, self._path(name))))

    def put(self, content: bytes, name: str) -> None:
        """Store a file so that nobody sees a part of it; one that is there already stays, or is replaced.

        In a folder it is written under a hidden name and renamed; in an object store it is written once, if
        absent.
        """
        path = self._path(name)
        if self._is_local:
            _put_local(content, Path(path))
        elif self._protocols[0] in _WHOLE:
            with suppress(FileExistsError):
                _retried(partial(_create, self._fs, path, content))
        else:
            _retried(partial(self._rename_into, path, content))

    def check_writable(self) -> None:
        """Create the folder; in another store, leave an empty object there. Raises OutputError."""
        if self._is_local:
            make_folder(Path(self._root))
            return
        with storage_errors(f"{self._root!r:.200} cannot be written to", OutputError):
            self.put(b"", ".micromotion")

    def _rename_into(self, path: str, content: bytes) -> None:
        folder, _, base = path.rpartition("/")
        part = f"{folder}/.{base}.{secrets.token_hex(4)}"
        self._fs.makedirs(folder, exist_ok=True)
        self._fs.pipe_file(part, content)
        self._fs.mv(part, path)

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _pages(self, root: str) -> Iterator[tuple[str, str]]:
        """An S3 listing, a page of 1000 at a time, so that memory does not grow with their number."""
        from micromotion.batch.s3_listing import S3Listing

        bucket, _, prefix = root.partition("/")
        below, listing, token = f"{prefix.rstrip('/')}/", S3Listing(self._fs), ""
        while True:
            objects, token = _retried(partial(listing.page, bucket, prefix, token))
            for each in objects:
                key = each["Key"]
                if not prefix or key == prefix or key.startswith(below):
                    yield f"{bucket}/{key}", _version(each)
            if not token:
                return


@contextmanager
def storage_errors(what: str, kind: type[MicromotionError] = DownloadError) -> Iterator[None]:
    """Turn the errors of a store, which are of many types, into one of ours: what cannot be done, and why."""
    try:
        yield
    except MicromotionError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if isinstance(error, FileNotFoundError):
            reason = "there is no such file"
        raise kind(f"{what}: {reason:.200}") from error


def _retried(work: Callable[[], T]) -> T:
    wait = FIRST_WAIT
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return work()
        except _FINAL:
            raise
        except Exception as error:  # each store has its own errors
            if attempt == ATTEMPTS:
                raise
            logging.getLogger(__name__).debug("attempt %d failed: %s", attempt, error)
            time.sleep(wait)
            wait *= 2
    raise AssertionError("unreachable")


def _version(info: dict[str, Any]) -> str:
    """What changes when an object does; its size alone if the store says nothing else."""
    known = next((str(info[each]) for each in _VERSIONS if info.get(each)), "")
    return known.strip('"') or str(info.get("size", ""))


def _head(fs: Any, path: str) -> Any:
    """The first bytes of an object; none of an empty one, of which a store refuses to send a range."""
    if fs.info(path).get("size") == 0:
        return b""
    return fs.cat_file(path, start=0, end=MAX_BYTES + 1)


def _create(fs: Any, path: str, content: bytes) -> None:
    try:
        fs.pipe_file(path, content, mode="create")
    except (TypeError, NotImplementedError):  # a store without it
        if not fs.exists(path):
            fs.pipe_file(path, content)


def _files(folder: str) -> Iterator[str]:
    """The files in a folder of this machine and below."""
    if Path(folder).is_dir():
        with os.scandir(folder) as found:
            for each in found:
                if each.is_dir():
                    yield from _files(each.path)
                else:
                    yield each.path


def _put_local(content: bytes, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        part.write_bytes(content)
        os.replace(part, path)  # noqa: PTH105 (atomic, and says so)
    finally:
        part.unlink(missing_ok=True)
