"""The command as people run it: what it writes, what it says, and how it fails."""

import os
import pty
import re
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import micromotion
from micromotion.cli import app

COMMAND = [sys.executable, "-m", "micromotion"]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder; temporary files would go to a folder beside it."""
    folder, temporary = tmp_path / "desk", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.delenv("MICROMOTION_DEBUG", raising=False)
    return folder


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes run the very package under test, installed or not."""
    monkeypatch.setenv("PYTHONPATH", str(Path(micromotion.__file__).parent.parent), prepend=os.pathsep)


def listing(folder: Path) -> dict[str, bytes]:
    """Every file below the desk and beside it, with its content."""
    return {str(path): path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()}


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own."""
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300)


def play(*arguments: object) -> str:
    """`micromotion animate` in this process, which must succeed; returns what it printed."""
    result = CliRunner().invoke(app, ["animate", *map(str, arguments)], catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def frames_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as video:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])


# What it writes and says.


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


def test_the_options_reach_the_clip(desk: Path, astronaut_file: Path, random_bundle: Path) -> None:
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
    assert Path("again.mp4").read_bytes() == Path("smile.mp4").read_bytes()


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
    one = Path("astronaut-timeline.mp4").read_bytes()
    assert Path("file.mp4").read_bytes() == one == Path("astronaut-smile-headsTurn.mp4").read_bytes()
    play(*common, "-t", text, "--easing", "smooth", "--loop", "hold", "-o", "other.mp4")
    assert len(frames_of(Path("other.mp4"))) == 9


def test_a_comparison_is_three_times_as_wide(desk: Path, astronaut_file: Path, random_bundle: Path) -> None:
    play(astronaut_file, "--model", random_bundle, "--frames", 3, "--compare", "-o", "out.mp4")
    frames = frames_of(Path("out.mp4"))
    assert len(frames) == 3
    assert frames.shape[2] > 2.5 * frames.shape[1]


def test_a_strip_shows_the_strengths_asked_for(desk: Path, astronaut_file: Path, random_bundle: Path) -> None:
    common = [astronaut_file, "--model", random_bundle, "--strengths"]
    said = play(*common, "-1,0,1.5", "-m", "smile", "-m", "headsTurn=0.5")
    assert said == "Picture: astronaut-smile-headsTurn-strengths.png\n"
    with Image.open("astronaut-smile-headsTurn-strengths.png") as strip:
        assert 2.5 < strip.width / strip.height < 3
    assert play(*common, "1", "-o", "one.jpg") == "Picture: one.jpg\n"
    with Image.open("one.jpg") as strip:
        assert strip.format == "JPEG"
        assert strip.width < strip.height


def test_a_motion_file_may_have_a_strength(desk: Path, astronaut_file: Path, random_bundle: Path) -> None:
    Path("a=b.safetensors").write_bytes((random_bundle / "anchors" / "smile.safetensors").read_bytes())
    common = [astronaut_file, "--model", random_bundle, "--frames", 2, "-o", "out.mp4"]
    films = []
    for motion in ("smile", "a=b.safetensors", "a=b.safetensors=1", "a=b.safetensors=-1"):
        play(*common, "-m", motion)
        films.append(Path("out.mp4").read_bytes())
    assert films[0] == films[1] == films[2] != films[3]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["-m", "smile", "-m", "smlie=0.5"], "did you mean 'smile'"),
        (["-m", "smile", "-m", "smile=0.5"], "smile is there twice"),
        (["-m", "smile=much"], "behind the equals sign"),
        (["-m", "smile=nan"], "strength"),
        (["-m", "smile=3", "--strength", "2"], "from -5 to 5, not 6"),
        (["-m", "smile", "-t", "1s smile"], "--motion or --timeline, not both"),
        (["-t", "30s smile"], "901 frames at 30 per second"),
        (["-t", ""], "timeline is empty"),
        (["-t", "@missing.txt"], "'missing.txt' cannot be read: No such file"),
        (["-t", "@."], "directory"),
        (["-t", "@photo.jpg"], "it is no text"),
        (["--frames", "400", "--loop", "hold"], "799 frames of 400"),
        (["--strengths", "1,x"], "numbers such as -1,0,1,2, not '1,x'"),
        (["--strengths", ""], "numbers such as"),
        (["--strengths", "0,6"], "from -5 to 5, not 6"),
        (["--strengths", "nan"], "strength"),
        (["--strengths", ",".join("1" * 25)], "from 1 to 24, not 25"),
        (["--strengths", "1", "-t", "1s smile"], "no timeline"),
        (["--strengths", "1", "--sheet", "s.png"], "leave out --sheet"),
        (["--strengths", "1", "--compare"], "leave out"),
        (["--strengths", "1", "--strength", "2"], "leave out"),
        (["--strengths", "1", "-o", "out.mp4"], "not the name of a picture"),
        (["--strengths", "1", "-o", "photo.jpg"], "the photo itself"),
    ],
)
def test_motions_that_cannot_be_played_are_told(
    desk: Path, random_bundle: Path, astronaut_file: Path, options: list[str], word: str
) -> None:
    Path("photo.jpg").write_bytes(astronaut_file.read_bytes())
    assert re.search(word, assert_fails(desk, "animate", "photo.jpg", "--model", random_bundle, *options))


def test_where_a_timeline_is_wrong_is_shown(desk: Path, random_bundle: Path, astronaut_file: Path) -> None:
    text = "1s smile\n2s headTurn=0.5"
    done = run("animate", astronaut_file, "--model", random_bundle, "-t", text)
    assert (done.returncode, done.stdout, list(desk.iterdir())) == (1, "", [])
    shown, caret, sentence = done.stderr.splitlines()
    assert (shown, caret) == ("  2s headTurn=0.5", "     ^")
    assert sentence.startswith("micromotion: The timeline is wrong at line 2, column 4: ")
    assert "did you mean 'headsTurn'" in sentence


@pytest.mark.parametrize("name", ["out.gif", "out.webp", "frames"])
def test_the_suffix_chooses_the_format(
    desk: Path, astronaut_file: Path, random_bundle: Path, name: str
) -> None:
    assert play(astronaut_file, "--model", random_bundle, "--frames", 3, "-o", name) == f"Video: {name}\n"
    if name == "frames":
        assert len(list(Path(name).glob("*.png"))) == 3
    else:
        with Image.open(name) as picture:
            assert picture.n_frames == 3


def test_refining_changes_the_video(desk: Path, astronaut_file: Path, random_bundle: Path) -> None:
    films = []
    for steps in (0, 6):
        play(astronaut_file, "--model", random_bundle, "--refine", steps, "--frames", 2, "-o", "out.mp4")
        films.append(Path("out.mp4").read_bytes())
    assert films[0] != films[1]


def test_a_terminal_shows_progress(desk: Path, astronaut_file: Path, random_bundle: Path) -> None:
    ours, theirs = pty.openpty()
    command = [*COMMAND, "animate", str(astronaut_file), "--model", str(random_bundle), "--frames", "5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True) as process:
        os.close(theirs)
        shown = b""
        while piece := _read(ours):
            shown += piece
        assert process.stdout is not None
        assert process.stdout.read() == "Video: astronaut-smile.mp4\n"
    os.close(ours)
    assert process.returncode == 0
    assert b"Rendering" in shown
    assert b"5/5" in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux says EIO when the other side has closed
        return b""


def test_motions_lists_what_can_be_played(random_bundle: Path) -> None:
    done = run("motions", "--model", random_bundle)
    assert (done.returncode, done.stdout, done.stderr) == (0, "headsTurn\nsmile\n", "")


def test_help_and_version_without_torch(desk: Path) -> None:
    assert run("--version").stdout == f"micromotion {micromotion.__version__}\n"
    top = run("--help").stdout
    assert all(command in top for command in ("animate", "motions", "serve"))
    text = run("animate", "--help").stdout
    assert "Examples" in text
    assert all(option in text for option in ("--motion", "--output", "--strength", "--sheet", "--aligned"))
    check = "import sys, micromotion.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


# How it fails: one sentence, exit code 1, nothing left behind.


def assert_fails(desk: Path, *arguments: object, real: bool = False) -> str:
    """Run the command, in a process of its own if real, which must fail as people can stand it."""
    before = listing(desk)
    if real:
        done = run(*arguments)
        code, output, errors = done.returncode, done.stdout, done.stderr
    else:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        code, output, errors = result.exit_code, result.stdout, result.stderr
    assert (code, output) == (1, "")
    assert errors.startswith("micromotion: ")
    assert errors.endswith(".\n")
    assert errors.count("\n") == 1, errors
    assert "Traceback" not in errors
    assert listing(desk) == before
    return errors


def _png(width: int, height: int) -> bytes:
    """A valid PNG of one black bit per pixel, which packs to almost nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height), 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _gif(path: Path) -> None:
    first, *rest = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue")]
    first.save(path, save_all=True, append_images=rest)


