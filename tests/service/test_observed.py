"""Metrics, the log, the health check, and an error instead of a black video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from running_server import EVERYTHING, ROOT

from micromotion.animator import Animator
from micromotion.errors import BundleError, RenderError
from micromotion.weights.bundle import Bundle, load_bundle, save_bundle

pytestmark = pytest.mark.slow


@pytest.fixture
def predictor(random_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The predictor, loaded as by Cog's worker; its metrics are in `recorded`."""
    from cog.predictor import load_predictor_from_ref

    monkeypatch.setenv("MICROMOTION_MODEL", str(random_bundle))
    predictor: Any = load_predictor_from_ref(f"{ROOT}/predict.py:Predictor")
    predictor.recorded = {}
    monkeypatch.setattr(predictor, "record_metric", predictor.recorded.__setitem__, raising=False)
    predictor.setup()
    return predictor


def play(predictor: Any, image: Path, **inputs: object) -> bytes:
    from cog import Path as CogPath

    result: bytes = predictor.run(image=CogPath(image), **{**EVERYTHING, **inputs}).read_bytes()
    return result


def spoil(bundle: Bundle) -> None:
    """Make all weights NaN, which would render black."""
    with torch.no_grad():
        for parameter in bundle.generator.parameters():
            parameter.fill_(float("nan"))


def test_metrics_and_a_line_for_each_stage(
    predictor: Any, astronaut_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play(predictor, astronaut_file)
    told = predictor.recorded
    stages = {name.partition(".")[2] for name in told if name.startswith("timing.")}
    assert {"motion", "align", "invert", "render", "encode"} <= stages
    assert (told["model"], told["motion"], told["frames"], told["device"]) == ("random", "smile", 6, "cpu")
    assert (told["video_output_count"], told["video_output_duration_seconds"]) == (1, 0.5)
    assert told["face.score"] > 0
    left, top, right, bottom = told["face.box"]
    assert 0 < right - left < 512
    assert 0 < bottom - top < 512
    assert told["memory.peak_mb"] > 100
    lines = capsys.readouterr().out.splitlines()
    for stage in stages:
        assert sum(line.startswith(f"{stage.capitalize()}: ") for line in lines) == 1
    assert lines[-1].startswith("Done: ")


def test_the_health_check_renders(
    predictor: Any, astronaut_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("micromotion.service.health.EVERY", 0.0)
    assert predictor.healthcheck()
    play(predictor, astronaut_file)
    assert predictor.healthcheck()
    spoil(predictor.animator.bundle)
    assert not predictor.healthcheck()
    with pytest.raises(RenderError, match="not finite"):
        play(predictor, astronaut_file)
    assert not predictor.healthcheck(), "a failed prediction has ended too"


def test_a_model_with_non_finite_output_fails_in_setup(
    random_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cog.predictor import load_predictor_from_ref

    bundle = load_bundle(random_bundle, "cpu")
    spoil(bundle)
    save_bundle(tmp_path, name="lost", generator=bundle.generator, inverter=bundle.inverter, about={})
    monkeypatch.setenv("MICROMOTION_MODEL", str(tmp_path))
    predictor = load_predictor_from_ref(f"{ROOT}/predict.py:Predictor")
    with pytest.raises(BundleError, match="renders no valid picture"):
        predictor.setup()


def test_non_finite_output_gives_no_video(random_bundle: Path, astronaut_file: Path, tmp_path: Path) -> None:
    animator = Animator.load(random_bundle, "cpu")
    spoil(animator.bundle)
    with pytest.raises(RenderError) as raised:
        animator.animate(astronaut_file, frames=2).save(tmp_path / "video.mp4")
    assert str(raised.value).endswith(".")
    assert list(tmp_path.iterdir()) == []
