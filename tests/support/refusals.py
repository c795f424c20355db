"""Checks that a bad model file is refused with one sentence that names it."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from stylegan2 import CheckpointError


def assert_refused(load: Callable[[Path], object], path: Path, *mentions: str) -> None:
    """Check that loading fails with one short sentence that names the file and the reason."""
    with pytest.raises(CheckpointError) as caught:
        load(path)
    assert_sentence(caught.value, path, *mentions)


def assert_sentence(error: Exception, path: Path, *mentions: str) -> None:
    sentence = str(error)
    assert path.name in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert len(sentence.replace(str(path), "")) < 300
    for mention in mentions:
        assert mention in sentence


def count_of_flipped(load: Callable[[Path], object], path: Path, places: Iterable[tuple[int, int]]) -> int:
    """How many damaged copies of a file are refused; each has three bytes changed in one of `places`.

    The others load; any error but CheckpointError is raised. The file is overwritten.
    """
    whole, rng, refused = np.frombuffer(path.read_bytes(), dtype=np.uint8), np.random.default_rng(0), 0
    for low, high in places:
        bad = whole.copy()
        where = rng.integers(low, high, 3)
        bad[where] = rng.integers(0, 256, 3)
        path.write_bytes(bad.tobytes())
        try:
            load(path)
        except CheckpointError:
            refused += 1
    return refused
