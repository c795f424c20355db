"""The length of a video is the number of frames that it yields."""

from pathlib import Path

import pytest
from video_formats import moving

from micromotion.video.driving_video import open_driving_video
from micromotion.video.writer import write_frames


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 6, 9, 10, 11])
def test_the_length_is_the_number_of_frames_and_within_the_limit(tmp_path: Path, limit: int) -> None:
    driving_video = open_driving_video(write_frames(moving(10), tmp_path / "a.mp4", 25), limit)
    numbers = [still.number for still in driving_video]
    assert len(numbers) == len(driving_video) <= limit
    assert numbers[0] == 0
    assert len(set(range(0, 10, driving_video.step)) - set(numbers)) == 0
