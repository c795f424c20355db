"""A driving video in the service: played as by the library, told, bounded, cancelled; contradictions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from bad_clips import BAD, TOO_LONG, make
from PIL import Image
from running_server import ANSWER, EVERYTHING, ROOT, STOP, Server, data_url, serving, wait_until
from service_answers import check_sentence, content, frames_of, sentence
from service_worker import play
from sounds import click_times, with_sound
from trajectories import still
from videos import write_video

from micromotion import Animator
from micromotion.drive.trajectory import save_trajectory
from micromotion.errors import MicromotionError, NoFaceError, OptionError, TimeLimitError
from micromotion.service.driving import ABOUT, BESIDE, check_driving
from micromotion.service.prediction_request import Refusal, check_body
from micromotion.video.driving_video import DrivingVideoError

FACES = ROOT / "docs" / "faces"
CLIP = "data:video/mp4;base64,AAAA"
WRONG: dict[str, Any] = {
    "motion": "angry",
    "template": "a {degree} smile",
    "motion_file": "data:,x",
    "timeline": "1s smile",
    "frames": 12,
    "fps": 25,
    "loop": "hold",
    "easing": "smooth",
    "seed": 1,
    "refine": 1,
    "lock_identity": True,
    "compare": True,
    "micromotion": "smile",
    "scale": 5,
}
"""A value of each input that a driving video contradicts."""


# --- which inputs go together -------------------------------------------------------------------------------


def body(**inputs: Any) -> bytes:
    import json

    return json.dumps({"input": {"image": "data:,x", **inputs}}).encode()


def test_the_inputs_that_contradict_a_driving_video_are_known() -> None:
    assert set(WRONG) == set(BESIDE)
    for name in (*BESIDE, *ABOUT):
        assert EVERYTHING.get(name, BESIDE.get(name)) is not ...
    from tools.openapi import inputs

    for name, default in {**BESIDE, **ABOUT}.items():
        assert inputs()[name][1]["default"] == default, name


@pytest.mark.parametrize("name", BESIDE)
def test_what_contradicts_a_driving_video_is_refused_by_name(name: str) -> None:
    with pytest.raises(OptionError, match=f"^{name} cannot be sent together with a driving_video, .*\\.$"):
        check_driving({"driving_video": CLIP, name: WRONG[name]}, sent=False)
    with pytest.raises(Refusal, match="cannot be sent together with") as refused:
        check_body(body(driving_video=CLIP, **{name: WRONG[name]}))
    assert refused.value.status == 422
    check_driving({"driving_video": CLIP, name: BESIDE[name]}, sent=False)
    check_driving({"driving_video": None, name: WRONG[name]}, sent=False)


def test_a_motion_that_was_sent_contradicts_even_if_it_is_the_default() -> None:
    with pytest.raises(Refusal, match="motion cannot be sent together with a driving_video"):
        check_body(body(driving_video=CLIP, motion="smile"))
    check_body(body(driving_video=CLIP, strength=1.0, frames=90, fps=30, view="face", faces="all"))


@pytest.mark.parametrize(
    ("name", "value"),
    [("parts", "eyes"), ("mirror", True), ("clip_face", 1), ("rest", 3), ("audio", False)],
)
def test_what_is_about_a_driving_video_needs_one(name: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"^{name} is about a driving_video, and none was sent: .*\\.$"):
        check_driving({name: value}, sent=False)
    with pytest.raises(Refusal, match="none was sent"):
        check_body(body(**{name: value}))
    check_driving({"driving_video": CLIP, name: value}, sent=True)
    check_driving({"driving_video": None, name: ABOUT[name]}, sent=True)


# --- in this process ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second in which Mona Lisa, driven by hand, blinks and nods, with a click in the sound."""
    folder = tmp_path_factory.mktemp("clip")
    lids = np.zeros((25, 2))
    lids[10:14] = 1
    nod = np.zeros((25, 3))
    nod[:, 1] = 8 * np.sin(np.linspace(0, np.pi, 25))
    animator = Animator.load("avatar", "cpu")
    animator.drive(FACES / "mona-lisa.jpg", still(25, lids=lids, pose=nod)).save(folder / "silent.mp4")
    return with_sound(folder / "silent.mp4", folder / "clip.mp4")


