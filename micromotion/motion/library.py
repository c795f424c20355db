"""The library of learned micromotions: where they are stored, found by name, and checked against a model.

A learned micromotion is one safetensors file of anchors (`Anchors.save`) whose provenance is its recipe: the
sentence or the video, the path along which it is played, and the model, with the SHA-256 of its generator. It
is stored in the user's data folder as `motions/MODEL/NAME.safetensors`, and can be shared: a file is checked
against the model that plays it, and loading it executes nothing.

Importing this module does not import torch.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from micromotion.errors import MicromotionError, MotionError, OptionError
from micromotion.options import check_motion
from micromotion.runtime.folders import is_plain_name, learned_folder, make_folder
from micromotion.runtime.hub import (
    SAFETENSORS,
    FromHub,
    check_etag,
    fetch_file,
    is_hub_name,
    not_safetensors,
    parse_motion_name,
)
from micromotion.types import LoadedModel, MotionOwner

if TYPE_CHECKING:
    from micromotion.motion.files import Provenance
    from micromotion.motion.playable import Motion, PathKind

SUFFIX = SAFETENSORS
MAX_BYTES = 32 << 20
"""Most bytes of a motion's file."""
MODEL, MODEL_HASH = "model", "generator"
"""Keys in a file's provenance: the model's name, and the SHA-256 of its generator's file."""


def learned_motions(model: str) -> dict[str, Path]:
    """The files of the micromotions learned for a model, by name, sorted."""
    if not is_plain_name(model):
        return {}
    with suppress(MicromotionError, OSError):  # no accessible data folder: nothing was learned
        found = {path.stem: path for path in learned_folder(model).glob(f"*{SUFFIX}")}
        return {name: found[name] for name in sorted(found) if is_plain_name(name)}
    return {}


def playable_motions(bundle: MotionOwner) -> dict[str, Path]:
    """All micromotions of a model by name, sorted: its own, which take precedence, and the learned ones."""
    return dict(sorted((learned_motions(bundle.name) | dict(bundle.motions)).items()))


def find_motion(motion: str | Path, bundle: MotionOwner) -> Path:
    """The file of a micromotion: one of the model's own, a learned one, FILE.safetensors, or one on the hub.

    A Path is always a file; a string is a file if it ends in .safetensors and is not a micromotion's name,
    and `hf://owner/name/FILE` is downloaded if it is not cached. Raises MotionError, listing the known ones,
    for an unknown name; for one on the hub, as `fetch_motion` does.
    """
    if is_hub_name(motion):
        return fetch_motion(str(motion)).path
    known = playable_motions(bundle)
    if isinstance(motion, Path):
        return motion
    if isinstance(motion, str) and motion.endswith(SUFFIX) and motion not in known:
        return Path(motion)
    check_motion(motion, known)
    return known[motion]


def fetch_motion(address: str) -> FromHub:
    """The file of a motion on the Hugging Face hub, `hf://owner/name[@revision]/FILE.safetensors`, checked.

    It is in the cache of `huggingface_hub`. Raises OptionError for a wrong address, DownloadError if the hub
    does not give the file, MotionError if it is too large, damaged or no safetensors.
    """
    name = parse_motion_name(address)
    found = fetch_file(name, name.path, MotionError, most=MAX_BYTES)
    check_etag(found, MotionError)
    if why := not_safetensors(found.path):
        raise MotionError(f"{name.path} of {found.name.label} {why}: it is not used; tell its owner.")
    return found


def load_fitting(path: Path, bundle: LoadedModel, kind: PathKind | None = None) -> Motion:
    """Read a micromotion for a model; kind as in `load_motion`.

    Raises MotionError as `load_motion` does, or if it was learned for another model: its latents have another
    shape, or, unless it is one of the model's own, its file names another generator.
    """
    from micromotion.motion.playable import load_motion

    motion = load_motion(path, kind, shape=bundle.latent_shape)
    if path not in bundle.motions.values():
        _require_model(motion.name, motion.provenance, bundle)
    return motion


def require_safetensors(path: Path) -> None:
    """Raise MotionError for a file in PyTorch's format, which is not accepted from remote callers."""
    from micromotion.motion.directions import is_published

    if is_published(path):
        raise MotionError(f"{path} is a PyTorch file, not the safetensors that `micromotion learn` writes.")


def place_for(name: str, bundle: MotionOwner, *, force: bool = False) -> Path:
    """The path for a new learned micromotion; creates its folder, but not the file.

    Raises OptionError if the name is invalid, or taken by one of the model's own motions or, without force,
    by a learned one. Raises OutputError if the folder cannot be created.
    """
    if not is_plain_name(name) or name.endswith(SUFFIX):
        raise OptionError(
            "A micromotion's name may have only letters, digits, dots, dashes and underscores, "
            f"not {name!r:.80}."
        )
    if name in bundle.motions:
        raise OptionError(
            f"The model {bundle.name!r} already has its own micromotion {name!r}: choose another name."
        )
    if not is_plain_name(bundle.name):
        raise OptionError(
            f"No motion can be saved for the model {bundle.name!r:.80}: its name in bundle.json is not valid."
        )
    path = learned_folder(bundle.name) / f"{name}{SUFFIX}"
    if path.exists() and not force:
        raise OptionError(
            f"A learned micromotion {name!r} already exists in {path}: choose another name, or use --force."
        )
    make_folder(path.parent)
    return path


def _require_model(name: str, provenance: Provenance, bundle: MotionOwner) -> None:
    """Raise MotionError if the file names another generator; a file that names none may be played."""
    theirs, model = provenance.get(MODEL_HASH), provenance.get(MODEL)
    if theirs is None and model in (None, bundle.name):
        return
    if theirs is not None and theirs == bundle.generator_hash():
        return
    if model == bundle.name:
        raise MotionError(
            f"The micromotion {name!r} was learned for another version of the model {bundle.name!r}, "
            "which has other latents: learn it again."
        )
    other = f"{str(model)!r:.80}"
    raise MotionError(
        f"The micromotion {name!r} was learned for the model {other}, not for {bundle.name!r}: play it with "
        "that model, or, if both have the same latents, add it to this one with "
        f"`micromotion weights add FILE --name {bundle.name}`."
    )
