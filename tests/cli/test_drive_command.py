"""`micromotion drive`: outputs, notes, options and failures."""

import re
from pathlib import Path

import av
import numpy as np
import pytest
from bad_clips import BAD, TOO_LONG, make
from PIL import Image
from sounds import write_clicks
from trajectories import still
from typer.testing import CliRunner

from micromotion.cli.main import app
from micromotion.drive.trajectory import save_trajectory

FACE = Path(__file__).parents[2] / "docs/faces/mona-lisa.jpg"


@pytest.fixture(autouse=True)
def _desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A photo and a trajectory in an otherwise empty current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MICROMOTION_DEBUG", raising=False)
    Path("photo.jpg").write_bytes(FACE.read_bytes())
    save_trajectory("nod.safetensors", still(3, fps=12.5, pose=[0, 8, 0]), {"source": "a test"})


def command(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["drive", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.slow
def test_a_trajectory_drives_a_photo() -> None:
    code, output, errors = command("photo.jpg", "nod.safetensors", "--sheet", "sheet.png")
    assert (code, output, errors) == (0, "Video: photo-nod.mp4\nSheet: sheet.png\n", "")
    with av.open("photo-nod.mp4") as made, Image.open("photo.jpg") as photo:
        stream = made.streams.video[0]
        assert (stream.frames, float(stream.average_rate or 0)) == (3, 12.5)
        assert (stream.width - photo.width, stream.height - photo.height) in {(0, 0), (1, 0), (0, 1), (1, 1)}


@pytest.mark.slow
def test_options_reach_the_picture() -> None:
    for name, *options in (("eyes", "--parts", "eyes,mouth"), ("none", "--strength", "0"), ("all",)):
        assert command("photo.jpg", "nod.safetensors", "-o", name, *options)[0] == 0
    eyes, none, everything = (
        np.asarray(Image.open(Path(name) / "frame_0001.png")) for name in ("eyes", "none", "all")
    )
    assert (eyes == none).all()
    assert (everything != none).any()


def test_several_faces_are_named() -> None:
    code, output, errors = command("photo.jpg", "nod.safetensors", "--faces", "all", "-o", "all.webp")
    assert (code, output, errors) == (0, "Faces: 1 found, moving 0\nVideo: all.webp\n", "")


@pytest.mark.parametrize("name", [*BAD, *TOO_LONG])
def test_a_bad_clip_is_one_sentence_and_leaves_nothing(name: str) -> None:
    path, words = make(name, Path())
    code, output, errors = command("photo.jpg", path, "-o", "driven.mp4")
    assert (code, output) == (1, "")
    assert re.search(words, errors), errors
    assert errors.startswith("micromotion: ")
    assert errors.count("\n") == 1
    assert not Path("driven.mp4").exists()


def test_help_names_every_option_without_loading_torch() -> None:
    done = CliRunner().invoke(app, ["drive", "--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    assert done.exit_code == 0
    for option in (
        "--parts",
        "--strength",
        "--mirror",
        "--view",
        "--size",
        "--face",
        "--faces",
        "--clip-face",
        "--rest",
    ):
        assert option in done.stdout
    assert "--no-audio" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["photo.jpg", "missing.mp4"], "missing.mp4' cannot be read|There is no file"),
        (["photo.jpg", "missing.safetensors"], "missing.safetensors does not exist"),
        (["photo.jpg", "photo.jpg"], "cannot be read as a video|codec"),
        (["missing.jpg", "nod.safetensors"], "missing.jpg"),
        (["photo.jpg", "nod.safetensors", "--parts", "ears"], "parts must be some of"),
        (["photo.jpg", "nod.safetensors", "--strength", "3"], "strength must be a number from 0 to 2"),
        (["photo.jpg", "nod.safetensors", "--view", "model"], "which a trajectory does not have"),
        (["photo.jpg", "nod.safetensors", "--rest", "1"], "settled already"),
        (["photo.jpg", "nod.safetensors", "-o", "nod.safetensors"], "is a file; end the name in .mp4"),
        (["photo.jpg", "clip.mp4", "-o", "clip.mp4"], "clip.mp4 is the clip itself; name another file"),
        (["photo.jpg", "clip.mp4"], "no face"),
        (["photo.jpg", "nod.safetensors", "--face", "3"], "face must be|only 1|1 face"),
        (["photo.jpg", "nod.safetensors", "--faces", "0=smile"], "none has a motion of its own"),
        (["photo.jpg", "nod.safetensors", "--faces", "0,3"], "face must be|only 1|1 face"),
        (["photo.jpg", "nod.safetensors", "--faces", "0", "--face", "1"], "Give faces or face, not both"),
    ],
)
def test_failures_are_one_sentence_and_leave_nothing(arguments: list[str], words: str) -> None:
    if "clip.mp4" in arguments:
        write_clicks(Path("clip.mp4"), seconds=0.2)
    before = sorted(path.name for path in Path().iterdir())
    code, output, errors = command(*arguments)
    assert (code, output) == (1, "")
    assert re.search(words, errors), errors
    assert errors.startswith("micromotion: ")
    assert errors.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == before
