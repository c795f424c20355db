"""Where learned micromotions are kept, how they are found by name, and which model each belongs to.

A learned micromotion is one safetensors file of anchors (`Anchors.save`) whose provenance is its recipe: the
sentence or the video, the path that it is played along, and the model, with the SHA-256 of its generator. It
lies in the folder of user data, `motions/MODEL/NAME.safetensors`, and can be sent to others: played as a file
it is checked against the model at hand, and loading it executes nothing.

Importing this module does not import torch.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from micromotion.errors import MicromotionError, MotionError, OptionError
from micromotion.options import check_motion
from micromotion.runtime.folders import is_plain_name, learned_folder, make_folder
from micromotion.types import LoadedModel, MotionOwner

if TYPE_CHECKING:
    from micromotion.motion.files import Provenance
    from micromotion.motion.micromotion import Motion, PathKind

SUFFIX = ".safetensors"
MODEL, MODEL_HASH = "model", "generator"
"""What a file's provenance calls the model's name, and the SHA-256 of its generator's file."""


def learned_motions(model: str) -> dict[str, Path]:
    """The files of the micromotions that were learned for a model, by name, sorted."""
    if not is_plain_name(model):
        return {}
    with suppress(MicromotionError, OSError):  # no home, or out of reach: then nothing is in it
        found = {path.stem: path for path in learned_folder(model).glob(f"*{SUFFIX}")}
        return {name: found[name] for name in sorted(found) if is_plain_name(name)}
    return {}


def playable_motions(bundle: MotionOwner) -> dict[str, Path]:
    """All micromotions of a model by name, sorted: its own, and those learned for it, which hide none."""
    return dict(sorted((learned_motions(bundle.name) | dict(bundle.motions)).items()))


def find_motion(motion: str | Path, bundle: MotionOwner) -> Path:
    """The file of a micromotion: one of the model's own, a learned one, or a file FILE.safetensors.

    A Path is always a file, a name only where it ends in .safetensors and is no name of a micromotion. Raises
    MotionError, listing the known ones, for a name that nobody knows.
    """
    known = playable_motions(bundle)
    if isinstance(motion, Path):
        return motion
    if isinstance(motion, str) and motion.endswith(SUFFIX) and motion not in known:
        return Path(motion)
    check_motion(motion, known)
    return known[motion]


def load_fitting(path: Path, bundle: LoadedModel, kind: PathKind | None = None) -> Motion:
    """Read a micromotion for a model; kind as in `load_motion`.

    Raises MotionError, in one sentence, as `load_motion` does, or if it was learned for another model: its
    latents have another shape, or, where it is not one of the model's own, its file names another generator.
    """
    from micromotion.motion.micromotion import load_motion

    motion = load_motion(path, kind, shape=bundle.latent_shape)
    if path not in bundle.motions.values():
        _require_model(motion.name, motion.provenance, bundle)
    return motion


def require_safetensors(path: Path) -> None:
    """Raise MotionError for the file of a micromotion in PyTorch's format, which a stranger need not send."""
    from micromotion.motion.directions import is_published

    if is_published(path):
        raise MotionError(f"{path} is a PyTorch file, not the safetensors that `micromotion learn` writes.")


def place_for(name: str, bundle: MotionOwner, *, force: bool = False) -> Path:
    """The file that a micromotion of this name will be kept in, its folder made; nothing is written yet.

    Raises OptionError for a name that is no plain one, or already taken; by a learned motion only without
    force. Raises OutputError where nothing can be written.
    """
    if not is_plain_name(name) or name.endswith(SUFFIX):
        raise OptionError(
            f"A micromotion's name has letters, digits, dots, dashes and underscores only, not {name!r:.80}."
        )
    if name in bundle.motions:
        raise OptionError(
            f"The model {bundle.name!r} has a micromotion {name!r} of its own: choose another name."
        )
    if not is_plain_name(bundle.name):
        raise OptionError(
            f"Nothing can be kept for the model {bundle.name!r:.80}: its name in bundle.json is no plain one."
        )
    path = learned_folder(bundle.name) / f"{name}{SUFFIX}"
    if path.exists() and not force:
        raise OptionError(
            f"There is a learned micromotion {name!r} already, in {path}: choose another name, or --force."
        )
    make_folder(path.parent)
    return path


def _require_model(name: str, provenance: Provenance, bundle: MotionOwner) -> None:
    """Raise MotionError if the file names another generator; what names none may be played."""
    theirs, model = provenance.get(MODEL_HASH), provenance.get(MODEL)
    if theirs is None and model in (None, bundle.name):
        return
    if theirs is not None and theirs == bundle.generator_hash():
        return
    if model == bundle.name:
        raise MotionError(
            f"The micromotion {name!r} was learned for another version of the model {bundle.name!r}, "
            "whose latents mean something else: learn it again."
        )
    other = f"{str(model)!r:.80}"
    raise MotionError(
        f"The micromotion {name!r} was learned for the model {other}, not for {bundle.name!r}: play it with "
        "that model, or, where both share their latents, add it to this one with "
        f"`micromotion weights add FILE --name {bundle.name}`."
    )
