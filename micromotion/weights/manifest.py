"""The manifest of public files: where each comes from, its size and hash, its licence, and what it is for.

Parsed strictly from TOML (`weights/manifest.toml` shows all keys): an unknown key, a wrong type, an invalid
hash, or a name that could leave its folder is an error. Uses neither torch nor the Internet.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from micromotion.errors import ManifestError
from micromotion.runtime.folders import ROOTS, is_plain_name
from micromotion.weights.sources import Drive, Hub, Source, Url

FORMAT = "micromotion-manifest/1"
MANIFEST = "manifest.toml"
VARIABLE = "MICROMOTION_MANIFEST"
"""Environment variable with the path of another manifest than the one that comes with this version."""

MAX_BYTES = 1 << 20
MAX_FILE_BYTES = 1 << 40

_DRIVE_ID = re.compile(r"[A-Za-z0-9_-]{10,100}")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


_Entry = TypeVar("_Entry")


@dataclass(frozen=True)
class Licence:
    """Its short name, whether commercial use is allowed (None: not stated), and where it can be read."""

    name: str
    link: str
    commercial: bool | None = None


@dataclass(frozen=True)
class PublicFile:
    """A file to fetch. sources are tried in order; bytes and sha256 (hex) are None where not published."""

    name: str
    purpose: str
    sources: tuple[Source, ...]
    licence: Licence
    bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class PublicModel:
    """A model's public files: required ones, ready motions, and optional ones by their name for `--with`."""

    name: str
    purpose: str
    files: tuple[PublicFile, ...]
    motions: tuple[PublicFile, ...]
    optional: Mapping[str, PublicFile]


@dataclass(frozen=True)
class Manifest:
    """The offered models by name, and dlib's landmark model (None: not offered)."""

    models: Mapping[str, PublicModel]
    landmarks: PublicFile | None

    @property
    def files(self) -> list[PublicFile]:
        """All files that are offered."""
        found = [] if self.landmarks is None else [self.landmarks]
        for model in self.models.values():
            found += [*model.files, *model.motions, *model.optional.values()]
        return found


def load_manifest(path: str | Path | None = None) -> Manifest:
    """Read a manifest: path, else the one MICROMOTION_MANIFEST names, else the one of this version.

    Raises ManifestError, one sentence that names the file and the entry, if anything is wrong with it.
    """
    path = Path(path or os.environ.get(VARIABLE) or own_manifest())
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise ManifestError(f"it is larger than {MAX_BYTES} bytes")
        return _manifest(tomllib.loads(text.decode()))
    except ManifestError as error:
        raise ManifestError(f"The manifest {path} cannot be used: {error}.") from error
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"The manifest {path} is not valid TOML: {error}.") from error
    except OSError as error:
        raise ManifestError(f"The manifest {path} cannot be read: {error.strerror}.") from error


def own_manifest() -> Path:
    """The path of the manifest that comes with this version."""
    paths = [root / "weights" / MANIFEST for root in ROOTS]
    return next((path for path in paths if path.is_file()), paths[-1])


# Parsers of the manifest's parts. `where` names the entry for error messages.


def _manifest(values: dict[str, Any]) -> Manifest:
    _check_keys(
        values, "the file", required={"format", "files", "licences"}, optional={"models", "landmarks"}
    )
    if values["format"] != FORMAT:
        raise ManifestError(f"its format is not {FORMAT!r}")
    licences = {
        name: _licence(entry, f"licences.{name}") for name, entry in _tables(values, "licences").items()
    }
    files = {name: _file(name, entry, licences) for name, entry in _tables(values, "files").items()}
    models = {name: _model(name, entry, files) for name, entry in _tables(values, "models").items()}
    landmarks = None
    if "landmarks" in values:
        landmarks = _pick(files, _text(values, "landmarks", "the file"), "landmarks")
    return Manifest(models, landmarks)


def _licence(values: dict[str, Any], where: str) -> Licence:
    _check_keys(values, where, required={"name", "link"}, optional={"commercial"})
    commercial = values.get("commercial")
    if commercial is not None and not isinstance(commercial, bool):
        raise ManifestError(f"commercial in {where} is neither true nor false")
    return Licence(_text(values, "name", where), _address(values, "link", where), commercial)


