"""The same photos by each way of animating many: seconds, and those of a core."""

from __future__ import annotations

import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

from micromotion.runtime.process import configure_process, threads


@dataclass(frozen=True)
class Contest:
    """What all ways do: the photos, each with this many frames, on this many workers of one thread."""

    photos: Sequence[Path]
    frames: int
    workers: int


@dataclass(frozen=True)
class Time:
    """Seconds that a way took, seconds of a core, and the mean size of its videos in bytes."""

    way: str
    seconds: float
    core: float
    size: float = 0.0


def ways() -> dict[str, Callable[[Contest, Path], None]]:
    """Each way: does the contest's photos into a folder."""
    return {
        "bare Animator loops": bare,
        "micromotion batch": partial(command, "local"),
        "micromotion batch --engine ray": partial(command, "ray"),
        "shell loop of micromotion animate": shell,
    }


def timed(way: str, contest: Contest) -> Time:
    """Run a way in an empty folder; fails if a video is missing."""
    with tempfile.TemporaryDirectory() as folder:
        before, began = _core(), time.perf_counter()
        ways()[way](contest, Path(folder))
        seconds, core = time.perf_counter() - began, _core() - before
        sizes = [each.stat().st_size for each in Path(folder).rglob("*.mp4")]
    assert len(sizes) == len(contest.photos), way
    return Time(way, seconds, core, fmean(sizes))


def bare(contest: Contest, folder: Path) -> None:
    """A process for each worker, which loads the model and animates its share."""
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_loop, args=(contest.photos[n :: contest.workers], contest.frames, folder))
        for n in range(contest.workers)
    ]
    for each in processes:
        each.start()
    for each in processes:
        each.join()


def command(engine: str, contest: Contest, folder: Path) -> None:
    """`micromotion batch`, with that engine."""
    source = folder / "list.jsonl"
    source.write_text("".join(f'{{"image": "{photo}"}}\n' for photo in contest.photos))
    arguments = ["batch", source, "--out", folder / "out", "--frames", contest.frames, "--engine", engine]
    _run([*arguments, "--workers", contest.workers, "--device", "cpu"])


def shell(contest: Contest, folder: Path) -> None:
    """`xargs -P` with `micromotion animate` for each photo."""
    one = [sys.executable, "-m", "micromotion", "animate", "--frames", str(contest.frames), "--device", "cpu"]
    names = "\n".join(str(photo) for photo in contest.photos)
    script = ["xargs", "-P", str(contest.workers), "-I{}", "sh", "-c"]
    loop = [*script, '"$@" -o "$(basename {} .jpg).mp4" {}', "sh", *one]
    subprocess.run(loop, input=names, text=True, cwd=folder, check=True, env=_environment())


def _loop(photos: Sequence[Path], frames: int, folder: Path) -> None:
    os.environ |= threads(1)
    configure_process()
    from micromotion import Animator

    animator = Animator.load("avatar", "cpu")
    for photo in photos:
        animator.animate(photo, frames=frames).save(folder / f"{photo.stem}.mp4")


def _run(arguments: Sequence[object]) -> None:
    line = [sys.executable, "-m", "micromotion", *map(str, arguments)]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL, env=_environment())


def _environment() -> dict[str, str]:
    return os.environ | threads(1) | {"RAY_ADDRESS": "local"}


def _core() -> float:
    """Seconds of a core that this process's ended children took."""
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime
