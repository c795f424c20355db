"""What a measurement keeps: texts that are there whole or not at all, and what they hang on."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
"""Numbers, texts, lists and dicts of them, as JSON has them."""


def content_hash(files: Iterable[Path]) -> str:
    """SHA-256 of the contents of files, in this order."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def write(path: Path, text: str) -> None:
    """Write a text whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
