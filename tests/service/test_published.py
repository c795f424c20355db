"""The published model's inputs, micromotion and scale: what they give, and what they cannot be mixed with."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from random_networks import STYLE_DIM, STYLES, random_anchors, random_generator, random_inverter
from running_server import ANSWER, ROOT, STOP, Server, data_url, serving, wait_until, without_gateway
from service_answers import content, frames_of, sentence
from shown import shown

from micromotion import Animator
from micromotion.errors import MotionError, OptionError
from micromotion.motion.anchors import Anchors
from micromotion.motion.directions import full_motion, save_direction
from micromotion.motion.recipe import Recipe
from micromotion.options import AnimateOptions
from micromotion.service.prediction_request import Refusal, check_body
from micromotion.service.published import BESIDE, MICROMOTION, Published, check_alone
from micromotion.weights.bundle import save_bundle
from tools.openapi import inputs, stored

D = torch.randn(STYLES, STYLE_DIM, generator=torch.Generator().manual_seed(9))
SENT = {name: words.get("default") for name, (_, words) in inputs().items() if name != "image"}
"""All inputs but the image, as Cog passes them if none is sent."""


# --- what is played -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def animator(tmp_path_factory: pytest.TempPathFactory) -> Animator:
    """A model with three kinds of motion files: anchors on a line, on a curve, and published directions."""
    folder = tmp_path_factory.mktemp("model")
    save_bundle(folder, name="old", generator=random_generator(), inverter=random_inverter(), about={})
    (folder / "anchors").mkdir()
    random_anchors(0).save(folder / "anchors/smile.safetensors")
    degrees = torch.linspace(0, 1, 8)
    bent = degrees[:, None, None] * D + degrees[:, None, None] ** 2 * D.flip(0)
    Anchors(bent, degrees, {"path": "curve"}).save(folder / "anchors/angry.safetensors")
    for name, scale in (("aging", 5.0), ("eyesClose", 8.0)):
        recipe = Recipe(name, clip="a video", scale=scale)
        path = folder / f"anchors/{name}.safetensors"
        save_direction(full_motion(D, scale), path, recipe.provenance("here", "MIT"))
    return Animator.load(folder, "cpu")


def offsets_of(animator: Animator, micromotion: str, scale: int, folder: Path) -> list[torch.Tensor]:
    """The frames' latents, minus w0, of a request to the published model."""
    old = Published.asked(micromotion, scale)
    assert old is not None
    options, files = old.translated(AnimateOptions(), animator.bundle, folder)
    latent = torch.zeros(1, STYLES, STYLE_DIM)
    video = animator.animate(latent, files.get(micromotion, micromotion), options)
    assert video.fps == 30
    return [each[0] for each in video.latents()]


@pytest.mark.parametrize("scale", [1, 5, 10])
@pytest.mark.parametrize("name", ["aging", "eyesClose"])
def test_a_published_direction_is_played_as_published(
    animator: Animator, tmp_path: Path, name: str, scale: int
) -> None:
    offsets = offsets_of(animator, name, scale, tmp_path)
    assert len(offsets) == 100
    for i, offset in enumerate(offsets):
        torch.testing.assert_close(offset, i / 100 * scale * D)


@pytest.mark.parametrize("scale", [1, 5, 10])
def test_scale_5_is_strength_1_of_a_learned_motion(animator: Animator, tmp_path: Path, scale: int) -> None:
    offsets = offsets_of(animator, "smile", scale, tmp_path)
    video = animator.animate(
        torch.zeros(1, STYLES, STYLE_DIM), "smile", strength=scale / 5, frames=101, view="model"
    )
    assert len(offsets) == 100
    for offset, ours in zip(offsets, video.latents(), strict=False):
        torch.testing.assert_close(offset, ours[0])
    assert list(tmp_path.iterdir()) == []


def test_a_curved_motion_is_played_along_its_line(animator: Animator, tmp_path: Path) -> None:
    offsets = offsets_of(animator, "angry", 5, tmp_path)
    last = offsets[-1]
    for i, offset in enumerate(offsets):
        torch.testing.assert_close(offset, i / 99 * last)
    path = animator.bundle.motions["angry"]
    curve = animator.animate(torch.zeros(1, STYLES, STYLE_DIM), path, strength=0.99, frames=3)
    halfway = [each[0] for each in curve.latents()][1]
    assert (halfway - last / 2).norm() > 0.05 * last.norm(), "the curve itself bends"


def test_a_motion_that_the_model_lacks_is_named(animator: Animator, tmp_path: Path) -> None:
    old = Published("headsTurn", 5)
    with pytest.raises(MotionError, match=r"'headsTurn'.* has aging, angry, eyesClose, smile\."):
        old.translated(AnimateOptions(), animator.bundle, tmp_path)


