"""Files on the Hugging Face hub, `hf://owner/name[@revision][/path]`, by the library `huggingface_hub`.

The library keeps tokens, downloads, and its own cache, which also serves offline. A file is checked before it
is used: its size before it is downloaded, then its hash, then its format.

Importing this module does not import the library.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from micromotion.errors import DownloadError, MicromotionError, OptionError
from micromotion.runtime.folders import is_plain_name
from micromotion.runtime.hub_errors import hub_errors

PREFIX = "hf://"
SAFETENSORS = ".safetensors"

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_ADDRESS = re.compile(rf"hf://({_NAME}/{_NAME})(?:@({_NAME}))?(?:/(.+))?")


@dataclass(frozen=True)
class HubName:
    """A repository, and a file in it if path is not empty; revision: a branch, tag or commit, None: main."""

    repo: str
    revision: str | None = None
    path: str = ""

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else ""
        return f"{PREFIX}{self.repo}{at}{'/' if self.path else ''}{self.path}"

    @property
    def label(self) -> str:
        """The repository in a sentence: owner/name, and the revision, a commit shortened."""
        if self.revision is None:
            return self.repo
        is_commit = re.fullmatch(r"[0-9a-f]{40}", self.revision)
        return f"{self.repo} at {self.revision[:7] if is_commit else self.revision}"


class FromHub(NamedTuple):
    """A local path in the library's cache, and the name of its origin, with the commit as its revision."""

    path: Path
    name: HubName


def is_hub_name(name: object) -> bool:
    """Whether a model's or motion's name is meant for the hub."""
    return isinstance(name, str) and name.startswith(PREFIX)


def parse_hub_name(text: str) -> HubName:
    """Parse `hf://owner/name[@revision][/path]`; raises OptionError."""
    found = _ADDRESS.fullmatch(text)
    if found is None or not all(map(is_plain_name, (found[3] or "x").split("/"))):
        raise OptionError(
            f"{text!r:.200} is not an address on the hub: write hf://owner/name or hf://owner/name@revision, "
            "for a motion with the path of its file."
        )
    return HubName(found[1], found[2], found[3] or "")


def parse_model_name(text: str) -> HubName:
    """Parse the address of a whole repository; raises OptionError."""
    name = parse_hub_name(text)
    if name.path:
        raise OptionError(f"{text} names a file: a model is a whole repository, hf://{name.repo}.")
    return name


def parse_motion_name(text: str) -> HubName:
    """Parse the address of a safetensors file; raises OptionError."""
    name = parse_hub_name(text)
    if not name.path.endswith(SAFETENSORS):
        raise OptionError(f"{text} is not a motion's file: write hf://{name.repo}/NAME{SAFETENSORS}.")
    return name


def import_hub() -> Any:
    """The library `huggingface_hub`; raises MicromotionError, with the command to install it."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise MicromotionError(
            "The Hugging Face hub needs huggingface_hub, which is not installed: run "
            '`pip install "micromotion[hub]"`.'
        ) from error
    return huggingface_hub


def fetch_file(
    name: HubName, path: str, failure: type[MicromotionError], *, most: int, size: int | None = None
) -> FromHub:
    """A file of a repository, from the library's cache, or downloaded once its size is known to be right.

    It has at most `most` bytes, and exactly `size` if that is given; else `failure` is raised, and
    DownloadError if the hub does not give it.
    """
    offered = _download(name, path, dry_run=True)
    if offered.file_size is None:
        raise DownloadError(f"The hub does not say how large {path} of {name.label} is: try again later.")
    check_size(f"{path} of {name.label}", offered.file_size, most, failure)
    if size is not None and offered.file_size != size:
        raise failure(
            f"{path} of {name.label} has {offered.file_size} bytes, not the {size} that are recorded for it: "
            "tell its owner."
        )
    local = Path(_download(name, path))
    commit = local.parents[path.count("/")].name  # the cache has …/snapshots/COMMIT/PATH
    return FromHub(local, replace(name, revision=commit))


def _download(name: HubName, path: str, **how: Any) -> Any:
    """What the library's `hf_hub_download` returns; from its cache where the hub cannot be reached."""
    download = partial(import_hub().hf_hub_download, name.repo, path, revision=name.revision, **how)
    with hub_errors(f"{path} of {name.label} could not be fetched from"):
        import httpx2

        try:
            return download()
        except httpx2.TransportError:  # a broken connection, for which the library does not look there
            return download(local_files_only=True)


def check_size(what: str, size: int, most: int, failure: type[MicromotionError]) -> None:
    """Raise `failure` if a size in bytes is above the most that is taken."""
    if size > most:
        raise failure(f"{what} has {size / (1 << 20):,.1f} MB, more than the {most >> 20} MB that are taken.")


def check_etag(found: FromHub, failure: type[MicromotionError]) -> None:
    """Raise `failure` unless a file has the hub's hash of it, by which the library names it in its cache.

    That is a SHA-256 for large files, and git's SHA-1 for others. Where the cache has no symbolic links there
    is nothing to compare.
    """
    try:
        etag = found.path.readlink().name
    except OSError:
        return
    content = found.path.read_bytes()
    hashes = {
        40: hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest(),
        64: hashlib.sha256(content).hexdigest(),
    }
    if etag != hashes.get(len(etag), etag):
        raise mismatch(found, found.path.name, "the hub's hash of it", failure)


def mismatch(found: FromHub, file: str, of: str, failure: type[MicromotionError]) -> MicromotionError:
    """The error for a file with a wrong hash, which is removed from the cache, to be downloaded anew."""
    with suppress(OSError):
        (found.path.parent / found.path.readlink()).unlink()
    found.path.unlink(missing_ok=True)
    return failure(
        f"{file} of {found.name.label} does not match {of}: try again, and tell its owner if that fails."
    )


def not_safetensors(path: Path) -> str:
    """What is wrong with a file that should be safetensors, as the end of a sentence; "" if nothing is."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):  # compares the header with the file's length
            return ""
    except (SafetensorError, OSError):
        with path.open("rb") as file:
            start = file.read(9)
        return "is damaged or cut short" if start[8:] == b"{" else "is not a safetensors file"
