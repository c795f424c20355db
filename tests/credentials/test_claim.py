"""What credentials say, and what they never say: the photo, its name, its path."""

from __future__ import annotations

import json
from pathlib import Path

import c2pa_reader
import numpy as np
import pytest
import torch
from PIL import Image

from micromotion import Animator
from micromotion.credentials.claim import CREATED, EDITED, VERSION, Claim, Played
from micromotion.credentials.manifest import definition, read_parameters


def test_a_claim_has_each_motions_lowest_and_highest_strength() -> None:
    strengths = np.array([[0, -0.0], [0.70049, -0.5], [0.2, -0.1]])
    claim = Claim.of("avatar", ["smile", "headsTurn"], strengths, shows_photo=True)
    assert claim.motions == (("smile", 0.0, 0.7), ("headsTurn", -0.5, 0.0))
    assert [str(each) for each in claim.motions] == ["smile 0 to 0.7", "headsTurn -0.5 to 0"]
    assert str(Played.of("smile", 1, 1)) == "smile 1"


def test_names_are_plain_and_short() -> None:
    played = Played.of("a\x1b[31m\udcff\n" + "b" * 300, 0, 1)
    assert played.name == "a?[31m??" + "b" * 32
    json.dumps(played.name).encode()


def test_what_a_photo_shows_was_opened_and_edited_what_a_model_draws_was_created() -> None:
    for shows_photo, names in ((True, ["c2pa.opened", "c2pa.edited"]), (False, ["c2pa.created"])):
        found = definition(Claim("avatar", (), shows_photo))
        assert [each["action"] for each in found["assertions"][0]["data"]["actions"]] == names


@pytest.mark.parametrize(
    "parameters",
    [None, 3, "x", [], {}, {"micromotion": None}, {"micromotion": {"model": "a", "motions": 3}},
     {"micromotion": {"model": "a", "motions": [{"name": "b"}]}},
     {"micromotion": {"model": "a", "motions": [{"name": "b", "lowest": "c", "highest": {}}]}}],
)  # fmt: skip
def test_foreign_parameters_are_not_ours(parameters: object) -> None:
    assert read_parameters(parameters) == (None, ())


@pytest.fixture
def photo(astronaut: Image.Image, tmp_path: Path) -> Path:
    """A photo with a name and with metadata that must not leave this machine."""
    path = tmp_path / "photo-of-my-aunt.jpg"
    exif = Image.Exif()
    exif[0x010E] = "my aunt in her garden"
    astronaut.save(path, quality=90, exif=exif)
    return path


PHOTO = {"title": "photo", "relationship": "parentOf", "label": "c2pa.ingredient.v3"}
VIEWS = [("photo", EDITED, "a.mp4"), ("face", EDITED, "a"), ("model", CREATED, "a.webp")]


@pytest.mark.slow
@pytest.mark.parametrize(("view", "source", "name"), VIEWS)
def test_a_saved_video_says_what_was_done_and_nothing_of_the_photo(
    animator: Animator, photo: Path, tmp_path: Path, view: str, source: str, name: str
) -> None:
    motions = {"smile": 0.5, "headsTurn": -1.0}
    video = animator.animate(photo, motions, view=view, size=96, frames=2)  # type: ignore[arg-type]
    out = tmp_path / "out"
    out.mkdir()
    video.save(out / name, sheet=out / "sheet.png")
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) == (3 if name == "a" else 2)
    for path in files:
        content = path.read_bytes()
        assert c2pa_reader.state(content) == "Valid"
        action = c2pa_reader.actions(content)[-1]
        assert action["digitalSourceType"] == source
        assert action["parameters"]["micromotion"] == {
            "model": "random",
            "motions": [
                {"name": "smile", "lowest": 0.0, "highest": 0.5},
                {"name": "headsTurn", "lowest": -1.0, "highest": 0.0},
            ],
        }
        assert action["softwareAgent"]["version"] == VERSION
        ingredients = c2pa_reader.manifest(content).get("ingredients", [])
        assert ingredients == ([] if source == CREATED else [PHOTO])
        assert "title" not in c2pa_reader.manifest(content)
        told = json.dumps(c2pa_reader.read(content))
        for secret in ("aunt", "garden", str(tmp_path), "image/jpeg", "thumbnail", "exif"):
            assert secret not in told
            assert secret.encode() not in content


def test_what_a_model_draws_from_a_latent_was_created(animator: Animator, latent: torch.Tensor) -> None:
    assert animator.animate(latent, frames=2).claim.source_type == CREATED


@pytest.mark.slow
def test_a_comparison_shows_the_photo_too(animator: Animator, photo: Path) -> None:
    assert animator.animate(photo, frames=2, compare=True).claim.source_type == EDITED


def test_they_can_be_left_out(animator: Animator, latent: torch.Tensor, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        animator.animate(latent, frames=2).save(tmp_path / name, credentials=False)
    content = (tmp_path / "a.mp4").read_bytes()
    assert content == (tmp_path / "b.mp4").read_bytes()
    with pytest.raises(c2pa_reader.c2pa.C2paError.ManifestNotFound):
        c2pa_reader.read(content)