def test_the_defaults_are_those_of_the_published_model() -> None:
    assert Published.asked("", None) is None
    assert Published.asked("", 3) == Published("eyesClose", 3)
    assert Published.asked("smile", None) == Published("smile", 5)


def test_what_says_nothing_of_the_motion_is_kept(animator: Animator, tmp_path: Path) -> None:
    given = AnimateOptions(face=2, seed=7, refine=3, compare=True)
    options, _ = Published("smile", 5).translated(given, animator.bundle, tmp_path)
    assert (options.face, options.seed, options.refine, options.compare) == (2, 7, 3, True)
    assert (options.loop, options.easing, options.view) == ("once", "linear", "model")


# --- what cannot be mixed -----------------------------------------------------------------------------------

MIXED = [
    ("motion", "angry"),
    ("strength", 0.5),
    ("template", "a person with {degree} smile"),
    ("motion_file", "data:,x"),
    ("timeline", "alive"),
    ("frames", 50),
    ("fps", 25),
    ("loop", "hold"),
    ("easing", "smooth"),
    ("view", "photo"),
    ("frame", "photo"),
    ("faces", "0,1"),
    ("driving_video", "data:,x"),
]


def test_every_input_that_says_what_is_played_is_listed() -> None:
    assert {name for name, _ in MIXED} == set(BESIDE)
    assert set(BESIDE) <= set(inputs())
    for name, fitting in BESIDE.items():
        assert SENT[name] in fitting, "a default is what Cog passes if nothing was sent"


@pytest.mark.parametrize(("name", "value"), MIXED)
@pytest.mark.parametrize("sent", [True, False])
def test_an_input_that_contradicts_is_refused_by_name(name: str, value: object, sent: bool) -> None:
    check_alone(SENT, sent=False)
    with pytest.raises(OptionError, match=rf"^{name} cannot be sent .*: leave {name} out, or .*\.$"):
        check_alone({name: value}, sent=sent)


def body(**inputs: object) -> bytes:
    return json.dumps({"input": {"image": "data:,x", **inputs}}).encode()


@pytest.mark.parametrize("old", [{"micromotion": "smile"}, {"scale": 5}])
def test_the_gateway_knows_a_default_that_was_sent(old: dict[str, Any]) -> None:
    for name in ("motion", "strength"):
        with pytest.raises(Refusal, match=f"^{name} cannot be sent together") as refused:
            check_body(body(**old, **{name: SENT[name]}), ["scale"], inputs())
        assert refused.value.status == 422


def test_what_does_not_contradict_passes_the_gateway() -> None:
    fits = {"frames": 100, "fps": 30.0, "view": "model", "loop": "once", "template": "", "motion_file": None}
    for given in (
        {"micromotion": "smile", "scale": 5, **fits, "seed": 3, "output_format": "gif", "compare": True},
        {"micromotion": "", "scale": None, "motion": "angry", "strength": 2.0},
    ):
        check_body(body(**given), ["scale", "motion_file"], inputs())


# --- unknown inputs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "near"),
    [("frmaes", "frames"), ("Motion", "motion"), ("num_frames", "frames"), ("prompt", None), ("", None)],
)
def test_an_unknown_input_is_refused_by_name(name: str, near: str | None) -> None:
    with pytest.raises(Refusal) as refused:
        check_body(body(**{name: 5}), (), inputs())
    text = str(refused.value)
    assert refused.value.status == 422
    assert text.startswith(f"There is no input {name!r}")
    assert (f"did you mean {near!r}?" in text) if near else ("did you mean" not in text)
    assert text.endswith(f"the inputs are {', '.join(inputs())}.")


def test_an_unknown_input_is_quoted_within_bounds() -> None:
    for name in ("x" * 100_000, "\n\ud800" * 100):
        with pytest.raises(Refusal) as refused:
            check_body(body(**{name: 5}), (), inputs())
        assert len(str(refused.value)) < 600
        assert "\n" not in str(refused.value)


# --- the real server ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(params=["gateway", "Cog alone"])
def door(request: pytest.FixtureRequest, server: Server) -> Server:
    """The server as callers reach it: through the gateway, or as in the container."""
    return server if request.param == "gateway" else without_gateway(server)


@pytest.fixture(scope="module")
def photo(astronaut_file: Path) -> str:
    return data_url(astronaut_file.read_bytes())


def ask(door: Server, **inputs: object) -> tuple[int, Any]:
    wait_until(lambda: door.status() == "READY", ANSWER, "the server to be ready")
    return door.call("/predictions", {"input": inputs})


@pytest.fixture(scope="module")
def today(server: Server, photo: str) -> bytes:
    """The video of a request with the inputs of today."""
    new = {"motion": "eyesClose", "strength": 1.98, "frames": 100, "view": "model"}
    return content(ask(server, image=photo, **new)[1])


