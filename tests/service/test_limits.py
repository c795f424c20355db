"""A prediction has a time limit, imports nothing, and inverts a photo once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cog import Path as CogPath
from learn_networks import SENTENCE
from PIL import Image
from running_server import EVERYTHING, ROOT, STOP, wait_until
from service_worker import play, unprepared
from shown import shown
from trajectories import still
from videos import write_video

from encoder4editing import Inverter
from micromotion.drive.trajectory import save_trajectory
from micromotion.errors import OptionError, OutputError, TimeLimitError

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("inputs", "stage"),
    [
        ({"refine": 5}, "over while refining: "),
        ({"lock_identity": True}, "over while tuning: "),
        ({}, "over while rendering: "),
        ({"output_format": "webp", "view": "photo"}, "over while rendering: "),
        ({"motion": "custom", "template": SENTENCE}, "time for learning the motion"),
    ],
)
def test_every_stage_ends_at_the_deadline(
    predictor: Any, astronaut_file: Path, inputs: dict[str, Any], stage: str
) -> None:
    before = shown(play(predictor, astronaut_file))
    allowed, predictor.seconds = predictor.seconds, 0.0
    with pytest.raises(TimeLimitError, match=stage) as raised:
        play(predictor, astronaut_file, **inputs)
    assert str(raised.value).endswith(".")
    assert "\n" not in str(raised.value)
    predictor.seconds = allowed
    assert shown(play(predictor, astronaut_file)) == before


def test_invalid_time_limits_are_refused_in_setup(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROMOTION_SECONDS", "long")
    with pytest.raises(OptionError, match="MICROMOTION_SECONDS must be seconds"):
        unprepared(model, monkeypatch).setup()


def test_files_left_by_a_cancellation_are_removed(
    predictor: Any, astronaut_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancellation during a prediction's cleanup leaves its folder, until another prediction begins."""
    monkeypatch.setattr(sys.modules[type(predictor).__module__], "COLLECTED_AFTER", 0.0)
    left = Path(predictor.results.name) / "left"
    left.mkdir()
    predictor.run(image=CogPath(astronaut_file), **EVERYTHING)
    wait_until(lambda: not left.exists(), STOP, "the folder to be removed")


def test_a_deleted_folder_of_results_is_created_again(predictor: Any, astronaut_file: Path) -> None:
    """Systems delete files in their temporary folder that were unused for some days."""
    shutil.rmtree(predictor.results.name)
    assert play(predictor, astronaut_file)
    shutil.rmtree(predictor.results.name)
    Path(predictor.results.name).write_bytes(b"")
    with pytest.raises(OutputError, match="cannot store the result"):
        play(predictor, astronaut_file)
    Path(predictor.results.name).unlink()


def test_a_photo_is_inverted_once(
    predictor: Any, astronaut_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    invert = Inverter.invert

    def counted(*given: Any, **named: Any) -> Any:
        calls.append(1)
        return invert(*given, **named)

    monkeypatch.setattr(Inverter, "invert", counted)
    monkeypatch.setattr(sys.modules[type(predictor).__module__], "LEARNING_STEPS", 2)
    play(predictor, astronaut_file, motion="custom", template=SENTENCE)
    assert len(calls) == 1


IMPORTS = """
import json, sys
from cog import Path
from cog.predictor import load_predictor_from_ref
predictor = load_predictor_from_ref(sys.argv[1])
predictor.record_metric = lambda *_: None
predictor.setup()
import micromotion.encoding, micromotion.inversion.pivotal_tuning
tuned = micromotion.inversion.pivotal_tuning.tuned
micromotion.encoding.tuned = lambda *given, **named: tuned(*given, steps=2, **named)
sys.modules[type(predictor).__module__].LEARNING_STEPS = 2
found = {}
for given in json.loads(sys.argv[3]):
    if given["driving_video"]:
        given["driving_video"] = Path(given["driving_video"])
    before = set(sys.modules)
    predictor.run(image=Path(sys.argv[2]), **given)
    found[str(given)] = sorted(set(sys.modules) - before)
print(json.dumps(found))
"""


def test_a_prediction_imports_nothing(model: Path, astronaut_file: Path, tmp_path: Path) -> None:
    """A cancellation during an import would leave a partial module, on which later imports fail."""
    pixels = np.asarray(Image.open(astronaut_file).resize((256, 256)))
    clip = write_video(tmp_path / "clip.mp4", [pixels] * 3)
    save_trajectory(tmp_path / "track.safetensors", still(2, lids=1.0), {"source": "a test"})
    driven = {**EVERYTHING, "motion": "smile", "frames": 90, "fps": 30}
    asked = [
        {**driven, "driving_video": str(clip)},
        {**driven, "driving_video": str(clip), "view": "model", "output_format": "webp"},
        {**driven, "driving_video": str(tmp_path / "track.safetensors"), "faces": "all"},
        {**EVERYTHING, "lock_identity": True, "output_format": "webp", "view": "photo"},
        {**EVERYTHING, "refine": 2, "output_format": "gif", "compare": True},
        {**EVERYTHING, "motion": "custom", "template": SENTENCE, "seed": 3},
        {**EVERYTHING, "timeline": "0.5s smile smooth", "loop": "pingpong"},
    ]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IMPORTS, f"{ROOT}/predict.py:Predictor", astronaut_file,
         json.dumps(asked)],
        env={**os.environ, "MICROMOTION_MODEL": str(model), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {words: names for words, names in json.loads(done.stdout.splitlines()[-1]).items() if names} == {}
