"""The report on the embedded model: its steps and its text."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from draws import rng
from report_data import random_regressor
from safetensors.torch import load_file, save_file
from tiny_avatar import ENCODER, GENERATOR
from torch import Tensor

from avatar import workers
from avatar.data import dataset
from avatar.renderer.factors import INDEX, MOTIONS, factors_from_z, sample_z
from avatar.report import __main__ as command
from avatar.report import heads, steps
from avatar.report.cost import cost
from avatar.report.diversity import Renders
from avatar.report.document import document
from avatar.report.steps import STEPS, ReportContext
from avatar.report.subject import Subject, feature_net, load_subject
from avatar.training.collect import PUBLISHED_NAMES
from encoder4editing import Inverter
from encoder4editing.regressor import READ, Regressor
from micromotion.motion.anchors import Anchors
from micromotion.weights.bundle import save_bundle
from stylegan2 import Generator

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def regressor() -> Regressor:
    return random_regressor()


# --- heads


def test_unseen_heads_are_as_documented() -> None:
    at_rest, turned = factors_from_z(heads.neutral(40)), factors_from_z(heads.turned(40))
    for name in READ:
        assert (at_rest[name] == 0).all()
    assert turned["yaw"][:, 0].tolist() == pytest.approx(
        [heads.TURN * (2 * i / 39 - 1) for i in range(40)], abs=1e-5
    )
    same = [name for name in INDEX if name != "yaw"]
    assert all(torch.allclose(turned[name], at_rest[name], atol=1e-5) for name in same)
    met = factors_from_z(heads.as_met(200))
    assert all(met[name].std() > 0.1 for name in READ)
    shaven = heads.shaven(heads.neutral(40))
    assert 2 < shaven.sum() < 25
    assert (at_rest["beard"][shaven] == 0).all()
    assert (at_rest["moustache"][shaven] == 0).all()


def paint_codes(z: Tensor, size: int, device: str, compiled: bool) -> Tensor:
    return colour_of(z)[:, :, None, None].expand(-1, 3, size, size).contiguous()


def colour_of(z: Tensor) -> Tensor:
    return (z[:, :3] * 20 + 100).round().byte()


def test_heads_are_rendered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def paint(z: Tensor, size: int, device: str, compiled: bool) -> Tensor:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(len(z))
        return paint_codes(z, size, device, compiled)

    monkeypatch.setattr(heads, "paint", paint)
    z = sample_z(20, rng())
    with pytest.raises(KeyboardInterrupt):
        heads.rendered(z, 16, tmp_path, processes=1)
    calls.clear()
    first = heads.rendered(z, 16, tmp_path, processes=1)
    assert calls == [4]  # the two parts before the interrupt were cached
    assert torch.equal(heads.rendered(z, 16, tmp_path, processes=1), first)
    assert calls == [4]
    assert torch.equal(first[:, :, 0, 0], colour_of(z))
    heads.rendered(z[:3], 8, tmp_path, processes=1)
    assert calls == [4, 3]  # other heads, another size
    assert not list(tmp_path.glob("*.part"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, regressor: Regressor) -> Path:
    """Random weights at 32², with a z of the avatar's, five motions and a regressor."""
    folder = tmp_path_factory.mktemp("avatar")
    about = {
        "architecture": {"generator": "StyleGAN2, 32²"},
        "training": {"data": "none", "generator": "on nothing"},
        "figures": {
            "regressor": {
                name: {"error": 0.01, "slope": 0.99, "crosstalk": 0.01, "disturber": "age"} for name in READ
            }
        },
    }
    save_bundle(
        folder,
        name="random",
        generator=Generator(GENERATOR, rng(1)).eval(),
        inverter=Inverter(ENCODER, rng(2)).eval(),
        about=about,
    )
    save_file(regressor.state_dict(), folder / "regressor.safetensors")
    (folder / "anchors").mkdir()
    for i, name in enumerate(PUBLISHED_NAMES.values()):
        line = torch.linspace(0, 1, 6)
        codes = torch.randn(8, 16, generator=rng(i)) * (1 + line[:, None, None])
        Anchors(codes, line, {"source": "random"}).save(folder / "anchors" / f"{name}.safetensors")
    return folder


