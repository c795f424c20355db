"""Models on the Hugging Face hub: a repository `hf://owner/name[@revision]` that holds a bundle.

Only bundle.json and the safetensors that it records are downloaded, each of the recorded size and SHA-256,
and within bounds. Other files of the repository are never read.

Importing this module imports neither torch nor `huggingface_hub`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from micromotion.errors import BundleError
from micromotion.runtime.folders import is_plain_name
from micromotion.runtime.hub import (
    SAFETENSORS,
    FromHub,
    check_etag,
    check_size,
    fetch_file,
    mismatch,
    not_safetensors,
    parse_model_name,
)
from micromotion.weights.bundle_record import ABOUT, MAX_ABOUT_BYTES, file_record, parse_about

MAX_FILES = 200
MAX_FILE_BYTES = 4 << 30
MAX_TOTAL_BYTES = 8 << 30

_SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch_bundle(address: str) -> FromHub:
    """The folder of a model on the hub, complete and checked, in the library's cache.

    Without a network, and with HF_HUB_OFFLINE=1, the cached revision serves. Raises OptionError for a wrong
    address; DownloadError if the hub does not give the files; BundleError if the repository holds no bundle
    that may be used: too many or too large files, no safetensors, a wrong size or hash.
    """
    record = fetch_file(parse_model_name(address), ABOUT, BundleError, most=MAX_ABOUT_BYTES)
    check_etag(record, BundleError)
    label = record.name.label
    about = parse_about(record.path.read_bytes(), f"The {ABOUT} of {label}", "tell its owner")
    for part, (size, digest) in recorded_parts(about, label).items():
        found = fetch_file(record.name, part, BundleError, most=MAX_FILE_BYTES, size=size)
        if file_record(found.path)["sha256"] != digest:
            raise mismatch(found, part, f"the SHA-256 in its {ABOUT}", BundleError)
        if why := not_safetensors(found.path):
            raise BundleError(f"{part} of {label} {why}: it is not used; tell its owner.")
    return FromHub(record.path.parent, record.name)


def recorded_parts(about: Mapping[str, Any], label: str) -> dict[str, tuple[int, str]]:
    """The (bytes, SHA-256) that a bundle.json records for each file, all within the bounds for a download.

    Stricter than `recorded_files`: one malformed entry, or a file that is no safetensors, is a BundleError.
    label: the repository, for its sentence.
    """
    what, files = f"The {ABOUT} of {label}", about.get("files")
    if not is_plain_name(about["name"]):
        raise BundleError(f"{what} gives the model no plain name: tell its owner.")
    if not isinstance(files, dict) or not files:
        raise BundleError(f"{what} records no files: tell its owner.")
    if len(files) > MAX_FILES:
        raise BundleError(f"{what} records {len(files)} files; at most {MAX_FILES} are taken.")
    parts: dict[str, tuple[int, str]] = {}
    for part, entry in files.items():
        folder, _, last = part.rpartition("/")
        if folder not in ("", "anchors") or not is_plain_name(last) or not last.endswith(SAFETENSORS):
            raise BundleError(
                f"{what} records {part!r:.100}, but only safetensors of the model and in anchors/ are taken."
            )
        size, digest = (entry.get("bytes"), entry.get("sha256")) if isinstance(entry, dict) else (None, None)
        if type(size) is not int or size <= 0 or not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise BundleError(f"{what} records no size and SHA-256 of {part}: tell its owner.")
        check_size(f"{part} of {label}", size, MAX_FILE_BYTES, BundleError)
        parts[part] = size, digest
    check_size(f"The model of {label}", sum(size for size, _ in parts.values()), MAX_TOTAL_BYTES, BundleError)
    return parts
