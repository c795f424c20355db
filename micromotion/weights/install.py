"""Installs models: fetches public files or takes a user's own, builds a bundle of them, and verifies it.

A bundle is built beside its target (see `assembly`). A kill at any moment loses only the current step:
downloads stay in the cache folder until the bundle is in place. Importing this module imports neither torch
nor an HTTP client.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from micromotion.errors import BundleError, DownloadError, OutputError
from micromotion.runtime.folders import (
    downloads_folder,
    is_plain_name,
    landmarks_file,
    make_folder,
    models_folder,
)
from micromotion.runtime.progress import DownloadReport, StepReport, download_progress
from micromotion.video.output_names import is_same
from micromotion.weights.assembly import Ingredient, build, check_place, recover
from micromotion.weights.bundle import GENERATOR, INVERTER, BundleFiles, find_bundle, named_folder
from micromotion.weights.bundle_record import (
    ABOUT,
    damage,
    file_record,
    read_about,
    recorded_files,
    recorded_sources,
)
from micromotion.weights.manifest import Manifest, PublicFile, PublicModel, load_manifest
from micromotion.weights.partfile import locked

MAX_LOST = 2  # failed downloads of ready motions, after which the others are not tried
BUNDLE_SIZE = 1.6  # times the public files: their float32, and half as much again for float16


@dataclass(frozen=True)
class Plan:
    """The files that a model needs, and its folder; `missing` lists those to fetch."""

    model: PublicModel
    folder: Path
    wanted: tuple[PublicFile, ...]

    def missing(self) -> list[PublicFile]:
        """The public files that the bundle lacks, or whose parts in it are missing or damaged.

        Raises BundleError if the folder holds another model or something else.
        """
        check_place(self.folder)
        if not (self.folder / ABOUT).is_file():
            return list(self.wanted)
        about = read_about(self.folder)
        sources = recorded_sources(about)
        if about["name"] != self.model.name or not any(file.name in sources for file in self.model.files):
            raise BundleError(f"{self.folder} holds another model: name another folder, or remove it.")
        broken = {name for name, _ in damage(self.folder, about, hashes=True)}

        def is_here(file: PublicFile) -> bool:
            entry = sources.get(file.name)
            if entry is None or broken & set(entry["parts"]):
                return False
            return file.sha256 is None or file.sha256 == entry.get("sha256")

        added = [file for file in self.model.optional.values() if file.name in sources]
        wanted = dict.fromkeys([*self.wanted, *added])
        again: set[PublicFile] = set()
        if not all(is_here(file) for file in self.model.files):  # re-apply files that replace their parts
            core = {GENERATOR, INVERTER}
            again = {*self.model.files, *(file for file in added if core & set(sources[file.name]["parts"]))}
        return [file for file in wanted if file in again or not is_here(file)]


def plan(manifest: Manifest, name: str, extras: Sequence[str] = (), into: Path | None = None) -> Plan:
    """Plan the fetch of a model: its files, its ready motions, and the optional files named in extras.

    into is its folder; by default the model's present one, or else one in the cache folder. Raises
    BundleError for a model or an optional file that the manifest does not offer.
    """
    if name not in manifest.models:
        offered = [*manifest.models, *(["landmarks"] if manifest.landmarks else [])]
        raise BundleError(f"There is no {name!r} to fetch; there is {', '.join(offered) or 'nothing'}.")
    model = manifest.models[name]
    for extra in extras:
        if extra not in model.optional:
            known = ", ".join(model.optional) or "none"
            raise BundleError(f"The model {name!r} has no optional part {extra!r}; it has {known}.")
    folder = into.absolute() if into else named_folder(name) or models_folder() / name
    files = [*model.files, *model.motions, *(model.optional[extra] for extra in extras)]
    return Plan(model, folder, tuple(dict.fromkeys(files)))


def fetch(
    plan: Plan,
    *,
    keep: bool = False,
    report: DownloadReport = lambda name, done, total: None,
    on_step: StepReport = lambda step: None,
) -> list[str]:
    """Download what is missing, and build or complete the bundle; do nothing if it is complete.

    The downloaded files are deleted once the bundle is in place, unless keep. Waits for another process that
    fetches into the same folder. A ready motion that no source has does not stop the rest; returns a sentence
    for each. Raises DownloadError, BundleError, OutputError.
    """
    make_folder(plan.folder.parent)
    with locked(plan.folder, _once(on_step, "Waiting for another process that fetches this model")):
        recover(plan.folder)
        missing = plan.missing()
        downloads = make_folder(downloads_folder())
        _check_space(plan.folder.parent, downloads, missing)
        lost: dict[PublicFile, str] = {}
        for file in sorted(missing, key=lambda file: (file in plan.model.motions, file.bytes or 0)):
            if len(lost) >= MAX_LOST:  # they share a host, and each may take minutes to fail
                lost[file] = f"{file.name} was not tried after that: fetch the model again later."
                continue
            try:
                _download(file, downloads / file.name, report)
            except DownloadError as error:
                if file not in plan.model.motions:
                    raise
                lost[file] = str(error)
        here = [file for file in missing if file not in lost]
        if here:
            ingredients = [_public_ingredient(file, downloads / file.name) for file in here]
            try:
                build(plan.folder, plan.model.name, ingredients, on_step)
            except BundleError:  # a file without a published hash may be wrong: next time fetch it again
                _remove(downloads / file.name for file in here if file.sha256 is None)
                raise
        if not keep:
            _remove(downloads / file.name for file in here)
    return list(lost.values())


def fetch_landmarks(manifest: Manifest, report: DownloadReport = lambda name, done, total: None) -> Path:
    """Download dlib's landmark model into the cache folder, where alignment finds it; returns its path."""
    if manifest.landmarks is None:
        raise BundleError("The manifest offers no landmark model.")
    target = landmarks_file()
    make_folder(target.parent)
    _download(manifest.landmarks, target, report)
    return target


