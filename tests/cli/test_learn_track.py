"""`micromotion learn track`: what it writes, says and refuses."""

from pathlib import Path

import pytest
from typer.testing import CliRunner
from video_formats import moving
from videos import write_video

from micromotion.cli.main import app
from micromotion.drive.trajectory import load_trajectory
from micromotion.video.writer import write_frames


@pytest.fixture(autouse=True)
def _desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MICROMOTION_DEBUG", raising=False)


def track(*arguments: object) -> tuple[int, str, str]:
    """Run the command in this process: its exit code, stdout and stderr."""
    done = CliRunner().invoke(app, ["learn", "track", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.mp4"], "There is no file"),
        (["a.mp4"], "no face"),
        (["a.mp4", "-o", "a.mp4"], "the video itself"),
        (["a.mp4", "-o", "track.pt"], "end it in .safetensors"),
        (["a.mp4", "-o", "none/track.safetensors"], "cannot be written"),
        (["a.mp4", "--face", "-1"], "face must be"),
        (["a.mp4", "--rest", "9"], "rest must be"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence(arguments: list[str], words: str) -> None:
    write_video(Path("a.mp4"), moving(3))
    code, output, errors = track(*arguments)
    assert (code, output) == (1, "")
    assert words in errors
    assert errors.startswith("micromotion: ")
    assert errors.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["a.mp4"]


@pytest.mark.slow
def test_a_still_face_gives_a_still_trajectory(astronaut_file: Path) -> None:
    import numpy as np
    from PIL import Image

    face = np.asarray(Image.open(astronaut_file).convert("RGB").resize((256, 256)))
    write_frames([face] * 8, Path("still.mp4"), 25)
    code, output, errors = track("still.mp4")
    assert code == 0, errors
    assert output == "Track: still-track.safetensors, 8 frames at 25 per second\n"
    assert errors.startswith("Rest pose: frame")
    trajectory, recipe = load_trajectory("still-track.safetensors")
    assert recipe["file"] == "still.mp4"
    assert abs(trajectory.pose).max() < 0.5
    assert abs(trajectory.landmarks).max() < 0.02
