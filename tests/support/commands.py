"""Run the command: in a separate process, at a terminal or in this process; and check how it fails."""

import os
import pty
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from micromotion.cli.main import app

COMMAND = [sys.executable, "-m", "micromotion"]


def listing(folder: Path) -> dict[str, bytes]:
    """All files in the folder's parent, at any depth, with their content."""
    return {str(path): path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()}


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a separate process."""
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300)


def run_at_a_terminal(*arguments: object) -> tuple[int, str, bytes]:
    """As `run`, with stderr on a terminal of 100 columns: exit code, stdout and the terminal's content."""
    ours, theirs = pty.openpty()
    command, environment = [*COMMAND, *map(str, arguments)], os.environ | {"COLUMNS": "100"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=theirs, text=True, env=environment
    ) as process:
        os.close(theirs)
        shown = read_all(ours)
        assert process.stdout is not None
        output = process.stdout.read()
    os.close(ours)
    return process.returncode, output, shown


def read_all(terminal: int) -> bytes:
    """The bytes that a terminal shows until the other side closes it."""
    shown = b""
    try:
        while piece := os.read(terminal, 4096):
            shown += piece
    except OSError:  # Linux raises EIO when the other side has closed
        pass
    return shown


def assert_fails(desk: Path, *arguments: object, real: bool = False) -> str:
    """Run the command, which must fail with one readable line on stderr and leave all files as they are.

    real: run it in a separate process. Returns the line.
    """
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
