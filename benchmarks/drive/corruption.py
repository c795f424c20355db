"""Frames of a clip spoiled as real ones are: blurred, covered, or showing another face."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from micromotion.types import Frame

SHARE = 0.1
KINDS = ("blur", "cover", "face")


def corrupted(
    frames: Sequence[Frame], others: Sequence[Frame], seed: int
) -> tuple[list[Frame], dict[int, str]]:
    """The frames with a tenth of them spoiled, singly or in pairs, and the kind of each that was.

    others: frames of another person, as many. The first and the last four frames are spared.
    """
    rng = np.random.default_rng(seed)
    spoiled, kinds = list(frames), {}
    wanted, turn = round(SHARE * len(frames)), 0
    while len(kinds) < wanted:
        start, long = int(rng.integers(4, len(frames) - 5)), int(rng.integers(1, 3))
        run = range(start, min(start + long, start + wanted - len(kinds)))
        if any(at in kinds for at in range(start - 2, run.stop + 2)):
            continue
        kind = KINDS[(seed + turn) % len(KINDS)]
        turn += 1
        for at in run:
            spoiled[at] = _spoil(kind, frames[at], others[at], rng)
            kinds[at] = kind
    return spoiled, kinds


def _spoil(kind: str, frame: Frame, other: Frame, rng: np.random.Generator) -> Frame:
    if kind == "face":
        return other
    side = len(frame)
    picture = Image.fromarray(frame)
    if kind == "blur":
        return np.asarray(picture.filter(ImageFilter.GaussianBlur(side * rng.uniform(0.02, 0.035))))
    x, y = side * rng.uniform(0.35, 0.65), side * rng.uniform(0.45, 0.75)  # a hand over a part of the face
    reach, shade = side * rng.uniform(0.12, 0.2), int(rng.integers(60, 200))
    ImageDraw.Draw(picture).ellipse(
        (x - reach, y - reach, x + 0.7 * reach, y + 0.8 * reach),
        fill=(shade, int(0.8 * shade), int(0.7 * shade)),
    )
    return np.asarray(picture)
