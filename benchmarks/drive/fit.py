"""Fit the constants of reading that depend on how dlib sees faces, on renders that are not measured."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.drive.clips import FITTED, all_clips
from benchmarks.drive.renders import filmed
from benchmarks.drive.tracks import ROOT, tracked
from micromotion.drive.filters import savitzky_golay
from micromotion.drive.measures import lid_ratios
from micromotion.drive.rest import usual_openness
from micromotion.types import Floats

DEGREES = (0.0, 0.12, 0.32, 0.52, 0.72, 0.88, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drive.fit", description=__doc__)
    parser.add_argument("--cache", type=Path, default=ROOT / ".runs/drive", help="renders and tracks")
    args = parser.parse_args()
    ratios, degrees = lids(args.cache)
    print("how far closed: an eye's aspect ratio over that of the open eye, median (quartiles), frames")
    for degree in DEGREES:
        near = ratios[np.abs(degrees - degree) < 0.05]
        low, middle, high = np.quantile(near, (0.25, 0.5, 0.75))
        print(f"{degree:.2f}: {middle:.3f} ({low:.3f} to {high:.3f}), {len(near)}")


def lids(cache: Path) -> tuple[Floats, Floats]:
    """Each eye's aspect ratio over that of the open eye, smoothed as in reading, and how far it is closed."""
    ratios, degrees = [], []
    for clip in all_clips(FITTED):
        if clip.moves("eyes_closed"):
            track = tracked(filmed(clip, cache), f"fit-{clip.name}", cache)
            seen = lid_ratios(savitzky_golay(track.landmarks, 5))
            ratios.append((seen / usual_openness(seen)).reshape(-1))
            degrees.append(np.repeat(clip.of("eyes_closed"), 2))
            print(f"read: {clip.name}", flush=True)
    return np.concatenate(ratios), np.concatenate(degrees)


if __name__ == "__main__":
    main()