@pytest.fixture(scope="module")
def track(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("track") / "nod.safetensors"
    save_trajectory(path, still(3, fps=12.5, pose=[[0, 0, 0], [0, 4, 0], [0, 8, 0]]), {"source": "a test"})
    return path


def driven(predictor: Any, clip: Path, **inputs: Any) -> bytes:
    """The answer to a photo and a clip; the inputs about an animation stay as they are by default."""
    plain = {name: BESIDE[name] for name in ("motion", "frames", "fps")}
    return play(predictor, FACES / "eileen-collins.jpg", driving_video=clip, **plain, **inputs)


@pytest.mark.slow
def test_a_video_drives_the_photo_as_in_the_library(
    predictor: Any, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = driven(predictor, clip, view="face", size=128, parts="eyes,pose", strength=0.5, mirror=True)
    logs = capsys.readouterr().out
    video = Animator(predictor.animator.bundle).drive(
        FACES / "eileen-collins.jpg",
        clip,
        view="face",
        size=128,
        parts="eyes,pose",
        strength=0.5,
        mirror=True,
    )
    video.save(tmp_path / "driven.mp4")
    (tmp_path / "answer.mp4").write_bytes(answer)
    for one, other in zip(frames_of(answer), frames_of((tmp_path / "driven.mp4").read_bytes()), strict=True):
        assert (one == other).all()
    assert click_times(tmp_path / "answer.mp4") == click_times(tmp_path / "driven.mp4") != []
    assert re.search(r"^Read 25 of 25 frames\.$", logs, re.M)
    assert re.search(r"^Rest pose: frames? [\d, –…]+\.$", logs, re.M)
    assert "Face 0 found; playing driving_video at strength 0.5." in logs
    assert "Rendering 25 frames of 128×128, 25 per second." in logs
    assert "Done: driving_video.mp4" in logs
    assert predictor.recorded["motion"] == "driving_video"
    assert predictor.recorded["timing.read"] > 0
    assert predictor.recorded["video_output_duration_seconds"] == 1.0


@pytest.mark.slow
def test_sound_can_be_left_out_and_only_an_mp4_has_it(
    predictor: Any, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "silent.mp4").write_bytes(driven(predictor, clip, view="face", size=64, audio=False))
    with av.open(str(tmp_path / "silent.mp4")) as made:
        assert not made.streams.audio
    assert "sound" not in capsys.readouterr().out
    assert driven(predictor, clip, view="face", size=64, output_format="webp")[:4] == b"RIFF"
    assert "Only an MP4 can have sound: the driving_video's is left out." in capsys.readouterr().out


def test_a_trajectory_drives_the_photo(predictor: Any, track: Path, tmp_path: Path) -> None:
    sent = tmp_path / "any name"
    sent.write_bytes(track.read_bytes())
    answer = driven(predictor, sent, output_format="gif", view="face", size=128)
    video = predictor.animator.drive(FACES / "eileen-collins.jpg", track, view="face", size=128)
    video.save(tmp_path / "driven.gif")
    from shown import shown

    assert shown(answer) == shown(tmp_path / "driven.gif")


def test_a_still_shows_a_moment_of_the_driven_video(predictor: Any, track: Path, tmp_path: Path) -> None:
    (tmp_path / "still.png").write_bytes(driven(predictor, track, output_format="png", at=0.08))
    frames = list(predictor.animator.drive(FACES / "eileen-collins.jpg", track))
    assert (np.asarray(Image.open(tmp_path / "still.png").convert("RGB")) == frames[1]).all()


def test_several_faces_follow(predictor: Any, track: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = {name: BESIDE[name] for name in ("motion", "frames", "fps")}
    group = FACES / "groups" / "oath.jpg"
    play(predictor, group, driving_video=track, **plain, faces="0,2", output_format="png", size=400)
    assert "Faces: 4 found, moving 0, 2; playing driving_video at strength 1." in capsys.readouterr().out
    assert predictor.recorded["faces.moved"] == [0, 2]
    with pytest.raises(OptionError, match="none has a motion of its own"):
        play(predictor, group, driving_video=track, **plain, faces="0=smile")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"strength": 3.0}, "strength must be a number from 0 to 2, not 3.0"),
        ({"strength": -1.0}, "strength must be a number from 0 to 2"),
        ({"parts": "ears"}, "parts must be some of eyes, mouth, brows, pose, not 'ears'"),
        ({"parts": " "}, "parts must be some of"),
        ({"faces": "0,1", "face": 1}, "Give faces or face, not both"),
        ({"rest": 3}, "settled already"),
        ({"view": "model"}, "which a trajectory does not have"),
        ({"frame": "crop"}, "which a trajectory does not have"),
        ({"timeline": "1s smile"}, "timeline cannot be sent together with a driving_video"),
        ({"refine": 3}, "refine cannot be sent together with a driving_video"),
        ({"at": 0.1}, "choose the output_format 'png'"),
        ({"at": 9.0, "output_format": "png"}, "moment"),
    ],
)
def test_wrong_inputs_are_one_sentence(
    predictor: Any, track: Path, inputs: dict[str, Any], words: str
) -> None:
    with pytest.raises(MicromotionError, match=words) as caught:
        driven(predictor, track, **inputs)
    check_sentence(str(caught.value))


