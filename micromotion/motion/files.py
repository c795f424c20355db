"""The safetensors files of micromotions, read with suspicion: float32 tensors, and where they come from."""

import json
import math
import stat
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from micromotion.errors import MotionError, OutputError
from stylegan2.checkpoints.storage import FORMAT, CheckpointError, safetensors_kind, write_tensors

MAX_BYTES = 32 << 20

Provenance = dict[str, str | int | float]


def write_motion_file(
    path: str | Path, kind: str, tensors: dict[str, Tensor], provenance: Provenance
) -> None:
    """Write float32 tensors and their provenance, complete or not at all; equal contents give equal bytes.

    Raises OutputError where the file cannot be written.
    """
    metadata = {"format": FORMAT, "kind": kind, "provenance": json.dumps(provenance, sort_keys=True)}
    try:
        write_tensors(path, metadata, tensors)
    except OSError as error:
        raise OutputError(f"The micromotion cannot be written to {path}: {error.strerror}.") from error


def read_motion_file(path: str | Path, kind: str, names: set[str]) -> tuple[dict[str, Tensor], Provenance]:
    """What `write_motion_file` wrote: exactly these tensors, as float32 copies, and the provenance.

    Nothing in the file is executed, and its size is bounded before it is read (safetensors' reader checks
    shapes against it). Raises MotionError, in one sentence, for whatever is wrong with the file.
    """
    path = Path(path)
    require_plausible_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT or metadata.get("kind") != kind:
                raise MotionError(f'it does not say that it is "{FORMAT}" of the kind "{kind}".')
            if set(file.keys()) != names:
                raise MotionError(f"it must hold {_listed(names)}, and nothing else.")
            if any(file.get_slice(name).get_dtype() != "F32" for name in names):
                raise MotionError(f"{_listed(names)} must be float32.")
            tensors = {name: file.get_tensor(name).clone() for name in sorted(names)}
        return tensors, _read_provenance(metadata.get("provenance", "{}"))
    except MotionError as error:
        raise MotionError(f"The micromotion in {path} cannot be used: {error}") from error
    except (SafetensorError, OSError) as error:
        raise _unreadable(path) from error


def motion_file_kind(path: str | Path) -> str:
    """What kind of micromotion a safetensors file says it is; "" if it does not say. Raises MotionError."""
    path = Path(path)
    require_plausible_file(path)
    try:
        return safetensors_kind(path)
    except CheckpointError as error:
        raise _unreadable(path) from error


def require_plausible_file(path: Path, limit: int = MAX_BYTES) -> None:
    """Raise MotionError unless path is a regular file of at most `limit` bytes."""
    try:
        about = path.stat()
    except (OSError, ValueError) as error:
        raise MotionError(f"There is no file of a micromotion {path}, or it is out of reach.") from error
    if not stat.S_ISREG(about.st_mode):
        raise MotionError(f"{path} is not a file of a micromotion but a folder or a device.")
    if about.st_size > limit:
        raise MotionError(f"{path} is larger than {limit >> 20} MB, which no such file of a micromotion is.")


def plain_provenance(provenance: object) -> Provenance:
    """A copy of what maps names to strings or finite numbers; MotionError for anything else."""
    plain = isinstance(provenance, dict) and all(
        isinstance(key, str)
        and (isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)))
        for key, value in provenance.items()
    )
    if not plain:
        raise MotionError("The provenance must map names to strings or finite numbers.")
    return dict(provenance)  # type: ignore[call-overload]


def _read_provenance(text: str) -> Provenance:
    try:
        return plain_provenance(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise MotionError("its provenance is not readable JSON.") from error


def _unreadable(path: Path) -> MotionError:
    return MotionError(
        f"{path} cannot be read as a micromotion; it is damaged, cut short, or something else."
    )


def _listed(names: set[str]) -> str:
    return " and ".join(sorted(names))
