"""The quality of videos of small or detailed pictures, and the accuracy of frame times."""

from pathlib import Path

import numpy as np
import pytest
from video_formats import animation, decoded, moving

from micromotion.video.writer import write_frames


def quality(side: int, path: Path) -> float:
    """The PSNR in dB of a video of this side, with similar detail everywhere."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(0, 40, (side, side, 1)).repeat(3, axis=2)
    frames = [(128 + np.roll(coarse, 3 * i, axis=1)).clip(0, 255).astype(np.uint8) for i in range(3)]
    errors = [
        np.mean((video - source) ** 2)
        for video, source in zip(decoded(write_frames(frames, path, 30)), frames, strict=True)
    ]
    return 10 * float(np.log10(255**2 / np.mean(errors)))


@pytest.mark.parametrize("side", [256, 512])
def test_the_largest_small_video_is_better_than_one_that_is_a_little_larger(
    tmp_path: Path, side: int
) -> None:
    """Small pictures are viewed enlarged, and cost little."""
    assert quality(side, tmp_path / "just.mp4") > quality(side + 4, tmp_path / "larger.mp4") + 2


def test_webp_keeps_fine_hair(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    hair = rng.normal(0, 25, (96, 96, 1)).repeat(3, axis=2)
    source = (110 + hair).clip(0, 255).astype(np.uint8)
    (frame, *_), _, _ = animation(write_frames([source], tmp_path / "a.webp", 25))
    assert np.abs(frame.astype(int) - source).mean() < 2.3


@pytest.mark.parametrize("fps", [91, 96, 100, 240])
def test_no_webp_shows_a_picture_for_ten_milliseconds(tmp_path: Path, fps: int) -> None:
    """Nor the last one: browsers would show it for a tenth of a second."""
    _, durations, _ = animation(write_frames(moving(60), tmp_path / "a.webp", fps))
    assert min(durations) > 10
    assert abs(sum(durations) - 60_000 / fps) <= 11


@pytest.mark.parametrize(("name", "unit"), [("a.gif", 10), ("a.webp", 1)])
@pytest.mark.parametrize("fps", [24, 30])
def test_each_pictures_time_is_as_exact_as_the_format_allows(
    tmp_path: Path, name: str, unit: int, fps: int
) -> None:
    _, durations, _ = animation(write_frames(moving(24), tmp_path / name, fps))
    begins = np.cumsum([0, *durations[:-1]])
    assert np.abs(begins - 1000 * np.arange(24) / fps).max() <= unit / 2 + 1e-9
