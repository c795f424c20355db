"""Printing never fails a command: unprintable text is escaped, redirected or dropped."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from commands import COMMAND, read_all, run
from shown import shown

pytestmark = pytest.mark.slow

NARROW = ("ascii", "cp1252", "cp437", "ascii:strict", "utf-8:strict")


def shell(script: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which "$@" is the command; its status is the command's."""
    line = ["bash", "-o", "pipefail", "-c", script, "bash", *COMMAND]
    return subprocess.run(line, capture_output=True, env=os.environ | variables, timeout=300)


def test_every_page_of_help_is_printed_in_any_encoding(desk: Path) -> None:
    for page in ("", "animate", "learn text", "weights fetch", "page"):
        done = shell(f'"$@" {page} --help', PYTHONIOENCODING="ascii")
        assert (done.returncode, done.stderr) == (0, b""), page
        assert done.stdout.isascii()
        assert b"Usage" in done.stdout


@pytest.mark.parametrize("encoding", NARROW)
def test_tables_are_printed_in_any_encoding(desk: Path, encoding: str) -> None:
    listed = shell('"$@" weights list', PYTHONIOENCODING=encoding)
    assert (listed.returncode, listed.stderr) == (0, b"")
    done = shell('"$@" inspect smile', PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"smile" in done.stdout
    if encoding.startswith("ascii"):
        assert b"##" in done.stdout
        assert b"256^2" in done.stdout


NAMES = (b"gr\xc3\xbc\xc3\x9fe \xf0\x9f\x98\x80", b"caf\xe9", b"a\x1b[31mb\nc")
"""Names in UTF-8 with an emoji, in Latin-1 (invalid UTF-8), and with terminal control codes."""


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        (NAMES[0], {"PYTHONIOENCODING": "cp1252"}),
        (NAMES[1], {"PYTHONIOENCODING": "utf-8"}),
        (NAMES[2], {"LC_ALL": "POSIX"}),
    ],
)
def test_any_name_of_a_photo_is_printed(
    desk: Path, random_bundle: Path, astronaut_file: Path, name: bytes, variables: dict[str, str]
) -> None:
    Path(os.fsdecode(name + b".jpg")).write_bytes(astronaut_file.read_bytes())
    command: list[str | bytes] = [
        *COMMAND,
        "animate",
        name + b".jpg",
        "--model",
        str(random_bundle),
        "--frames",
        "2",
    ]
    done = subprocess.run(command, capture_output=True, env=os.environ | variables, timeout=300)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"Video: ")
    assert Path(os.fsdecode(name + b"-smile.mp4")).is_file()


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": each} for each in NARROW] + [{"LC_ALL": "C"}])
def test_any_name_can_be_printed_in_an_error(
    desk: Path, random_bundle: Path, variables: dict[str, str]
) -> None:
    for name in NAMES:
        command: list[str | bytes] = [*COMMAND, "animate", name, "--model", str(random_bundle)]
        done = subprocess.run(command, capture_output=True, env=os.environ | variables, timeout=300)
        assert done.returncode == 1
        assert done.stderr.startswith(b"micromotion: ")
        assert b"unexpected" not in done.stderr
        assert done.stderr.count(b"\n") == 1
        assert b"\x1b" not in done.stderr


CLOSED = (">&-", "2>&-", "<&-", ">&- 2>&- <&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>&1", "| true")


@pytest.mark.parametrize("where", CLOSED)
def test_no_stream_is_needed(desk: Path, random_bundle: Path, where: str) -> None:
    commands = {f"motions --model {random_bundle}": 0, "animate --help": 0, "fly": 2, "motions --model no": 1}
    for command, code in commands.items():
        done = shell(f'"$@" {command} {where}')
        assert done.returncode == code, (command, done.stderr)
        assert b"Traceback" not in done.stderr
        assert b"unexpected" not in done.stderr


@pytest.mark.parametrize("where", [">/dev/full 2>&1", ">&- 2>&- <&-", "| true"])
def test_the_video_is_written_without_any_output_stream(
    desk: Path, random_bundle: Path, astronaut_file: Path, where: str
) -> None:
    """The video must not receive printed text by reusing a closed stream's file descriptor."""
    common = f"animate {astronaut_file} --model {random_bundle} --frames 3"
    assert shell(f'"$@" {common} -o open.mp4').returncode == 0
    assert shell(f'"$@" {common} -o other.mp4 {where}').returncode == 0
    assert shown(Path("other.mp4")) == shown(Path("open.mp4"))
    assert len(list(desk.iterdir())) == 2


def test_failed_output_is_reported_on_stderr(desk: Path, random_bundle: Path) -> None:
    done = shell(f'"$@" motions --model {random_bundle} >/dev/full')
    first, *rest = done.stderr.decode().splitlines()
    assert first == "micromotion: nothing can be printed (No space left on device):"
    assert rest == ["headsTurn", "smile"]
    assert shell(f'"$@" motions --model {random_bundle} | true').stderr == b"", "nobody listens any more"


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


def test_a_non_blocking_stream_is_written_completely(desk: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    code = (
        "from micromotion.runtime.streams import make_printing_safe; make_printing_safe()\n"
        "for number in range(30000): print(number)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE) as process:
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            printed = pipe.read()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert printed == b"".join(b"%d\n" % number for number in range(30000))


def test_a_library_keeps_its_streams(desk: Path) -> None:
    code = "import sys; before = sys.stdout; import micromotion.cli.main; print(sys.stdout is before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True\n"
    assert run("--version").returncode == 0
