"""For the tests: what a prediction's answer holds, checked for form."""

from __future__ import annotations

import base64
import io
from typing import Any

import av
import numpy as np
from running_server import ROOT

HIDDEN = ("Traceback", "Errno", 'File "', "/tmp", str(ROOT), "site-packages", "pytest-")
"""What no caller is told: where in the code, or on the server's disk, it went wrong."""


def content(answer: dict[str, Any], kind: str = "video/mp4") -> bytes:
    """The bytes of the video of a prediction that succeeded."""
    assert answer["status"] == "succeeded", answer
    head, _, text = answer["output"].partition(",")
    assert head == f"data:{kind};base64"
    return base64.b64decode(text, validate=True)


def sentence(answer: dict[str, Any]) -> str:
    """The error of a failed prediction, after checking that it is made for people."""
    assert answer["status"] == "failed", answer
    assert "output" not in answer
    error = str(answer["error"])
    assert "\n" not in error
    check_sentence(error, answer["logs"])
    return error


def check_sentence(error: str, logs: str = "") -> None:
    """The error's first line is a sentence, and neither it nor the logs tell what is `HIDDEN`."""
    for hidden in HIDDEN:
        assert hidden not in error + logs, error + logs
    assert error.split("\n")[0].endswith(".")


def frames_of(video: bytes) -> list[np.ndarray]:
    """The frames [H, W, 3] of a video, as int."""
    with av.open(io.BytesIO(video), "r") as opened:
        return [frame.to_ndarray(format="rgb24").astype(int) for frame in opened.decode(video=0)]
