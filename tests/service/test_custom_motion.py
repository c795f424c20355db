"""Motions from the caller: a template that is learned first, or the file of a learned motion."""

from __future__ import annotations

import pickle
import re
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import service_worker
import torch
from learn_networks import SENTENCE, quick, save_learning_bundle
from random_networks import STYLE_DIM, STYLES, random_anchors
from running_server import (
    ANSWER,
    CHOSEN,
    ROOT,
    STOP,
    Server,
    data_url,
    serving,
    wait_until,
)
from service_answers import check_sentence, content, sentence
from service_worker import load
from shown import shown

from micromotion.errors import BundleError, MotionError, NoFaceError, OptionError, TimeLimitError
from micromotion.learn.provenance import with_provenance
from micromotion.motion.anchors import Anchors, Provenance
from micromotion.motion.directions import save_direction
from micromotion.motion.timeline_text import parse_timeline
from micromotion.weights.bundle import load_bundle

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class World:
    """A server whose model can learn, and its cache of learned motions."""

    server: Server
    collected: Path

    def kept(self) -> list[Path]:
        return sorted(self.collected.glob("*"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_learning_bundle(tmp_path_factory.mktemp("learning"))


@pytest.fixture(scope="module")
def world(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("server")
    with serving(folder, model) as server:
        yield World(server, folder / "cache/collected")


@pytest.fixture(scope="module")
def photo(astronaut_file: Path) -> str:
    return data_url(astronaut_file.read_bytes())


@pytest.fixture(scope="module")
def upload(model: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a motion learned for the model."""
    path = tmp_path_factory.mktemp("motion") / "grin.safetensors"
    with_provenance(random_anchors(3), "grin", load_bundle(model, "cpu"), "curve").save(path)
    return path.read_bytes()


@pytest.fixture
def predictor(model: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The predictor in this process, loaded as by Cog's worker."""
    return load(model, monkeypatch)


def play(predictor: Any, image: Path, **inputs: Any) -> bytes:
    """Run a prediction; a GIF, which preserves every pixel."""
    return service_worker.play(predictor, image, **{"output_format": "gif", **inputs})


def learned_steps(logs: str) -> list[int]:
    return [int(number) for number in re.findall(r"^Learned (\d+) of 40 steps, ", logs, re.MULTILINE)]


# --- a template ---------------------------------------------------------------------------------------------


def test_a_template_is_learned_once_and_played(world: World, photo: str) -> None:
    asked = {"motion": "custom", "template": SENTENCE}
    first = world.server.predict(photo, **asked)[1]
    video = shown(content(first))
    steps = learned_steps(first["logs"])
    assert steps == [1, *range(4, 41, 4)]
    left = r"^Learned 8 of 40 steps, loss -?\d+\.\d{4}, \d+ (s|min) left\.$"
    assert re.search(left, first["logs"], re.MULTILINE)
    assert first["metrics"]["timing"]["collect"] > 0
    assert "playing custom at strength 1." in first["logs"]
    (kept,) = world.kept()
    anchors = Anchors.load(kept)
    assert (len(anchors.degrees), float(anchors.degrees[-1])) == (11, 1.0), "strength 1 is the last one"
    assert anchors.provenance["template"] == SENTENCE
    again = world.server.predict(photo, **{**asked, "template": f" {SENTENCE} "})[1]
    assert shown(content(again)) == video
    assert learned_steps(again["logs"]) == []
    assert "The motion of this template is cached." in again["logs"]
    assert len(world.kept()) == 1


def test_a_cancelled_collection_resumes_on_the_next_request(world: World, photo: str) -> None:
    server, before, left = world.server, set(world.kept()), world.server.left()
    asked = {**CHOSEN, "image": photo, "motion": "custom", "template": SENTENCE, "seed": 7}
    wait_until(lambda: server.status() == "READY", ANSWER, "the server to be ready")
    body = {"id": "stopped", "input": asked}
    assert server.call("/predictions", body, prefer="respond-async")[0] == 202
    wait_until(
        lambda: any(list(path.glob("progress.safetensors")) for path in set(world.kept()) - before),
        ANSWER,
        "the collection to begin",
    )
    assert server.call("/predictions/stopped/cancel", {})[0] == 200
    wait_until(lambda: server.status() == "READY", STOP, "the server to be ready again")
    wait_until(lambda: server.left() <= left, STOP, "the temporary files to go")
    (progress,) = set(world.kept()) - before
    assert progress.is_dir(), "it was learned to the end"
    answer = server.predict(photo, motion="custom", template=SENTENCE, seed=7)[1]
    content(answer)
    assert learned_steps(answer["logs"])[0] > 1
    assert learned_steps(answer["logs"])[-1] == 40
    (kept,) = set(world.kept()) - before
    assert kept.is_file()


def test_a_motion_is_learned_again_if_its_inputs_change(
    predictor: Any, cache: Path, astronaut_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import micromotion.learn.text_cache as text_cache

    monkeypatch.setattr(text_cache, "collect_from_text", quick)
    asked: list[dict[str, Any]] = [
        {"template": SENTENCE},
        {"template": SENTENCE, "seed": 1},
        {"template": "a person with {degree} no smile"},
    ]
    for count, each in enumerate(asked, 1):
        play(predictor, astronaut_file, motion="custom", **each)
        play(predictor, astronaut_file, motion="custom", **each)
        assert len(list((cache / "collected").iterdir())) == count
    play(predictor, astronaut_file, motion="custom", template=SENTENCE, seed=0)
    assert len(list((cache / "collected").iterdir())) == 3, "-1 stands for the face of seed 0"


def test_a_collection_stopped_by_the_time_limit_resumes(
    predictor: Any, cache: Path, astronaut_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import micromotion.learn.text_cache as text_cache

    module = sys.modules[type(predictor).__module__]
    monkeypatch.setattr(module, "COLLECTING_LIMIT", 0.0)
    with pytest.raises(TimeLimitError, match="the same request resumes from it") as raised:
        play(predictor, astronaut_file, motion="custom", template=SENTENCE)
    check_sentence(str(raised.value))
    monkeypatch.setattr(module, "COLLECTING_LIMIT", 600.0)
    assert predictor.run.__func__.__globals__["COLLECTING_LIMIT"] == 600.0, "this is the constant that counts"
    steps: list[Any] = []

    def stop_at_three(step: Any) -> None:
        steps.append(step.done)
        if step.done == 3:
            raise KeyboardInterrupt

    bundle = predictor.animator.bundle
    with pytest.raises(KeyboardInterrupt):
        text_cache.collect_cached(SENTENCE, bundle, "custom", steps=5, on_step=stop_at_three)
    text_cache.collect_cached(
        SENTENCE, bundle, "custom", steps=5, on_step=lambda step: steps.append(step.done)
    )
    assert steps == [1, 2, 3, 4, 5]


def test_a_model_that_cannot_learn_says_so(
    tmp_path: Path, astronaut_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = load(save_learning_bundle(tmp_path, networks=False), monkeypatch)
    with pytest.raises(
        BundleError, match=r"has no CLIP to learn motions with: put a clip\.safetensors into its"
    ) as raised:
        play(predictor, astronaut_file, motion="custom", template=SENTENCE)
    check_sentence(str(raised.value))


def test_without_a_face_nothing_is_learned(predictor: Any, cache: Path, astronaut_file: Path) -> None:
    with pytest.raises(NoFaceError):
        play(predictor, astronaut_file, motion="custom", template=SENTENCE, face=50)
    assert not (cache / "collected").exists()


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"motion": "custom"}, "needs a template"),
        ({"motion": "custom", "template": "  "}, "needs a template"),
        ({"template": SENTENCE}, "only for the motion 'custom'"),
        ({"motion": "custom", "template": "a smile"}, "lacks {degree}"),
        ({"motion": "custom", "template": "a {smile}"}, "has an unknown placeholder '{smile}'"),
        ({"motion": "custom", "template": "{degree} {degree}"}, "more than once"),
        ({"motion": "custom", "template": "{degree.__class__}"}, "unknown placeholder"),
        ({"motion": "custom", "template": "{degree}\nsmile"}, "unprintable characters"),
        ({"motion": "custom", "template": SENTENCE, "motion_file": "URL"}, "leave one of them out"),
        ({"template": SENTENCE, "motion_file": "URL"}, "only for the motion 'custom'"),
        ({"motion_file": "/etc/passwd"}, "data URL"),
        ({"motion_file": f"file://{ROOT}/anchors/avatar/smile.safetensors"}, "data URL"),
        ({"motion_file": ""}, "data URL"),
    ],
)
def test_wrong_inputs_are_refused_in_one_sentence(
    world: World, photo: str, upload: bytes, inputs: dict[str, str], said: str
) -> None:
    given = {key: data_url(upload) if value == "URL" else value for key, value in inputs.items()}
    assert said in sentence(world.server.predict(photo, **given)[1])


# --- a motion's file ----------------------------------------------------------------------------------------


def test_a_learned_motion_is_played(
    world: World, photo: str, upload: bytes, predictor: Any, tmp_path: Path, astronaut_file: Path
) -> None:
    url = data_url(upload, "application/octet-stream")
    left = world.server.left()
    answer = world.server.predict(photo, motion_file=url, output_format="gif")[1]
    assert "playing motion_file at strength 1." in answer["logs"]
    assert "collect" not in answer["metrics"]["timing"]
    path = tmp_path / "any name"
    path.write_bytes(upload)
    video = shown(content(answer, "image/gif"))
    assert video == shown(play(predictor, astronaut_file, motion_file=path))
    clip = predictor.animator.animate(astronaut_file, path, strength=1, frames=6, fps=12)
    clip.save(tmp_path / "clip.gif")
    assert video == shown(tmp_path / "clip.gif")
    wait_until(lambda: world.server.left() <= left, STOP, "the temporary files to go")


def test_a_timeline_can_name_the_callers_motion(
    predictor: Any, upload: bytes, tmp_path: Path, astronaut_file: Path
) -> None:
    path = tmp_path / "grin.safetensors"
    path.write_bytes(upload)
    text = "0.5s motion_file=0.5, 1s hold, 1.5s motion_file=0"
    video = shown(play(predictor, astronaut_file, timeline=text, motion_file=path))
    clip = predictor.animator.animate(
        astronaut_file, parse_timeline(text).with_files({"motion_file": path}), fps=12
    )
    clip.save(tmp_path / "clip.gif")
    assert video == shown(tmp_path / "clip.gif")
    learned = {"motion": "custom", "template": SENTENCE}
    custom = shown(play(predictor, astronaut_file, timeline="0.5s custom, 1s custom=0", **learned))
    assert custom == shown(play(predictor, astronaut_file, frames=7, loop="pingpong", **learned))
    with pytest.raises(OptionError, match="column 4: There is no micromotion 'custom'"):
        play(predictor, astronaut_file, timeline="1s custom", motion_file=path)
    path.write_bytes(b"")
    with pytest.raises(MotionError, match="motion_file") as caught:
        play(predictor, astronaut_file, timeline="1s motion_file", motion_file=path)
    check_sentence(str(caught.value))


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("sprung"),)


def bad_file(name: str, upload: bytes, folder: Path) -> bytes:
    path = folder / "bad.safetensors"
    rng = torch.Generator().manual_seed(0)
    foreign: Provenance = {"model": "ffhq", "generator": "0" * 64}
    match name:
        case "empty":
            return b""
        case "text":
            return b"This is not a motion.\n" * 40
        case "truncated":
            return upload[: len(upload) // 2]
        case "too large":
            return upload + bytes(33 << 20)
        case "header":
            return struct.pack("<Q", 2**63) + upload[8:]
        case "pickle":
            return pickle.dumps(Trap())
        case "torch":
            torch.save(torch.randn(1, STYLES, STYLE_DIM, generator=rng), path)
        case "nets":
            return (folder / "model/generator.safetensors").read_bytes()
        case "shape":
            Anchors(torch.randn(4, 18, 512, generator=rng), torch.arange(4), {}).save(path)
        case "direction shape":
            save_direction(torch.randn(18, 512, generator=rng), path, {})
        case "model":
            anchors = random_anchors(1)
            Anchors(anchors.w_plus, anchors.degrees, foreign).save(path)
        case "version":
            anchors = random_anchors(1)
            Anchors(anchors.w_plus, anchors.degrees, {**foreign, "model": "random"}).save(path)
        case "path":
            anchors = random_anchors(1)
            Anchors(anchors.w_plus, anchors.degrees, {"path": "spiral"}).save(path)
        case _:
            raise ValueError(name)
    return path.read_bytes()


BAD_FILES = [
    ("empty", "motion_file cannot be read"),
    ("text", "motion_file cannot be read"),
    ("truncated", "motion_file cannot be read"),
    ("header", "motion_file cannot be read"),
    ("pickle", "motion_file cannot be read"),
    ("torch", "motion_file is a PyTorch file"),
    ("nets", "motion_file"),
    ("shape", "'motion_file' was learned for another model: its latents have the shape [18, 512]"),
    ("direction shape", "'motion_file' was learned for another model"),
    ("model", "learned for the model 'ffhq', not for 'random'"),
    ("version", "another version of the model 'random'"),
    ("path", '"line" or "curve"'),
]


@pytest.mark.parametrize(("name", "said"), BAD_FILES)
def test_a_bad_motion_file_fails_with_one_sentence(
    predictor: Any, model: Path, upload: bytes, tmp_path: Path, astronaut_file: Path, name: str, said: str
) -> None:
    (tmp_path / "model").symlink_to(model)
    path = tmp_path / "sent"
    path.write_bytes(bad_file(name, upload, tmp_path))
    with pytest.raises(MotionError) as raised:
        play(predictor, astronaut_file, motion_file=path)
    assert said in str(raised.value)
    check_sentence(str(raised.value))
    assert not Path("sprung").exists()


def test_a_bad_file_over_http(world: World, photo: str, upload: bytes, tmp_path: Path) -> None:
    left = world.server.left()
    for name, said in (("too large", "larger than 32 MB"), ("truncated", "motion_file cannot be read")):
        url = data_url(bad_file(name, upload, tmp_path), "application/octet-stream")
        assert said in sentence(world.server.predict(photo, motion_file=url)[1])
    wait_until(lambda: world.server.left() <= left, STOP, "the temporary files to go")


def test_a_foreign_shape_is_refused_before_it_is_analysed(
    predictor: Any, tmp_path: Path, astronaut_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def analyse(*_: object) -> None:
        raise AssertionError("it was analysed")

    monkeypatch.setattr("micromotion.motion.playable.analyse", analyse)
    path = tmp_path / "sent"
    Anchors(torch.randn(4, STYLES + 1, STYLE_DIM), torch.arange(4), {}).save(path)
    with pytest.raises(MotionError, match="another model"):
        play(predictor, astronaut_file, motion_file=path)


def test_a_missing_or_null_motion_file_plays_the_named_motion(world: World, photo: str) -> None:
    """The model has no motion 'smile', which the error names."""
    assert "There is no micromotion 'smile'" in sentence(world.server.predict(photo)[1])
    assert "There is no micromotion 'smile'" in sentence(world.server.predict(photo, motion_file=None)[1])
