"""Models on this machine: public files fetched and made into a bundle, a user's own likewise, and checked.

A bundle is built beside its place (see `assembly`). A kill at any moment costs the step it falls into: what
was downloaded stays in the cache folder until the bundle is in place. Importing this module imports no torch
and no HTTP client.
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

MAX_LOST = 2  # ready motions without a source, after which the others are not tried
BUNDLE_SIZE = 1.6  # of the public files: float32 as they have it, and half as much again in float16


@dataclass(frozen=True)
class Plan:
    """What a model is to have, and where: `missing` says what of it must be fetched now."""

    model: PublicModel
    folder: Path
    wanted: tuple[PublicFile, ...]

    def missing(self) -> list[PublicFile]:
        """The public files that the bundle does not hold, or whose parts in it are missing or damaged.

        Raises BundleError if something else, or another model, is in its place.
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
        if not all(is_here(file) for file in self.model.files):  # what replaces their parts must follow them
            nets = {GENERATOR, INVERTER}
            again = {*self.model.files, *(file for file in added if nets & set(sources[file.name]["parts"]))}
        return [file for file in wanted if file in again or not is_here(file)]


def plan(manifest: Manifest, name: str, extras: Sequence[str] = (), into: Path | None = None) -> Plan:
    """What fetching a model means: its files, its ready motions, and the optional files named in extras.

    into is its folder; without it, where the model already is, or the cache folder. Raises BundleError for
    a model or an optional file that the manifest does not offer.
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
    """Download what is missing, and make or complete the bundle; nothing happens where all is there.

    The downloaded files go when the bundle is in place, unless they are to be kept. Another process that
    fetches into the same folder is waited for. A ready motion that no source has does not keep the rest from
    being made: returns a sentence for each. Raises DownloadError, BundleError, OutputError.
    """
    make_folder(plan.folder.parent)
    with locked(plan.folder, _once(on_step, "Waiting for another process that fetches this model")):
        recover(plan.folder)
        missing = plan.missing()
        downloads = make_folder(downloads_folder())
        _check_space(plan.folder.parent, downloads, missing)
        lost: dict[PublicFile, str] = {}
        for file in sorted(missing, key=lambda file: (file in plan.model.motions, file.bytes or 0)):
            if len(lost) >= MAX_LOST:  # they have one host, and each may take minutes to fail
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
            except BundleError:  # a file without a published hash may be another one: next time it comes anew
                _remove(downloads / file.name for file in here if file.sha256 is None)
                raise
        if not keep:
            _remove(downloads / file.name for file in here)
    return list(lost.values())


def fetch_landmarks(manifest: Manifest, report: DownloadReport = lambda name, done, total: None) -> Path:
    """Download dlib's landmark model into the cache folder, for alignment to find; returns its path."""
    if manifest.landmarks is None:
        raise BundleError("The manifest offers no landmark model.")
    target = landmarks_file()
    make_folder(target.parent)
    _download(manifest.landmarks, target, report)
    return target


def ensure(name: str) -> None:
    """Fetch the model of that name, telling stderr, if it is not here and the manifest offers it.

    Raises as `fetch` does, and BundleError if it is neither here nor offered.
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
    """Make a user's own files into a model, or add them to one; returns the bundle's files that each gave.

    What each file is shows in its contents (see `convert`). In a model that is already there, parts are
    replaced by what the files hold, its generator only by a file that is nothing else.
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
    """Compare a bundle's files with its bundle.json, size and SHA-256; a sentence for each that is wrong."""
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
    """A callback that says the text the first time it is called."""
    texts = [text]

    def say() -> None:
        if texts:
            on_step(texts.pop())

    return say


def _check_apart(files: Sequence[Path], folder: Path) -> None:
    """Raise BundleError if one of the files is the model's own, which would be replaced."""
    own = sorted(folder.rglob("*"))
    for path in files:
        if any(is_same(path, each) for each in own):
            raise BundleError(f"{path} is a file of the model itself, which would be replaced: add a copy.")


def _check_space(folder: Path, downloads: Path, missing: Sequence[PublicFile]) -> None:
    total = sum(file.bytes or 0 for file in missing)
    needed = int(BUNDLE_SIZE * total)
    if folder.stat().st_dev == downloads.stat().st_dev:  # the downloaded files lie there until it is made
        here = sum(path.stat().st_size for path in downloads.iterdir() if path.is_file())
        needed += max(0, total - here)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutputError(
            f"The model takes {needed / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB are free: "
            "free some room, or name another folder with --into."
        )
