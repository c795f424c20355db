"""The command end to end: the files it writes and the text it prints."""

import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from commands import assert_fails, run, run_at_a_terminal
from PIL import Image
from shown import shown
from typer.testing import CliRunner

import micromotion
from micromotion.cli.main import app
from tools.openapi import inputs


def play(*arguments: object) -> str:
    """`micromotion animate` in this process, which must succeed; returns what it printed."""
    result = CliRunner().invoke(app, ["animate", *map(str, arguments)], catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def frames_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as video:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])


# Output.


@pytest.mark.slow
def test_a_photo_becomes_a_video_and_a_sheet(desk: Path, astronaut_file: Path, random_bundle: Path) -> None:
    options = ["--frames", 7, "--fps", 12, "--strength", "-0.5", "--sheet", "sheet.png"]
    done = run("animate", astronaut_file, "--model", random_bundle, *options)
    assert (done.returncode, done.stderr) == (0, ""), "no progress where stderr is no terminal"
    assert done.stdout == "Video: astronaut-smile.mp4\nSheet: sheet.png\n"
    assert sorted(path.name for path in desk.iterdir()) == ["astronaut-smile.mp4", "sheet.png"]
    with av.open("astronaut-smile.mp4") as video:
        assert video.streams.video[0].average_rate == 12
    assert len(frames_of(Path("astronaut-smile.mp4"))) == 7
    Image.open("sheet.png").load()


@pytest.mark.slow
def test_the_options_reach_the_video(desk: Path, astronaut_file: Path, random_bundle: Path) -> None:
    common = [astronaut_file, "--model", random_bundle, "--frames", 4]
    play(*common, "-o", "smile.mp4")
    for name, options in {
        "motion": ["-m", "headsTurn"],
        "strength": ["--strength", "2"],
        "negative": ["--strength", "-1"],
        "aligned": ["--aligned"],
        "seed": ["--seed", "1"],
    }.items():
        play(*common, *options, "-o", f"{name}.mp4")
        assert not np.array_equal(frames_of(Path("smile.mp4")), frames_of(Path(f"{name}.mp4"))), name
    play(*common, "--device", "cpu", "--face", "0", "-o", "again.mp4")
    assert shown(Path("again.mp4")) == shown(Path("smile.mp4"))


@pytest.mark.slow
def test_motions_play_together_or_follow_each_other(
    desk: Path, astronaut_file: Path, random_bundle: Path
) -> None:
    common = [astronaut_file, "--model", random_bundle, "--fps", 4]
    said = play(*common, "--frames", 3, "-m", "smile=0.5", "-m", "headsTurn", "--loop", "pingpong")
    assert said == "Video: astronaut-smile-headsTurn.mp4\n"
    assert len(frames_of(Path("astronaut-smile-headsTurn.mp4"))) == 5
    text = "0.5s smile=0.5 headsTurn, 1s smile=0 headsTurn=0"
    assert play(*common, "--timeline", text) == "Video: astronaut-timeline.mp4\n"
    Path("text.txt").write_text(f"\ufeff{text.replace(', ', chr(10))}  # and back\r\n", encoding="utf-8")
    play(*common, "-t", "@text.txt", "-o", "file.mp4")
    one = shown(Path("astronaut-timeline.mp4"))
    assert shown(Path("file.mp4")) == one == shown(Path("astronaut-smile-headsTurn.mp4"))
    play(*common, "-t", text, "--easing", "smooth", "--loop", "hold", "-o", "other.mp4")
    assert len(frames_of(Path("other.mp4"))) == 9


@pytest.mark.slow
def test_a_comparison_is_three_times_as_wide(desk: Path, astronaut_file: Path, random_bundle: Path) -> None:
    play(astronaut_file, "--model", random_bundle, "--frames", 3, "--compare", "-o", "out.mp4")
    frames = frames_of(Path("out.mp4"))
    assert len(frames) == 3
    assert frames.shape[2] > 2.5 * frames.shape[1]


@pytest.mark.slow
def test_a_strip_shows_the_requested_strengths(desk: Path, astronaut_file: Path, random_bundle: Path) -> None:
    common = [astronaut_file, "--model", random_bundle, "--strengths"]
    said = play(*common, "-1,0,1.5", "-m", "smile", "-m", "headsTurn=0.5")
    assert said == "Picture: astronaut-smile-headsTurn-strengths.png\n"
    with Image.open("astronaut-smile-headsTurn-strengths.png") as strip:
        assert 2.5 < strip.width / strip.height < 3
    assert play(*common, "1", "-o", "one.jpg") == "Picture: one.jpg\n"
    with Image.open("one.jpg") as strip:
        assert strip.format == "JPEG"
        assert strip.width < strip.height


