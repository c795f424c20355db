"""Printing never fails a command: what a stream cannot take is written otherwise, elsewhere, or not at all."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from commands import COMMAND, read_all, run

NARROW = ("ascii", "cp1252", "cp437", "ascii:strict", "utf-8:strict")


def shell(script: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """A line of bash in which "$@" is the command; its status is that of the command."""
    line = ["bash", "-o", "pipefail", "-c", script, "bash", *COMMAND]
    return subprocess.run(line, capture_output=True, env=os.environ | variables, timeout=300)


def test_every_page_of_help_is_printed_in_any_encoding(desk: Path) -> None:
    for page in ("", "animate", "inspect", "learn", "learn text", "weights", "weights fetch", "page", "serve"):
        done = shell(f'"$@" {page} --help', PYTHONIOENCODING="ascii")
        assert (done.returncode, done.stderr) == (0, b""), page
        assert done.stdout.isascii()
        assert b"Usage" in done.stdout


@pytest.mark.parametrize("encoding", NARROW)
def test_tables_are_printed_in_any_encoding(desk: Path, encoding: str) -> None:
    for command in ("inspect smile", "weights list", "motions"):
        done = shell(f'"$@" {command}', PYTHONIOENCODING=encoding)
        assert (done.returncode, done.stderr) == (0, b""), command
        assert b"smile" in done.stdout
    bars = shell('"$@" inspect smile', PYTHONIOENCODING="ascii").stdout
    assert b"##" in bars
    assert b"256^2" in bars


NAMES = (b"gr\xc3\xbc\xc3\x9fe \xf0\x9f\x98\x80", b"caf\xe9", b"a\x1b[31mb\nc")
"""In UTF-8, with an emoji; in Latin-1, which is no UTF-8; with what would command a terminal."""


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": each} for each in NARROW] + [{"LC_ALL": "C"}])
@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_a_photo_is_printed(
    desk: Path, random_bundle: Path, astronaut_file: Path, name: bytes, variables: dict[str, str]
) -> None:
    Path(os.fsdecode(name + b".jpg")).write_bytes(astronaut_file.read_bytes())
    photo, command = os.fsencode(os.path.abspath(os.fsdecode(name + b".jpg"))), [*COMMAND, "animate"]
    options = ["--model", str(random_bundle), "--frames", "2"]
    done = subprocess.run([*command, photo, *options], capture_output=True, env=os.environ | variables)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"Video: ")
    assert os.fsencode(name) + b"-smile.mp4" in os.listdir(b".")
    done = subprocess.run([*command, photo + b"x", *options], capture_output=True, env=os.environ | variables)
    assert done.returncode == 1
    assert done.stderr.startswith(b"micromotion: ")
    assert done.stderr.count(b"\n") == 1
    assert b"\x1b" not in done.stderr


CLOSED = (">&-", "2>&-", "<&-", ">&- 2>&- <&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>&1", "| true")


@pytest.mark.parametrize("where", CLOSED)
def test_no_stream_is_needed(desk: Path, random_bundle: Path, astronaut_file: Path, where: str) -> None:
    commands = {
        f"animate {astronaut_file} --model {random_bundle} --frames 2 -o out.mp4": 0,
        f"motions --model {random_bundle}": 0,
        "--version": 0,
        "animate --help": 0,
        "weights path": 0,
        "fly": 2,
        "motions --model nowhere": 1,
    }
    for command, code in commands.items():
        done = shell(f'"$@" {command} {where}')
        assert done.returncode == code, (command, done.stderr)
        assert b"Traceback" not in done.stderr
        assert b"Error" not in done.stderr or command == "fly"
    assert Path("out.mp4").stat().st_size > 1000
    assert list(desk.iterdir()) == [Path("out.mp4").absolute()]


def test_what_cannot_be_printed_is_said_on_stderr(desk: Path, random_bundle: Path) -> None:
    done = shell(f'"$@" motions --model {random_bundle} >/dev/full')
    first, *rest = done.stderr.decode().splitlines()
    assert first == "micromotion: nothing can be printed (No space left on device):"
    assert rest == ["headsTurn", "smile"]
    assert shell(f'"$@" motions --model {random_bundle} | true').stderr == b"", "nobody listens any more"


def test_a_closed_stream_does_not_become_the_video(
    desk: Path, random_bundle: Path, astronaut_file: Path
) -> None:
    common = f"animate {astronaut_file} --model {random_bundle} --frames 3"
    assert shell(f'"$@" {common} -o open.mp4').returncode == 0
    assert shell(f'"$@" {common} -o closed.mp4 >&- 2>&- <&-').returncode == 0
    assert Path("closed.mp4").read_bytes() == Path("open.mp4").read_bytes()


def test_a_terminal_of_another_encoding_shows_progress(
    desk: Path, random_bundle: Path, astronaut_file: Path
) -> None:
    ours, theirs = pty.openpty()
    command = [*COMMAND, "animate", str(astronaut_file), "--model", str(random_bundle), "--frames", "3"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = read_all(ours)
    os.close(ours)
    assert process.returncode == 0
    assert shown.isascii()
    assert b"Rendering" in shown


def test_a_stream_that_does_not_block_is_waited_for(desk: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    code = (
        "from micromotion.streams import make_printing_safe; make_printing_safe()\n"
        "for number in range(60000): print(number)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE) as process:
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            printed = pipe.read()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert printed == b"".join(b"%d\n" % number for number in range(60000))


def test_a_library_keeps_its_streams(desk: Path) -> None:
    code = "import sys; before = sys.stdout; import micromotion.cli; print(sys.stdout is before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True\n"
    assert run("--version").returncode == 0
