"""An interrupted collection of anchors resumes bit-exactly; progress that does not fit is refused."""

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from learn_networks import collect, save_learning_bundle
from safetensors.torch import load_file, save_file
from torch import Tensor

from micromotion.errors import MotionError, OutputError, TimeLimitError
from micromotion.learn import descent, text
from micromotion.learn.text import Step
from micromotion.weights.bundle import Bundle, load_bundle

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:pkg_resources")]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(save_learning_bundle(tmp_path_factory.mktemp("learning")), "cpu")


class Stopped(BaseException):
    """Raised by the caller during the collection, like an interrupt."""


def stop_after(count: int) -> Callable[[Step], None]:
    def stop(step: Step) -> None:
        if step.done == count:
            raise Stopped

    return stop


def test_an_interrupted_run_resumes_bit_exactly(bundle: Bundle, tmp_path: Path) -> None:
    whole = collect(bundle)
    for count in (2, 4):
        with pytest.raises(Stopped):
            collect(bundle, resume=tmp_path / "kept", on_step=stop_after(count))
    seen: list[int] = []
    resumed = collect(bundle, resume=tmp_path / "kept", on_step=lambda step: seen.append(step.done))
    assert seen == [5]
    assert torch.equal(resumed.w_plus, whole.w_plus)
    assert resumed.provenance == whole.provenance
    again = collect(bundle, resume=tmp_path / "kept", on_step=stop_after(5))  # already finished
    assert torch.equal(again.w_plus, whole.w_plus)
    assert again.provenance == whole.provenance
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [descent.NAME]


@pytest.fixture
def kept(bundle: Bundle, tmp_path: Path) -> Path:
    """A folder with the progress of two steps."""
    with pytest.raises(Stopped):
        collect(bundle, resume=tmp_path / "kept", on_step=stop_after(2))
    return tmp_path / "kept"


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"seed": 1}, "seed"),
        ({"steps": 6}, "steps"),
        ({"truncation": 0.5}, "truncation"),
        ({"l2": 0.01}, "l2"),
        ({"identity": 0.01}, "identity"),
        ({"learning_rate": 0.2}, "learning_rate"),
        ({"compatible": True}, "compatible and unit"),
        ({"degrees": ("no", "20%", "50%", "100%")}, "degrees"),
    ],
    ids=str,
)
def test_the_progress_of_another_collection_is_refused(
    bundle: Bundle, kept: Path, change: dict[str, Any], name: str
) -> None:
    before = (kept / descent.NAME).read_bytes()
    with pytest.raises(MotionError, match=rf"of another collection \(its {name} (is|are) not the same\)"):
        collect(bundle, resume=kept, **change)
    assert (kept / descent.NAME).read_bytes() == before


def test_progress_from_another_model_is_refused(bundle: Bundle, kept: Path, tmp_path: Path) -> None:
    folder = save_learning_bundle(tmp_path / "other")
    other = load_bundle(folder, "cpu")
    with torch.no_grad():
        other.generator.synthesis.styled_convs[3].bias.add_(0.01)
    with pytest.raises(MotionError, match=r"of another collection \(its model is not the same\)"):
        collect(other, resume=kept)


def rewrite(path: Path, change: Callable[[dict[str, Tensor], dict[str, str]], object]) -> None:
    """Write the file again with its tensors and metadata changed."""
    size = int.from_bytes(path.read_bytes()[:8], "little")
    metadata = json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]
    tensors = load_file(path)
    change(tensors, metadata)
    save_file(tensors, path, metadata)


def set_done(done: Any) -> Callable[[dict[str, Tensor], dict[str, str]], object]:
    def change(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        metadata["config"] = json.dumps(json.loads(metadata["config"]) | {"done": done})

    return change


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        lambda path: path.write_bytes(b"\xff" * 1000),
        lambda path: path.write_bytes((1 << 62).to_bytes(8, "little") + b"{"),
        lambda path: rewrite(path, lambda tensors, _: tensors.pop("mean")),
        lambda path: rewrite(path, lambda tensors, _: tensors.update(more=torch.zeros(1))),
        lambda path: rewrite(path, lambda tensors, _: tensors.update(codes=tensors["codes"][:2].clone())),
        lambda path: rewrite(path, lambda tensors, _: tensors.update(codes=tensors["codes"].double())),
        lambda path: rewrite(path, lambda tensors, _: tensors["square"].fill_(math.nan)),
        lambda path: rewrite(path, lambda tensors, _: tensors["square"].neg_()),
        lambda path: rewrite(path, lambda _, metadata: metadata.update(kind="generator")),
        lambda path: rewrite(path, lambda _, metadata: metadata.update(config="[]")),
        lambda path: rewrite(path, lambda _, metadata: metadata.update(config='{"recipe": 1}')),
        lambda path: rewrite(path, set_done(6)),
        lambda path: rewrite(path, set_done(-1)),
        lambda path: rewrite(path, set_done(True)),
        lambda path: rewrite(path, set_done("2")),
    ],
)
def test_damaged_progress_is_refused(bundle: Bundle, kept: Path, damage: Callable[[Path], object]) -> None:
    damage(kept / descent.NAME)
    before = (kept / descent.NAME).read_bytes()
    with pytest.raises(MotionError) as caught:
        collect(bundle, resume=kept)
    sentence = str(caught.value)
    assert str(kept / descent.NAME) in sentence
    assert sentence.endswith("to begin anew.")
    assert (kept / descent.NAME).read_bytes() == before


def test_unusable_progress_folders_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(MotionError, match="is not a folder, which progress is saved in"):
        collect(bundle, resume=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(OutputError, match=r"cannot be saved in .*name another folder"):
        collect(bundle, resume=tmp_path / "file" / "below")
    (tmp_path / "taken" / descent.NAME).mkdir(parents=True)
    with pytest.raises(MotionError, match="is not a folder, which progress is saved in"):
        collect(bundle, resume=tmp_path / "taken")


def test_the_time_limit_stops_it_and_saves_the_progress(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TimeLimitError, match=r"reached after 0 of 5 steps; nothing was saved: allow"):
        collect(bundle, time_limit=0)
    clock = [0.0]
    monkeypatch.setattr(text.time, "monotonic", lambda: clock[0])

    def pass_time(step: Step) -> None:
        clock[0] += 10

    limited = partial(collect, bundle, resume=tmp_path, on_step=pass_time, time_limit=25)
    with pytest.raises(TimeLimitError, match=rf"reached after 3 of 5 steps; .* saved in {tmp_path}"):
        limited()
    assert torch.equal(limited().w_plus, collect(bundle).w_plus)
