"""Read and check the answers of predictions."""

from __future__ import annotations

import base64
import io
from typing import Any

import av
import numpy as np
from running_server import ROOT

HIDDEN = ("Traceback", "Errno", 'File "', "/tmp", str(ROOT), "site-packages", "pytest-")
"""Details of the code and the server's disk that no answer may contain."""


def content(answer: dict[str, Any], kind: str = "video/mp4") -> bytes:
    """The video of a successful prediction, as bytes."""
    assert answer["status"] == "succeeded", answer
    head, _, text = answer["output"].partition(",")
    assert head == f"data:{kind};base64"
    return base64.b64decode(text, validate=True)


def sentence(answer: dict[str, Any]) -> str:
    """The error of a failed prediction, after checking that it is one readable sentence."""
    assert answer["status"] == "failed", answer
    assert "output" not in answer
    error = str(answer["error"])
    assert "\n" not in error
    check_sentence(error, answer["logs"])
    return error


def check_sentence(error: str, logs: str = "") -> None:
    """Check that the error's first line is a sentence, and that neither it nor the logs contain `HIDDEN`."""
    for hidden in HIDDEN:
        assert hidden not in error + logs, error + logs
    assert error.split("\n")[0].endswith(".")


def frames_of(video: bytes) -> list[np.ndarray]:
    """The frames [H, W, 3] of a video, as int."""
    with av.open(io.BytesIO(video), "r") as opened:
        return [frame.to_ndarray(format="rgb24").astype(int) for frame in opened.decode(video=0)]
