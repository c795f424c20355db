"""`micromotion verify`: what a file's content credentials say, and whether it was changed."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from micromotion.cli.console import Debug, cli_errors
from micromotion.video.output_names import typed_path

if TYPE_CHECKING:
    from micromotion.credentials.verify import Verdict

_STATES = {
    "valid": "valid, unchanged since it was signed",
    "changed": "CHANGED since it was signed",
    "invalid": "its content credentials are NOT VALID",
    "none": "no content credentials",
}
_SOURCES = {
    "compositeWithTrainedAlgorithmicMedia": "partly made by AI",
    "trainedAlgorithmicMedia": "made by AI",
}
"""IPTC's terms that say so, in plain words."""


def verify(
    files: Annotated[
        list[Path], typer.Argument(parser=typed_path, metavar="FILE…", help="Videos or pictures.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each file.")] = False,
    debug: Debug = False,
) -> None:
    """Show what a file's content credentials (C2PA) say, and whether it was changed since.

    Exit code 0 if all files are valid; 1 if one was changed or has none. Nothing is asked of a network;
    whether the signer is who the certificate says is not checked.

    \b
    Examples:
      micromotion verify smile.mp4
      micromotion verify frames/*.png
    """
    with cli_errors(debug):
        from micromotion.credentials.verify import verify as read

        verdicts = []
        for path in files:
            verdict = read(path)
            verdicts.append(verdict)
            if as_json:
                typer.echo(json.dumps({"file": str(path), **asdict(verdict)}))
            else:
                typer.echo("\n".join(_lines(path, verdict)))
        if any(verdict.state != "valid" for verdict in verdicts):
            raise typer.Exit(1)


def _lines(path: Path, verdict: Verdict) -> list[str]:
    """The verdict for people."""
    problems = "" if verdict.state == "changed" else "".join(f"; {each}" for each in verdict.problems)
    lines = [f"{path}: {_STATES[verdict.state]}{problems}."]
    if verdict.program:
        lines.append(f"  Made with: {verdict.program}")
    for step in verdict.steps:
        lines.append(f"  Done: {step.action}{f': {step.description}' if step.description else ''}")
        if step.source_type is not None:
            plain = _SOURCES.get(step.source_type)
            lines.append(f"  Source: {f'{plain} ({step.source_type})' if plain else step.source_type}")
        if step.model is not None:
            lines.append(f"  Model: {step.model}")
    if verdict.signer:
        known = "by this user, on this machine" if verdict.local else "not known on this machine"
        lines.append(f"  Signed by: {verdict.signer}{f' ({known})' if verdict.state == 'valid' else ''}")
    return lines
