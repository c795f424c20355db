"""The service as its callers meet it: the real Cog server, over HTTP."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from blank_png import blank_png
from PIL import Image
from running_server import (
    ANSWER,
    CHOSEN,
    ROOT,
    STOP,
    Server,
    begin,
    data_url,
    serving,
    wait_until,
)
from webhooks import Webhook, listening


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def photo(astronaut_file: Path) -> str:
    return data_url(astronaut_file.read_bytes())


@pytest.fixture(scope="module")
def first(server: Server, photo: str) -> dict[str, Any]:
    """The answer to the first good request."""
    status, answer = server.predict(photo)
    assert (status, answer["status"]) == (200, "succeeded"), answer
    assert isinstance(answer, dict)
    return answer


def content(answer: dict[str, Any], kind: str = "video/mp4") -> bytes:
    head, _, text = answer["output"].partition(",")
    assert head == f"data:{kind};base64"
    return base64.b64decode(text, validate=True)


def sentence(answer: dict[str, Any]) -> str:
    """The error of a failed prediction, after checking that it is made for people."""
    assert answer["status"] == "failed"
    assert "output" not in answer
    error = str(answer["error"])
    for hidden in ("Traceback", 'File "', "/tmp", str(ROOT), "site-packages"):
        assert hidden not in error + answer["logs"]
    assert "\n" not in error
    assert error.endswith(".")
    return error


def test_health(server: Server) -> None:
    status, answer = server.call("/health-check")
    assert (status, answer["status"], answer["setup"]["status"]) == (200, "READY", "succeeded")


def test_schema_is_served_as_stored(server: Server) -> None:
    assert server.call("/openapi.json") == (200, json.loads((ROOT / "openapi.json").read_text()))


def test_a_photo_becomes_a_video(first: dict[str, Any]) -> None:
    with av.open(io.BytesIO(content(first))) as video:
        stream = video.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(stream)]
        assert (stream.codec_context.name, stream.average_rate) == ("h264", 12)
    assert len(frames) == 6
    assert frames[0].shape[0] == frames[0].shape[1] >= 128
    assert np.abs(frames[-1].astype(int) - frames[0]).max() > 8, "nothing moves"


def test_metrics_tell_the_seconds_of_each_stage(first: dict[str, Any]) -> None:
    metrics = first["metrics"]
    assert set(metrics["timing"]) == {"motion", "align", "invert", "render", "encode"}
    assert all(seconds >= 0 for seconds in metrics["timing"].values())
    assert 0 < sum(metrics["timing"].values()) <= metrics["predict_time"]


def test_metrics_tell_what_was_done(first: dict[str, Any]) -> None:
    metrics = first["metrics"]
    assert (metrics["model"], metrics["motion"], metrics["frames"]) == ("avatar", "smile", 6)
    assert metrics["device"].partition(":")[0] in ("cpu", "cuda")
    assert metrics["memory"]["peak_mb"] > 100
    assert metrics["face"]["score"] > 0
    left, top, right, bottom = metrics["face"]["box"]
    assert 0 <= left < right <= 512
    assert 0 <= top < bottom <= 512


def test_logs_can_be_read_by_a_person(first: dict[str, Any]) -> None:
    lines = first["logs"].splitlines()
    assert lines[0] == "Face 0 found; playing smile at strength 1."
    assert [line for line in lines if line.startswith("Rendered")][-1] == "Rendered 6 of 6 frames."
    assert lines[-1].startswith("Done: smile.mp4")


def test_refining_is_told_and_timed(server: Server, photo: str, first: dict[str, Any]) -> None:
    answer = server.predict(photo, refine=10)[1]
    assert content(answer) != content(first)
    assert set(answer["metrics"]["timing"]) == {"motion", "align", "invert", "refine", "render", "encode"}
    refined = [line for line in answer["logs"].splitlines() if line.startswith("Refined")]
    assert len(refined) == 11
    assert refined[-1].startswith("Refined by 10 of 10 steps, loss ")


@pytest.mark.parametrize(("suffix", "kind"), [("gif", "image/gif"), ("webp", "image/webp")])
def test_other_formats(server: Server, photo: str, suffix: str, kind: str) -> None:
    answer = server.predict(photo, output_format=suffix)[1]
    with Image.open(io.BytesIO(content(answer, kind))) as film:
        assert film.n_frames == 6


def test_defaults_are_enough(server: Server, photo: str) -> None:
    answer = server.call("/predictions", {"input": {"image": photo}})[1]
    with av.open(io.BytesIO(content(answer))) as video:
        assert sum(1 for _ in video.decode(video=0)) == 90
        assert video.streams.video[0].average_rate == 30


def test_inputs_matter(server: Server, photo: str, first: dict[str, Any]) -> None:
    seen = [content(first)]
    for change in ({"motion": "headsTurn"}, {"strength": -1}, {"fps": 24}, {"frames": 7}):
        video = content(server.predict(photo, **change)[1])
        assert video not in seen, change
        seen.append(video)


def frames_of(video: bytes) -> list[np.ndarray]:
    with av.open(io.BytesIO(video)) as film:
        return [frame.to_ndarray(format="rgb24").astype(int) for frame in film.decode(video=0)]


def test_a_timeline_is_played(server: Server, photo: str) -> None:
    text = "0.25s smile smooth, 0.5s hold\n0.75s smile=0 eyesClose=0.5; 1s eyesClose=0"
    answer = server.predict(photo, timeline=text, frames=90)[1]
    frames = frames_of(content(answer))
    assert len(frames) == 13
    assert "playing timeline at strength 1." in answer["logs"]
    assert "Done: timeline.mp4" in answer["logs"]
    change = [np.abs(frame - frames[0]).mean() for frame in frames]
    assert change[3] > 4 * change[12], "it ends as it began, but for what compression adds"
    assert np.abs(frames[6] - frames[3]).mean() < 0.1 * change[3], "it holds"


def test_a_comparison_shows_the_photo_too(server: Server, photo: str, first: dict[str, Any]) -> None:
    compared = frames_of(content(server.predict(photo, compare=True)[1]))
    assert len(compared) == 6
    height, width = compared[0].shape[:2]
    assert width > 2.5 * height
    third = width // 3
    assert np.abs(compared[5] - compared[0])[:, 2 * third :].mean() > 1, "the animation moves"
    assert np.abs(compared[5] - compared[0])[:, : 2 * third].mean() < 0.5, "the others do not"


def test_the_whole_photo_can_be_shown(server: Server, photo: str, astronaut: Image.Image) -> None:
    frames = frames_of(content(server.predict(photo, view="photo", strength=0.5)[1]))
    assert len(frames) == 6
    assert frames[0].shape == np.asarray(astronaut).shape
    assert np.abs(frames[5] - frames[0])[300:].mean() < 0.5, "far from the face nothing moves"
    assert np.abs(frames[5] - frames[0]).max() > 20
    assert "leave out compare" in sentence(server.predict(photo, view="photo", compare=True)[1])


def test_loops_and_easings(server: Server, photo: str, first: dict[str, Any]) -> None:
    back = frames_of(content(server.predict(photo, loop="pingpong")[1]))
    held = frames_of(content(server.predict(photo, loop="hold")[1]))
    assert len(back) == len(held) == 11
    assert np.abs(back[10] - back[0]).mean() < 0.3 * np.abs(held[10] - held[0]).mean()
    assert np.abs(held[10] - held[5]).mean() < 0.3 * np.abs(held[10] - held[0]).mean()
    assert content(server.predict(photo, easing="smooth")[1]) != content(first)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1s smile, 2s grin=1", "line 1, column 14: There is no micromotion 'grin'"),
        ("1s smile\n2s smile=x", "line 2, column 10: the strength of smile"),
        ("1s ../secret.safetensors", "no micromotion '../secret.safetensors'"),
        ("1s custom", "no micromotion 'custom'"),
        ("1s motion_file", "no micromotion 'motion_file'"),
        ("60s smile", "721 frames at 12 per second"),
        ("# nothing", "timeline is empty"),
    ],
)
def test_a_timeline_that_cannot_be_played_is_told_with_the_place(
    server: Server, photo: str, text: str, said: str
) -> None:
    assert said in sentence(server.predict(photo, timeline=text)[1])


def test_whole_numbers_may_be_written_with_a_point(server: Server, photo: str, first: dict[str, Any]) -> None:
    answer = server.predict(photo, frames=6.0, fps=12.0, face=0.0, seed=-1.0)[1]
    assert content(answer) == content(first)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("motion", "grin", "is not one of"),
        ("motion", None, "is not one of"),
        ("output_format", "avi", "is not one of"),
        ("frames", 0, "minimum of 1"),
        ("frames", 10**9, "maximum of 600"),
        ("frames", 2.5, "integer"),
        ("frames", "90", "integer"),
        ("fps", 0, "minimum of 1"),
        ("fps", 61, "maximum of 60"),
        ("strength", 5.01, "maximum of 5"),
        ("strength", -1e30, "minimum of -5"),
        ("strength", "NaN", "number"),
        ("seed", -2, "minimum of -1"),
        ("seed", 2**32, "maximum of 4294967295"),
        ("face", -1, "minimum of 0"),
        ("refine", -1, "minimum of 0"),
        ("refine", 201, "maximum of 200"),
        ("template", "x" * 201, "200 characters"),
        ("timeline", "x" * 2001, "2000 characters"),
        ("loop", "bounce", "is not one of"),
        ("easing", "bouncy", "is not one of"),
        ("compare", "yes", "boolean"),
        ("view", "whole", "is not one of"),
        ("frame", "whole", "is not one of"),
        ("image", 5, "string"),
        ("image", None, "string"),
    ],
)
def test_wrong_values_are_refused_with_the_reason(
    server: Server, name: str, value: object, reason: str
) -> None:
    status, answer = server.predict(**{"image": data_url(b""), name: value})
    assert status == 422
    assert all(each["loc"] == ["body", "input", name] for each in answer["detail"])
    assert reason in " ".join(each["msg"] for each in answer["detail"])


def test_a_missing_image_is_refused(server: Server) -> None:
    for body in ({"input": CHOSEN}, {}):
        status, answer = server.call("/predictions", body)
        assert (status, answer["detail"][0]["msg"]) == (422, "Field required")
        assert answer["detail"][0]["loc"] == ["body", "input", "image"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_what_is_no_json_number_is_refused(server: Server, number: str) -> None:
    body = f'{{"input": {{"strength": {number}, "image": "{data_url(b"")}"}}}}'
    status, answer = server.call("/predictions", body)
    assert status == 400
    assert "input.strength" in answer["detail"]


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def bad_picture(name: str, photo: Image.Image) -> bytes:
    jpeg = encoded(photo, "JPEG")
    gray = Image.new("RGB", (256, 256), "gray")
    match name:
        case "empty":
            return b""
        case "text":
            return b"This is not a picture.\n" * 20
        case "truncated":
            return jpeg[: len(jpeg) // 2]
        case "huge":
            return blank_png(20_000, 20_000)
        case "dot":
            return encoded(Image.new("RGB", (1, 1)), "PNG")
        case "strip":
            return encoded(Image.new("RGB", (4000, 10)), "PNG")
        case "animated":
            return encoded(gray, "GIF", save_all=True, append_images=[Image.new("RGB", (256, 256))])
        case _:
            return encoded(gray, "PNG")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("empty", "empty"),
        ("text", "JPEG or PNG"),
        ("truncated", "damaged"),
        ("huge", "50 million pixels"),
        ("dot", "1×1"),
        ("strip", "4000×10"),
        ("animated", "still"),
        ("faceless", "face"),
    ],
)
def test_a_bad_picture_fails_with_one_sentence(
    server: Server, astronaut: Image.Image, name: str, said: str
) -> None:
    before = server.left()
    status, answer = server.predict(data_url(bad_picture(name, astronaut)))
    assert status == 200
    assert said in sentence(answer)
    wait_until(lambda: server.left() <= before, STOP, "the temporary files to go")


def test_a_face_that_is_not_there(server: Server, photo: str) -> None:
    assert "NoFaceError" in sentence(server.predict(photo, face=50)[1])


@pytest.mark.parametrize("image", [str(ROOT / "LICENSE"), f"file://{ROOT}/LICENSE", "LICENSE", ""])
def test_files_of_the_server_are_not_read(server: Server, image: str) -> None:
    assert "data URL" in sentence(server.predict(image)[1])


@pytest.mark.parametrize(
    "changed",
    [
        lambda url: "DATA:IMAGE/JPEG;BASE64" + url[len("data:image/jpeg;base64") :],
        lambda url: f" {url}",
        lambda url: url.replace(";base64", ";name=my%20face.jpg;base64").rstrip("="),
    ],
)
def test_a_data_url_that_browsers_read_is_read(
    server: Server, photo: str, first: dict[str, Any], changed: Any
) -> None:
    assert content(server.predict(changed(photo))[1]) == content(first)


@pytest.mark.parametrize("name", ["image", "motion", "timeline", "frames"])
def test_an_answer_does_not_hold_what_was_sent(server: Server, photo: str, name: str) -> None:
    status, answer = server.predict(**{"image": photo, name: [photo]})
    assert status == 422
    assert len(json.dumps(answer)) < 400


def test_a_put_that_is_repeated_waits_for_the_result(
    server: Server, photo: str, first: dict[str, Any]
) -> None:
    inputs = {"input": {"image": photo, **CHOSEN, "frames": 40}}
    wait_until(lambda: server.status() == "READY", ANSWER, "the server to be ready")
    assert server.put("/predictions/same", inputs, prefer="respond-async")[0] == 202
    other = server.put("/predictions/same", {"input": {**inputs["input"], "frames": 41}})
    assert (other[0], "other inputs" in other[1]["detail"]) == (409, True)
    status, answer = server.put("/predictions/same", inputs)
    assert (status, answer["id"]) == (200, "same")
    assert len(frames_of(content(answer))) == 40
    assert server.log.read_text().count("Starting prediction prediction_id=same") == 1


def test_a_url_that_cannot_be_reached(server: Server) -> None:
    answer = server.predict(f"{server.url}/nothing.jpg")[1]
    assert answer["status"] == "failed"
    assert "404" in answer["error"]


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with listening() as opened:
        yield opened


def test_a_cancelled_prediction_leaves_nothing_behind(
    server: Server, photo: str, first: dict[str, Any], webhook: Webhook
) -> None:
    before = server.left()
    begin(server, "cancelled", photo, webhook.url)
    assert server.call("/predictions", {"input": {"image": photo}})[0] == 409  # one at a time
    assert server.call("/predictions/cancelled/cancel", {})[0] == 200
    assert server.call("/predictions/cancelled/cancel", {})[0] in (200, 404)  # impatient; it may be over
    wait_until(lambda: server.status() == "READY", ANSWER, "the server to be ready again")
    wait_until(lambda: bool(webhook.calls), ANSWER, "the end to be reported")
    assert webhook.calls[-1]["status"] == "canceled"
    assert "output" not in webhook.calls[-1]
    wait_until(lambda: server.left() <= before, STOP, "the temporary files to go")
    assert content(server.predict(photo)[1]) == content(first)


def test_cancelled_again_and_again(server: Server, photo: str) -> None:
    """The second call strikes while the first one's cancellation is at work."""
    for turn in range(6):
        begin(server, f"turn-{turn}", photo)
        for _ in range(2):
            assert server.call(f"/predictions/turn-{turn}/cancel", {})[0] in (200, 404)  # it may be over
        wait_until(lambda: server.status() == "READY", ANSWER, "the server to be ready again")


def test_the_same_request_gives_the_same_bytes(server: Server, photo: str, first: dict[str, Any]) -> None:
    assert content(server.predict(photo)[1]) == content(first)


def test_a_result_is_removed_when_it_was_collected(server: Server, photo: str) -> None:
    server.predict(photo)
    wait_until(
        lambda: not any(Path(path).suffix == ".mp4" for path in server.left()),
        STOP,
        "the video to be removed",
    )