@pytest.mark.slow
def test_a_motion_file_may_have_a_strength(desk: Path, astronaut_file: Path, random_bundle: Path) -> None:
    Path("a=b.safetensors").write_bytes((random_bundle / "anchors" / "smile.safetensors").read_bytes())
    common = [astronaut_file, "--model", random_bundle, "--frames", 2, "-o", "out.mp4"]
    videos = []
    for motion in ("smile", "a=b.safetensors", "a=b.safetensors=1", "a=b.safetensors=-1"):
        play(*common, "-m", motion)
        videos.append(shown(Path("out.mp4")))
    assert videos[0] == videos[1] == videos[2] != videos[3]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["-m", "smile", "-m", "smlie=0.5"], "did you mean 'smile'"),
        (["-m", "smile", "-m", "smile=0.5"], "smile is given twice"),
        (["-m", "smile=much"], "the equals sign must be followed by a strength"),
        (["-m", "smile=nan"], "strength"),
        (["-m", "smile=3", "--strength", "2"], "from -5 to 5, not 6"),
        (["-m", "smile", "-t", "1s smile"], "--motion or --timeline, not both"),
        (["-t", "30s smile"], "901 frames at 30 per second"),
        (["-t", ""], "timeline is empty"),
        (["-t", "@missing.txt"], "'missing.txt' cannot be read: No such file"),
        (["-t", "@."], "directory"),
        (["-t", "@photo.jpg"], "it is not text"),
        (["--frames", "400", "--loop", "hold"], "799 frames of 400"),
        (["--strengths", "1,x"], "numbers such as -1,0,1,2, not '1,x'"),
        (["--strengths", ""], "numbers such as"),
        (["--strengths", "0,6"], "from -5 to 5, not 6"),
        (["--strengths", "nan"], "strength"),
        (["--strengths", ",".join("1" * 25)], "from 1 to 24, not 25"),
        (["--strengths", "1", "-t", "1s smile"], "not a timeline"),
        (["--strengths", "1", "--sheet", "s.png"], "leave out --sheet"),
        (["--strengths", "1", "--compare"], "leave out"),
        (["--strengths", "1", "--strength", "2"], "leave out"),
        (["--strengths", "1", "-o", "out.mp4"], "not the name of a picture"),
        (["--strengths", "1", "-o", "photo.jpg"], "the photo itself"),
        (["--strengths", "1", "--faces", "all"], "leave out"),
        (["--strengths", "1", "--at", "1s"], "leave out"),
        (["--at", "1s"], "--at is the moment of a still"),
        (["--at", "soon", "-o", "still.png"], "a moment in seconds, such as 1.2s, not 'soon'"),
        (["--at", "4s", "-o", "still.png"], "from 0 to 3 seconds, not 4"),
        (["-o", "photo.jpg"], "the photo itself"),
        (["--faces", "0=smlie"], "did you mean 'smile'"),
        (["--faces", "0=smile,1=headsTurn", "-m", "smile"], "leave out --motion"),
        (["--faces", "0=smile", "-t", "1s smile"], "A timeline plays on all faces"),
        (["--faces", "0,x"], "faces must be 'all', or a list"),
        (["--faces", "0,1", "--face", "1"], "Give faces or face, not both"),
        (["--faces", "0,1", "--view", "model"], "shows one face"),
        (["--faces", "0=photo.jpg.safetensors"], "photo.jpg.safetensors"),
    ],
)
def test_unplayable_motions_are_refused(
    desk: Path, random_bundle: Path, astronaut_file: Path, options: list[str], word: str
) -> None:
    Path("photo.jpg").write_bytes(astronaut_file.read_bytes())
    assert re.search(word, assert_fails(desk, "animate", "photo.jpg", "--model", random_bundle, *options))


@pytest.mark.slow
def test_a_timeline_error_shows_its_position(desk: Path, random_bundle: Path, astronaut_file: Path) -> None:
    text = "1s smile\n2s headTurn=0.5"
    done = run("animate", astronaut_file, "--model", random_bundle, "-t", text)
    assert (done.returncode, done.stdout, list(desk.iterdir())) == (1, "", [])
    shown, caret, sentence = done.stderr.splitlines()
    assert (shown, caret) == ("  2s headTurn=0.5", "     ^")
    assert sentence.startswith("micromotion: The timeline is wrong at line 2, column 4: ")
    assert "did you mean 'headsTurn'" in sentence


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.gif", "out.webp", "frames"])
def test_the_suffix_chooses_the_format(
    desk: Path, astronaut_file: Path, random_bundle: Path, name: str
) -> None:
    assert play(astronaut_file, "--model", random_bundle, "--frames", 3, "-o", name) == f"Video: {name}\n"
    if name == "frames":
        assert len(list(Path(name).glob("*.png"))) == 3
    else:
        with Image.open(name) as picture:
            assert getattr(picture, "n_frames", 1) == 3


