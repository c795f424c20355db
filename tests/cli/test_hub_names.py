"""Wherever a command takes a model or a motion, it takes one on the Hugging Face hub, and says its commit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from commands import assert_fails, run
from hub_server import HubServer, Repository, bundle_files
from random_networks import random_anchors
from typer.testing import CliRunner

from micromotion.cli.main import app
from micromotion.service.server import _model

MODEL, MOTION = "hf://me/random", "hf://me/motions/nod.safetensors"


@pytest.fixture
def repository(hub: HubServer, random_bundle: Path, tmp_path: Path) -> Repository:
    random_anchors(5).save(tmp_path / "nod.safetensors")
    content = (tmp_path / "nod.safetensors").read_bytes()
    hub.repositories["me/motions"] = Repository({"nod.safetensors": content})
    hub.repositories["me/random"] = Repository(bundle_files(random_bundle))
    return hub.repositories["me/random"]


def test_motions_lists_those_of_a_model_on_the_hub(repository: Repository) -> None:
    result = CliRunner().invoke(app, ["motions", "--model", MODEL])
    assert result.stdout == "headsTurn\nsmile\n"
    assert result.stderr == f"Model: {MODEL}@{repository.head}\n"


@pytest.mark.slow
def test_animate_plays_a_motion_and_a_model_of_the_hub(
    hub: HubServer, repository: Repository, desk: Path, astronaut_file: Path
) -> None:
    common = [astronaut_file, "--model", MODEL, "--aligned", "--frames", "2"]
    done = run("animate", *common, "--motion", f"{MOTION}=0.5", "--motion", "smile")
    assert done.returncode == 0, done.stderr
    motion = MOTION.replace("/nod", f"@{hub.repositories['me/motions'].head}/nod")
    for line in (f"Model: {MODEL}@{repository.head}", f"Motion: {motion}"):
        assert done.stderr.splitlines().count(line) == 1
    assert (desk / "astronaut-nod-smile.mp4").is_file()
    asked = len(hub.asked_for)
    done = run("animate", *common, "--timeline", f"0.1s {MOTION}, 0.2s {MOTION}=0", "-o", "b.mp4")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines().count(f"Motion: {motion}") == 1
    assert not [line for line in hub.asked_for[asked:] if "/storage/" in line]


def test_a_hub_that_fails_is_one_sentence(hub: HubServer, desk: Path, astronaut_file: Path) -> None:
    said = assert_fails(desk, "animate", astronaut_file, "--model", "hf://me/none")
    assert "bundle.json of me/none could not be fetched from the Hugging Face hub" in said
    said = assert_fails(desk, "animate", astronaut_file, "--motion", "hf://me/none")
    assert "hf://me/none is not a motion's file: write hf://me/none/NAME.safetensors" in said
    said = assert_fails(desk, "inspect", "hf://me/none/x.safetensors")
    assert "x.safetensors of me/none could not be fetched" in said


def test_a_motion_twice_by_two_addresses(
    hub: HubServer, repository: Repository, desk: Path, astronaut_file: Path
) -> None:
    again = MOTION.replace("/nod", "@main/nod")
    result = CliRunner().invoke(app, ["animate", str(astronaut_file), "--motion", MOTION, "--motion", again])
    assert result.exit_code == 1
    assert f"--motion {again} is given twice" in result.stderr


def test_without_the_library_the_command_says_what_to_install(
    desk: Path, astronaut_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for command in (
        ["animate", astronaut_file, "--model", MODEL],
        ["animate", astronaut_file, "--motion", MOTION],
        ["weights", "push", "hf://me/avatar"],
    ):
        said = assert_fails(desk, *command)
        assert 'needs huggingface_hub, which is not installed: run `pip install "micromotion[hub]"`' in said


def test_the_service_pins_the_commit_for_its_workers(hub: HubServer, repository: Repository) -> None:
    assert _model(MODEL, fetch=False) == f"{MODEL}@{repository.head}"
    assert _model(MODEL, fetch=True) == f"{MODEL}@{repository.head}"
