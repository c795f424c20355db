"""Error messages of a prediction without paths of the server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from micromotion.credentials.certificates import given_files
from micromotion.errors import MicromotionError, reworded
from micromotion.runtime.folders import cache_folder
from micromotion.service.driving import CLIP, TRACK
from micromotion.video.driving_video import shown_path

MOTION_FILE = "motion_file.safetensors"
"""The name of that input's file in the prediction's folder."""


@contextmanager
def redact_paths(model: Sequence[Path], folder: Path) -> Iterator[None]:
    """Within the block, replace paths of the server in error messages by words that the caller knows.

    model: the model's files. folder: the prediction's own.
    """
    words = dict.fromkeys(given_files(), "the server's certificate")
    words[shown_path(folder / CLIP)] = "The driving_video"
    for file, word in ((MOTION_FILE, "motion_file"), (TRACK, "driving_video"), (CLIP, "driving_video")):
        words[str(folder / file)] = word
    words[str(folder)] = "the server's folder"
    if model:
        words[str(model[0].parent)] = "its folder"
    with suppress(MicromotionError):  # no home, no cache
        words[str(cache_folder())] = "the cache folder"
    with reworded(words):
        yield
