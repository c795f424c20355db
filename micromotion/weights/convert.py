"""Converts public files to the parts of a bundle, as safetensors; also in half precision, for the GPU.

A file's kind is determined by its contents, never its name: an e4e, pSp or ReStyle checkpoint gives the
inverter, and its decoder the generator, which a separate generator file replaces; then the identity network,
CLIP and micromotions. Nothing in a file is executed. The networks are read one by one, so memory holds one at
a time.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from encoder4editing import load_identity, load_inverter, save_identity, save_inverter
from encoder4editing.checkpoint import stored_average
from encoder4editing.identity import IDENTITY as IDENTITY_NETWORK
from encoder4editing.public import ENCODER
from micromotion.errors import BundleError, MotionError, OutputError
from micromotion.motion.anchors import KIND as ANCHORS_KIND
from micromotion.motion.directions import KIND as DIRECTION_KIND
from micromotion.motion.directions import MAX_PUBLISHED_BYTES, full_motion, read_published, save_direction
from micromotion.motion.playable import load_motion
from micromotion.motion.recipe import PUBLISHED_SCALE, Recipe
from micromotion.runtime.folders import is_plain_name
from micromotion.weights.bundle import ANCHORS, CLIP, GENERATOR, IDENTITY, INVERTER, check_fit, half_name
from stylegan2 import CheckpointError, Generator, load_generator, save_generator
from stylegan2.checkpoints.files import holds_generator
from stylegan2.checkpoints.layout import contents_of, holds
from stylegan2.checkpoints.storage import file_kind, is_ours, safetensors_kind

GivenKind = Literal["generator", "inverter", "identity", "clip", "published", "motion"]

OWN_KINDS: Mapping[str, GivenKind] = {  # by the kind that our safetensors files record
    "stylegan2": "generator",
    "e4e": "inverter",
    "identity": "identity",
    "clip": "clip",
    DIRECTION_KIND: "motion",
    ANCHORS_KIND: "motion",
}


@dataclass(frozen=True)
class Given:
    """A file to convert, with its origin and licence, for the provenance of a micromotion."""

    path: Path
    origin: str
    licence: str


def convert(
    given: Sequence[Given],
    folder: Path,
    *,
    name: str,
    recipes: Mapping[str, Recipe] | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> list[list[str]]:
    """Convert the files into the folder of the model `name`, which may already hold other parts.

    Of two files for the same part the later wins; a generator in the folder stays unless a pure generator
    file replaces it. recipes give the scale at which a published direction is a full motion. on_step receives
    a description of each step. Returns, for each file, the names of the bundle's files made from it; of
    several files for the same name, only the last has it.
    Raises BundleError or MotionError if a file is of no known kind, is damaged, or the parts do not fit
    together, OutputError if something cannot be written.
    """
    kinds = [kind_of(each.path) for each in given]
    made: dict[str, int] = {}  # the bundle's file -> the index of its source
    with _translate_errors(folder):
        source = _generator_source(given, kinds, folder)
        if source is not None:
            on_step(f"Converting the generator in {given[source].path.name}")
            average = _inverters_average(given, kinds, folder)
            made |= dict.fromkeys(_convert_generator(given[source].path, folder, average, on_step), source)
        elif "inverter" in kinds:
            on_step("Keeping the generator of the model; only a generator file replaces it")
        generator = _reopen_generator(folder)
        for index in _last(kinds, "inverter"):
            on_step(f"Converting the inverter in {given[index].path.name}")
            made |= dict.fromkeys(
                _convert_inverter(given[index].path, folder, name, generator, on_step), index
            )
        for index in _last(kinds, "identity"):
            on_step(f"Converting the identity network in {given[index].path.name}")
            save_identity(load_identity(given[index].path), folder / IDENTITY)
            made[IDENTITY] = index
        for index in _last(kinds, "clip"):
            from micromotion.weights.clip_model import load_clip, save_clip

            on_step(f"Converting CLIP in {given[index].path.name}")
            save_clip(load_clip(given[index].path), folder / CLIP)
            made[CLIP] = index
        for index, kind in enumerate(kinds):
            if kind in ("published", "motion"):
                file = _convert_motion(given[index], kind, folder, generator, recipes or {})
                made[f"{ANCHORS}/{file}"] = index
        _check_complete(folder, name, generator)
    return [[name for name, index in made.items() if index == each] for each in range(len(given))]


def kind_of(path: Path) -> GivenKind:
    """The kind of a file, by its contents; a checkpoint with encoder and decoder is an "inverter".

    Raises BundleError if it is unknown.
    """
    try:
        kind = file_kind(path)
        if is_ours(path):
            return OWN_KINDS[safetensors_kind(path)]
        if kind == "torchscript":
            return "clip"
        if kind == "pickle":
            return "generator"
        if kind == "torch" and path.stat().st_size <= MAX_PUBLISHED_BYTES and _is_direction(path):
            return "published"
        return _kind_of_dictionary(contents_of(path, "model"))
    except CheckpointError as error:
        raise BundleError(str(error)) from error
    except KeyError:
        raise BundleError(
            f"{path} is none of the files that make a model: an e4e, pSp or ReStyle checkpoint, a StyleGAN2 "
            "generator, an ArcFace IR-SE network, CLIP, or a micromotion."
        ) from None


def motion_name(path: Path) -> str:
    """The name of the micromotion in a file: the file's stem; for `smile/d_latent_x` it is smile_x.

    Raises BundleError if that is not a plain name.
    """
    name = path.stem
    if name.startswith("d_latent"):
        name = path.absolute().parent.name + name.removeprefix("d_latent")
    if not is_plain_name(name):
        raise BundleError(f"{path} gives the micromotion no usable name: rename it with letters and digits.")
    return name


def _kind_of_dictionary(contents: Mapping[Any, Any]) -> GivenKind:
    """The kind of a PyTorch or foreign safetensors file, by the networks in it; KeyError if unknown."""
    if holds(contents, ENCODER):
        return "inverter"
    if holds_generator(contents):
        return "generator"
    from micromotion.weights.clip_model import CLIP_MODEL

    if holds(contents, CLIP_MODEL):
        return "clip"
    if holds(contents, IDENTITY_NETWORK):
        return "identity"
    raise KeyError


def _is_direction(path: Path) -> bool:
    try:
        read_published(path)
    except MotionError:
        return False
    return True


def _last(kinds: Sequence[GivenKind], wanted: GivenKind) -> list[int]:
    """The index of the last file of a kind, as a list of at most one."""
    return [index for index, kind in enumerate(kinds) if kind == wanted][-1:]


def _generator_source(given: Sequence[Given], kinds: Sequence[GivenKind], folder: Path) -> int | None:
    """The index of the generator's source file; None if the folder's own stays, or there is none."""
    for index in _last(kinds, "generator"):
        return index
    if (folder / GENERATOR).is_file():
        return None
    inverters = [index for index, kind in enumerate(kinds) if kind == "inverter"]
    return next((index for index in inverters if _holds_generator(given[index].path)), None)


def _holds_generator(path: Path) -> bool:
    return not is_ours(path) and holds_generator(contents_of(path, "generator"))


def _inverters_average(given: Sequence[Given], kinds: Sequence[GivenKind], folder: Path) -> Tensor | None:
    """The average latent of the model's future inverter, for a generator that comes without one."""
    paths = [given[index].path for index in _last(kinds, "inverter")]
    if not paths and (folder / INVERTER).is_file():
        paths = [folder / INVERTER]
    return stored_average(paths[0]) if paths else None


