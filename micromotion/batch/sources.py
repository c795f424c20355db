"""Where the photos of a batch come from: a folder, a glob, a bucket, or a list in JSONL, CSV or Parquet."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from micromotion.batch.lists import LISTS, read_list
from micromotion.batch.storage import Storage, is_web, storage_errors
from micromotion.errors import OptionError

PICTURES = re.compile(
    r".*\.(jpe?g|jpe|jfif|mpo|png|webp|avif|tiff?|gif|bmp|dib|jp2|j2k|jpx|p[pgn]m|qoi|sgi|pcx|tga)",
    re.IGNORECASE,
)
"""Names of the files that are taken from a folder; a list or a glob names any file."""

PROTOCOLS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf", "http", "https", "memory")
"""The URLs that a list may hold, besides those of its own protocol: none that runs or unpacks something."""

MAX_IMAGE = 2000  # characters of a path or URL in a list
_ASKED_AT_ONCE = 32  # objects of a list whose etags are asked for at once
_NOTHING: Mapping[str, Any] = {}  # one object for a million entries
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)


class Entry(NamedTuple):
    """A photo of the source.

    Attributes:
        image: its path or URL.
        version: an object's etag, or the like; a local file's size and time of change; "" if unknown.
        name: as its list says; "" if it does not.
        overrides: what its list sets for it, unchecked.
    """

    image: str
    version: str = ""
    name: str = ""
    overrides: Mapping[str, Any] = _NOTHING


def is_url(text: str) -> bool:
    """Whether a text is a URL, of any protocol, and no path on this machine."""
    return _SCHEME.match(text) is not None


def list_entries(source: str) -> Iterator[Entry]:
    """The photos of a source, in the order of their names, or of the list.

    The source is a folder, with all below it; a glob; a picture; or a list: .jsonl, .csv or .parquet. Each is
    a path, or a URL that fsspec knows. Raises OptionError if there is no such source, or a list is wrong.
    """
    source = source.removeprefix("file://")
    if Path(urlsplit(source).path if is_url(source) else source).suffix.lower() in LISTS:
        return _versioned(_of_list(source))
    if is_web(source):
        return iter([Entry(source)])
    return _remote(source) if is_url(source) else _local(source)


def _local(source: str) -> Iterator[Entry]:
    path = Path(source).expanduser()
    if path.is_dir():
        return _walk(path)
    if path.exists():
        return iter([_entry(str(path))])
    if glob.has_magic(source):
        return map(_entry, sorted(filter(os.path.isfile, glob.iglob(str(path), recursive=True))))  # noqa: PTH207 (a glob, not a path)
    raise OptionError(f"There is no folder, picture or list {source!r:.200}: check its name.")


def _walk(folder: Path) -> Iterator[Entry]:
    """The pictures in a folder and below, sorted; hidden files and links to folders are left out."""
    pictures, below = list[str](), list[str]()
    try:
        with os.scandir(folder) as found:
            for each in found:
                if each.name.startswith("."):
                    continue
                if each.is_dir(follow_symlinks=False):
                    below.append(each.name)
                elif PICTURES.fullmatch(each.name):
                    pictures.append(each.name)
    except OSError as error:
        raise OptionError(f"The folder {str(folder)!r:.200} cannot be read: {error.strerror}.") from error
    base = str(folder).rstrip("/")
    for name in sorted(pictures):
        yield _entry(f"{base}/{name}")
    for name in sorted(below):
        yield from _walk(folder / name)


def _entry(path: str, name: str = "", overrides: Mapping[str, Any] | None = None) -> Entry:
    """The entry of a local file, which may be missing."""
    version = ""
    try:
        found = os.stat(path)  # noqa: PTH116 (a million times: no Path)
        version = f"{found.st_size}-{found.st_mtime_ns}"
    except (OSError, ValueError):  # its row will say so
        pass
    return Entry(path, version, name, overrides or _NOTHING)


def _remote(source: str) -> Iterator[Entry]:
    store = Storage(source)
    if glob.has_magic(source):
        yield from (Entry(store.url(name), version) for name, version in store.matching())
        return
    found = False
    for name, version in store.listing():
        found = True
        base = name.rsplit("/", 1)[-1]
        if PICTURES.fullmatch(base) and not base.startswith("."):
            yield Entry(store.url(name), version)
    if not found:
        raise OptionError(f"There is nothing at {source!r:.200}: check its name.")


def _of_list(source: str) -> Iterator[Entry]:
    """The entries of a list, whose images are relative to the list; versions only as far as it has them."""
    base = source.rpartition("/")[0]
    allowed = {*PROTOCOLS, urlsplit(source).scheme} if is_url(source) else {*PROTOCOLS}
    with storage_errors(f"{source!r:.200} cannot be read"):
        for row in read_list(source):
            image, name = str(row.pop("image", None) or ""), str(row.pop("name", None) or "")
            version = str(row.pop("etag", None) or "")
            yield Entry(_placed(image, base, allowed), version, name, row or _NOTHING)


def _placed(image: str, base: str, allowed: set[str]) -> str:
    """The path or URL of a list's image. Raises OptionError for what a list may not name."""
    image = image.removeprefix("file://")
    if not image or len(image) > MAX_IMAGE or "\0" in image:
        raise OptionError(f"A list needs an image in each row, of at most {MAX_IMAGE} characters.")
    scheme = _SCHEME.match(image)
    if scheme or "::" in image:
        if scheme is None or "::" in image or scheme[1].lower() not in allowed:
            raise OptionError(f"A list may not name {image!r:.120}: only {', '.join(sorted(allowed))}.")
        return image
    return image if image.startswith("/") or not base else f"{base}/{image}"


def _versioned(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries of a list with their versions; objects without one are asked for it, many at once."""
    entries = iter(entries)
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        while some := list(islice(entries, 1024)):
            yield from (pool.map if any(map(_is_to_ask, some)) else map)(_with_version, some)


def _is_to_ask(entry: Entry) -> bool:
    """Whether only the entry's store knows its version."""
    return not entry.version and is_url(entry.image) and not is_web(entry.image)


def _with_version(entry: Entry) -> Entry:
    if not is_url(entry.image):
        return _entry(entry.image, entry.name, entry.overrides)
    if not _is_to_ask(entry):
        return entry
    return Entry(entry.image, Storage(entry.image).version(), entry.name, entry.overrides)
