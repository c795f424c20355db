"""The inputs of the speed benchmark are what it says: a 720p clip of any length, a photo of 1280 pixels."""

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.drive.speed import HEIGHT, LONGEST, WIDTH, _wide, make_photo, measured


def test_frames_play_to_and_fro_and_drift_in_a_wide_picture() -> None:
    played = [np.full((8, 8, 3), shade, np.uint8) for shade in (10, 20, 30)]
    frames = list(_wide(played, 7))
    assert {frame.shape for frame in frames} == {(HEIGHT, WIDTH, 3)}
    assert [int(frame.mean()) for frame in frames] == [10, 20, 30, 20, 10, 20, 30]


def test_the_photo_has_the_size_that_is_said(tmp_path: Path) -> None:
    with Image.open(make_photo(tmp_path)) as photo:
        assert max(photo.size) == LONGEST


def test_what_is_measured_returns_the_result() -> None:
    result, spent = measured(lambda: sum(range(1000)))
    assert result == 499500
    assert spent.wall >= 0
    assert spent.cpu >= 0
