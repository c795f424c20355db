"""What a model file that is refused must be told with: one sentence that names it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stylegan2 import CheckpointError


def assert_refused(load: Callable[[Path], object], path: Path, *mentions: str) -> None:
    """One short sentence, that names the file and says what is wrong."""
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
