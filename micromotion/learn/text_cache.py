"""A disk cache of anchors collected from text.

The cache folder's `collected/` holds the collected anchors and the progress of interrupted collections, each
under a hash of everything that affects it. The oldest are evicted when there are too many. Files are
written atomically; two processes that collect the same anchors with the same number of threads write the same
bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from micromotion.errors import MotionError, OutputError, TimeLimitError
from micromotion.learn.provenance import with_provenance
from micromotion.learn.template import DEFAULT_DEGREES, fill
from micromotion.learn.text import (
    IDENTITY,
    L2,
    LEARNING_RATE,
    TRUNCATION,
    Step,
    collect_from_text,
    network_fingerprint,
)
from micromotion.motion.anchors import Anchors
from micromotion.runtime.cache import prune
from micromotion.runtime.folders import cache_folder, make_folder
from micromotion.runtime.progress import time_left

if TYPE_CHECKING:
    from micromotion.weights.bundle import Bundle

FOLDER = "collected"  # in the cache folder
MAX_CACHED, MAX_CACHED_BYTES = 100, 64 << 20
"""With ffhq, the anchors of a collection take 0.4 MB, and its progress 1.2 MB."""


def collect_cached(
    template: str,
    bundle: Bundle,
    name: str,
    *,
    seed: int = 0,
    steps: int = 40,
    on_step: Callable[[Step], object] | None = None,
    time_limit: float | None = None,
) -> Anchors:
    """The anchors of a sentence at the default degrees, strength 1 at the last: from the cache, or collected.

    template, seed, steps, on_step and time_limit: see `collect_from_text`; on_step is not called if the
    anchors are cached. name: the motion's name in their provenance. A collection stopped by the time limit or
    an exception resumes at the next call. Without a writable cache folder nothing is cached.

    Raises OptionError, BundleError, MotionError, TimeLimitError, OutputError and DeviceMemoryError as
    `collect_from_text` does.
    """
    fill(template, DEFAULT_DEGREES)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "pkg_resources is deprecated")  # in clip
        key = _key(template, bundle, name, seed, steps)
        cached = _cached(key)
        if cached is not None:
            return cached
        folder = _usable_folder()
        path = folder / f"{key}.safetensors" if folder else None
        progress = folder / key if folder else None
        bundle.generator.to(bundle.device)  # it may have been offloaded to make room for the inverter

        def collect() -> Anchors:
            return collect_from_text(
                template,
                bundle,
                seed=seed,
                steps=steps,
                resume=progress,
                on_step=on_step,
                time_limit=time_limit,
            )

        try:
            anchors = _collect_unless_damaged(collect, progress)
        except TimeLimitError as error:
            raise _over(time_limit or 0.0, saved=progress is not None) from error
        except (MotionError, OutputError):
            done = _read(path) if path else None
            if done is None:
                raise
            return done  # another process has finished meanwhile, and deleted the progress
    anchors = with_provenance(anchors, name, bundle, "line")
    if path and progress:
        with suppress(OutputError):  # on a full disk it is collected again next time
            anchors.save(path)
            shutil.rmtree(progress, ignore_errors=True)
    return anchors


def _key(template: str, bundle: Bundle, name: str, seed: int, steps: int) -> str:
    """A hash of everything that affects the anchors and their provenance."""
    from micromotion import __version__

    networks = network_fingerprint(bundle.generator, bundle.clip, bundle.identity)
    numbers = [seed, steps, TRUNCATION, LEARNING_RATE, L2, IDENTITY]
    words = [__version__, name, template.strip(), DEFAULT_DEGREES]
    about = [words, numbers, bundle.name, bundle.generator_hash(), networks]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]


def _cached(key: str) -> Anchors | None:
    """The cached anchors of this key, also from a read-only folder; None as in `_read`."""
    with suppress(OutputError):
        return _read(cache_folder() / FOLDER / f"{key}.safetensors")
    return None


def _usable_folder() -> Path | None:
    """The cache folder, pruned to have room for one more; None if it is not writable."""
    with suppress(OutputError):
        folder = make_folder(cache_folder() / FOLDER)
        prune(folder, MAX_CACHED - 1, MAX_CACHED_BYTES)
        return folder
    return None


def _read(path: Path) -> Anchors | None:
    """Cached anchors, marked as recently used; None if there are none, or they are damaged."""
    with suppress(MotionError):
        anchors = Anchors.load(path)
        with suppress(OSError):
            os.utime(path)
        return anchors
    return None


def _collect_unless_damaged(collect: Callable[[], Anchors], progress: Path | None) -> Anchors:
    """Call collect(); if the saved progress is damaged, delete it and call again."""
    before = _state(progress)
    try:
        return collect()
    except MotionError:
        if before is None or _state(progress) != before:  # it was resumed, so something else is wrong
            raise
    assert progress is not None
    if progress.is_dir():
        shutil.rmtree(progress, ignore_errors=True)
    else:
        progress.unlink(missing_ok=True)
    return collect()


def _state(progress: Path | None) -> list[tuple[str, int, int]] | None:
    """The files of a progress folder, to detect whether it was written to; None if there is none."""
    if progress is None or not progress.exists():
        return None
    files = sorted(progress.rglob("*"))
    return [(each.name, each.stat().st_ino, each.stat().st_mtime_ns) for each in files]


def _over(seconds: float, *, saved: bool) -> TimeLimitError:
    after = "the progress is saved, and the same request resumes from it" if saved else "nothing was saved"
    return TimeLimitError(
        f"The time for learning the motion, {time_left(seconds)}, ran out before it was done: {after}."
    )
