"""Writes and reads bundle.json, which makes a folder a bundle, and checks the files that it records.

Importing this module does not import torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from micromotion.errors import BundleError
from micromotion.runtime.folders import is_plain_name

FORMAT = "micromotion-bundle/1"
ABOUT = "bundle.json"
MAX_ABOUT_BYTES = 1 << 20


def write_about(folder: Path, name: str, about: Mapping[str, Any], files: Iterable[str]) -> None:
    """Write bundle.json, with the size and SHA-256 of each of the files."""
    text = about_text(name, about, {part: folder / part for part in files})
    temporary = folder / f".{ABOUT}"
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(folder / ABOUT)
    finally:
        temporary.unlink(missing_ok=True)


def about_text(name: str, about: Mapping[str, Any], files: Mapping[str, Path]) -> str:
    """The text of a bundle.json, with the size and SHA-256 of each file, by its path in the bundle."""
    recorded = {part: file_record(path) for part, path in files.items()}
    rest = {key: value for key, value in about.items() if key not in ("format", "name", "files")}
    return (
        json.dumps({"format": FORMAT, "name": name, **rest, "files": recorded}, indent=2, ensure_ascii=False)
        + "\n"
    )


def read_about(folder: Path) -> dict[str, Any]:
    """The validated contents of a folder's bundle.json. Raises BundleError."""
    path = folder / ABOUT
    try:
        with path.open("rb") as file:
            text = file.read(MAX_ABOUT_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(f"{path.parent} is not a model bundle: it holds no {ABOUT}.") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}.") from error
    if len(text) > MAX_ABOUT_BYTES:
        raise BundleError(f"{path} is larger than {MAX_ABOUT_BYTES} bytes and was not read.")
    return parse_about(text, str(path), "remove its folder, and fetch or add the model again")


def parse_about(text: bytes, what: str, remedy: str) -> dict[str, Any]:
    """The validated contents of a bundle.json, called `what` in the BundleError that it raises."""
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{what} is not valid JSON ({error}): {remedy}.") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise BundleError(f"{what} is not of the format {FORMAT!r}, the only one this version reads.")
    if not isinstance(about.get("name"), str):
        raise BundleError(f"{what} does not say the model's name.")
    return about


def recorded_files(about: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The {"bytes", "sha256"} that bundle.json records, by file name; only well-formed entries."""
    files = about.get("files")
    entries = files.items() if isinstance(files, dict) else ()
    return {
        name: entry
        for name, entry in entries
        if name != ABOUT and all(map(is_plain_name, name.split("/"))) and isinstance(entry, dict)
    }


def recorded_sources(about: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What bundle.json records about the files it was made from, by name; only well-formed entries."""
    sources = about.get("sources")
    entries = sources.items() if isinstance(sources, dict) else ()
    return {
        name: entry
        for name, entry in entries
        if isinstance(entry, dict)
        and isinstance(entry.get("parts"), list)
        and all(isinstance(part, str) for part in entry["parts"])
    }


def damage(folder: Path, about: Mapping[str, Any], *, hashes: bool) -> Iterator[tuple[str, str]]:
    """The files that differ from their record, each with what is wrong; hashes: compare SHA-256s too."""
    for name, entry in recorded_files(about).items():
        path = folder / name
        if not path.is_file():
            yield name, "is missing"
        elif path.stat().st_size != entry.get("bytes"):
            yield name, f"has {path.stat().st_size} bytes, not {entry.get('bytes')}"
        elif hashes and file_record(path)["sha256"] != entry.get("sha256"):
            yield name, "does not match its recorded SHA-256"


def file_record(path: Path) -> dict[str, int | str]:
    """Size and SHA-256 of a file."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
