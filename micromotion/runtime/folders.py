"""Paths of the files that come with micromotion, are fetched, or are learned.

Files that come with it are under one of `ROOTS`. Fetched ones are in the platform's cache folder, or in the
one that MICROMOTION_CACHE names:

    models/NAME/     fetched or added models, each a bundle
    downloads/       public files, partial or complete
    shape_predictor_68_face_landmarks.dat

Learned files cannot be fetched again, so they are in the platform's folder of user data, or in the one that
MICROMOTION_DATA names:

    motions/MODEL/   micromotions, one file each

These functions create nothing, except `make_folder`. Only the standard library and platformdirs are used, so
that `micromotion --help` stays fast.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from micromotion.errors import OutputError

_PACKAGE = Path(__file__).resolve().parents[1]
ROOTS = (_PACKAGE / "data", _PACKAGE.parent)
"""Parents of `weights/` and `anchors/`: in an installed wheel, in a checkout."""

VARIABLE = "MICROMOTION_CACHE"
DATA_VARIABLE = "MICROMOTION_DATA"
LANDMARKS = "shape_predictor_68_face_landmarks.dat"


def cache_folder() -> Path:
    """The absolute path of the cache folder, which may not exist yet.

    Raises OutputError if MICROMOTION_CACHE names an unknown user's home, or is unset and there is no home.
    """
    return _named_by(VARIABLE) or _of_the_user("user_cache_path", "models", VARIABLE)


def data_folder() -> Path:
    """The absolute path of the folder of user data, which may not exist yet.

    Raises OutputError if MICROMOTION_DATA names an unknown user's home, or is unset and there is no home.
    """
    return _named_by(DATA_VARIABLE) or _of_the_user("user_data_path", "micromotions", DATA_VARIABLE)


def learned_folder(model: str) -> Path:
    """The folder of a model's learned micromotions. Raises as `data_folder`."""
    return data_folder() / "motions" / model


def models_folder() -> Path:
    """The folder of fetched and added models, one subfolder each. Raises as `cache_folder`."""
    return cache_folder() / "models"


def downloads_folder() -> Path:
    """The folder that public files are downloaded to. Raises as `cache_folder`."""
    return cache_folder() / "downloads"


def landmarks_file() -> Path:
    """The path of dlib's model from `micromotion weights fetch landmarks`. Raises as `cache_folder`."""
    return cache_folder() / LANDMARKS


def make_folder(folder: Path) -> Path:
    """Create a folder with its parents; raises OutputError if that fails or it is not writable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        allowed = os.access(folder, os.W_OK | os.X_OK)
        reason = "it may not be written to"
    except OSError as error:
        allowed, reason = False, (error.strerror or "it cannot be made").lower()
    if not allowed:
        parents = ((VARIABLE, cache_folder), (DATA_VARIABLE, data_folder))
        named = next((variable for variable, parent in parents if _is_inside(folder, parent)), None)
        advice = f"name another folder in {named}" if named else "name another folder"
        raise OutputError(f"{folder} cannot be used, {reason}: {advice}.")
    return folder


def _named_by(variable: str) -> Path | None:
    """The folder that an environment variable names; None if it is not set."""
    named = os.environ.get(variable)
    if not named:
        return None
    try:
        return Path(os.path.expandvars(named)).expanduser().absolute()
    except RuntimeError as error:
        raise OutputError(f"{variable} names a folder that cannot be found: {named!r}.") from error


def _of_the_user(function: str, what: str, variable: str) -> Path:
    """The folder that a function of platformdirs returns; what and variable are for the error."""
    import platformdirs

    with suppress(RuntimeError):  # there is no home; older versions return "~"
        folder: Path = getattr(platformdirs, function)("micromotion", appauthor=False)
        if folder.is_absolute():
            return folder
    raise OutputError(f"There is no home folder to keep {what} in: name a folder in {variable}.")


def _is_inside(folder: Path, parent: Callable[[], Path]) -> bool:
    try:
        return folder.is_relative_to(parent())
    except OutputError:
        return False


def is_plain_name(name: str) -> bool:
    """Whether a text is a safe file name: no path, no leading dot, only letters, digits and . _ -"""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) is not None