@pytest.mark.slow
def test_the_old_request_gives_the_old_video(door: Server, photo: str, today: bytes) -> None:
    answer = ask(door, image=photo, micromotion="eyesClose", scale=10)[1]
    assert shown(content(answer)) == shown(today)
    assert "today's are motion=eyesClose, strength=1.98, frames=100, view=model." in answer["logs"]
    assert (answer["metrics"]["motion"], answer["metrics"]["frames"]) == ("eyesClose", 100)


@pytest.mark.slow
def test_either_input_alone_is_enough(server: Server, photo: str, today: bytes) -> None:
    assert shown(content(ask(server, image=photo, scale=10.0)[1])) == shown(today)
    answer = ask(server, image=photo, micromotion="eyesClose")[1]
    assert len(frames_of(content(answer))) == 100
    assert "motion=eyesClose, strength=0.99," in answer["logs"]


@pytest.mark.slow
def test_the_video_is_that_of_the_library(today: bytes, astronaut_file: Path, tmp_path: Path) -> None:
    options = AnimateOptions(strength=0.99 * 2, frames=100, fps=30, view="model")
    video = Animator.load("avatar", "cpu").animate(astronaut_file, "eyesClose", options)
    video.save(tmp_path / "ours.mp4")
    frames, wanted = frames_of(today), frames_of((tmp_path / "ours.mp4").read_bytes())
    assert len(frames) == len(wanted) == 100
    for frame, other in zip(frames, wanted, strict=True):
        assert np.abs(frame - other).mean() < 1  # the encoder's threads are as many as each process may use
    with av.open(io.BytesIO(today), "r") as opened:
        assert opened.streams.video[0].average_rate == Fraction(30)


@pytest.mark.slow
def test_no_face_is_a_failed_prediction(door: Server) -> None:
    file = io.BytesIO()
    Image.new("RGB", (256, 256), "gray").save(file, "PNG")
    status, answer = ask(door, image=data_url(file.getvalue(), "image/png"), micromotion="smile", scale=5)
    assert status == 200
    assert "NoFaceError: No face was found" in sentence(answer)


@pytest.mark.slow
def test_mixed_inputs_are_refused(server: Server, photo: str) -> None:
    status, answer = ask(server, image=photo, micromotion="smile", motion="smile")
    assert (status, answer["detail"].split(" ")[0]) == (422, "motion")
    alone = without_gateway(server)
    for more in ({"motion": "angry"}, {"strength": 2}, {"view": "photo"}, {"timeline": "alive"}):
        status, answer = ask(alone, image=photo, micromotion="smile", **more)
        assert status == 200
        assert f"OptionError: {next(iter(more))} cannot be sent together" in sentence(answer)


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [{"scale": 0}, {"scale": 11}, {"scale": 2.5}, {"micromotion": "grin"}])
def test_values_outside_the_published_ones_are_refused(
    door: Server, photo: str, wrong: dict[str, Any]
) -> None:
    status, answer = ask(door, image=photo, **wrong)
    assert status == 422
    assert {tuple(each["loc"]) for each in answer["detail"]} == {("body", "input", *wrong)}


@pytest.mark.slow
def test_an_unknown_input_is_refused_or_at_least_logged(server: Server, photo: str) -> None:
    status, answer = ask(server, image=photo, frmaes=6)
    assert status == 422
    assert "'frmaes' (did you mean 'frames'?)" in answer["detail"]
    content(ask(without_gateway(server), image=photo, frames=6, frmaes=7)[1])
    wait_until(
        lambda: any("Stripped unknown" in line and "frmaes" in line for line in log_of(server)),
        STOP,
        "Cog to log the input that it drops",
    )


def log_of(server: Server) -> list[str]:
    return server.log.read_text().splitlines()


def test_the_page_says_what_the_old_inputs_are_today(animator: Animator, tmp_path: Path) -> None:
    page = (
        (ROOT / "docs/service.md").read_text().split("\n## From the published model\n")[1].split("\n## ")[0]
    )
    for scale in (5, 10):
        options, _ = Published("smile", scale).translated(AnimateOptions(), animator.bundle, tmp_path)
        assert re.search(rf"\b{scale} it is {options.strength:g}\b", page)
    for name in ("frames", "fps", "easing", "loop", "view"):
        value = getattr(options, name)
        assert re.search(rf"`{name}` = `?{value}`?\b", page), name
    assert f"`micromotion`, by default `{MICROMOTION}`" in page


def test_the_schema_calls_both_deprecated() -> None:
    schema = stored()["components"]["schemas"]["Input"]
    for name in ("micromotion", "scale"):
        assert schema["properties"][name]["deprecated"] is True
        assert name not in schema["required"]
