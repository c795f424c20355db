"""docs/service.md agrees with the service: inputs, limits, statuses, metrics and variables."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from doc_blocks import ROOT
from PIL import Image
from video_formats import moving
from videos import write_video

from micromotion import align, options, parse_timeline
from micromotion.drive.read import read_driving_video
from micromotion.errors import MicromotionError
from micromotion.face import images
from micromotion.face.images import load_image
from micromotion.runtime import address_policy, url_files
from micromotion.service import deadline, driving, gateway, health
from micromotion.service.redaction import redact_paths

PAGE = ROOT / "docs/service.md"
TEXT = PAGE.read_text(encoding="utf-8")
SCHEMAS = json.loads((ROOT / "openapi.json").read_text())["components"]["schemas"]
SOURCES = [ROOT / "predict.py", *(ROOT / "micromotion").rglob("*.py")]
KINDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "yes or no"}


def table(title: str) -> list[list[str]]:
    """The cells of each row of the first table under a heading, without its head."""
    under = TEXT.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in under.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def allowed(about: dict[str, Any]) -> str:
    """The page's text on an input's limits, from its schema."""
    if "enum" in about:
        return ", ".join(f"`{choice}`" for choice in about["enum"] if choice)
    if "maximum" in about:
        return f"{about['minimum']} to {about['maximum']}"
    return f"{about['maxLength']} characters" if "maxLength" in about else ""


def expected(name: str, about: dict[str, Any]) -> list[str]:
    """An input's row without its last cell."""
    default = about.get("default")
    if "allOf" in about:
        about = SCHEMAS[name]
    kind = "file" if about.get("format") == "uri" else KINDS[about["type"]]
    shown = "" if default in (None, "") else f"`{json.dumps(default).strip(chr(34))}`"
    return [f"`{name}`", kind, shown, allowed(about)]


def test_the_inputs_are_those_of_the_schema() -> None:
    rows = {row[0]: row[:4] for row in table("Inputs")}
    wanted = [expected(name, about) for name, about in SCHEMAS["Input"]["properties"].items()]
    assert rows == {row[0]: row for row in wanted}


def test_the_limits_are_those_of_the_code() -> None:
    said = {row[0]: row[1] for row in table("Limits")}
    for what, words in {
        "body of a request": (
            f"{gateway.MAX_BODY >> 20} MB, {gateway.MAX_VALUES} values, {gateway.RECEIVING:.0f} s to come in"
        ),
        "answer": f"{gateway.ANSWERING:.0f} s to be taken",
        "callers at a time": f"{gateway.MAX_CALLS}, of which {gateway.MAX_LARGE} may send more than",
        "file": f"{images.MAX_BYTES >> 20} MB; in a body about {gateway.MAX_BODY * 3 // 4 >> 20} MB",
        "URL of a file": (
            f"{address_policy.MAX_URL} characters, {url_files.MAX_SECONDS:.0f} s, "
            f"{url_files.MAX_REDIRECTS} redirects"
        ),
        "picture": f"{images.MAX_PIXELS // 1_000_000} million pixels, sides of {images.MIN_SIDE} and more",
        "a prediction": f"{deadline.SECONDS:.0f} s in all",
        "whole photo": f"{options.MAX_VIDEO_PIXELS // 1_000_000:,} million pixels",
    }.items():
        assert words in said[what], f"{what}: {said[what]}, but the code says {words}"


def test_the_time_for_a_template_is_that_of_the_service() -> None:
    limit = re.search(r"^COLLECTING_LIMIT = ([\d.]+)", (ROOT / "predict.py").read_text(), re.M)
    assert limit
    said = {row[0]: row[1] for row in table("Limits")}["template"]
    assert f"{float(limit[1]):.0f} s" in said
    assert f"a frame was rendered within the last {health.EVERY:.0f} seconds" in TEXT


def test_every_status_of_the_gateway_is_documented() -> None:
    sources = "".join(
        (ROOT / f"micromotion/service/{name}.py").read_text() for name in ("gateway", "prediction_request")
    )
    codes = set(re.findall(r"Refusal\(\s*(\d+)", sources))
    said = {code for row in table("Status codes") for code in re.findall(r"\d+", row[0])}
    assert codes <= said
    assert {"200", "202", "409"} <= said


def test_every_metric_is_documented() -> None:
    text = TEXT.split("| metric |", 1)[1].split("\n\n", 1)[0]
    said = set(re.findall(r"`([a-z_.]+)`", text))
    timed = re.compile(r'timed\([\w.]+, "(\w+)"\)')
    stages = {stage for path in SOURCES for stage in timed.findall(path.read_text())}
    source = (ROOT / "micromotion/service/health.py").read_text()
    facts = set(re.findall(r'"((?:faces?|memory)\.\w+|(?:image|video)_output_\w+)"', source))
    facts |= {"model", "device", "motion", "frames"}
    assert said == {f"timing.{stage}" for stage in stages} | facts | {"predict_time"}


def test_every_variable_is_documented() -> None:
    used = {name for path in SOURCES for name in re.findall(r"MICROMOTION_[A-Z_]+", path.read_text())}
    assert used == set(re.findall(r"`(MICROMOTION_[A-Z_]+)`", TEXT.split("\n## Environment\n")[1]))


@pytest.mark.parametrize("row", table("Requests"), ids=lambda row: row[0])
def test_the_documented_paths_pass_the_gateway(row: list[str]) -> None:
    method, path = re.findall(r"`(\w+) (/[\w/.-]*)", row[0])[0]
    assert gateway._ROUTES[method].fullmatch(path.replace("ID", "mine"))


def test_every_path_of_the_gateway_is_documented() -> None:
    said = " ".join(row[0] for row in table("Requests"))
    for method, route in gateway._ROUTES.items():
        for path in route.pattern.replace(gateway._NAME, "ID").replace("\\", "").split("|"):
            assert f"`{method} {path}`" in said


def _driving(share: float) -> None:
    """Read the first part of a video without a face, as the service does."""
    with tempfile.TemporaryDirectory() as name, redact_paths((), Path(name)):
        content = write_video(Path(name) / "a.mp4", moving(3), movflags="faststart").read_bytes()
        clip = Path(name) / driving.CLIP
        clip.write_bytes(content[: round(share * len(content))])
        read_driving_video(clip)


def provoked() -> list[str]:
    """The error messages for callers' mistakes, as in the service's `error`."""
    wrongs: list[Callable[[], object]] = [
        lambda: load_image(b"no picture"),
        lambda: align(Image.new("RGB", (100, 100))),
        lambda: align(ROOT / "docs/face.jpg", face=3),
        lambda: parse_timeline("1 smile"),
        lambda: deadline.Deadline(0.0).check("rendering"),
        lambda: _driving(0.9),
        lambda: _driving(1),
    ]
    told = []
    for wrong in wrongs:
        with pytest.raises(MicromotionError) as caught:
            wrong()
        told.append(f"{type(caught.value).__name__}: {caught.value}")
    refused = url_files._told(ConnectionRefusedError())
    source = (ROOT / "micromotion/service/inputs.py").read_text()
    needs = re.search(r'"(The motion \'custom\' needs a template[^"]*)"', source)
    assert needs
    return [*told, f"Input validation error: {refused}", f"MotionError: {needs[1]}"]


@pytest.mark.slow
def test_the_quoted_errors_are_real() -> None:
    quoted = re.findall(r"^\| `((?:\w+Error|Input validation error): [^`]+)` \|", TEXT, re.M)
    assert len(quoted) == 9
    for each in quoted:
        assert any(told.startswith(each.rstrip("… ")) for told in provoked()), each