@pytest.fixture(scope="module")
def subject(bundle: Path) -> Subject:
    return load_subject(bundle, "cpu")


# --- the whole


def test_every_step_computes_its_figures_and_pictures(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "SAMPLES", 40)
    monkeypatch.setattr(steps, "RENDERS", 24)
    monkeypatch.setattr(steps, "cost", lambda folder, threads: cost_of_nothing(threads))
    context = ReportContext(subject, tmp_path / "docs/avatar", tmp_path / "cache", heads=4)
    figures = command.run(context, "a model")
    assert set(figures) == set(STEPS)
    text = document(subject.about, subject.size, 20_000_000, json.loads(json.dumps(figures)))
    shown = {
        line.split("(avatar/")[1][:-1]
        for line in text.splitlines()
        if line.startswith("![") and "(avatar/" in line
    }
    drawn = {path.name for path in (tmp_path / "docs/avatar").iterdir()}
    assert shown == drawn
    assert {"samples.jpg", "motions-1.jpg", "reconstruction.jpg", "neighbours.jpg"} <= shown
    assert "the bundle has no identity network" in text
    assert "in 2 scales" in " ".join(text.split())
    assert "the regressor's last hidden layer" in text
    assert (figures["diversity"]["count"], figures["diversity"]["renders"]) == (40, 12)
    assert figures["detection"]["smile"]["0"]["looked"] == 4
    assert figures["motions"]["heads"] == 4

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "docs/avatar").iterdir()}
    assert command.run(context, "a model") == json.loads(json.dumps(figures))
    assert {path: path.stat().st_mtime_ns for path in before} == before


def cost_of_nothing(threads: int) -> Any:
    from avatar.report.cost import AnimationCost

    return AnimationCost(threads, 1.0, 0.1, 0.05, 2**28)


def test_steps_resume_and_another_model_restarts(
    tmp_path: Path, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def step(name: str, fails: bool = False) -> Any:
        def measure(context: ReportContext) -> dict[str, int]:
            if fails and len(done) < 2:
                done.append("interrupted")
                raise KeyboardInterrupt
            done.append(name)
            return {"n": len(done)}

        return measure

    monkeypatch.setattr(command, "STEPS", {"one": step("one"), "two": step("two", fails=True)})
    context = ReportContext(subject, tmp_path / "p", tmp_path / "cache")
    with pytest.raises(KeyboardInterrupt):
        command.run(context, "m")
    assert command.run(context, "m") == {"one": {"n": 1}, "two": {"n": 3}}
    assert done == ["one", "interrupted", "two"]
    assert command.run(context, "m", only=["two"]) == {"one": {"n": 1}, "two": {"n": 4}}
    assert command.run(context, "another")["one"] == {"n": 5}


def test_renders_are_those_that_the_model_learned_from_one_of_each_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "paint", paint_codes)
    monkeypatch.setattr(dataset, "paint", paint_codes)
    monkeypatch.setattr(workers, "spawn", lambda count, work, *args: [work(i, *args) for i in range(count)])
    z = heads.learned(70)
    for index in range(2):
        dataset.make_shard(tmp_path, index, 0, size=32)
        shard = load_file(tmp_path / f"heads-{index:05d}.safetensors")
        assert torch.equal(shard["z"][::2][:6], z[64 * index :][:6])
    renders = Renders(z, 32, tmp_path)
    assert renders.count == 70
    assert torch.equal(torch.cat(list(renders.parts()))[:, :, 0, 0], colour_of(z))
    found = renders.pictures(torch.tensor([3, 69]))
    assert torch.equal(found[:, :, 0, 0], colour_of(z[[3, 69]]))


