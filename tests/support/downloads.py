"""A file to download, and checks of what a finished or a failed download leaves."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from micromotion.errors import DownloadError
from micromotion.weights.download import Source, download

CONTENT = np.random.default_rng(7).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
RIGHT: dict[str, Any] = {"size": len(CONTENT), "sha256": SHA256}
QUICK: dict[str, Any] = {"timeout": 10.0, "backoff": 0.01}


def part_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def leave_part(target: Path, content: bytes, address: str = "", version: str | None = None) -> None:
    """Write what an attempt leaves that was interrupted after `content`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part_of(target).write_bytes(content)
    if address:
        note = {"address": address, "version": version}
        target.with_name(f".{target.name}.part.json").write_text(json.dumps(note))


def fetch(sources: list[Source], target: Path, **options: Any) -> None:
    """Download with short timeouts, and check that only the file is left."""
    download(sources, target, **{**QUICK, **options})
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def failure(sources: list[Source], target: Path, **options: Any) -> str:
    """The one-sentence error of a failing download, which must leave no file at the target."""
    with pytest.raises(DownloadError) as caught:
        download(sources, target, **{**QUICK, **options})
    message = str(caught.value)
    assert re.fullmatch(r"(?:[^.!?\n]|[.!?](?=\S))+\.", message), f"not one sentence: {message}"
    assert target.name in message
    assert not target.exists()
    return message
