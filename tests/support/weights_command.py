"""Run the `weights` command, and check its output."""

from __future__ import annotations

from pathlib import Path

from public_files import MOTIONS
from typer.testing import CliRunner, Result

from micromotion.cli.main import app

PARTS = {
    "generator.safetensors",
    "generator.half.safetensors",
    "inverter.safetensors",
    "inverter.half.safetensors",
    *(f"anchors/{name}.safetensors" for name in MOTIONS),
}


def command(*arguments: object) -> Result:
    """Run `micromotion weights …` in this process."""
    return CliRunner().invoke(app, ["weights", *map(str, arguments)])


def done(*arguments: object) -> str:
    """As `command`, which must succeed; its stdout."""
    result = command(*arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def refused(*arguments: object) -> str:
    """As `command`, which must fail with one sentence, after lines about the files that were written."""
    result = command(*arguments)
    assert result.exit_code == 1
    *before, sentence = result.stderr.splitlines()
    assert sentence.startswith("micromotion: ")
    assert sentence.endswith(".")
    assert not [line for line in before if "micromotion: " in line or "Traceback" in line]
    return sentence


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