def ensure(name: str) -> None:
    """Fetch the named model, with progress on stderr, if it is missing and the manifest offers it.

    Raises as `fetch` does, and BundleError if it is neither installed nor offered.
    """
    try:
        find_bundle(name)
    except BundleError:
        manifest = load_manifest()
        if name not in manifest.models:
            raise
        with download_progress() as (report, on_step):
            on_step(f"Fetching the model {name}")
            for sentence in fetch(plan(manifest, name), report=report, on_step=on_step):
                on_step(sentence)


def add(files: Sequence[Path], name: str, on_step: StepReport = lambda step: None) -> dict[str, list[str]]:
    """Build a model from a user's own files, or add them to one; returns the bundle files made from each.

    A file's kind is determined by its contents (see `convert`). In an existing model, parts are replaced by
    what the files hold, its generator only by a pure generator file.
    Raises BundleError, MotionError, OutputError.
    """
    if not is_plain_name(name) or name == "landmarks":
        raise BundleError(f"{name!r} cannot be a model's name: use letters, digits and . _ - only.")
    folder = models_folder() / name
    if named_folder(name) not in (None, folder):
        raise BundleError(f"The name {name!r} belongs to the model in {named_folder(name)}; choose another.")
    for path in files:
        if not path.is_file():
            raise BundleError(f"There is no file {path}.")
    make_folder(folder.parent)
    with locked(folder, _once(on_step, "Waiting for another process that changes this model")):
        recover(folder)
        check_place(folder)
        _check_apart(files, folder)
        ingredients = [_own_ingredient(path, files) for path in files]
        return build(folder, name, ingredients, on_step)


def verify(files: BundleFiles) -> list[str]:
    """Compare a bundle's files with the sizes and SHA-256s in bundle.json; a sentence for each mismatch."""
    found = [
        f"{files.folder / name} {what}: fetch or add the model {files.name!r} again."
        for name, what in damage(files.folder, files.about, hashes=True)
    ]
    if not recorded_files(files.about):
        found.append(f"{files.folder / ABOUT} records no files: there is nothing to compare them with.")
    return found


def _public_ingredient(file: PublicFile, path: Path) -> Ingredient:
    from micromotion.weights.convert import Given

    record: dict[str, Any] = {"bytes": file.bytes, "sha256": file.sha256}
    if file.sha256 is None:
        record = file_record(path)
    record |= {"licence": file.licence.name, "licence_link": file.licence.link}
    if file.licence.commercial is not None:
        record["commercial_use"] = file.licence.commercial
    return Ingredient(file.name, Given(path, file.sources[0].address, file.licence.name), record)


def _own_ingredient(path: Path, files: Sequence[Path]) -> Ingredient:
    from micromotion.weights.convert import Given

    same = [other for other in files if other.name == path.name]
    name = path.name if len(same) == 1 else f"{path.absolute().parent.name}/{path.name}"
    try:
        return Ingredient(name, Given(path, path.name, "not stated"), file_record(path))
    except OSError as error:
        raise BundleError(f"The file {path} cannot be read: {error.strerror}.") from error


def _download(file: PublicFile, target: Path, report: DownloadReport) -> None:
    from micromotion.weights.download import download

    report(file.name, 0, file.bytes)
    download(
        file.sources,
        target,
        size=file.bytes,
        sha256=file.sha256,
        on_progress=lambda done, total: report(file.name, done, total if total is not None else file.bytes),
    )


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _once(on_step: StepReport, text: str) -> Callable[[], None]:
    """A callback that reports the text only the first time it is called."""
    texts = [text]

    def say() -> None:
        if texts:
            on_step(texts.pop())

    return say


def _check_apart(files: Sequence[Path], folder: Path) -> None:
    """Raise BundleError if one of the files is the model's own, which the build would replace."""
    own = sorted(folder.rglob("*"))
    for path in files:
        if any(is_same(path, each) for each in own):
            raise BundleError(f"{path} is a file of the model itself, which would be replaced: add a copy.")


def _check_space(folder: Path, downloads: Path, missing: Sequence[PublicFile]) -> None:
    total = sum(file.bytes or 0 for file in missing)
    needed = int(BUNDLE_SIZE * total)
    if folder.stat().st_dev == downloads.stat().st_dev:  # downloads stay there until it is built
        here = sum(path.stat().st_size for path in downloads.iterdir() if path.is_file())
        needed += max(0, total - here)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutputError(
            f"The model takes {needed / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB are free: "
            "free some room, or name another folder with --into."
        )
