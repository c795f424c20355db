"""Anchors out of a sentence, collected once: whoever asks for the same again gets what was kept.

In the cache folder's `collected/` lie, each under a name that is drawn from all that it depends on, the
anchors that were collected and the progress of collections that were stopped; the oldest go when there are
too many. Files appear there whole or not at all, and two that collect the same at once write the same bytes
if they have as many threads.
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
from micromotion.learn.keeping import with_recipe
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
MAX_KEPT, MAX_KEPT_BYTES = 100, 64 << 20
"""At FFHQ a collection's anchors have 0.4 MB, and its progress 1.2 MB."""


def collect_once(
    template: str,
    bundle: Bundle,
    name: str,
    *,
    seed: int = 0,
    steps: int = 40,
    on_step: Callable[[Step], object] | None = None,
    time_limit: float | None = None,
) -> Anchors:
    """The anchors of a sentence at the default degrees, strength 1 at the last: kept, or collected now.

    template, seed, steps, on_step and time_limit are as in `collect_from_text`; on_step is not called where
    the anchors were kept. name is what the recipe in their provenance calls them. What is stopped, by the
    time limit or by an exception from outside, goes on from there when it is asked for again. Where the cache
    folder cannot be written to nothing more is kept, and all else is the same.

    Raises OptionError, BundleError, MotionError, TimeLimitError, OutputError and DeviceMemoryError as
    `collect_from_text` does.
    """
    fill(template, DEFAULT_DEGREES)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "pkg_resources is deprecated")  # in clip
        key = _key(template, bundle, name, seed, steps)
        kept = _kept(key)
        if kept is not None:
            return kept
        folder = _usable_folder()
        path = folder / f"{key}.safetensors" if folder else None
        progress = folder / key if folder else None
        bundle.generator.to(bundle.device)  # it may have given way to the inverter

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
            raise _over(time_limit or 0.0, kept=progress is not None) from error
        except (MotionError, OutputError):
            done = _read(path) if path else None
            if done is None:
                raise
            return done  # by another at the same time, who then removed the progress
    anchors = with_recipe(anchors, name, bundle, "line")
    if path and progress:
        with suppress(OutputError):  # a full disk: then it is collected again next time
            anchors.save(path)
            shutil.rmtree(progress, ignore_errors=True)
    return anchors


def _key(template: str, bundle: Bundle, name: str, seed: int, steps: int) -> str:
    """A name for all that the anchors and their recipe depend on: the words, the numbers, the networks."""
    from micromotion import __version__

    nets = network_fingerprint(bundle.generator, bundle.clip, bundle.identity)
    numbers = [seed, steps, TRUNCATION, LEARNING_RATE, L2, IDENTITY]
    words = [__version__, name, template.strip(), DEFAULT_DEGREES]
    about = [words, numbers, bundle.name, bundle.generator_hash(), nets]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]


def _kept(key: str) -> Anchors | None:
    """The anchors of that name, also from a folder that may only be read; None as in `_read`."""
    with suppress(OutputError):
        return _read(cache_folder() / FOLDER / f"{key}.safetensors")
    return None


def _usable_folder() -> Path | None:
    """The folder of what was collected, with room for one more; None where nothing can be written."""
    with suppress(OutputError):
        folder = make_folder(cache_folder() / FOLDER)
        prune(folder, MAX_KEPT - 1, MAX_KEPT_BYTES)
        return folder
    return None


def _read(path: Path) -> Anchors | None:
    """Kept anchors, which count as new again; None if there are none, or they are damaged."""
    with suppress(MotionError):
        anchors = Anchors.load(path)
        with suppress(OSError):
            os.utime(path)
        return anchors
    return None


def _collect_unless_damaged(collect: Callable[[], Anchors], progress: Path | None) -> Anchors:
    """collect(), and if the kept progress cannot be gone on with, once more without it."""
    before = _state(progress)
    try:
        return collect()
    except MotionError:
        if before is None or _state(progress) != before:  # it was gone on with, so something else is wrong
            raise
    assert progress is not None
    if progress.is_dir():
        shutil.rmtree(progress, ignore_errors=True)
    else:
        progress.unlink(missing_ok=True)
    return collect()


def _state(progress: Path | None) -> list[tuple[str, int, int]] | None:
    """What lies in a folder of progress, to see whether it was written to; None if there is none."""
    if progress is None or not progress.exists():
        return None
    files = sorted(progress.rglob("*"))
    return [(each.name, each.stat().st_ino, each.stat().st_mtime_ns) for each in files]


def _over(seconds: float, *, kept: bool) -> TimeLimitError:
    after = "what was done is kept, and the same request goes on from there" if kept else "nothing was kept"
    return TimeLimitError(
        f"The time for learning the motion, {time_left(seconds)}, was over before it was done: {after}."
    )
