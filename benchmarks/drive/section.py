"""The last section of docs/claims.md: how well a video drives a photo."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from avatar.report.document import table, tick, wrapped
from avatar.report.keeping import write
from benchmarks.drive.clips import EFFECTS, FPS, FRAMES
from benchmarks.drive.reading import Row
from benchmarks.drive.transferring import EVERY

HEADING = "## A video that drives a photo"

PICTURE = "claims/driving.jpg"
"""Relative to the document."""

NAMES = {
    "eyes_closed": "lids",
    "mouth_open": "mouth",
    "smile": "smile",
    "anger": "frown",
    "yaw": "yaw",
    "pitch": "pitch",
    "gaze_x": "gaze, sideways",
    "gaze_y": "gaze, up",
}

GOALS = {"eyes_closed": 0.9, "smile": 0.9, "yaw": 0.9, "mouth_open": 0.8, "anger": 0.8}
"""Least median correlation between the driven photo and the truth."""

GAINS, ASTRAY = (0.7, 1.2), 0.15

Clips = Mapping[str, Mapping[str, Row]]
"""By the clip's name, rows by effect."""


def section(reading: Clips, transfer: Clips) -> str:
    """The section as Markdown, from the rows of `read_clip` and `transfer_clip` of each clip."""
    parts = [_introduction(len(reading)), _transfer(transfer), _reading(reading), _spoiled(reading)]
    return "\n\n".join(wrapped(part) for part in parts) + "\n"


def kept_section(document: Path) -> str:
    """The section as it stands in a document, with a blank line before it; empty if there is none."""
    text = document.read_text(encoding="utf-8") if document.is_file() else ""
    at = text.find(f"\n{HEADING}\n")
    return text[at:] if at >= 0 else ""


def replace_section(document: Path, text: str) -> None:
    """Put the section at the end of a document, in place of the one it has."""
    old = document.read_text(encoding="utf-8") if document.is_file() else ""
    kept = old.removesuffix(kept_section(document)).rstrip("\n")
    write(document, f"{kept}\n\n{text}".lstrip("\n"))


def median_of(clips: Clips, effect: str, name: str) -> float | None:
    """The median of a figure over the clips that have it."""
    values = [value for rows in clips.values() if (value := rows[effect][name]) is not None]
    return float(np.median(values)) if values else None


def astray_share(clips: Clips, effect: str) -> float | None:
    """How far an effect that should not move strays from the truth, over how far it moves where it should."""
    away, moved = median_of(clips, effect, "astray"), median_of(clips, effect, "moved")
    return None if away is None or not moved else away / moved


def _introduction(clips: int) -> str:
    return f"""{HEADING}

`make driving` wrote this section. {clips} clips of {FRAMES} frames at {FPS} per second, each of another
rendered person whose effects follow known courses, alone and mixed, while the camera sways; {clips} other
rendered people are the photos. The truth is the photo's person rendered with the clip's factors. The eyes
are given people's size, as dlib's landmarks miss the avatar world's. The lid curve is fitted on eight
other people; but what makes a frame wrong, how a rest pose is scored, and what counts as closed lips were
chosen while looking at some of these clips, so that the figures are those of a fit, not of a test.

![Of each clip a few frames: the driver, the photo's person doing the same, the driven photo]({PICTURE})"""


def _transfer(clips: Clips) -> str:
    rows = []
    for effect in EFFECTS:
        r, gain = (median_of(clips, effect, name) for name in ("r", "gain"))
        share = astray_share(clips, effect)
        goal = GOALS.get(effect)
        rows.append(
            [
                NAMES[effect],
                _cell(r, "{:.2f}", None if goal is None else (r or 0) >= goal),
                "–" if goal is None else f"{goal:.1f}",
                _cell(gain, "{:.2f}", None if gain is None else GAINS[0] <= gain <= GAINS[1]),
                _cell(share, "{:.0%}", None if share is None else share < ASTRAY),
            ]
        )
    low, high = GAINS
    return f"""### The photo's motion

The driven photo and the truth are both measured on their pictures, every {_ordinal(EVERY)} frame, by dlib's
landmarks averaged over boxes and by plain ratios of them (`benchmarks/drive/signs.py`): nothing is asked of
the avatar's regressor. *Correlation* over the frames of a clip and *gain*, the slope of the driven photo on
the truth (wanted: {low} to {high}), are medians over the clips in which the effect moves. *Astray*: where it
should not move, the deviation from the truth, over that of the truth where it moves (wanted: below
{ASTRAY:.0%}); the landmarks' own noise is part of it.

{table(["effect", "correlation", "wanted", "gain", "astray"], rows)}"""


def _reading(clips: Clips) -> str:
    rows = [
        [
            NAMES[effect],
            *(_cell(median_of(clips, effect, name), "{:.2f}") for name in ("r", "gain")),
            _cell(median_of(clips, effect, "still"), "{:.3f}"),
        ]
        for effect in EFFECTS
    ]
    return f"""### The clip's reading

The trajectory that is read, against the clip's own factors: correlation and gain, medians over the clips in
which the effect moves, and the deviation of the reading where it does not. Lids, yaw and pitch are in the
renderer's units, so that their gain should be 1; the others are lengths.

{table(["effect", "correlation", "gain", "where it is still"], rows)}"""


def _spoiled(clips: Clips) -> str:
    rows = []
    for effect in EFFECTS:
        without, cleaned = (median_of(clips, effect, name) or 0.0 for name in ("spoiled", "cleaned"))
        better = f"{1 - cleaned / without:.0%} {tick(cleaned < without)}" if without else "–"
        rows.append([NAMES[effect], f"{without:.4f}", f"{cleaned:.4f}", better])
    counts = {
        name: sum(int(clip["frames"][name] or 0) for clip in clips.values())
        for name in ("spoiled", "found", "false", "bridged when clean")
    }
    blinks = {
        name: sum(int(clip["closings"][name] or 0) for clip in clips.values())
        for name in ("true", "without", "with")
    }
    return f"""### With a tenth of the frames spoiled

Frames of the same clips are blurred, covered in part, or show another person. The error of the reading near
them, rms against that of the clean clip, medians over the clips, without cleaning and with it.

{table(["effect", "as they are", "cleaned", "less"], rows)}

Of {counts["spoiled"]} spoiled frames {counts["found"]} were found, with {counts["false"]} false alarms; in
the clean clips {counts["bridged when clean"]} runs were bridged. In the clean clips the eyes close
{blinks["true"]} times: {blinks["without"]} are read without cleaning, {blinks["with"]} with it
{tick(blinks["with"] >= blinks["without"])}."""


def _cell(value: float | None, form: str, passed: bool | None = None) -> str:
    text = "–" if value is None else form.format(value)
    return text if passed is None else f"{text} {tick(passed)}"


def _ordinal(number: int) -> str:
    return {1: "single", 2: "second", 3: "third"}.get(number, f"{number}th")
