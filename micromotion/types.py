"""Types shared by the subpackages, so that they need not import each other for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
"""One picture of a video: RGB, [H, W, 3], 0 … 255."""

Strengths = NDArray[np.float64]
"""The strength of each motion in each frame, [frames, motions]."""

Row = NDArray[np.float64]
"""The strengths of one frame, [motions]."""

Pose = tuple[Row, Frame]
"""The strengths of the motions, and the frame at them."""

Floats = NDArray[np.float64]
"""Numbers of any shape, float64."""


class MotionOwner(Protocol):
    """The part of a model that concerns its micromotions, loaded or not."""

    @property
    def name(self) -> str: ...

    @property
    def motions(self) -> Mapping[str, Path]:
        """The files of the model's own motions, by name."""

    def generator_hash(self) -> str:
        """The SHA-256 of its generator's float32 file, which its motions fit; "" for a model in memory."""


class LoadedModel(MotionOwner, Protocol):
    """A loaded model, whose latents have a known shape."""

    @property
    def latent_shape(self) -> tuple[int, int]:
        """(styles, dim)."""
