"""Content credentials from the command line: in all outputs, or left out; refused before rendering."""

from __future__ import annotations

from pathlib import Path

import c2pa_reader
import pytest
from certificate_files import write_certificate
from commands import assert_fails
from typer.testing import CliRunner

from micromotion.cli.main import app
from micromotion.credentials.claim import CREATED, EDITED


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def action(path: Path) -> dict[str, object]:
    content = path.read_bytes()
    assert c2pa_reader.state(content) == "Valid"
    found: dict[str, object] = c2pa_reader.actions(content)[-1]
    return found


@pytest.mark.slow
def test_all_outputs_carry_them(desk: Path, astronaut_file: Path, random_bundle: Path) -> None:
    common = ["animate", astronaut_file, "--model", random_bundle, "--frames", 2]
    run(*common, "--sheet", "sheet.jpg", "--view", "model")
    run(*common, "-o", "frames", "--view", "model")
    run(*common, "--strengths", "-1,2", "-o", "strip.png")
    run(*common, "--strengths", "0.1", "-o", "photo.webp", "--view", "face", "--size", 64)
    run("inspect", "smile", "--model", random_bundle, "-o", "smile.webp")
    pngs = sorted(Path("frames").iterdir())
    names = ["astronaut-smile.mp4", "sheet.jpg", "strip.png", "smile.webp"]
    for path in [*map(Path, names), *pngs]:
        assert action(path)["digitalSourceType"] == CREATED, path
    assert action(Path("photo.webp"))["digitalSourceType"] == EDITED
    motions = [{"name": "smile", "lowest": -1.0, "highest": 2.0}]
    assert action(Path("strip.png"))["parameters"] == {"micromotion": {"model": "random", "motions": motions}}
    said = run("verify", "astronaut-smile.mp4", *pngs)
    assert said.count(": valid, unchanged") == 3


@pytest.mark.slow
def test_they_can_be_left_out_by_an_option_or_for_good(
    desk: Path, astronaut_file: Path, random_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal commands then give equal bytes."""
    common = ["animate", astronaut_file, "--model", random_bundle, "--frames", 2, "--view", "model"]
    run(*common, "-o", "a.mp4", "--sheet", "a.png", "--no-credentials")
    run(*common, "--strengths", "0,1", "-o", "a-strip.png", "--no-credentials")
    monkeypatch.setenv("MICROMOTION_CREDENTIALS", "off")
    run(*common, "-o", "b.mp4", "--sheet", "b.png")
    run(*common, "--strengths", "0,1", "-o", "b-strip.png")
    for name in (".mp4", ".png", "-strip.png"):
        content = Path(f"a{name}").read_bytes()
        assert content == Path(f"b{name}").read_bytes()
        with pytest.raises(c2pa_reader.c2pa.C2paError.ManifestNotFound):
            c2pa_reader.read(content)
        assert b"xmp" not in content


@pytest.mark.parametrize("output", ["a.mp4", "frames", "strip.png"])
def test_an_unusable_certificate_is_reported_before_the_model_is_loaded(
    desk: Path, astronaut_file: Path, tmp_path: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, _ = write_certificate(tmp_path)
    monkeypatch.setenv("MICROMOTION_CREDENTIALS", f"{certificate},nowhere.pem")
    monkeypatch.setattr("micromotion.animator.Animator.load", lambda *_: pytest.fail("too late"))
    strip = ["--strengths", "0,1"] if output == "strip.png" else []
    said = assert_fails(desk, "animate", astronaut_file, "-o", output, *strip)
    assert "nowhere.pem, which MICROMOTION_CREDENTIALS names, cannot be used" in said


def test_the_page_does_not_start_with_an_unusable_certificate(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICROMOTION_CREDENTIALS", "one-file.pem")
    assert "must name two files" in assert_fails(desk, "page", "--no-browser", "--port", 0)
