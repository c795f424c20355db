"""A learned micromotion from somebody unknown: what is refused before any work is done for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from micromotion import directions
from micromotion.anchors import Anchors
from micromotion.errors import MotionError
from micromotion.motionfiles import motion_file_kind

if TYPE_CHECKING:
    from micromotion.bundle import Bundle


def check_upload(path: Path, bundle: Bundle) -> None:
    """Raise MotionError, in one sentence, unless a file may be given to `Animator.animate`.

    Other than files of one's own it must be safetensors, and its codes are compared with the model's before
    robust PCA looks at them: on 32 MB of another shape that could take half a minute.
    """
    if directions.is_published(path):
        raise MotionError(f"{path} is a PyTorch file, not the safetensors that `micromotion learn` writes.")
    if motion_file_kind(path) == directions.KIND:
        return  # there is nothing to analyse
    theirs = list(Anchors.load(path).w_plus.shape[1:])
    ours = [bundle.generator.num_styles, bundle.generator.style_dim]
    if theirs != ours:
        raise MotionError(
            f"The micromotion {path.stem!r} was learned for another model: it moves {theirs} numbers, "
            f"this model has {ours}."
        )
