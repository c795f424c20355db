"""Safetensors files of micromotions, treated as untrusted: float32 tensors and their provenance."""

import json
import math
import stat
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from micromotion.errors import MotionError, OutputError
from micromotion.motion.library import MAX_BYTES
from stylegan2.checkpoints.storage import FORMAT, CheckpointError, safetensors_kind, write_tensors

Provenance = dict[str, str | int | float]


def write_motion_file(
    path: str | Path,
    kind: str,
    tensors: dict[str, Tensor],
    provenance: Provenance,
    noun: str = "micromotion",
) -> None:
    """Write float32 tensors and their provenance, atomically; equal contents give equal bytes.

    noun: what the error calls the contents. Raises OutputError if the file cannot be written.
    """
    metadata = {"format": FORMAT, "kind": kind, "provenance": json.dumps(provenance, sort_keys=True)}
    try:
        write_tensors(path, metadata, tensors)
    except OSError as error:
        raise OutputError(f"The {noun} cannot be written to {path}: {error.strerror}.") from error


def read_motion_file(
    path: str | Path, kind: str, names: set[str], noun: str = "micromotion", limit: int = MAX_BYTES
) -> tuple[dict[str, Tensor], Provenance]:
    """The contents of a file of `write_motion_file`: exactly these tensors, as float32 copies, and
    provenance.

    Nothing in the file is executed, and its size is checked before reading (safetensors checks shapes against
    it). noun: what errors call the contents; limit: the most bytes.

    Raises MotionError if the file is missing, too large, damaged or of another kind.
    """
    path = Path(path)
    require_plausible_file(path, limit, noun)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT or metadata.get("kind") != kind:
                raise MotionError(f'it does not say that it is "{FORMAT}" of the kind "{kind}".')
            if set(file.keys()) != names:
                raise MotionError(f"it must contain {_listed(names)}, and nothing else.")
            if any(file.get_slice(name).get_dtype() != "F32" for name in names):
                raise MotionError(f"{_listed(names)} must be float32.")
            tensors = {name: file.get_tensor(name).clone() for name in sorted(names)}
        return tensors, _read_provenance(metadata.get("provenance", "{}"))
    except MotionError as error:
        raise MotionError(f"The {noun} in {path} cannot be used: {error}") from error
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, noun) from error


def motion_file_kind(path: str | Path) -> str:
    """The kind of micromotion recorded in a safetensors file; "" if there is none. Raises MotionError."""
    path = Path(path)
    require_plausible_file(path)
    try:
        return safetensors_kind(path)
    except CheckpointError as error:
        raise _unreadable(path) from error


def require_plausible_file(path: Path, limit: int = MAX_BYTES, noun: str = "micromotion") -> None:
    """Raise MotionError unless path is a regular file of at most `limit` bytes."""
    try:
        about = path.stat()
    except (OSError, ValueError) as error:
        raise MotionError(f"The {noun} file {path} does not exist, or is not accessible.") from error
    if not stat.S_ISREG(about.st_mode):
        raise MotionError(f"{path} is a folder or a device, not a {noun} file.")
    if about.st_size > limit:
        raise MotionError(f"{path} is larger than {limit >> 20} MB, the limit for such a {noun} file.")


def plain_provenance(provenance: object) -> Provenance:
    """A copy of a mapping from names to strings or finite numbers; raises MotionError for anything else."""
    plain = isinstance(provenance, dict) and all(
        isinstance(key, str)
        and (isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)))
        for key, value in provenance.items()
    )
    if not plain:
        raise MotionError("The provenance must map names to strings or finite numbers.")
    return dict(provenance)  # type: ignore[call-overload]  # checked just above


def _read_provenance(text: str) -> Provenance:
    try:
        return plain_provenance(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise MotionError("its provenance is not valid JSON.") from error


def _unreadable(path: Path, noun: str = "micromotion") -> MotionError:
    return MotionError(
        f"{path} cannot be read as a {noun}; it is damaged, cut short, or another kind of file."
    )


def _listed(names: set[str]) -> str:
    return " and ".join(sorted(names))
