"""Files of a measurement: atomic writes, and a hash of the files it depends on."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
"""Numbers, texts, lists and dicts, as in JSON."""


def content_hash(files: Iterable[Path]) -> str:
    """SHA-256 of the contents of files, in this order."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def write(path: Path, text: str) -> None:
    """Write a text file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
