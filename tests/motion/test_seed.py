"""A seed draws noise; for a model without noise, every interface says that it has no effect."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import service_worker
import torch
from commands import run
from random_networks import random_anchors, random_generator, random_inverter

from micromotion import Animator
from micromotion.errors import NoEffectWarning
from micromotion.options import seed_of_noise
from micromotion.weights.bundle import save_bundle
from stylegan2 import Generator

pytestmark = pytest.mark.slow

SAID = "This model has no noise: the seed has no effect."
ROOT = Path(__file__).resolve().parents[2]


def without_noise() -> Generator:
    generator = random_generator()
    for conv in generator.synthesis.styled_convs:
        conv.noise_strength.data.zero_()
    return generator


@pytest.fixture(scope="module")
def plain_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle folder whose generator has no noise, with the motion smile."""
    folder = tmp_path_factory.mktemp("plain")
    save_bundle(folder, name="plain", generator=without_noise(), inverter=random_inverter(), about={})
    (folder / "anchors").mkdir()
    random_anchors(0).save(folder / "anchors" / "smile.safetensors")
    return folder


def test_a_generator_knows_whether_it_has_noise() -> None:
    with_noise, without = random_generator(), without_noise()
    assert with_noise.has_noise
    assert not without.has_noise
    latent = torch.zeros(1, without.num_styles, without.style_dim)
    for generator, alike in ((without, True), (with_noise, False)):
        pictures = [
            generator.synthesize(latent, noise=noise)
            for noise in ("fixed", None, torch.Generator().manual_seed(1))
        ]
        assert torch.equal(pictures[0], pictures[1]) == torch.equal(pictures[0], pictures[2]) == alike
    without.synthesis.styled_convs[-1].noise_strength.data.fill_(1e-3)
    assert without.has_noise, "one layer suffices"


def test_the_documents_state_that_the_embedded_model_has_no_noise() -> None:
    """If it ever gets noise, all these documents must be corrected."""
    animator = Animator.load("avatar", "cpu")
    assert not animator.bundle.generator.has_noise
    places = ["README.md", "docs/cookbook.md", "docs/method.md", "docs/service.md", "docs/troubleshooting.md"]
    for place in places:
        said = " ".join((ROOT / place).read_text().split())
        assert (
            "avatar has none" in said
            or "avatar's strengths of noise are all 0" in said
            or ("`avatar` has none" in said)
        ), place
    schema = json.loads((ROOT / "openapi.json").read_text())["components"]["schemas"]["Input"]
    assert "the avatar has none" in schema["properties"]["seed"]["description"]


def test_python_warns_that_a_seed_has_no_effect(
    plain_bundle: Path, animator: Animator, latent: torch.Tensor
) -> None:
    plain = Animator.load(plain_bundle, "cpu")
    with pytest.warns(NoEffectWarning, match=SAID) as caught:
        seeded = plain.animate(latent, frames=2, seed=3)
    assert [warning.filename for warning in caught] == [__file__], "the warning points at the caller"
    with pytest.warns(NoEffectWarning, match=SAID) as caught:
        strip = plain.at_strengths(latent, seed=3)
    assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(list(seeded), list(plain.animate(latent, frames=2)))
        assert strip == plain.at_strengths(latent)
        animator.animate(latent, frames=2, seed=3)  # has noise


def test_the_command_prints_it_in_one_line(
    plain_bundle: Path, random_bundle: Path, astronaut_file: Path, tmp_path: Path
) -> None:
    video = [astronaut_file, "--frames", 2, "--seed", 7]
    done = run("animate", *video, "--model", plain_bundle, "-o", tmp_path / "a.mp4")
    assert (done.returncode, done.stderr) == (0, f"micromotion: {SAID}\n")
    strip = [astronaut_file, "--strengths", "0,1", "--seed", 7]
    done = run("animate", *strip, "--model", plain_bundle, "-o", tmp_path / "a.png")
    assert (done.returncode, done.stderr) == (0, f"micromotion: {SAID}\n")
    done = run("animate", *video, "--model", random_bundle, "-o", tmp_path / "b.mp4")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_service_logs_it(
    plain_bundle: Path,
    astronaut_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    predictor: Any = service_worker.load(plain_bundle, monkeypatch)
    capfd.readouterr()
    for seed, count in ((-1, 0), (0, 1), (7, 1)):
        service_worker.play(predictor, astronaut_file, output_format="gif", seed=seed)
        out, err = capfd.readouterr()
        assert (out + err).count(SAID) == count


def test_a_seed_is_passed_only_to_models_with_noise() -> None:
    said: list[str] = []
    assert seed_of_noise(0, random_generator(), said.append) == 0
    assert seed_of_noise(None, without_noise(), said.append) is None
    assert said == []
    assert seed_of_noise(0, without_noise(), said.append) is None
    assert said == [SAID]