BAD_PHOTOS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing.jpg": (lambda path: None, "no file"),
    "folder.jpg": (lambda path: path.mkdir(), "folder"),
    "empty.jpg": (lambda path: path.write_bytes(b""), "empty"),
    "text.jpg": (lambda path: path.write_text("This is only text.\n" * 99), "picture"),
    "huge.png": (lambda path: path.write_bytes(_png(20_000, 20_000)), "million pixels"),
    "dot.png": (lambda path: path.write_bytes(_png(1, 1)), "1×1"),
    "strip.png": (lambda path: path.write_bytes(_png(4000, 10)), "4000×10"),
    "animated.gif": (_gif, "still picture"),
    "noface.png": (lambda path: path.write_bytes(_png(400, 400)), "[Nn]o face"),
}


@pytest.mark.parametrize("name", BAD_PHOTOS)
def test_a_bad_photo_is_told(desk: Path, random_bundle: Path, name: str) -> None:
    make, word = BAD_PHOTOS[name]
    make(desk / name)
    arguments = ["animate", name, "--model", random_bundle, "--sheet", "sheet.png"]
    real = name in ("missing.jpg", "huge.png", "noface.png")
    assert re.search(word, assert_fails(desk, *arguments, real=real))


def test_a_truncated_jpeg_is_told(desk: Path, random_bundle: Path, astronaut_file: Path) -> None:
    content = astronaut_file.read_bytes()
    Path("cut.jpg").write_bytes(content[: len(content) // 2])
    assert "cut short" in assert_fails(desk, "animate", "cut.jpg", "--model", random_bundle, real=True)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--strength", "nan"], "strength"),
        (["--strength", "inf"], "strength"),
        (["--strength", "-1e9"], "strength"),
        (["--frames", "0"], "frames"),
        (["--frames", "1000000000"], "frames"),
        (["--fps", "0"], "fps"),
        (["--face", "-1"], "face"),
        (["--face", "7"], "faces? w"),
        (["--seed", "-1"], "seed"),
        (["--refine", "201"], "refine must be a whole number from 0 to 200"),
        (["--motion", "smlie"], "did you mean 'smile'"),
        (["--motion", "../smile"], "headsTurn, smile"),
        (["--device", "abacus"], "device"),
        (["--model", "nonsense"], "nonsense"),
        (["--model", "ffhq"], "run `micromotion weights fetch ffhq`"),
        (["-o", "missing/out.mp4"], "missing"),
        (["-o", "/proc/out.mp4"], "/proc"),
        (["-o", "taken.mp4"], "taken.mp4"),
        (["-o", "out.avi"], ".avi"),
        (["--sheet", "missing/sheet.png"], "missing"),
        (["--sheet", "sheet.xyz"], ".xyz"),
        (["-o", "same.webp", "--sheet", "same.webp"], "same.webp"),
        (["--sheet", "astronaut.jpg"], "the photo"),
    ],
)
def test_wrong_options_are_told(
    desk: Path, random_bundle: Path, astronaut_file: Path, options: list[str], word: str
) -> None:
    Path("astronaut.jpg").write_bytes(astronaut_file.read_bytes())
    Path("taken.mp4").mkdir()
    model = [] if "--model" in options else ["--model", random_bundle]
    real = options in (["--strength", "nan"], ["-o", "out.avi"])
    assert re.search(word, assert_fails(desk, "animate", "astronaut.jpg", *model, *options, real=real))


