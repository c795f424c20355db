"""Health checks of the service, and metrics of its predictions, for operators.

Cog 0.23 calls `healthcheck()` at every GET of /health-check, even during a prediction, and waits five seconds
for it. So a frame is rendered only when nothing else renders, and at most every 30 seconds.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from micromotion.errors import MicromotionError
from micromotion.runtime.device_memory import deterministic
from micromotion.video.pixels import all_finite

if TYPE_CHECKING:
    from micromotion.animation import Video
    from micromotion.weights.bundle import Bundle

EVERY = 30.0
"""Seconds for which a check's result holds."""

PREDICTIONS = Path("/tmp/coglet/predictions")
"""Here Cog 0.23 makes a folder for each prediction, which it never removes."""

KEPT = 3600.0  # seconds after which such a folder is no longer in use

Fact = str | int | float | list[int]


class Health:
    """Renders a frame of the mean face to check that the model works.

    predicting: set it while a prediction uses the model; nothing is rendered meanwhile. It is not a lock: a
    cancellation can arrive between any two steps, and would leave a lock held for good.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.predicting = False
        self._bundle = bundle
        self._rendering = threading.Lock()
        self._verdict = False
        self._time = -EVERY

    def check(self) -> bool:
        """Whether the model renders a finite, non-constant frame; the result is at most EVERY seconds old.

        While a prediction uses the model, the result from before it.
        """
        if self.predicting or not self._rendering.acquire(blocking=False):
            return self._verdict
        try:
            if time.monotonic() - self._time >= EVERY:
                found = self._renders()
                if found or not self.predicting:  # one that began meanwhile may have moved the networks
                    self._verdict, self._time = found, time.monotonic()
            return self._verdict
        finally:
            self._rendering.release()

    def _renders(self) -> bool:
        latent = self._bundle.inverter.latent_avg.to(self._bundle.device)
        generator = self._bundle.generator.to(self._bundle.device)
        shape = (1, generator.num_styles, generator.style_dim)
        try:
            with torch.inference_mode(), deterministic():
                picture = generator.synthesize(latent.float().expand(shape))
        except (RuntimeError, MicromotionError):  # such as a full or lost GPU
            return False
        return bool(all_finite(picture)) and float(picture.amax()) > float(picture.amin())


def reset_peak(device: torch.device) -> None:
    """Reset the measured peak memory, where the system allows it (Linux)."""
    if sys.platform == "linux":
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peaks(device: torch.device) -> dict[str, int]:
    """The peak memory since `reset_peak` in MB, of this process and on its GPU; unknown ones are left out."""
    found = {}
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
        found["memory.peak_mb"] = int(kilobytes) // 1000
    if device.type == "cuda":
        found["memory.gpu_peak_mb"] = torch.cuda.max_memory_allocated(device) // 1_000_000
    return found


def facts(bundle: Bundle, motion: str, video: Video, timings: Mapping[str, float]) -> dict[str, Fact]:
    """The metrics of a prediction by their names in Cog, where dots nest objects.

    `video_output_count` and `video_output_duration_seconds` are those of Replicate's own models.
    """
    found: dict[str, Fact] = {f"timing.{stage}": round(seconds, 4) for stage, seconds in timings.items()}
    found |= {"model": bundle.name, "device": str(bundle.device), "motion": motion, "frames": len(video)}
    found |= {"video_output_count": 1, "video_output_duration_seconds": round(len(video) / video.fps, 4)}
    face = video.face
    if face is not None:
        found["face.box"] = [int(edge) for edge in face.box]
    if face is not None and face.score is not None:
        found["face.score"] = round(face.score, 3)
    return found | peaks(bundle.device)


def stage_lines(timings: Mapping[str, float]) -> list[str]:
    """One log line per stage of a prediction."""
    return [f"{stage.capitalize()}: {seconds:.2f} s." for stage, seconds in timings.items()]


def sweep(folder: Path = PREDICTIONS, kept: float = KEPT) -> None:
    """Remove Cog's folders of predictions that ended more than `kept` seconds ago.

    Does nothing unless the folder is our own: other users of the machine can make one at this path.
    """
    with suppress(OSError):
        if not (_is_our_folder(folder.parent) and _is_our_folder(folder)):
            return
        for each in folder.iterdir():
            with suppress(OSError):
                if not each.is_symlink() and time.time() - each.stat().st_mtime > kept:
                    shutil.rmtree(each, ignore_errors=True)


def _is_our_folder(path: Path) -> bool:
    """Whether this is a folder, not a link, owned by this process's user. Raises OSError."""
    about = path.lstat()
    return stat.S_ISDIR(about.st_mode) and (not hasattr(os, "geteuid") or about.st_uid == os.geteuid())
