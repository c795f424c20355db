"""The service end to end: the real Cog server, over HTTP."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import c2pa_reader
import numpy as np
import pytest
from numpy.typing import NDArray
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
from service_answers import content, frames_of, sentence
from shown import shown
from webhooks import Webhook, listening

pytestmark = pytest.mark.slow


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


def test_health(server: Server) -> None:
    status, answer = server.call("/health-check")
    assert (status, answer["status"], answer["setup"]["status"]) == (200, "READY", "succeeded")


def test_schema_is_served_as_stored(server: Server) -> None:
    assert server.call("/openapi.json") == (200, json.loads((ROOT / "openapi.json").read_text()))


def test_a_photo_becomes_a_video(first: dict[str, Any]) -> None:
    with av.open(io.BytesIO(content(first)), "r") as video:
        stream = video.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(stream)]
        assert (stream.codec_context.name, stream.average_rate) == ("h264", 12)
    assert len(frames) == 6
    assert frames[0].shape[0] == frames[0].shape[1] >= 128
    assert np.abs(frames[-1].astype(int) - frames[0]).max() > 8, "nothing moves"


def test_metrics_contain_the_seconds_of_each_stage(first: dict[str, Any]) -> None:
    metrics = first["metrics"]
    assert set(metrics["timing"]) == {"motion", "align", "render", "encode"}
    assert all(seconds >= 0 for seconds in metrics["timing"].values())
    assert 0 < sum(metrics["timing"].values()) <= metrics["predict_time"]


def test_metrics_describe_the_prediction(first: dict[str, Any]) -> None:
    metrics = first["metrics"]
    assert (metrics["model"], metrics["motion"], metrics["frames"]) == ("avatar", "smile", 6)
    assert (metrics["video_output_count"], metrics["video_output_duration_seconds"]) == (1, 0.5)
    assert metrics["device"].partition(":")[0] in ("cpu", "cuda")
    assert metrics["memory"]["peak_mb"] > 100
    assert metrics["face"]["score"] > 0
    left, top, right, bottom = metrics["face"]["box"]
    assert 0 <= left < right <= 512
    assert 0 <= top < bottom <= 512


def test_logs_are_readable(first: dict[str, Any]) -> None:
    lines = first["logs"].splitlines()
    assert lines[0] == "Face 0 found; playing smile at strength 1."
    assert [line for line in lines if line.startswith("Rendered")][-1] == "Rendered 6 of 6 frames."
    assert lines[-1].startswith("Done: smile.mp4")


def test_a_result_says_that_a_model_made_it(server: Server, photo: str, first: dict[str, Any]) -> None:
    for answer, kind in ((first, "video/mp4"), (server.predict(photo, output_format="gif")[1], "image/gif")):
        video = content(answer, kind)
        assert c2pa_reader.state(video) == "Valid"
        motions = c2pa_reader.actions(video)[-1]["parameters"]["micromotion"]["motions"]
        assert motions == [{"name": "smile", "lowest": 0.0, "highest": 1.0}]
        assert str(ROOT) not in str(c2pa_reader.read(video))
    assert "credentials" not in first["logs"]


def test_refining_is_logged_and_timed(server: Server, photo: str) -> None:
    plain, answer = (server.predict(photo, refine=steps, view="model")[1] for steps in (0, 10))
    assert shown(content(answer)) != shown(content(plain))
    assert set(answer["metrics"]["timing"]) == {"motion", "align", "invert", "refine", "render", "encode"}
    refined = [line for line in answer["logs"].splitlines() if line.startswith("Refined")]
    assert len(refined) == 11
    assert refined[-1].startswith("Refined by 10 of 10 steps, loss ")


def test_refining_without_effect_is_logged(server: Server, photo: str, first: dict[str, Any]) -> None:
    answer = server.predict(photo, refine=10)[1]
    assert shown(content(answer)) == shown(content(first))
    assert "refine has no effect" in answer["logs"]
    assert "refine" not in answer["metrics"]["timing"]


@pytest.mark.parametrize(("suffix", "kind"), [("gif", "image/gif"), ("webp", "image/webp")])
def test_other_formats(server: Server, photo: str, suffix: str, kind: str) -> None:
    answer = server.predict(photo, output_format=suffix)[1]
    with Image.open(io.BytesIO(content(answer, kind))) as video:
        assert getattr(video, "n_frames", 1) == 6


def test_defaults_are_enough(server: Server, photo: str) -> None:
    answer = server.call("/predictions", {"input": {"image": photo}})[1]
    with av.open(io.BytesIO(content(answer)), "r") as video:
        assert len(list(video.decode(video=0))) == 90
        assert video.streams.video[0].average_rate == 30


def test_inputs_matter(server: Server, photo: str, first: dict[str, Any]) -> None:
    seen = [shown(content(first))]
    for change in ({"motion": "headsTurn"}, {"strength": -1}, {"fps": 24}, {"frames": 7}):
        video = shown(content(server.predict(photo, **change)[1]))
        assert video not in seen, change
        seen.append(video)


def moved(frame: NDArray, other: NDArray) -> float:
    """The share of pixels that differ by more than compression explains."""
    return float((np.abs(frame - other).max(axis=-1) > 16).mean())


def test_a_timeline_is_played(server: Server, photo: str) -> None:
    text = "0.25s smile smooth, 0.5s hold\n0.75s smile=0 eyesClose=0.5; 1s eyesClose=0"
    answer = server.predict(photo, timeline=text, frames=90)[1]
    frames = frames_of(content(answer))
    assert len(frames) == 13
    assert "playing timeline at strength 1." in answer["logs"]
    assert "Done: timeline.mp4" in answer["logs"]
    change = [moved(frame, frames[0]) for frame in frames]
    assert change[3] > 4 * change[12], "it ends as it began, but for what compression adds"
    assert moved(frames[6], frames[3]) < 0.1 * change[3], "it holds"


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
    assert shown(content(server.predict(photo, easing="smooth")[1])) != shown(content(first))


def test_whole_numbers_may_be_written_with_a_point(server: Server, photo: str, first: dict[str, Any]) -> None:
    answer = server.predict(photo, frames=6.0, fps=12.0, face=0.0, seed=-1.0)[1]
    assert shown(content(answer)) == shown(content(first))


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
    assert shown(content(server.predict(changed(photo))[1])) == shown(content(first))


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
    assert server.call("/predictions/cancelled/cancel", {})[0] in (200, 404)  # it may already have ended
    wait_until(lambda: server.status() == "READY", ANSWER, "the server to be ready again")
    wait_until(lambda: bool(webhook.calls), ANSWER, "the end to be reported")
    assert webhook.calls[-1]["status"] == "canceled"
    assert "output" not in webhook.calls[-1]
    wait_until(lambda: server.left() <= before, STOP, "the temporary files to go")
    assert shown(content(server.predict(photo)[1])) == shown(content(first))


def test_a_prediction_can_be_cancelled_repeatedly(server: Server, photo: str) -> None:
    """The second cancellation arrives while the first takes effect."""
    for turn in range(6):
        begin(server, f"turn-{turn}", photo)
        for _ in range(2):
            assert server.call(f"/predictions/turn-{turn}/cancel", {})[0] in (200, 404)  # it may have ended
        wait_until(lambda: server.status() == "READY", ANSWER, "the server to be ready again")


def test_the_same_request_gives_the_same_frames(server: Server, photo: str, first: dict[str, Any]) -> None:
    assert shown(content(server.predict(photo)[1])) == shown(content(first))


def test_a_result_is_removed_after_it_was_fetched(server: Server, photo: str) -> None:
    server.predict(photo)
    wait_until(
        lambda: not any(Path(path).suffix == ".mp4" for path in server.left()),
        STOP,
        "the video to be removed",
    )
