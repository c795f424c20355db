"""Fit the constants of reading that depend on how dlib sees faces, on renders that are not measured."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.drive.clips import EFFECTS, FITTED, Clip
from benchmarks.drive.renders import filmed
from benchmarks.drive.tracks import ROOT
from micromotion.drive.landmark_track import _read
from micromotion.drive.measures import lid_ratios
from micromotion.drive.pose import fit_poses, head_of
from micromotion.face.alignment import align
from micromotion.runtime.process import keep_memory
from micromotion.types import Floats

PEOPLE = 8
CLOSED = (0.0, 0.16, 0.32, 0.48, 0.6, 0.72, 0.84, 1.0)
YAWS = (-0.6, -0.3, 0.0, 0.3, 0.6)  # of 35 degrees


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drive.fit", description=__doc__)
    parser.add_argument("--cache", type=Path, default=ROOT / ".runs/drive", help="renders")
    args = parser.parse_args()
    keep_memory()
    ratios, turned = [], []
    for person in range(FITTED, FITTED + PEOPLE):
        seen = lid_ratios(landmarks(person, "eyes_closed", CLOSED, args.cache))
        ratios.append(seen / seen[0])
        faces = landmarks(person, "yaw", YAWS, args.cache)
        head = head_of(faces[YAWS.index(0.0)])
        turned.append(fit_poses(head, faces)[:, :3] - head.rest[:3])
        print(f"read: {person - FITTED + 1} of {PEOPLE} people", flush=True)
    print("how far closed: an eye's aspect ratio over that of the open eye: median, quartiles")
    for degree, values in zip(CLOSED, np.stack(ratios, axis=1), strict=True):
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        print(f"{degree:.2f}: {middle:.3f}, {low:.3f} to {high:.3f}")
    print("yaw in degrees: yaw, pitch and roll as read: median, the largest by size")
    for yaw, values in zip(YAWS, np.stack(turned, axis=1), strict=True):
        worst = values[np.abs(values).argmax(axis=0), range(3)]
        print(f"{35 * yaw:.1f}: {np.median(values, axis=0).round(1)}, {worst.round(1)}")


def landmarks(person: int, effect: str, degrees: tuple[float, ...], kept: Path) -> Floats:
    """Landmarks [n, 68, 2] of a person with an effect at these degrees, read as in a video."""
    effects = np.zeros((len(degrees), len(EFFECTS)))
    effects[:, EFFECTS.index(effect)] = degrees
    frames = filmed(Clip(effect, person, effects, np.zeros((len(degrees), 4))), kept)
    return np.stack([_landmarks(Image.fromarray(frame)) for frame in frames])


def _landmarks(picture: Image.Image) -> Floats:
    near = align(picture).landmarks
    assert near is not None  # no picture was given as aligned
    return _read(picture, near).landmarks


if __name__ == "__main__":
    main()
