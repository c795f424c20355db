"""Properties of all video formats: order, reproducibility, memory."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from video_formats import ALL, VIDEO_NAMES, decoded, everything, moving, tile_error, tiles

from micromotion.video.writer import write_frames

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", VIDEO_NAMES)
def test_one_frame_is_a_video(tmp_path: Path, name: str) -> None:
    path = write_frames([tiles()], tmp_path / name, 30)
    if name == "a.mp4":
        (frame,) = decoded(path)
    else:
        frame = np.asarray(Image.open(path).convert("RGB"))
    assert tile_error(frame) <= 8


def test_the_suffix_may_be_in_capitals_and_the_path_a_string(tmp_path: Path) -> None:
    path = write_frames(moving(2), str(tmp_path / "A.MP4"), 30)
    assert path == tmp_path / "A.MP4"
    assert len(decoded(path)) == 2


@pytest.mark.parametrize("name", ALL)
def test_frames_are_consumed_one_by_one_and_reported(tmp_path: Path, name: str) -> None:
    taken = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal taken
        for frame in moving(9):
            taken += 1
            yield frame

    reported: list[tuple[int, int]] = []
    write_frames(
        counted(), tmp_path / name, 30, total=9, on_frame=lambda done: reported.append((done, taken))
    )
    assert reported == [(i, i) for i in range(1, 10)]


WRITE_AGAIN = """
import os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
sys.path.insert(0, sys.argv[1])
from video_formats import moving
from micromotion.video.writer import write_frames
for name in sys.argv[3:]:
    write_frames(moving(50, 160, 208), sys.argv[2] + name, 30)
"""


def test_the_same_frames_give_the_same_bytes_on_one_core_and_on_many(tmp_path: Path) -> None:
    for name in ALL:
        write_frames((frame[:, ::-1][:, ::-1] for frame in moving(50, 160, 208)), tmp_path / name, 30)
    again = tmp_path / "again"
    again.mkdir()
    run = [sys.executable, "-c", WRITE_AGAIN, str(Path(__file__).parents[1] / "support"), f"{again}/", *ALL]
    subprocess.run(run, check=True, cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONPATH": "."})
    for name in VIDEO_NAMES:
        assert (tmp_path / name).read_bytes() == (again / name).read_bytes()
    assert everything(tmp_path / "a") == everything(again / "a")


WRITE_LONG = """
import sys
import numpy as np
from micromotion.video.writer import write_frames
base = np.random.default_rng(0).integers(0, 256, (16, 32, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
def peak(count, path):
    write_frames((np.roll(base, 3 * i, axis=1)[:, :128] for i in range(count)), path, 30)
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
stem, suffix = sys.argv[1:]
print(peak(120, stem + "_short" + suffix), peak(520, stem + "_long" + suffix))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from Linux's /proc")
@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp", ""])
def test_memory_does_not_grow_with_the_number_of_frames(tmp_path: Path, suffix: str) -> None:
    """400 more frames are 20 MB uncompressed; the encoders' buffers are full before that."""
    run = [sys.executable, "-c", WRITE_LONG, str(tmp_path / "a"), suffix]
    said = subprocess.run(
        run, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())}
    )
    short, long = map(int, said.stdout.split())
    assert long - short < 8_000  # kB
