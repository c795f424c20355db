"""Replicate's official clients, Python and JavaScript: the documents' examples as they stand, and errors.

The clients are real; behind them stands `replicate_server`, and behind that a `micromotion serve`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import replicate
from doc_blocks import ROOT, Block, blocks
from replicate.exceptions import ModelError, ReplicateError
from replicate_server import TOKEN, ReplicateServer, replicating
from running_server import serving
from service_answers import frames_of

pytestmark = pytest.mark.slow

NODE = ROOT / ".venv/node/node_modules"
MODEL = "somebody/micromotion"
QUICK = {"frames": 6, "fps": 12}
EXAMPLES = [each for each in blocks(ROOT / "docs/cookbook.md", "python", "js") if "replicate" in each.marks]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicateServer]:
    with serving(tmp_path_factory.mktemp("server")) as server, replicating(server) as opened:
        yield opened


@pytest.fixture
def client(server: ReplicateServer) -> replicate.Client:
    return replicate.Client(api_token=TOKEN, base_url=server.url)


def test_there_is_an_example_for_each_client() -> None:
    assert [each.language for each in EXAMPLES] == ["python", "js"]


@pytest.mark.parametrize("block", EXAMPLES, ids=lambda block: block.language)
def test_an_example_runs_as_it_stands(server: ReplicateServer, tmp_path: Path, block: Block) -> None:
    shutil.copyfile(ROOT / "docs/face.jpg", tmp_path / "photo.jpg")
    env = {**os.environ, "REPLICATE_API_TOKEN": TOKEN, "REPLICATE_BASE_URL": server.url}
    if block.language == "python":
        command = [sys.executable, "example.py"]
    else:
        if shutil.which("node") is None or not (NODE / "replicate").is_dir():
            pytest.skip(
                "Replicate's JavaScript client is not installed: .ci/replicate.sh does it where there is npm"
            )
        (tmp_path / "node_modules").symlink_to(NODE)
        redirect = ROOT / "tests/support/redirect_replicate.mjs"
        command = ["node", "--import", redirect.as_uri(), "example.mjs"]
    (tmp_path / command[-1]).write_text(block.text)
    server.calls.clear()
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{block.place}:\n{done.stdout}{done.stderr}"
    expected = 119 if "pingpong" in block.text else 60
    assert len(frames_of((tmp_path / "smile.mp4").read_bytes())) == expected
    assert {"POST /v1/files", "POST /v1/predictions"} <= set(server.calls)


def test_old_inputs_by_an_old_program(client: replicate.Client) -> None:
    with (ROOT / "docs/face.jpg").open("rb") as photo:
        output: Any = client.run(MODEL, input={"image": photo, "micromotion": "eyesClose", "scale": 5})
    assert len(frames_of(output.read())) == 100


def test_polling_sees_the_metrics_that_replicate_knows(client: replicate.Client) -> None:
    with (ROOT / "docs/face.jpg").open("rb") as photo:
        prediction = client.predictions.create("VERSION", {"image": photo, **QUICK})
    assert prediction.status == "starting"
    prediction.wait()
    assert prediction.status == "succeeded"
    assert prediction.metrics is not None
    assert prediction.metrics["video_output_count"] == 1
    assert prediction.metrics["video_output_duration_seconds"] == 0.5


def test_a_prediction_is_cancelled(client: replicate.Client) -> None:
    with (ROOT / "docs/face.jpg").open("rb") as photo:
        prediction = client.predictions.create("VERSION", {"image": photo, "frames": 600})
    prediction.cancel()
    prediction.reload()
    assert prediction.status == "canceled"


def test_a_failed_prediction_and_a_wrong_input_raise_the_clients_errors(client: replicate.Client) -> None:
    with pytest.raises(ModelError, match=r"ImageError: The picture is empty: choose another picture\."):
        client.run(MODEL, input={"image": "data:image/png;base64,", **QUICK})
    with pytest.raises(ReplicateError, match="did you mean 'frames'"):
        client.run(MODEL, input={"image": "data:,x", "frmaes": 6})
    with pytest.raises(ReplicateError, match=r"input\.frames: The value is less than the minimum of 1"):
        client.run(MODEL, input={"image": "data:,x", "frames": 0})