def _file(name: str, values: dict[str, Any], licences: Mapping[str, Licence]) -> PublicFile:
    where = f"files.{name}"
    _check_name(name, where)
    required = {"purpose", "sources", "licence"}
    _check_keys(values, where, required=required, optional={"bytes", "sha256"})
    size, digest = values.get("bytes"), values.get("sha256")
    if size is not None and not (type(size) is int and 0 < size <= MAX_FILE_BYTES):
        raise ManifestError(f"bytes in {where} is not a size in bytes")
    if digest is not None and not (isinstance(digest, str) and _SHA256.fullmatch(digest)):
        raise ManifestError(f"sha256 in {where} is not 64 lower-case hexadecimal digits")
    sources = values["sources"]
    if not isinstance(sources, list) or not sources:
        raise ManifestError(f"sources in {where} is not a list of at least one source")
    return PublicFile(
        name,
        _text(values, "purpose", where),
        tuple(_source(entry, f"source {index} of {where}") for index, entry in enumerate(sources, 1)),
        _pick(licences, _text(values, "licence", where), f"licence in {where}"),
        size,
        digest,
    )


def _source(values: Any, where: str) -> Source:
    if not isinstance(values, dict) or len({"url", "hub", "drive"} & values.keys()) != 1:
        raise ManifestError(f"{where} is not a table with one of url, hub and drive")
    if "drive" in values:
        _check_keys(values, where, required={"drive"})
        if not _DRIVE_ID.fullmatch(_text(values, "drive", where)):
            raise ManifestError(f"drive in {where} is not a Google Drive id")
        return Drive(values["drive"])
    if "hub" in values:
        _check_keys(values, where, required={"hub", "path"}, optional={"revision"})
        path = _text(values, "path", where)
        if not _REPOSITORY.fullmatch(_text(values, "hub", where)):
            raise ManifestError(f"hub in {where} is not a repository, owner/name")
        if not all(re.fullmatch(r"[^/\\.][^/\\]*", part) for part in path.split("/")):
            raise ManifestError(f"path in {where} is absolute or has dotted parts")
        revision = _text(values, "revision", where) if "revision" in values else "main"
        return Hub(values["hub"], path, revision)
    _check_keys(values, where, required={"url"}, optional={"unpack"})
    address, unpack = _address(values, "url", where), values.get("unpack")
    if unpack not in (None, "bz2"):
        raise ManifestError(f"unpack in {where} is not 'bz2', the only compression known")
    return Url(address, unpack)


def _model(name: str, values: dict[str, Any], files: Mapping[str, PublicFile]) -> PublicModel:
    where = f"models.{name}"
    _check_name(name, where)
    _check_keys(values, where, required={"purpose", "files"}, optional={"motions", "optional"})
    lists = {key: _texts(values.get(key, []), f"{key} in {where}") for key in ("files", "motions")}
    if not lists["files"]:
        raise ManifestError(f"files in {where} is empty")
    optional = values.get("optional", {})
    if not isinstance(optional, dict):
        raise ManifestError(f"optional in {where} is not a table")
    for key in optional:
        _check_name(key, f"optional in {where}")
    return PublicModel(
        name,
        _text(values, "purpose", where),
        tuple(_pick(files, file, f"files in {where}") for file in lists["files"]),
        tuple(_pick(files, file, f"motions in {where}") for file in lists["motions"]),
        {
            key: _pick(files, _text(optional, key, f"optional in {where}"), f"optional in {where}")
            for key in optional
        },
    )


def _check_keys(
    values: Mapping[str, Any], where: str, *, required: Iterable[str], optional: Iterable[str] = ()
) -> None:
    required, known = set(required), {*required, *optional}
    if unknown := values.keys() - known:
        raise ManifestError(f"{where} has an unknown entry {min(unknown)!r}")
    if missing := required - values.keys():
        raise ManifestError(f"{where} lacks {min(missing)!r}")


def _check_name(name: str, where: str) -> None:
    if not is_plain_name(name):
        raise ManifestError(
            f"{where} is not a plain name: letters, digits and . _ - only, and no dot or slash first"
        )


def _tables(values: Mapping[str, Any], key: str) -> dict[str, dict[str, Any]]:
    found = values.get(key, {})
    if not isinstance(found, dict) or not all(isinstance(entry, dict) for entry in found.values()):
        raise ManifestError(f"{key} is not a table of tables")
    return found


def _text(values: Mapping[str, Any], key: str, where: str) -> str:
    value = values[key]
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ManifestError(f"{key} in {where} is not a line of text")
    return value


def _texts(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ManifestError(f"{where} is not a list of texts")
    if len(set(value)) != len(value):
        raise ManifestError(f"{where} names something twice")
    return value


def _address(values: Mapping[str, Any], key: str, where: str) -> str:
    address = _text(values, key, where)
    if not re.fullmatch(r"https?://[^\s/]\S*", address):
        raise ManifestError(f"{key} in {where} is not an http or https address")
    return address


def _pick(known: Mapping[str, _Entry], name: str, where: str) -> _Entry:
    if name not in known:
        raise ManifestError(f"{where} names {name!r}, which the file does not describe")
    return known[name]
