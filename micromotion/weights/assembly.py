"""Builds a bundle from public files or a user's own, in a hidden sibling folder, then renames it into place.

A model's name never refers to a half-written folder. Importing this module does not import torch.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micromotion.errors import BundleError, OutputError
from micromotion.motion.recipe import find_recipes
from micromotion.runtime.progress import StepReport
from micromotion.weights.bundle_record import (
    ABOUT,
    damage,
    read_about,
    recorded_files,
    recorded_sources,
    write_about,
)

if TYPE_CHECKING:
    from micromotion.weights.convert import Given


@dataclass(frozen=True)
class Ingredient:
    """A file to convert, with its name and its record in bundle.json."""

    name: str
    given: Given
    record: Mapping[str, Any]


def build(
    folder: Path, name: str, ingredients: Sequence[Ingredient], on_step: StepReport
) -> dict[str, list[str]]:
    """Build a bundle from the folder's contents and the ingredients, and replace the folder with it.

    Returns the bundle files made from each ingredient, by its name. The caller holds the folder's lock.
    """
    from micromotion.weights.convert import convert

    building = _building(folder)
    try:
        building.mkdir()
        about, sources, carried = _carry_over(folder, building, {each.name for each in ingredients})
        parts = convert(
            [each.given for each in ingredients],
            building,
            name=name,
            recipes=find_recipes(name),
            on_step=on_step,
        )
        made = {part for each in parts for part in each}
        for entry in sources.values():
            entry["parts"] = [part for part in entry["parts"] if part not in made]
        for each, its in zip(ingredients, parts, strict=True):
            sources[each.name] = {**each.record, "parts": its}
        about |= {"sources": sources}
        on_step("Recording sizes and hashes")
        write_about(building, name, about, sorted(carried | made))
        _put_in_place(building, folder)
    except OSError as error:
        raise OutputError(
            f"The model cannot be written to {folder} ({error.strerror}): free some room, or choose another."
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return {each.name: its for each, its in zip(ingredients, parts, strict=True)}


def recover(folder: Path) -> None:
    """Clean up after a call that was killed; the caller holds the folder's lock."""
    aside, building = _aside(folder), _building(folder)
    if aside.is_dir() and not folder.exists():
        aside.rename(folder)
    for path in (aside, building):
        shutil.rmtree(path, ignore_errors=True)


def check_place(folder: Path) -> None:
    """Raise BundleError if the folder holds anything but a bundle, and so must not be replaced."""
    if folder.is_dir() and ((folder / ABOUT).is_file() or not any(folder.iterdir())):
        return
    if folder.exists():
        raise BundleError(f"{folder} is in the way and is not a model: name another folder, or remove it.")


def _carry_over(
    folder: Path, building: Path, replaced: set[str]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]], set[str]]:
    """Link a bundle's intact files into the new folder; returns its metadata, sources and recorded files.

    Parts made from sources that are being replaced are left out.
    """
    if not (folder / ABOUT).is_file():
        return {}, {}, set()
    about = read_about(folder)
    sources = recorded_sources(about)
    broken = {name for name, _ in damage(folder, about, hashes=True)}
    for source, entry in sources.items():  # all parts of one source are rebuilt together
        if source in replaced or broken & set(entry["parts"]):
            broken |= set(entry["parts"])
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if not path.is_file() or str(name) == ABOUT or name.as_posix() in broken:
            continue
        (building / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, building / name)
        except OSError:  # not every file system has hard links
            shutil.copy2(path, building / name)
    rest = {key: value for key, value in about.items() if key not in ("format", "name", "files", "sources")}
    return rest, sources, set(recorded_files(about)) - broken


def _put_in_place(building: Path, folder: Path) -> None:
    """Rename the finished bundle; an existing one is moved aside first, where `recover` finds it."""
    aside = _aside(folder)
    if (folder / ABOUT).is_file():
        folder.rename(aside)
    try:
        building.rename(folder)
    except OSError:
        if aside.is_dir():
            aside.rename(folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _building(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.building")


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.replaced")
