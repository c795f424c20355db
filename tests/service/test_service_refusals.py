"""What the service refuses, and how: wrong values, bad pictures, files that are not the caller's."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from blank_png import blank_png
from PIL import Image
from running_server import CHOSEN, ROOT, STOP, Server, data_url, serving, wait_until
from service_answers import sentence

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def photo(astronaut_file: Path) -> str:
    return data_url(astronaut_file.read_bytes())


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
def test_an_invalid_timeline_is_reported_with_its_position(
    server: Server, photo: str, text: str, said: str
) -> None:
    assert said in sentence(server.predict(photo, timeline=text)[1])


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
        ("faces", "0," * 501, "1000 characters"),
        ("at", 601, "maximum of 600"),
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
def test_invalid_json_numbers_are_refused(server: Server, number: str) -> None:
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


def test_a_missing_face_is_refused(server: Server, photo: str) -> None:
    assert "NoFaceError" in sentence(server.predict(photo, face=50)[1])


@pytest.mark.parametrize("image", [str(ROOT / "LICENSE"), f"file://{ROOT}/LICENSE", "LICENSE", ""])
def test_files_of_the_server_are_not_read(server: Server, image: str) -> None:
    assert "data URL" in sentence(server.predict(image)[1])


@pytest.mark.parametrize("name", ["image", "motion", "timeline", "frames"])
def test_an_answer_does_not_contain_the_request(server: Server, photo: str, name: str) -> None:
    status, answer = server.predict(**{"image": photo, name: [photo]})
    assert status == 422
    assert len(json.dumps(answer)) < 400


def test_an_unreachable_url_is_reported(server: Server) -> None:
    answer = server.predict(f"{server.url}/nothing.jpg")[1]
    assert answer["status"] == "failed"
    assert "404" in answer["error"]
