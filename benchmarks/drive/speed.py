"""How long a driven video takes, and how much memory: a 720p clip drives a photo of 1280 pixels.

CPU seconds are those of all threads together: they hardly depend on what else runs on the machine, which wall
times do.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from benchmarks.drive.clips import FPS
from micromotion import Animator, parse_timeline
from micromotion.types import Frame
from micromotion.video.writer import write_frames

ROOT = Path(__file__).resolve().parents[2]
WIDTH, HEIGHT = 1280, 720
PHOTO, LONGEST = ROOT / "docs/faces/grace-hopper.jpg", 1280
DRIVER = ROOT / "docs/faces/eileen-collins.jpg"
COURSE = (
    "0.8s smile=0.8 smooth, 1.2s eyesClose=1, 1.4s eyesClose=0, 2.2s headsTurn=0.6 smooth, 2.8s smile=0, "
    "3.6s headsTurn=-0.6 angry=0.6 smooth, 4s eyesClose=0.8, 4.2s eyesClose=0, 5s headsTurn=0 angry=0 smooth"
)
SOME = 100
"""Frames of which the single stages are measured."""

T = TypeVar("T")
_DRIFT = 90.0  # pixels to either side


@dataclass(frozen=True)
class Spent:
    """Seconds on the clock, and of the processor."""

    wall: float
    cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drive.speed", description=__doc__)
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 30], help="lengths of the clip")
    parser.add_argument("--no-stages", action="store_true", help="the whole command only")
    parser.add_argument("--cache", type=Path, default=ROOT / ".runs/drive", help="clips and videos")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    photo = make_photo(args.cache)
    clips = {seconds: make_clip(seconds, args.cache) for seconds in args.seconds}
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before.\n", flush=True)
    if not args.no_stages:
        print("| stage | CPU ms a frame | wall ms a frame |\n|---|---|---|")
        for name, frames, spent in stages(photo, clips[min(clips)]):
            print(
                f"| {name} | {1000 * spent.cpu / frames:.0f} | {1000 * spent.wall / frames:.0f} |", flush=True
            )
        print()
    print("| clip | CPU s | wall s | CPU ms a frame | peak memory, MB |\n|---|---|---|---|---|")
    for seconds, clip in clips.items():
        spent, peak = whole_command(photo, clip, args.cache / "driven.mp4")
        each = 1000 * spent.cpu / (FPS * seconds)
        print(f"| {seconds} s | {spent.cpu:.0f} | {spent.wall:.0f} | {each:.0f} | {peak:.0f} |", flush=True)
    print(f"\nLoad {os.getloadavg()[0]:.1f} after.")


def make_photo(cache: Path) -> Path:
    """The photo, enlarged to LONGEST pixels, as a file."""
    path = cache / f"photo-{LONGEST}.png"
    if not path.is_file():
        with Image.open(PHOTO) as file:
            photo = file.convert("RGB")
        scale = LONGEST / max(photo.size)
        size = round(scale * photo.width), round(scale * photo.height)
        photo.resize(size, Image.Resampling.LANCZOS).save(path)
    return path


def make_clip(seconds: int, cache: Path) -> Path:
    """A 720p clip of a face of about 330 pixels from brows to chin, which moves and drifts to both sides."""
    path = cache / f"clip-{seconds}s.mp4"
    if not path.is_file():
        animator = Animator.load("avatar", "cpu")
        video = animator.animate(DRIVER, parse_timeline(COURSE), fps=FPS, view="face", size=HEIGHT // 2)
        write_frames(_wide(list(video), FPS * seconds), path, FPS)
    return path


def _wide(played: list[Frame], count: int) -> Iterator[Frame]:
    """So many frames [HEIGHT, WIDTH, 3], of the ones played to and fro; their borders fill the sides."""
    to_and_fro = [*played, *played[-2:0:-1]]
    for index in range(count):
        left = round((WIDTH - HEIGHT) / 2 + _DRIFT * np.sin(index / 30))
        picture = Image.fromarray(to_and_fro[index % len(to_and_fro)])
        square = np.asarray(picture.resize((HEIGHT, HEIGHT), Image.Resampling.BICUBIC))
        yield np.pad(square, ((0, 0), (left, WIDTH - HEIGHT - left), (0, 0)), mode="edge")


def stages(photo: Path, clip: Path) -> Iterator[tuple[str, int, Spent]]:
    """The stages of a command, as name, number of frames and what they took; in this process."""
    from micromotion.drive.landmark_track import track_face
    from micromotion.drive.read import read_track
    from micromotion.face.landmark_trees import landmark_trees
    from micromotion.face.landmarks import landmark_model
    from micromotion.runtime.process import configure_process
    from micromotion.video.driving_video import open_driving_video

    configure_process()
    animator, spent = measured(lambda: Animator.load("avatar", "cpu"))
    yield "load the model, once", 1, spent
    _, spent = measured(lambda: landmark_trees(landmark_model()))
    yield "load the landmark trees, once", 1, spent
    video = open_driving_video(clip, FPS * 60)
    decoded, spent = measured(lambda: sum(1 for _ in video))
    yield "of reading: decode", decoded, spent
    track, spent = measured(lambda: track_face(video))
    yield "read", len(track), spent
    (trajectory, _), spent = measured(lambda: read_track(track))
    yield "solve", len(track), spent
    driven, spent = measured(lambda: animator.drive(photo, trajectory))
    yield "find the photo's face, once", 1, spent
    next(iter(driven))
    frames, spent = measured(lambda: list(islice(driven, SOME)))
    yield "draw", len(frames), spent
    _, spent = measured(lambda: write_frames(frames, clip.with_suffix(".some.mp4"), FPS))
    yield "encode", len(frames), spent


def measured(work: Callable[[], T]) -> tuple[T, Spent]:
    """What work() returns, and what it took in all threads of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, Spent(time.perf_counter() - wall, time.process_time() - cpu)


def whole_command(photo: Path, clip: Path, output: Path) -> tuple[Spent, float]:
    """What `micromotion drive` takes, and its peak memory in MB."""
    command = [sys.executable, "-m", "micromotion", "drive", str(photo), str(clip), "-o", str(output)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    return Spent(time.perf_counter() - start, used.ru_utime + used.ru_stime), used.ru_maxrss / 1024


if __name__ == "__main__":
    main()
