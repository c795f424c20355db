"""Locking the identity through every interface: what changes, what stays, and what is reported."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from random_networks import zero_code
from shown import shown
from typer.testing import CliRunner

from micromotion import Animator
from micromotion.cli.main import app
from micromotion.errors import DeviceMemoryError, OptionError

pytestmark = pytest.mark.slow

STEPS = 4


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tune in few steps, just enough for a visible change."""
    from micromotion.inversion import pivotal_tuning

    tuned = pivotal_tuning.tuned
    monkeypatch.setattr(
        "micromotion.encoding.tuned", lambda *given, **named: tuned(*given, steps=STEPS, **named)
    )


def test_the_video_is_nearer_to_the_photo_and_the_model_unchanged(
    animator: Animator, astronaut: Image.Image
) -> None:
    before = {name: value.clone() for name, value in animator.bundle.generator.state_dict().items()}
    plain = animator.animate(astronaut, frames=2)
    said: list[int] = []
    video = animator.animate(
        astronaut, frames=2, lock_identity=True, on_lock=lambda done, loss: said.append(done), compare=True
    )
    assert said == [0, 1, 2, 3, 4]
    assert plain.likeness is None
    assert video.likeness is not None
    was, now = video.likeness.psnr
    assert now > was
    assert video.likeness.motions.keys() == {"smile"}
    assert "lock" in video.timings
    after = animator.bundle.generator.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    unlocked = animator.animate(astronaut, frames=2, compare=True)
    assert not np.array_equal(next(iter(video)), next(iter(unlocked)))
    assert all(
        np.array_equal(a, b) for a, b in zip(plain, animator.animate(astronaut, frames=2), strict=True)
    )


def test_a_tuned_generator_is_cached_for_the_photo(animator: Animator, astronaut: Image.Image) -> None:
    first = list(animator.animate(astronaut, "headsTurn", frames=2, lock_identity=True))

    def never(done: int, loss: float) -> None:
        raise AssertionError("tuned again")

    again = animator.animate(astronaut, "headsTurn", frames=2, lock_identity=True, on_lock=never)
    assert again.likeness is not None
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_a_full_gpu_is_reported_when_locking(
    animator: Animator, astronaut: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def full(*_: object, **__: object) -> None:
        calls.append(1)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 512.00 MiB.")

    monkeypatch.setattr("micromotion.encoding.tuned", full)
    with pytest.raises(DeviceMemoryError, match="tuning the generator"):
        animator.animate(astronaut, lock_identity=True)
    assert len(calls) == 2, "one retry, no more"


def test_a_latent_cannot_be_locked(animator: Animator) -> None:
    with pytest.raises(OptionError, match="photo"):
        animator.animate(zero_code(animator.bundle.generator), lock_identity=True)


def test_the_command_reports_the_improvement(
    astronaut_file: Path, random_bundle: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.gif"
    options = ["--model", str(random_bundle), "--frames", "2", "--lock-identity", "-o", str(output)]
    result = CliRunner().invoke(app, ["animate", str(astronaut_file), *options], catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (0, "")
    video, likeness = result.stdout.splitlines()
    assert video == f"Video: {output}"
    assert likeness.startswith("Likeness: PSNR ")
    assert "smile kept" in likeness
    wrong = CliRunner().invoke(app, ["animate", str(astronaut_file), "--lock-identity", "--strengths", "1"])
    assert "leave out" in wrong.stderr


def test_the_service_logs_the_improvement(
    random_bundle: Path,
    astronaut_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Called as by Cog's worker."""
    from cog import Path as CogPath
    from cog.predictor import load_predictor_from_ref
    from running_server import EVERYTHING, ROOT

    monkeypatch.setenv("MICROMOTION_MODEL", str(random_bundle))
    predictor = load_predictor_from_ref(f"{ROOT}/predict.py:Predictor")
    predictor.setup()
    videos = []
    for lock in (False, True):
        given = {**EVERYTHING, "lock_identity": lock}
        videos.append(shown(predictor.run(image=CogPath(astronaut_file), **given)))
        logs = capsys.readouterr().out
        assert ("Tuned by 0 of " in logs) == lock
        assert ("Likeness: PSNR " in logs) == lock
    assert videos[0] != videos[1]
