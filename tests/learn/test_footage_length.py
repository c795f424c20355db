"""The length of a video is the number of frames that it yields."""

from pathlib import Path

import pytest
from video_formats import moving

from micromotion.learn.footage import open_footage
from micromotion.video.writer import write_frames


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 6, 9, 10, 11])
def test_the_length_is_the_number_of_frames_and_within_the_limit(tmp_path: Path, limit: int) -> None:
    footage = open_footage(write_frames(moving(10), tmp_path / "a.mp4", 25), limit)
    numbers = [still.number for still in footage]
    assert len(numbers) == len(footage) <= limit
    assert numbers[0] == 0
    assert len(set(range(0, 10, footage.step)) - set(numbers)) == 0