@pytest.mark.parametrize("name", [*BAD, *TOO_LONG])
def test_a_bad_clip_is_one_sentence_without_a_path(predictor: Any, tmp_path: Path, name: str) -> None:
    path, words = make(name, tmp_path)
    with pytest.raises(DrivingVideoError, match=words) as caught:
        driven(predictor, path)
    check_sentence(str(caught.value))
    assert str(caught.value).startswith("The driving_video ")


def test_a_video_without_a_face_is_one_sentence(predictor: Any, tmp_path: Path) -> None:
    nobody = write_video(tmp_path / "a.mp4", [np.full((96, 96, 3), 90, np.uint8)] * 3)
    with pytest.raises(NoFaceError, match=r"^The video shows no face: choose another video\.$"):
        driven(predictor, nobody)


def test_a_damaged_trajectory_is_one_sentence_without_a_path(
    predictor: Any, track: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(track.read_bytes()[:-4])
    with pytest.raises(MicromotionError, match=r"driving_video cannot be read as a trajectory") as caught:
        driven(predictor, cut)
    check_sentence(str(caught.value))


@pytest.mark.slow
def test_reading_ends_at_the_deadline(predictor: Any, clip: Path) -> None:
    predictor.seconds = 0.0
    with pytest.raises(TimeLimitError, match="over while reading the driving_video") as caught:
        driven(predictor, clip)
    check_sentence(str(caught.value))


@pytest.mark.parametrize("sent", ["", "/etc/passwd", f"file://{ROOT}/README.md"])
def test_a_driving_video_must_be_a_url(predictor: Any, sent: str) -> None:
    from cog import Path as CogPath

    inputs = {**EVERYTHING, "motion": "smile", "frames": 90, "fps": 30, "driving_video": sent}
    with pytest.raises(DrivingVideoError, match="The driving_video must be sent as an http"):
        predictor.run(image=CogPath(FACES / "mona-lisa.jpg"), **inputs)


# --- by the real server -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server"), model) as server:
        yield server


def photo() -> str:
    return data_url((FACES / "eileen-collins.jpg").read_bytes())


def ask(server: Server, clip: bytes, **inputs: Any) -> tuple[int, Any]:
    wait_until(lambda: server.status() == "READY", ANSWER, "the server to be ready")
    sent = {"image": photo(), "driving_video": data_url(clip, "video/mp4"), "view": "face", "size": 64}
    return server.call("/predictions", {"input": {**sent, **inputs}})


@pytest.mark.slow
def test_the_server_answers_with_the_driven_video(server: Server, clip: Path, tmp_path: Path) -> None:
    left = server.left()
    status, answer = ask(server, clip.read_bytes())
    assert status == 200
    (tmp_path / "answer.mp4").write_bytes(content(answer))
    assert click_times(tmp_path / "answer.mp4") != []
    assert "Read 25 of 25 frames." in answer["logs"]
    assert answer["metrics"]["timing"]["read"] > 0
    wait_until(lambda: server.left() <= left, STOP, "the temporary files to go")


@pytest.mark.slow
def test_the_server_says_what_is_wrong(server: Server, tmp_path: Path) -> None:
    path, words = make("third.mp4", tmp_path)
    assert re.search(words, sentence(ask(server, path.read_bytes())[1]))
    status, answer = ask(server, b"x", motion="angry")
    assert status == 422
    assert "motion cannot be sent together with a driving_video" in answer["detail"]


@pytest.mark.slow
def test_reading_is_cancelled_and_leaves_no_file(server: Server, clip: Path, tmp_path: Path) -> None:
    with av.open(str(clip)) as opened:
        frames = [frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0)]
    long = write_video(tmp_path / "long.mp4", frames * 40, preset="ultrafast")
    wait_until(lambda: server.status() == "READY", ANSWER, "the server to be ready")
    left = server.left()
    inputs = {"image": photo(), "driving_video": data_url(long.read_bytes(), "video/mp4")}
    assert server.call("/predictions", {"id": "long", "input": inputs}, prefer="respond-async")[0] == 202
    log = server.log
    wait_until(lambda: "Read 100 of 1000 frames" in log.read_text(), ANSWER, "the clip to be read")
    assert server.call("/predictions/long/cancel", {})[0] == 200
    wait_until(lambda: server.status() == "READY", STOP, "the server to be ready again")
    wait_until(lambda: server.left() <= left, STOP, "the temporary files to go")
    assert "Read 1000 of 1000 frames" not in log.read_text()
    assert ask(server, clip.read_bytes())[1]["status"] == "succeeded"
