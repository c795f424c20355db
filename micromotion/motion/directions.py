"""Files of directions in W+: our own format, and the directions that the method's authors published.

The original (wuqiuche/micromotion-styleGAN, main.py) stores a direction d [1, 18, 512] per motion in
`pregen_latents/MOTION/d_latent`, and plays w0 + i/100 · scale · d for i = 0 … 99 at 30 frames per second; the
default scale is 5.
"""

from pathlib import Path

import torch
from torch import Tensor

from micromotion.errors import MotionError
from micromotion.motion.files import (
    Provenance,
    plain_provenance,
    read_motion_file,
    require_plausible_file,
    write_motion_file,
)
from micromotion.motion.recipe import PUBLISHED_LAST, PUBLISHED_SCALE
from stylegan2.checkpoints.storage import is_plain
from stylegan2.checkpoints.unpickling import LEGACY_MAGIC, ZIP_MAGIC, read_saved
from stylegan2.errors import CheckpointError

KIND = "direction"
MAX_PUBLISHED_BYTES = 1 << 20  # the published ones have 37,611 or 37,624


def full_motion(direction: Tensor, scale: float = PUBLISHED_SCALE) -> Tensor:
    """The offset of the original's last frame, 99/100 · scale · d, float32, shaped as d.

    This is strength 1, rather than scale · d: our videos go from 0 to the strength inclusive, i/(n−1) · D,
    but the original counts i/100 up to 99 and never shows scale · d. With D = 0.99 · scale · d (4.95 · d at
    the default scale), 100 frames at strength 1 are exactly the original's video.

    Raises MotionError if it is not finite in float32.
    """
    full = (direction.detach().double() * (PUBLISHED_LAST * scale)).float()
    if not bool(torch.isfinite(full).all()):
        raise MotionError(f"The direction times its scale {scale:g} is beyond the range of float32.")
    return full


def save_direction(direction: Tensor, path: str | Path, provenance: Provenance) -> None:
    """Write a direction [styles, dim], the offset at strength 1, as a safetensors file, atomically.

    Stored as float32; provenance maps names to strings or finite numbers. Equal contents give equal bytes.
    Raises MotionError if the direction has a wrong shape or is not finite, OutputError if the file cannot be
    written.
    """
    direction = _checked(direction.detach().to("cpu", torch.float32))
    write_motion_file(path, KIND, {"direction": direction}, plain_provenance(provenance))


def read_direction(path: str | Path) -> tuple[Tensor, Provenance]:
    """The direction, float32 [styles, dim], and the provenance in a file of `save_direction`.

    Raises MotionError if the file is missing, damaged or of another kind.
    """
    tensors, provenance = read_motion_file(path, KIND, {"direction"})
    try:
        return _checked(tensors["direction"]), provenance
    except MotionError as error:
        raise MotionError(f"The micromotion in {path} cannot be used: {error}") from error


def is_published(path: str | Path) -> bool:
    """Whether a file starts like a PyTorch file, old or new. Raises MotionError if there is no such file."""
    path = Path(path)
    require_plausible_file(path)
    try:
        with path.open("rb") as file:
            start = file.read(len(LEGACY_MAGIC))
    except OSError as error:
        raise MotionError(f"The micromotion {path} cannot be opened: {error.strerror}.") from error
    return start.startswith(ZIP_MAGIC) or start == LEGACY_MAGIC


def read_published(path: str | Path) -> Tensor:
    """The direction d, float32 [styles, dim], of a `d_latent` file: a PyTorch file of one tensor, unscaled.

    The tensor is [1, styles, dim] or [styles, dim], and may have been saved on a GPU or with requires_grad.
    Nothing in the file is executed (see `stylegan2.checkpoints.unpickling`), and its size is limited. Raises
    MotionError if the file is missing, damaged or of another kind.
    """
    path = Path(path)
    require_plausible_file(path, MAX_PUBLISHED_BYTES)
    try:
        contents = read_saved(path)
    except CheckpointError as error:
        raise MotionError(f"A published direction cannot be read: {error}") from error
    if not is_plain(contents) or contents.dtype != torch.float32:
        raise MotionError(f"{path} does not hold one float32 tensor, as a published direction does.")
    if contents.nbytes > path.stat().st_size:  # an expanded view can claim any size
        raise MotionError(f"{path} is damaged: its tensor claims more data than the file contains.")
    try:
        return _checked(contents.detach().squeeze(0) if contents.ndim == 3 else contents.detach())
    except MotionError as error:
        raise MotionError(f"The published direction in {path} cannot be used: {error}") from error


def _checked(direction: Tensor) -> Tensor:
    """A contiguous copy of finite numbers [styles, dim], or a MotionError."""
    if direction.ndim != 2 or 0 in direction.shape:
        raise MotionError(f"A direction must be [styles, dim], not {list(direction.shape)}.")
    if not bool(torch.isfinite(direction).all()):
        raise MotionError("A direction must be finite, but this one contains NaN or infinity.")
    return direction.clone(memory_format=torch.contiguous_format)
