"""Training runs of the avatar's networks: interrupted ones resume, and too little data is reported."""

from pathlib import Path
from typing import Any

import pytest
import torch
from draws import rng
from torch import Tensor, nn
from training_data import few_heads, shrink_clip, smooth_pictures

from avatar.data import dataset, people
from avatar.training import clip as train_clip
from avatar.training import identity as train_identity
from avatar.training import runs as training

pytestmark = pytest.mark.slow


@pytest.fixture
def small_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_clip(monkeypatch)


def write_heads(folder: Path) -> None:
    folder.mkdir()
    for index in range(5):  # the last four are held out
        heads = few_heads(4)
        tensors = {"images": heads.images, "z": heads.z, "differs": heads.differs}
        dataset.write(folder / f"heads-{index:05d}.safetensors", tensors)


def write_people(folder: Path) -> None:
    folder.mkdir()
    for index in range(5):
        z = people.draw(rng(index), people.SHARD // people.VIEWS)[:16]
        person = index * 16 + torch.arange(2).repeat_interleave(8)
        tensors = {"images": smooth_pictures(16, index), "z": z, "person": person}
        dataset.write(folder / f"people-{index:05d}.safetensors", tensors)


def test_the_average_of_a_short_run_forgets_its_beginning(tmp_path: Path) -> None:
    def half_life(total: int) -> float:
        line = nn.Linear(1, 1)
        return training.Trainer("a", line, tmp_path, 0, 1, total=total, seed=0, learning_rate=0.1).half_life

    assert half_life(1000) == 50
    assert half_life(1_000_000) == training.HALF_LIFE


class InterruptedRunError(Exception):
    pass


@pytest.mark.parametrize("name", ["clip", "identity"])
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_clip: None
) -> None:
    module: Any = {"clip": train_clip, "identity": train_identity}[name]
    {"clip": write_heads, "identity": write_people}[name](tmp_path / "data")
    monkeypatch.setattr(module, "BATCH", 4)
    monkeypatch.setattr(training, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    files = []
    for stops in (False, True):
        run = tmp_path / f"run-{stops}"
        run.mkdir()
        if stops:
            honest, calls = module.step_loss, iter(range(3))

            def stopping(*args: Any, honest: Any = honest, calls: Any = calls, **options: Any) -> Tensor:
                if next(calls, None) is None:
                    raise InterruptedRunError
                return honest(*args, **options)

            with monkeypatch.context() as patch:
                patch.setattr(module, "step_loss", stopping)
                with pytest.raises(InterruptedRunError):
                    module.train(0, tmp_path / "data", run, 24, 0, 1)
            assert torch.load(run / f"{name}.pt", weights_only=True)["images"] == 12
        module.train(0, tmp_path / "data", run, 24, 0, 1)
        files.append((run / f"{name}.safetensors").read_bytes())
    assert files[0] == files[1]


def test_too_few_shards_are_reported(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"avatar\.data\.people"):
        people.load(tmp_path)


@pytest.mark.parametrize("known", [True, False])
def test_bfloat16_is_used_if_the_processor_supports_it(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """On other processors training would take twenty times as long."""
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: known)
    with training.half(torch.device("cpu")):
        made = torch.ones(2, 2) @ torch.ones(2, 2)
    assert made.dtype == (torch.bfloat16 if known else torch.float32)
