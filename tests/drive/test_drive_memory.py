"""Driving takes as much memory for a long clip as for a short one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from face_clips import FACE, write_swaying

DRIVE = """
import sys
from micromotion import Animator
animator = Animator.load("avatar", "cpu")
photo, *clips = sys.argv[1:]
for clip in clips:
    animator.drive(photo, clip, view="face", size=96).save(clip + ".driven.mp4")
    with open("/proc/self/status") as status:
        print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from Linux's /proc")
def test_memory_does_not_grow_with_the_length_of_the_clip(tmp_path: Path) -> None:
    """The 120 frames more are 24 MB as read; the encoder's buffers are full after 60."""
    clips = [write_swaying(tmp_path / f"{count}.mp4", count) for count in (60, 60, 180)]
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DRIVE, str(FACE), *map(str, clips)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "2"},
    )
    _, short, long = map(int, said.stdout.split())
    assert long - short < 10_000  # kB
