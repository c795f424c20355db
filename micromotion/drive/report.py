"""What was found while a driving video was read, in plain sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Spans = tuple[tuple[int, int], ...]
"""Runs of frames, each as its first and its last number."""

_SHOWN = 6  # spans listed in a sentence


@dataclass(frozen=True)
class ReadReport:
    """What was found in a video of so many frames at so many per second.

    rest: the numbers of the frames taken for the rest pose. bridged: the frames that were wrong in each
    region of the face, and were bridged. lost: where the face was not seen. others: the most other faces in
    one frame.
    """

    rest: tuple[int, ...]
    bridged: Mapping[str, Spans]
    lost: Spans
    others: int
    frames: int
    fps: float

    def sentences(self, face_option: str = "--face") -> list[str]:
        """The report, for people. face_option: the option that chooses the face to follow."""
        told = [f"Rest pose: {_frames([(number, number) for number in self.rest])}."]
        for region, wrong in self.bridged.items():
            if wrong:
                told.append(f"Bridged, as the {region} could not be read: {_frames(wrong)}.")
        if self.lost:
            times = ", ".join(
                f"{first / self.fps:.2f} to {(last + 1) / self.fps:.2f} s"
                for first, last in self.lost[:_SHOWN]
            )
            more = ", …" if len(self.lost) > _SHOWN else ""
            told.append(
                f"The face was lost, and the motion eases out and in: {_frames(self.lost)} ({times}{more})."
            )
        if self.others:
            told.append(f"Other people seen: {self.others}; {face_option} follows another one.")
        return told


def spans(flags: NDArray[np.bool_]) -> Spans:
    """The runs of true among flags [n]."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return tuple((int(first), int(after) - 1) for first, after in edges.reshape(-1, 2))


def _frames(runs: Sequence[tuple[int, int]]) -> str:
    """'frame 3', 'frames 3, 7–9'."""
    shown = [str(first) if first == last else f"{first}–{last}" for first, last in runs[:_SHOWN]]
    plural = len(runs) > 1 or runs[0][0] != runs[0][1]
    return f"frame{'s' if plural else ''} {', '.join(shown)}{', …' if len(runs) > _SHOWN else ''}"