def test_the_feature_network_is_named(subject: Subject) -> None:
    net = feature_net(subject)
    assert net.name == "the regressor's last hidden layer"
    assert net.of(torch.zeros(2, 3, 32, 32)).shape == (2, 128)


def test_cost_is_measured_in_a_separate_process(bundle: Path) -> None:
    found = cost(bundle, threads=1)
    assert found.threads == 1
    assert 0 < found.frame < found.load
    assert found.invert > 0
    assert 50 << 20 < found.memory < 8 << 30


def figures_that_pass() -> dict[str, Any]:
    motion = {
        "monotone": 1.0,
        "moved": 1.0,
        "moved_5_percent": 0.9,
        "others": dict.fromkeys(MOTIONS, (0.01, 0.05)),
    }
    found = {"looked": 200, "found": 200, "sensible": 199}
    return {
        "samples": {"count": 24, "truncation": 0.7},
        "reconstruction": {
            "heads": 200,
            "scales": 5,
            "psnr": {"mean": 25.0, "5%": 22.0},
            "ms_ssim": {"mean": 0.9, "5%": 0.88},
            "identity": {"mean": 0.9, "5%": 0.85},
            "strangers": {"mean": 0.1, "5%": -0.1},
        },
        "motions": {
            "heads": 200,
            "shaven": 50,
            "motions": {name: dict(motion) for name in PUBLISHED_NAMES.values()},
        },
        "detection": {
            "renders": found,
            "failures": 0,
            **{name: {"0": dict(found), "1": dict(found)} for name in PUBLISHED_NAMES.values()},
        },
        "diversity": {
            "count": 5000,
            "renders": 1536,
            "net": "a net",
            "meaning": "it sees",
            **dict.fromkeys(("kid", "floor", "blurred"), 0.001),
            **dict.fromkeys(("to_render", "to_sample", "between_renders"), 3.3),
        },
        "cost": {"1": {"frame": 0.1, "invert": 0.1, "load": 1.0, "memory": 2**28}},
    }


def written(figures: dict[str, Any], total: int = 20_000_000, slope: float = 0.99) -> str:
    figures["motions"]["motions"]["aging"].setdefault("moved_shaven", 0.9)
    regressor = {
        name: {"error": 0.01, "slope": slope, "crosstalk": 0.01, "disturber": "age"} for name in READ
    }
    about = {"architecture": {}, "training": {}, "figures": {"regressor": regressor}}
    return document(about, 256, total, figures)


# --- the text


def test_met_targets_are_ticked() -> None:
    text = written(figures_that_pass())
    assert "✗" not in text.replace("✓ and ✗ say", "")
    assert text.count("✓") > 40
    assert "all five" not in text  # scales
    assert max(len(line) for line in text.splitlines() if line[:1] not in "|!#") <= 140


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("reconstruction", "ms_ssim", "mean"), 0.84),
        (("reconstruction", "identity", "mean"), 0.79),
        (("motions", "motions", "smile", "monotone"), 0.94),
        (("motions", "motions", "angry", "others", "age"), (0.0, 0.16)),
        (("motions", "motions", "aging", "moved"), 0.84),
        (("motions", "motions", "aging", "moved_shaven"), 0.84),
        (("detection", "eyesClose", "1", "sensible"), 185),
    ],
)
def test_missed_targets_are_crossed(path: tuple[str, ...], value: Any) -> None:
    figures = figures_that_pass()
    place = figures
    for key in path[:-1]:
        place[key] = dict(place[key])
        place = place[key]
    place[path[-1]] = value
    assert written(figures).count("✗") == 2


def test_size_and_regressor_have_targets_too() -> None:
    assert written(figures_that_pass(), total=30_000_001).count("✗") == 2
    assert written(figures_that_pass(), slope=0.94).count("✗") == 1 + len(MOTIONS)
