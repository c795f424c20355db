"""Models and motions on the Hugging Face hub, by `hf://owner/name[@revision]` and `hf://owner/name/FILE`.

A model is a repository that holds a bundle; a motion is one file of a repository. Both are read through the
library `huggingface_hub`: it keeps tokens, downloads, and its own cache, which also serves offline. We ask it
only for bundle.json and the safetensors that bundle.json records, and check each before it is used: its size
before it is downloaded, then its hash and its format. Other files of a repository are never read.

Importing this module imports neither torch nor the library.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from micromotion.errors import BundleError, DownloadError, MicromotionError, MotionError, OptionError
from micromotion.runtime.folders import is_plain_name
from micromotion.weights.bundle_record import ABOUT, MAX_ABOUT_BYTES, file_record, parse_about
from micromotion.weights.hub_errors import hub_errors

PREFIX = "hf://"
SAFETENSORS = ".safetensors"
MAX_FILES = 200
MAX_FILE_BYTES = 4 << 30
MAX_TOTAL_BYTES = 8 << 30
MAX_MOTION_BYTES = 32 << 20

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_ADDRESS = re.compile(rf"hf://({_NAME}/{_NAME})(?:@({_NAME}))?(?:/(.+))?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


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
        commit = re.fullmatch(r"[0-9a-f]{40}", self.revision)
        return f"{self.repo} at {self.revision[:7] if commit else self.revision}"


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


def import_hub() -> Any:
    """The library `huggingface_hub`; raises MicromotionError, with the command to install it."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise MicromotionError(
            'huggingface_hub is not installed; run: pip install "micromotion[hub]"'
        ) from error
    return huggingface_hub


def fetch_bundle(address: str) -> FromHub:
    """The folder of a model on the hub, complete and checked, in the library's cache.

    Without a network, and with HF_HUB_OFFLINE=1, the cached revision serves. Raises OptionError for a wrong
    address; DownloadError if the hub does not give the files; BundleError if the repository holds no bundle
    that may be used: too many or too large files, no safetensors, a wrong size or hash.
    """
    name = parse_hub_name(address)
    if name.path:
        raise OptionError(f"{address} names a file: a model is a whole repository, hf://{name.repo}.")
    record = _fetch(name, ABOUT, MAX_ABOUT_BYTES)
    folder, name = record.path.parent, record.name
    _check_etag(record)
    about = parse_about(record.path.read_bytes(), f"The {ABOUT} of {name.label}", "tell its owner")
    for part, (size, digest) in recorded_parts(about, name.label).items():
        path = _fetch(name, part, MAX_FILE_BYTES, size).path
        if file_record(path) != {"bytes": size, "sha256": digest}:
            raise _mismatch(FromHub(path, name), part, f"the SHA-256 in its {ABOUT}", BundleError)
        if why := not_safetensors(path):
            raise BundleError(f"{part} of {name.label} {why}: it is not used, tell its owner.")
    return FromHub(folder, name)


def fetch_motion(address: str) -> FromHub:
    """The file of a motion on the hub, checked, in the library's cache.

    Raises OptionError for a wrong address, DownloadError if the hub does not give the file, MotionError if it
    is too large, damaged or not safetensors.
    """
    name = parse_hub_name(address)
    if not name.path.endswith(SAFETENSORS):
        raise OptionError(f"{address} is not a motion's file: write hf://{name.repo}/NAME{SAFETENSORS}.")
    found = _fetch(name, name.path, MAX_MOTION_BYTES, failure=MotionError)
    _check_etag(found, MotionError)
    if why := not_safetensors(found.path):
        raise MotionError(f"{name.path} of {found.name.label} {why}: it is not used, tell its owner.")
    return found


def recorded_parts(about: Mapping[str, Any], label: str) -> dict[str, tuple[int, str]]:
    """The (bytes, SHA-256) that a bundle.json records for each file, all within the bounds for a download.

    Stricter than `recorded_files`: one malformed entry, or a file that is no safetensors, is a BundleError.
    """
    files = about.get("files")
    if not is_plain_name(about["name"]):
        raise BundleError(f"The {ABOUT} of {label} gives the model no plain name: tell its owner.")
    if not isinstance(files, dict) or not files:
        raise BundleError(f"The {ABOUT} of {label} records no files: push the model again.")
    if len(files) > MAX_FILES:
        raise BundleError(f"The {ABOUT} of {label} records {len(files)} files; at most {MAX_FILES} are taken.")
    parts: dict[str, tuple[int, str]] = {}
    for part, entry in files.items():
        folder, _, last = part.rpartition("/")
        if folder not in ("", "anchors") or not is_plain_name(last) or not last.endswith(SAFETENSORS):
            raise BundleError(
                f"The {ABOUT} of {label} records {part!r:.100}; only safetensors of the model and of its "
                "anchors are taken."
            )
        size, digest = (entry.get("bytes"), entry.get("sha256")) if isinstance(entry, dict) else (None, None)
        if type(size) is not int or size <= 0 or not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise BundleError(f"The {ABOUT} of {label} records no size and SHA-256 of {part}.")
        _check_size(part, label, size, MAX_FILE_BYTES, BundleError)
        parts[part] = size, digest
    total = sum(size for size, _ in parts.values())
    _check_size("The model", label, total, MAX_TOTAL_BYTES, BundleError)
    return parts


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


def _fetch(
    name: HubName,
    file: str,
    most: int,
    size: int | None = None,
    failure: type[MicromotionError] = BundleError,
) -> FromHub:
    """One file of a repository, from the cache or downloaded once its size is known to be right."""
    library = import_hub()
    with hub_errors(f"{file} of {name.label} could not be fetched from"):
        offered = library.hf_hub_download(name.repo, file, revision=name.revision, dry_run=True)
    if offered.file_size is None:
        raise DownloadError(f"The hub does not say how large {file} of {name.label} is: try again later.")
    _check_size(file, name.label, offered.file_size, most, failure)
    if size is not None and offered.file_size != size:
        raise failure(
            f"{file} of {name.label} has {offered.file_size} bytes, not the {size} that its {ABOUT} records: "
            "tell its owner."
        )
    with hub_errors(f"{file} of {name.label} could not be fetched from"):
        path = Path(library.hf_hub_download(name.repo, file, revision=name.revision))
    commit = path.parents[file.count("/")].name  # the cache has …/snapshots/COMMIT/FILE
    return FromHub(path, replace(name, revision=commit))


def _check_size(what: str, label: str, size: int, most: int, failure: type[MicromotionError]) -> None:
    if size > most:
        raise failure(
            f"{what} of {label} has {size / 1e6:,.1f} MB, more than the {most / 1e6:,.1f} MB that are taken."
        )


def _check_etag(found: FromHub, failure: type[MicromotionError] = BundleError) -> None:
    """Compare a file with the hub's hash of it, by which the library names it in its cache.

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
        raise _mismatch(found, found.path.name, "the hub's hash of it", failure)


def _mismatch(found: FromHub, file: str, hash_of: str, failure: type[MicromotionError]) -> MicromotionError:
    """The error for a file with a wrong hash, which is removed from the cache, to be downloaded anew."""
    with suppress(OSError):
        (found.path.parent / found.path.readlink()).unlink()
    found.path.unlink(missing_ok=True)
    return failure(
        f"{file} of {found.name.label} does not match {hash_of}: try again, and if it stays so, tell its owner."
    )
