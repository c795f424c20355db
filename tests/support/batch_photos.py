"""Photos for tests of batches, quick to animate."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from micromotion.options import AnimateOptions

OPTIONS = AnimateOptions(frames=3, aligned=True, view="model")


def make_photos(folder: Path, names: Iterable[str] = ("anna", "bert", "carl", "dora")) -> Path:
    """A folder of pictures of noise, of these names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        rng = np.random.default_rng(list(name.encode()))
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(folder / f"{name}.png")
    return folder