@pytest.mark.slow
def test_refining_changes_the_video(desk: Path, astronaut_file: Path, random_bundle: Path) -> None:
    videos = []
    for steps in (0, 6):
        play(astronaut_file, "--model", random_bundle, "--refine", steps, "--frames", 2, "-o", "out.mp4")
        videos.append(shown(Path("out.mp4")))
    assert videos[0] != videos[1]


@pytest.mark.slow
def test_a_terminal_shows_progress(desk: Path, astronaut_file: Path, random_bundle: Path) -> None:
    code, output, shown = run_at_a_terminal(
        "animate", astronaut_file, "--model", random_bundle, "--frames", 5
    )
    assert (code, output) == (0, "Video: astronaut-smile.mp4\n")
    assert b"Rendering" in shown
    assert b"5/5" in shown


@pytest.mark.slow
def test_a_still_is_a_picture(desk: Path, astronaut_file: Path, random_bundle: Path) -> None:
    common = [astronaut_file, "--model", random_bundle, "--frames", 4, "--fps", 4]
    play(*common, "-o", "frames")
    assert play(*common, "-o", "last.png") == "Picture: last.png\n"
    assert play(*common, "--at", "0.25s", "-o", "second.png", "--sheet", "sheet.png").endswith("sheet.png\n")
    assert play(*common, "--at", "0.6", "-o", "third.jpg") == "Picture: third.jpg\n"
    for name, index in (("last.png", 3), ("second.png", 1)):
        with Image.open(name) as still, Image.open(f"frames/frame_{index:04d}.png") as frame:
            assert np.array_equal(np.asarray(still), np.asarray(frame))
    with Image.open("third.jpg") as still:
        assert still.format == "JPEG"
    Path("folder.png").mkdir()
    play(*common, "-o", "folder.png")
    assert len(list(Path("folder.png").iterdir())) == 4, "an empty folder still takes frames"


@pytest.mark.slow
def test_several_faces_move(desk: Path) -> None:
    group = Path(__file__).parents[2] / "docs" / "faces" / "groups" / "oath.jpg"
    said = play(group, "--faces", "2=angry=0.5,0", "--frames", 2)
    assert said == "Faces: 4 found, moving 0, 2\nVideo: oath-smile-angry.mp4\n"
    change = np.abs(np.diff(frames_of(Path("oath-smile-angry.mp4")).astype(int), axis=0))[0].max(axis=-1)
    assert change[:, 500:].max() > 40
    assert change[:, :450].max() < 24, "those on the left do not move"
    assert play(group, "--faces", "all", "-t", "alive", "--at", "1s", "-o", "alive.png") == (
        "Faces: 4 found, moving 0, 1, 2, 3\nPicture: alive.png\n"
    )


def test_motions_lists_the_playable_motions(random_bundle: Path) -> None:
    done = run("motions", "--model", random_bundle)
    assert (done.returncode, done.stdout, done.stderr) == (0, "headsTurn\nsmile\n", "")


@pytest.mark.slow
def test_help_and_version_without_torch(desk: Path) -> None:
    assert run("--version").stdout == f"micromotion {micromotion.__version__}\n"
    top = run("--help").stdout
    assert all(command in top for command in ("animate", "motions", "serve"))
    text = run("animate", "--help").stdout
    assert "Examples" in text
    assert all(option in text for option in ("--motion", "--output", "--strength", "--sheet", "--aligned"))
    check = "import sys, micromotion.cli.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


# The embedded avatar, as the README shows it.


@pytest.mark.slow
def test_the_avatar_is_the_default(desk: Path, astronaut_file: Path) -> None:
    told = run("motions").stdout.split()
    assert told == sorted({*inputs()["motion"][1]["choices"]} - {"custom"})
    assert set(told) >= {"aging", "angry", "eyesClose", "headsTurn", "smile"}
    done = run("animate", astronaut_file, "--frames", "8", "--sheet", "sheet.png")
    assert (done.returncode, done.stderr) == (0, "")
    frames = frames_of(Path("astronaut-smile.mp4")).astype(float)
    change = np.abs(frames - frames[0]).mean(axis=(1, 2, 3))
    assert np.corrcoef(change, np.arange(8))[0, 1] > 0.95, "the smile grows with time"
