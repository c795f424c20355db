"""What a frame costs on a CPU: seconds and memory, measured in a separate process.

python -m avatar.report.cost BUNDLE THREADS
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

T = TypeVar("T")
ROUNDS = 15


@dataclass(frozen=True)
class AnimationCost:
    """Seconds to load, to invert a face and to make a frame (medians); peak memory, in bytes."""

    threads: int
    load: float
    invert: float
    frame: float
    memory: int


def cost(bundle: str | Path, threads: int) -> AnimationCost:
    """Measure a bundle on the CPU with this many threads, in a fresh process."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "avatar.report.cost", str(bundle), str(threads)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return AnimationCost(**json.loads(done.stdout.splitlines()[-1]))


def main(bundle: str, threads: str) -> None:
    import torch
    from PIL import Image

    from micromotion import Animator

    torch.set_num_threads(int(threads))
    load, animator = timed(lambda: Animator.load(bundle, "cpu"))
    face = Image.new("RGB", (256, 256), (150, 110, 90))
    latent = animator.encode(face, aligned=True)
    video = animator.animate(latent, animator.motions[0], frames=ROUNDS)
    frames = iter(video)
    next(frames)
    measured = AnimationCost(
        int(threads),
        load,
        median(timed(lambda: animator.encode(face, aligned=True))[0] for _ in range(ROUNDS)),
        median(timed(lambda: next(frames))[0] for _ in range(ROUNDS - 1)),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )
    print(json.dumps(measured.__dict__))


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds that some work takes, and its result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main(*sys.argv[1:])
