"""Health checks, metrics and cleanup of the service."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

import pytest
import torch
from random_networks import zero_code

from micromotion import Animator
from micromotion.service import health
from micromotion.service.health import Health, facts, peaks, reset_peak, stage_lines, sweep
from micromotion.weights.bundle import Bundle, load_bundle


@pytest.fixture
def bundle(random_bundle: Path) -> Bundle:
    return load_bundle(random_bundle, "cpu")


def spoil(bundle: Bundle, value: float) -> None:
    with torch.no_grad():
        for parameter in bundle.generator.parameters():
            parameter.fill_(value)


def test_a_model_that_renders_is_healthy(bundle: Bundle) -> None:
    assert Health(bundle).check()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38, 0.0])
def test_a_model_with_non_finite_output_is_unhealthy(bundle: Bundle, value: float) -> None:
    spoil(bundle, value)
    assert not Health(bundle).check()


def test_a_failing_device_is_unhealthy(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(type(bundle.generator), "synthesize", full)
    assert not Health(bundle).check()


def test_the_health_check_renders_at_intervals(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = Health(bundle)
    assert checked.check()
    spoil(bundle, float("nan"))
    assert checked.check(), "the verdict holds for a while"
    monkeypatch.setattr(health, "EVERY", 0.0)
    assert not checked.check()


def test_the_health_check_does_not_render_during_a_prediction(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "EVERY", 0.0)
    checked = Health(bundle)
    assert checked.check()
    spoil(bundle, float("nan"))
    checked.predicting = True
    assert checked.check()
    checked.predicting = False
    assert not checked.check()


def test_a_prediction_beginning_during_a_health_check_is_not_a_failure(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "EVERY", 0.0)
    checked = Health(bundle)
    assert checked.check()

    def moved(*_: object, **__: object) -> None:
        checked.predicting = True
        raise RuntimeError("Expected all tensors to be on the same device")

    with monkeypatch.context() as patch:
        patch.setattr(type(bundle.generator), "synthesize", moved)
        assert checked.check()
    checked.predicting = False
    assert checked.check()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells")
def test_the_peak_of_memory_is_that_of_the_prediction() -> None:
    cpu = torch.device("cpu")
    reset_peak(cpu)
    before = peaks(cpu)["memory.peak_mb"]
    with mmap.mmap(-1, 200_000_000) as taken:  # new memory, whatever the allocator has cached
        for _ in range(200):  # in small pieces, since the allocator may cache them
            taken.write(b"x" * 1_000_000)
    assert peaks(cpu)["memory.peak_mb"] >= before + 190
    reset_peak(cpu)
    assert peaks(cpu)["memory.peak_mb"] < before + 100


@pytest.mark.slow
def test_the_facts_of_a_prediction(bundle: Bundle, astronaut_file: Path) -> None:
    animator = Animator(bundle)
    video = animator.animate(astronaut_file, "smile", frames=7, fps=3)
    told = facts(bundle, "smile", video, {"align": 0.12345678, "render": 2.0})
    assert told["timing.align"] == 0.1235
    assert (told["model"], told["device"], told["motion"], told["frames"]) == ("random", "cpu", "smile", 7)
    assert (told["video_output_count"], told["video_output_duration_seconds"]) == (1, 2.3333)
    assert video.face is not None
    assert told["face.box"] == list(video.face.box)
    assert told["face.score"] == pytest.approx(video.face.score, abs=1e-3)
    faceless = animator.animate(zero_code(bundle.generator), "smile")
    assert not any(name.startswith("face") for name in facts(bundle, "smile", faceless, {}))
    assert not any(name.startswith("faces") for name in told)
    still = facts(bundle, "smile", video, {}, still=True)
    assert (still["frames"], still["image_output_count"]) == (1, 1)
    assert "video_output_count" not in still
    several = animator.animate(astronaut_file, "smile", faces="0")
    told = facts(bundle, "smile", several, {})
    assert (told["faces.found"], told["faces.moved"]) == (several.found, [0])
    assert several.face is not None
    assert told["faces.boxes"] == [list(several.face.box)]


def test_one_line_per_stage() -> None:
    assert stage_lines({"align": 0.123, "render": 2}) == ["Align: 0.12 s.", "Render: 2.00 s."]


def test_folders_that_cog_leaves_are_removed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    folder = tmp_path / "predictions"
    for path in (elsewhere, folder / "old/inputs", folder / "old/outputs", folder / "new/inputs"):
        path.mkdir(parents=True)
    (folder / "old/outputs/spill.json").write_text("{}")
    (folder / "link").symlink_to(elsewhere)
    os.utime(folder / "old", (time.time() - 100, time.time() - 100))
    sweep(folder, 50)
    assert sorted(path.name for path in folder.iterdir()) == ["link", "new"]
    sweep(folder, 0)
    sweep(tmp_path / "nothing", 0)
    assert elsewhere.is_dir()


def test_the_target_of_a_link_is_not_removed(tmp_path: Path) -> None:
    """In a shared temporary folder, another user may have put a link at the path of Cog's folder."""
    theirs = tmp_path / "home/documents"
    theirs.mkdir(parents=True)
    (tmp_path / "coglet").mkdir()
    (tmp_path / "coglet/predictions").symlink_to(tmp_path / "home")
    sweep(tmp_path / "coglet/predictions", 0)
    (tmp_path / "linked").symlink_to(tmp_path)
    sweep(tmp_path / "linked/home", 0)
    assert theirs.is_dir()
    sweep(tmp_path / "home", 0)
    assert not theirs.exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("whose", ["coglet", "coglet/predictions"])
def test_another_users_files_are_not_removed(tmp_path: Path, whose: str) -> None:
    theirs = tmp_path / "coglet/predictions/theirs"
    theirs.mkdir(parents=True)
    os.chown(tmp_path / whose, 12345, 12345)
    sweep(tmp_path / "coglet/predictions", 0)
    assert theirs.is_dir()
