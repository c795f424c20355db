"""A larger file to download from failing servers, onto failing disks and in failing processes.

Each test ends with the right file at the target, or with no file there and a one-sentence error.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from misbehaving_server import Behaviour, File, MisbehavingServer

from micromotion.errors import DownloadError
from micromotion.weights.download import Url, download

ROOT = Path(__file__).resolve().parents[2]
CONTENT = np.random.default_rng(7).bytes(3_000_000)
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
RIGHT: dict[str, Any] = {"size": SIZE, "sha256": SHA256}
QUICK: dict[str, Any] = {"timeout": 10.0, "backoff": 0.01}  # only retries are fast


def assert_sentence(message: str) -> None:
    assert message.endswith(".")
    assert "\n" not in message
    assert not any(mark in message for mark in (". ", "? ", "! ", "Traceback", "Errno", "httpx")), message


def failure(server: MisbehavingServer, target: Path, behaviour: Behaviour, **options: Any) -> str:
    """The one-sentence error of a failing download, which must leave no file at the target."""
    with pytest.raises(DownloadError) as caught:
        download([Url(server.add("/bad", behaviour))], target, **{**RIGHT, **QUICK, **options})
    assert_sentence(str(caught.value))
    assert not target.exists()
    return str(caught.value)


def finishes(server: MisbehavingServer, target: Path) -> None:
    """Complete the download from a good server, and check that only the file remains."""
    download([Url(server.add("/good", File(CONTENT)))], target, **RIGHT, **QUICK)
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def start_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a process that runs some lines of Python."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def run_python(code: str, *arguments: str) -> str:
    """Run some lines of Python, which must succeed; their output."""
    process = start_python(code, *arguments)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return out
