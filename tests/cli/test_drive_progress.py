"""`micromotion drive` at a terminal: both stages are shown, and Ctrl-C leaves nothing."""

import os
import pty
import re
import signal
import subprocess
from pathlib import Path

import pytest
from commands import COMMAND, listing, read_all, run_at_a_terminal
from face_clips import FACE, write_swaying

pytestmark = pytest.mark.slow


def test_reading_and_rendering_are_shown_with_the_time_left(tmp_path: Path) -> None:
    clip = write_swaying(tmp_path / "clip.mp4", 30)
    code, output, shown = run_at_a_terminal(
        "drive", FACE, clip, "--view", "face", "--size", "96", "-o", tmp_path / "out.mp4"
    )
    assert (code, output) == (0, f"Video: {tmp_path / 'out.mp4'}\n")
    for stage in (b"Reading the clip", b"Rendering"):
        lines = [line for line in re.split(rb"[\r\n]", shown) if stage in line]
        assert any(re.search(rb"\d+/30", line) for line in lines), stage
        assert any(re.search(rb"\d:\d\d:\d\d", line) for line in lines), stage


@pytest.mark.parametrize(
    ("stage", "number", "code"),
    [
        (b"Reading the clip", signal.SIGINT, 130),
        (b"Rendering", signal.SIGINT, 130),
        (b"Rendering", signal.SIGTERM, 143),
    ],
)
def test_a_stop_in_either_stage_leaves_nothing_and_says_so(
    tmp_path: Path, stage: bytes, number: int, code: int
) -> None:
    (tmp_path / "desk").mkdir()
    clip = write_swaying(tmp_path / "desk/clip.mp4", 60)
    existing = tmp_path / "desk/out.mp4"
    existing.write_bytes(b"what was there before")
    before = listing(tmp_path / "desk")
    ours, theirs = pty.openpty()
    options = ["--sheet", str(tmp_path / "desk/sheet.png"), "-o", str(existing)]
    with subprocess.Popen(
        [*COMMAND, "drive", str(FACE), str(clip), *options],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env=os.environ | {"COLUMNS": "100"},
    ) as process:
        os.close(theirs)
        shown = b""
        while stage not in shown:
            shown += os.read(ours, 4096)
        process.send_signal(number)
        shown += read_all(ours)
        assert process.stdout is not None
        output = process.stdout.read()
    os.close(ours)
    assert (process.returncode, output) == (code, "")
    assert b"Traceback" not in shown
    assert shown.count(b"micromotion: stopped; no unfinished file is left.") == 1
    assert listing(tmp_path / "desk") == before
