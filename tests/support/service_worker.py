"""The predictor in this process, loaded and called as by Cog's worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from running_server import EVERYTHING, ROOT


def load(model: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A predictor after setup(); the metrics that it records are in `recorded`."""
    predictor = unprepared(model, monkeypatch)
    predictor.setup()
    return predictor


def unprepared(model: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A predictor before setup()."""
    from cog.predictor import load_predictor_from_ref

    monkeypatch.setenv("MICROMOTION_MODEL", str(model))
    predictor: Any = load_predictor_from_ref(f"{ROOT}/predict.py:Predictor")
    predictor.recorded = {}
    monkeypatch.setattr(predictor, "record_metric", predictor.recorded.__setitem__, raising=False)
    return predictor


def play(predictor: Any, image: Path, **inputs: Any) -> bytes:
    """Run a prediction; the result's bytes."""
    from cog import Path as CogPath

    for name in ("motion_file", "driving_video"):
        if isinstance(inputs.get(name), Path):
            inputs[name] = CogPath(inputs[name])
    result: bytes = predictor.run(image=CogPath(image), **{**EVERYTHING, **inputs}).read_bytes()
    return result
