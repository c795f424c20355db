"""`micromotion inspect`: its report on a micromotion, and the picture it draws."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from random_networks import RESOLUTION, STYLE_DIM, STYLES, random_anchors
from rich.console import Console
from typer.testing import CliRunner

from micromotion import inspection
from micromotion.cli.main import app
from micromotion.learn.provenance import with_provenance
from micromotion.learn.text import sample_identity
from micromotion.motion.anchor_analysis import analyse
from micromotion.motion.anchors import Anchors
from micromotion.motion.directions import save_direction
from micromotion.motion.library import place_for
from micromotion.weights.bundle import Bundle, load_bundle


@pytest.fixture
def bundle(random_bundle: Path) -> Bundle:
    return load_bundle(random_bundle, "cpu")


def spoilt_anchors() -> Anchors:
    """Eleven noisy anchors on a line, with gross errors in the third layer only."""
    rng = torch.Generator().manual_seed(3)
    degrees = torch.linspace(0, 1, 11)
    still, direction = torch.randn(2, STYLES, STYLE_DIM, generator=rng)
    codes = (
        still + degrees[:, None, None] * direction + 0.02 * torch.randn(11, STYLES, STYLE_DIM, generator=rng)
    )
    codes[4, 2, 5] += 9.0
    codes[8, 2, 11] -= 9.0
    return Anchors(codes, degrees, {"template": "a {degree} \x1b[31mgrin\nmore"})


def said(path: Path, bundle: Bundle) -> str:
    console = Console(width=150)
    with console.capture() as capture:
        console.print(inspection.report(inspection.inspect_motion(path, bundle), RESOLUTION))
    return capture.get()


def test_inspect_reports_its_findings(bundle: Bundle) -> None:
    path = place_for("grin", bundle)
    with_provenance(spoilt_anchors(), "grin", bundle, "curve").save(path)
    text, found = said(path, bundle), analyse(spoilt_anchors())
    assert f"rank             {found.subspace.coordinates.shape[1]}, out of 10" in text
    first, *_ = found.subspace.singular_values.tolist()
    assert f"singular values  {first:.3g}" in text
    assert f"a line explains {100 * found.straightness:.1f}% of the movement; played along a curve" in text
    assert "strength 1 is the last anchor" in text
    assert "strays           none" in text
    layers = re.findall(r"^ *(\d+) +(\d+)² +[\d.]+% +\d+ +([\d.]+)% +([\d.]+)%", text, re.MULTILINE)
    assert [int(pixels) for _, pixels, _, _ in layers] == [4, 8, 8, 16, 16, 32, 32, 32]
    assert [float(gross) > 0 for *_, gross in layers] == [layer == 2 for layer in range(STYLES)]
    assert [float(noise) for _, _, noise, _ in layers] == [round(100 * each, 1) for each in found.noise]


def test_control_characters_in_a_file_are_not_printed(bundle: Bundle, tmp_path: Path) -> None:
    spoilt_anchors().save(tmp_path / "grin.safetensors")
    text = said(tmp_path / "grin.safetensors", bundle)
    assert "a {degree} ?[31mgrin?more" in text
    assert "\x1b" not in text


def test_degrees_that_do_not_end_at_1_are_reported(bundle: Bundle, tmp_path: Path) -> None:
    anchors = random_anchors(3)
    for last, words in (
        (0.5, "beyond the last anchor (degree 0.5)"),
        (2.0, "before the last anchor (degree 2)"),
    ):
        path = tmp_path / f"{last}.safetensors"
        Anchors(anchors.w_plus, anchors.degrees * last).save(path)
        text = said(path, bundle)
        assert f"strength 1 is degree 1, {words}" in text
        assert "the file says nothing" in text


def test_a_ready_made_direction_has_no_anchors(bundle: Bundle, tmp_path: Path) -> None:
    save_direction(torch.ones(STYLES, STYLE_DIM), tmp_path / "nod.safetensors", {"source": "by hand"})
    found = inspection.inspect_motion(tmp_path / "nod.safetensors", bundle)
    assert found.anchors is None
    text = said(tmp_path / "nod.safetensors", bundle)
    assert "none: a ready direction" in text
    assert "by hand" in text
    assert "singular" not in text
    rows = 3
    sheet = inspection.picture(found, bundle)
    assert sheet.height < sheet.width / 7 * (rows + 1.5)


def tiles(sheet: Image.Image, columns: int) -> list[np.ndarray]:
    """The pictures on a sheet of 192-pixel tiles, row by row."""
    gap, caption = 6, round(13 * 1.6)
    across, down = 192 + gap, 192 + caption + gap
    pixels = np.asarray(sheet)
    return [
        pixels[top : top + 192, left : left + 192]
        for top in range(gap, sheet.height - 192, down)
        for left in range(gap, gap + columns * across, across)
    ]


def shown(latent: torch.Tensor, bundle: Bundle) -> np.ndarray:
    frame = inspection.render([latent], bundle)[0]
    return np.asarray(Image.fromarray(frame).resize((192, 192), Image.Resampling.LANCZOS))


def test_the_picture_shows_anchors_before_and_after_and_three_faces(bundle: Bundle, tmp_path: Path) -> None:
    anchors = spoilt_anchors()
    anchors.save(tmp_path / "grin.safetensors")
    found = inspection.inspect_motion(tmp_path / "grin.safetensors", bundle)
    drawn = tiles(inspection.picture(found, bundle), 7)
    assert len(drawn) == 5 * 7
    assert np.array_equal(drawn[0], shown(anchors.w_plus[0], bundle))
    assert np.array_equal(drawn[6], shown(anchors.w_plus[10], bundle))
    clean = spoilt_anchors().w_plus.clone()
    clean[8, 2, 11] += 9.0
    spoilt, cleaned = (
        np.abs(drawn[row + 5] - shown(clean[8], bundle).astype(float)).mean() for row in (0, 7)
    )
    assert cleaned < spoilt / 3, "the ninth anchor, which is the sixth drawn, is mended"
    for row, seed in enumerate((1, 2, 3)):
        face = sample_identity(bundle.generator, seed)
        for column, strength in ((1, 0.0), (5, 1.0), (6, 1.5)):
            wanted = shown(face + found.motion.offset(strength), bundle)
            assert np.array_equal(drawn[14 + 7 * row + column], wanted)


def strayed_anchors(*where: int) -> Anchors:
    """Eleven anchors, of which those at the given indices show another face."""
    anchors = spoilt_anchors()
    codes = anchors.w_plus.clone()
    codes[list(where)] = 3 * torch.randn(
        len(where), STYLES, STYLE_DIM, generator=torch.Generator().manual_seed(7)
    )
    return Anchors(codes, anchors.degrees)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "words"),
    [
        ((4,), "strays           1 of 11, wrong as a whole and left out: degree 0.4\n"),
        ((2, 10), "strays           2 of 11, wrong as a whole and left out: degrees 0.2, 1\n"),
    ],
)
def test_strays_are_named_and_shown(
    where: tuple[int, ...], words: str, bundle: Bundle, tmp_path: Path
) -> None:
    anchors = strayed_anchors(*where)
    anchors.save(tmp_path / "grin.safetensors")
    text = said(tmp_path / "grin.safetensors", bundle)
    assert words in "\n".join(line.rstrip() for line in text.splitlines())
    found = inspection.inspect_motion(tmp_path / "grin.safetensors", bundle)
    drawn = tiles(inspection.picture(found, bundle), 7)
    assert len(drawn) == 5 * 7
    for number in where:
        assert any(np.array_equal(tile, shown(anchors.w_plus[number], bundle)) for tile in drawn[:7])


def test_among_few_anchors_strays_are_not_searched(bundle: Bundle, tmp_path: Path) -> None:
    random_anchors(3).save(tmp_path / "few.safetensors")
    assert "strays           not looked for: it takes 7 anchors" in said(tmp_path / "few.safetensors", bundle)


def test_the_faces_differ_from_the_one_it_was_learned_from(bundle: Bundle, tmp_path: Path) -> None:
    anchors = random_anchors(3)
    Anchors(anchors.w_plus, anchors.degrees, {"seed": 2}).save(tmp_path / "grin.safetensors")
    found = inspection.inspect_motion(tmp_path / "grin.safetensors", bundle)
    drawn = tiles(inspection.picture(found, bundle), 6)
    for row, seed in enumerate((1, 3, 4)):
        face = sample_identity(bundle.generator, seed)
        assert np.array_equal(drawn[12 + 6 * row + 1], shown(face, bundle))


def test_few_anchors_make_a_narrower_picture(bundle: Bundle, tmp_path: Path) -> None:
    anchors = random_anchors(3)
    for count in (2, 3, 6):
        Anchors(anchors.w_plus[:count], anchors.degrees[:count]).save(tmp_path / "few.safetensors")
        sheet = inspection.picture(inspection.inspect_motion(tmp_path / "few.safetensors", bundle), bundle)
        assert len(tiles(sheet, count)) == 5 * count


# --- the command --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_on_the_avatar(tmp_path: Path) -> None:
    picture = tmp_path / "smile.png"
    done = CliRunner().invoke(app, ["inspect", "smile", "-o", str(picture)], catch_exceptions=False)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "played along a straight line" in done.stdout
    assert done.stdout.splitlines()[-1] == f"Picture: {picture}"
    assert Image.open(picture).width > 1000
    curved = CliRunner().invoke(app, ["inspect", "smile", "--path", "curve"], catch_exceptions=False)
    assert "played along a curve" in curved.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["smlie"], "did you mean 'smile'"),
        (["gone.safetensors"], "does not exist"),
        (["smile", "-o", "smile.mp4"], "not the name of a picture"),
        (["smile", "-o", "/nowhere/smile.png"], "cannot be written"),
        (["smile", "--model", "nonsense"], "There is no model"),
    ],
)
def test_the_command_fails_with_one_sentence(arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(app, ["inspect", *arguments])
    assert (done.exit_code, done.stdout) == (1, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