def _convert_generator(
    path: Path, folder: Path, average: Tensor | None, on_step: Callable[[str], None]
) -> list[str]:
    with _report_warnings(on_step):
        generator = load_generator(path, average=average)
    save_generator(generator, folder / GENERATOR)
    save_generator(generator.use_half(), folder / half_name(GENERATOR))
    return [GENERATOR, half_name(GENERATOR)]


def _reopen_generator(folder: Path) -> Generator:
    """The folder's generator, memory-mapped: it takes almost no memory."""
    if not (folder / GENERATOR).is_file():
        raise BundleError("These files make no model: there is no generator among them.")
    return load_generator(folder / GENERATOR)


def _convert_inverter(
    path: Path, folder: Path, name: str, generator: Generator, on_step: Callable[[str], None]
) -> list[str]:
    with _report_warnings(on_step):
        inverter = load_inverter(path, generator=generator)
    check_fit(name, generator, inverter)
    save_inverter(inverter, folder / INVERTER)
    save_inverter(inverter.use_half(), folder / half_name(INVERTER))
    return [INVERTER, half_name(INVERTER)]


def _convert_motion(
    given: Given, kind: GivenKind, folder: Path, generator: Generator, recipes: Mapping[str, Recipe]
) -> str:
    """Write a micromotion under its name; returns the file name."""
    name = motion_name(given.path)
    motion = load_motion(given.path)
    shape, wanted = list(motion.direction.shape), [generator.num_styles, generator.style_dim]
    if shape != wanted:
        raise BundleError(
            f"The micromotion in {given.path} is for another model: it moves {shape}, not {wanted}."
        )
    target = folder / ANCHORS / f"{name}.safetensors"
    target.parent.mkdir(exist_ok=True)
    if kind == "motion":
        target.unlink(missing_ok=True)  # it may be a hard link to a file that must not change
        shutil.copyfile(given.path, target)
        return target.name
    recipe = recipes.get(name)
    scale = recipe.scale if recipe is not None else PUBLISHED_SCALE
    about: dict[str, str | int | float]
    about = {"motion": name, "source": given.origin, "licence": given.licence, "scale": scale}
    if recipe is not None:
        about = recipe.provenance(given.origin, given.licence)
    save_direction(full_motion(read_published(given.path), scale), target, about)
    return target.name


def _check_complete(folder: Path, name: str, generator: Generator) -> None:
    if not (folder / INVERTER).is_file():
        raise BundleError(
            "These files make no model: there is no inverter among them, such as an e4e checkpoint."
        )
    check_fit(name, generator, load_inverter(folder / INVERTER, generator=generator))


@contextmanager
def _report_warnings(on_step: Callable[[str], None]) -> Iterator[None]:
    """Report a loader's warnings, such as of assumed values, as steps; each sentence once."""
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        yield
    for sentence in dict.fromkeys(str(warning.message) for warning in noted):
        on_step(sentence)


@contextmanager
def _translate_errors(folder: Path) -> Iterator[None]:
    """Turn CheckpointError into BundleError, and OSError into OutputError."""
    try:
        yield
    except CheckpointError as error:
        raise BundleError(str(error)) from error
    except OSError as error:
        raise OutputError(f"The model cannot be written to {folder.parent}: {error.strerror}.") from error