def test_a_damaged_model_is_told(desk: Path, random_bundle: Path, astronaut_file: Path) -> None:
    for path in random_bundle.glob("*.*"):
        Path(path.name).write_bytes(path.read_bytes()[: -1 if path.suffix == ".safetensors" else None])
    Path("anchors").mkdir()
    Path("anchors/smile.safetensors").write_bytes(b"not a safetensors file")
    assert "generator.safetensors" in assert_fails(desk, "animate", astronaut_file, "--model", ".")
    for path in random_bundle.glob("*.safetensors"):
        Path(path.name).write_bytes(path.read_bytes())
    assert "smile.safetensors" in assert_fails(desk, "animate", astronaut_file, "--model", ".")


def test_an_existing_result_survives_a_failure(desk: Path, random_bundle: Path) -> None:
    Path("precious.mp4").write_bytes(b"precious")
    _gif(desk / "noface.gif")
    assert_fails(desk, "animate", "noface.gif", "--model", random_bundle, "-o", "precious.mp4")
    assert Path("precious.mp4").read_bytes() == b"precious"


def test_wrong_usage_is_2(desk: Path) -> None:
    for arguments in (
        ["animate"],
        ["animate", "a.jpg", "--frames", "many"],
        ["fly"],
        ["animate", "--nonsense"],
    ):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2
        assert "Traceback" not in result.stderr


