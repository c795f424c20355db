"""Cache eviction: bounds a cache folder by removing its oldest entries."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path

STALE = 3600.0
"""Seconds after which an unfinished entry, which has a hidden name, is considered abandoned."""


def prune(folder: Path, most: int, most_bytes: int) -> None:
    """Evict the oldest entries, files or folders, down to `most` entries and `most_bytes` in all.

    Also removes abandoned unfinished entries. Concurrent calls are safe; entries that cannot be read or
    removed stay.
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
