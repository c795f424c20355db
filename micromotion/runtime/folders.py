"""Where files lie: what comes with micromotion, what is fetched, and what was learned.

What comes with it lies under one of `ROOTS`. What is fetched lies in the platform's cache folder, or in the
one that MICROMOTION_CACHE names:

    models/NAME/     the models that were fetched or added, each a bundle
    downloads/       public files on their way, or kept
    shape_predictor_68_face_landmarks.dat

What was learned cannot be fetched again, and lies in the platform's folder of user data, or in the one that
MICROMOTION_DATA names:

    motions/MODEL/   micromotions, one file each

Asking for a place makes nothing; whoever writes makes its folder. Only the standard library is used but for
platformdirs, so that `micromotion --help` stays fast.
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
"""Of `weights/` and `anchors/`: in an installed wheel, in a checkout."""

VARIABLE = "MICROMOTION_CACHE"
DATA_VARIABLE = "MICROMOTION_DATA"
LANDMARKS = "shape_predictor_68_face_landmarks.dat"


def cache_folder() -> Path:
    """The absolute path of the cache folder, which may not exist yet.

    Raises OutputError if MICROMOTION_CACHE names nobody's home, or is not set and there is no home.
    """
    return _named_by(VARIABLE) or _of_the_user("user_cache_path", "models", VARIABLE)


def data_folder() -> Path:
    """The absolute path of the folder of user data, which may not exist yet.

    Raises OutputError if MICROMOTION_DATA names nobody's home, or is not set and there is no home.
    """
    return _named_by(DATA_VARIABLE) or _of_the_user("user_data_path", "micromotions", DATA_VARIABLE)


def learned_folder(model: str) -> Path:
    """Where the micromotions that were learned for a model lie. Raises as `data_folder`."""
    return data_folder() / "motions" / model


def models_folder() -> Path:
    """Where fetched and added models lie, one folder each. Raises as `cache_folder`."""
    return cache_folder() / "models"


def downloads_folder() -> Path:
    """Where public files are downloaded to. Raises as `cache_folder`."""
    return cache_folder() / "downloads"


def landmarks_file() -> Path:
    """Where `micromotion weights fetch landmarks` puts dlib's model. Raises as `cache_folder`."""
    return cache_folder() / LANDMARKS


def make_folder(folder: Path) -> Path:
    """Make a folder and those above it, and find out that files can be made in it; OutputError if not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        allowed = os.access(folder, os.W_OK | os.X_OK)
        reason = "it may not be written to"
    except OSError as error:
        allowed, reason = False, (error.strerror or "it cannot be made").lower()
    if not allowed:
        places = ((VARIABLE, cache_folder), (DATA_VARIABLE, data_folder))
        named = next((variable for variable, place in places if _is_inside(folder, place)), None)
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
    """The folder that one of platformdirs' functions finds, for what is named."""
    import platformdirs

    with suppress(RuntimeError):  # there is no home; older versions give "~" back
        folder: Path = getattr(platformdirs, function)("micromotion", appauthor=False)
        if folder.is_absolute():
            return folder
    raise OutputError(f"There is no home folder to keep {what} in: name a folder in {variable}.")


def _is_inside(folder: Path, place: Callable[[], Path]) -> bool:
    try:
        return folder.is_relative_to(place())
    except OutputError:
        return False


def is_plain_name(name: str) -> bool:
    """Whether a text may name a file or a folder: no path, no leading dot, only letters, digits and . _ -"""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) is not None