def test_debug_shows_the_traceback(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Traceback" in run("animate", "missing.jpg", "--strength", "nan", "--debug").stderr
    monkeypatch.setenv("MICROMOTION_DEBUG", "1")
    assert "Traceback" in run("animate", "missing.jpg", "--strength", "nan").stderr


def test_an_unexpected_error_is_one_line_too(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def burst(*_: object) -> None:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr("micromotion.cli.find_bundle", burst)
    result = CliRunner().invoke(app, ["motions"])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "ZeroDivisionError: a b" in result.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_leaves_nothing(
    desk: Path, astronaut_file: Path, random_bundle: Path, number: int, code: int
) -> None:
    options = ["--frames", "600", "-o", "frames", "--sheet", "sheet.png"]
    command = [*COMMAND, "animate", str(astronaut_file), "--model", str(random_bundle), *options]
    before = listing(desk)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not list(desk.rglob("*.png")):  # until it has begun to write
            time.sleep(0.002)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert listing(desk) == before


def test_a_closed_pipe_is_no_error_worth_a_traceback(random_bundle: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    command = [*COMMAND, "motions", "--model", str(random_bundle)]
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, text=True)
    os.close(theirs)
    assert done.stderr == ""


# The embedded avatar, as the README shows it.


def test_the_avatar_is_the_default(desk: Path, astronaut_file: Path) -> None:
    assert run("motions").stdout.split() == ["aging", "angry", "eyesClose", "headsTurn", "smile"]
    done = run("animate", astronaut_file, "--frames", "8", "--sheet", "sheet.png")
    assert (done.returncode, done.stderr) == (0, "")
    frames = frames_of(Path("astronaut-smile.mp4")).astype(float)
    change = np.abs(frames - frames[0]).mean(axis=(1, 2, 3))
    assert np.corrcoef(change, np.arange(8))[0, 1] > 0.95, "the smile grows with time"
