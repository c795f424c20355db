"""Failures of the command: one sentence, exit code 1, nothing left behind."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from blank_png import blank_png
from commands import COMMAND, assert_fails, listing, run
from PIL import Image
from typer.testing import CliRunner

from micromotion.cli.main import app

pytestmark = pytest.mark.slow


def _gif(path: Path) -> None:
    first, *rest = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue")]
    first.save(path, save_all=True, append_images=rest)


BAD_PHOTOS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing.jpg": (lambda path: None, "no file"),
    "folder.jpg": (lambda path: path.mkdir(), "folder"),
    "empty.jpg": (lambda path: path.write_bytes(b""), "empty"),
    "text.jpg": (lambda path: path.write_text("This is only text.\n" * 99), "picture"),
    "huge.png": (lambda path: path.write_bytes(blank_png(20_000, 20_000)), "million pixels"),
    "dot.png": (lambda path: path.write_bytes(blank_png(1, 1)), "1×1"),
    "strip.png": (lambda path: path.write_bytes(blank_png(4000, 10)), "4000×10"),
    "animated.gif": (_gif, "still picture"),
    "noface.png": (lambda path: path.write_bytes(blank_png(400, 400)), "[Nn]o face"),
}


# Failures.


@pytest.mark.parametrize("name", BAD_PHOTOS)
def test_a_bad_photo_is_refused(desk: Path, random_bundle: Path, name: str) -> None:
    make, word = BAD_PHOTOS[name]
    make(desk / name)
    arguments = ["animate", name, "--model", random_bundle, "--sheet", "sheet.png"]
    real = name in ("missing.jpg", "huge.png", "noface.png")
    assert re.search(word, assert_fails(desk, *arguments, real=real))


def test_a_truncated_jpeg_is_refused(desk: Path, random_bundle: Path, astronaut_file: Path) -> None:
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
def test_wrong_options_are_refused(
    desk: Path, random_bundle: Path, astronaut_file: Path, options: list[str], word: str
) -> None:
    Path("astronaut.jpg").write_bytes(astronaut_file.read_bytes())
    Path("taken.mp4").mkdir()
    model = [] if "--model" in options else ["--model", random_bundle]
    real = options in (["--strength", "nan"], ["-o", "out.avi"])
    assert re.search(word, assert_fails(desk, "animate", "astronaut.jpg", *model, *options, real=real))


def test_a_damaged_model_is_refused(desk: Path, random_bundle: Path, astronaut_file: Path) -> None:
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


def test_wrong_usage_exits_with_2(desk: Path) -> None:
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

    monkeypatch.setattr("micromotion.cli.main.find_model", burst)
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
        while process.poll() is None and not list(desk.rglob("*.png")):  # until it writes
            time.sleep(0.002)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert listing(desk) == before


def test_a_closed_pipe_gives_no_traceback(random_bundle: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    command = [*COMMAND, "motions", "--model", str(random_bundle)]
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, text=True)
    os.close(theirs)
    assert done.stderr == ""
