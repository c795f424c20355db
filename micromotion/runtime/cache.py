"""Folders of what was made once and is kept, so that it need not be made again: the oldest go."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path

STALE = 3600.0
"""After so many seconds what never became whole, and so has a hidden name, is nobody's any more."""


def prune(folder: Path, most: int, most_bytes: int) -> None:
    """Leave the newest entries of a folder, files or folders: at most so many, of so many bytes in all.

    What others left half written goes too. Two may do so at once; what cannot be read or removed stays.
    """
    now, total = time.time(), 0
    entries = []
    for path in _listed(folder):
        with suppress(OSError):
            modified = path.stat().st_mtime
            if not path.name.startswith("."):
                files = list(path.iterdir()) if path.is_dir() else [path]
                entries.append((modified, path, sum(each.stat().st_size for each in files)))
            elif now - modified > STALE:
                _remove(path)
    for index, (_, path, size) in enumerate(sorted(entries, reverse=True)):
        total += size
        if index >= most or total > most_bytes:
            _remove(path)


def _listed(folder: Path) -> list[Path]:
    with suppress(OSError):
        return list(folder.iterdir())
    return []


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
