"""GIF, WebP and folders of PNGs: what was written is decoded again."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from video_formats import animation, moving, tile_error, tiles

from micromotion.video.writer import write_frames


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
@pytest.mark.parametrize(
    ("count", "fps", "total"), [(31, 30, 1033), (7, 24, 292), (50, 29.97, 1668), (3, 0.5, 6000)]
)
def test_rounded_delays_do_not_add_up(tmp_path: Path, name: str, count: int, fps: float, total: int) -> None:
    frames, durations, info = animation(write_frames(moving(count), tmp_path / name, fps))
    unit = 10 if name == "a.gif" else 1
    assert len(frames) == count
    assert frames[0].shape == (48, 64, 3)
    assert info["loop"] == 0  # for ever
    assert abs(sum(durations) - total) <= unit / 2
    assert max(durations) - min(durations) <= unit


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fps", "shortest"), [("a.gif", 60, 20), ("a.gif", 240, 20), ("a.webp", 120, 11)]
)
def test_no_picture_is_so_short_that_browsers_slow_it_down(
    tmp_path: Path, name: str, fps: int, shortest: int
) -> None:
    frames, durations, _ = animation(write_frames(moving(fps), tmp_path / name, fps))
    assert min(durations) >= shortest
    assert abs(sum(durations) - 1000) <= shortest  # the last one is not shorter either
    assert len(frames) >= 400 // shortest  # no more are dropped than necessary


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_still_pictures_keep_their_duration(tmp_path: Path, name: str) -> None:
    _, durations, _ = animation(write_frames([tiles(8)] * 20, tmp_path / name, 25))
    assert sum(durations) == 800


def test_gif_colours_are_chosen_from_all_frames(tmp_path: Path) -> None:
    """Colours that appear only in the last frame are included; there is one palette for all."""
    gray = np.full((96, 128, 3), 128, np.uint8)
    path = write_frames([*[gray] * 9, tiles()], tmp_path / "a.gif", 25)
    frames, _, _ = animation(path)
    assert np.abs(frames[0].astype(int) - 128).max() <= 2
    assert tile_error(frames[-1]) <= 8


def test_gif_does_not_flicker_where_nothing_moves(tmp_path: Path) -> None:
    """A palette per frame, or error diffusion, would change still pixels."""
    y, x = np.mgrid[:48, :96]
    still = np.stack([60 + x, 40 + 2 * y, 200 - x], axis=2).astype(np.uint8)
    source = []
    for i in range(12):
        frame = still.copy()
        frame[:, 60:] = np.roll(frame[:, 60:], 3 * i, axis=1) // (1 + i % 3)
        source.append(frame)
    frames, _, _ = animation(write_frames(source, tmp_path / "a.gif", 25))
    assert all((frame[:, :60] == frames[0][:, :60]).all() for frame in frames)
    assert np.abs(frames[0].astype(int) - source[0]).mean() < 6


def test_webp_keeps_the_picture(tmp_path: Path) -> None:
    source = [tiles(), *moving(4, 96, 128)]
    frames, _, _ = animation(write_frames(source, tmp_path / "a.webp", 25))
    assert tile_error(frames[0]) <= 8
    assert max(np.abs(f.astype(int) - s).mean() for f, s in zip(frames, source, strict=True)) < 6


def test_a_folder_of_pngs_has_the_exact_pixels(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty", "frames.v2/"):
        path = write_frames(moving(12), f"{tmp_path}/{name}", 30)
        names = sorted(p.name for p in path.iterdir())
        assert names == [f"frame_{i:04d}.png" for i in range(12)]
        for file, frame in zip(names, moving(12), strict=True):
            assert (np.asarray(Image.open(path / file)) == frame).all()
