"""What a face does in a frame, in terms that apply to any face, as a function of the motions' strengths.

How far a motion moves a face is measured on a few of the model's frames, each motion by itself at a few
strengths (given by `poses`), as differences from the still frame. `Response` fits smooth functions of the
strengths: measured frame by frame, errors would make the face tremble. If a motion's file states its effects,
no frame is needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from micromotion.errors import MotionError
from micromotion.photo.sampling import MonotoneCurve
from micromotion.types import Floats, Row, Strengths

POSES = 5
"""Strengths at which a motion is measured, on each side of the still frame."""

STATED = "effects."
"""Prefix of the keys in a motion file's provenance that state its effects."""

_STRENGTHS = STATED + "strengths"
_MAX_STATED = 32  # most strengths in a file
_MAX_VALUE = 1000.0

LANDMARKS = 68

Provenance = Mapping[str, str | int | float]
"""The provenance in a motion's file, which may state its effects (`stated_effects`)."""


@dataclass(frozen=True)
class Effects:
    """What a face does, as differences from the photo; all zeros: nothing.

    smile, anger, mouth_open, age: 1 is the full degree; negative is the opposite. left_eye, right_eye: how
    far the eye on that side of the picture is closed, 1 shut, below 0 wider open. yaw, pitch, roll: degrees
    by which the head turns to the picture's right, nods down, and tilts with its top to the left.
    """

    smile: float = 0.0
    anger: float = 0.0
    mouth_open: float = 0.0
    age: float = 0.0
    left_eye: float = 0.0
    right_eye: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0


NAMES = tuple(field.name for field in fields(Effects))
"""The names of the effects, in the order used in arrays."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What was measured at some strengths of one motion or of none, relative to the still frame.

    effects: float64 [n, len(NAMES)]. field: float64 [n, 68, 2], displacement of the landmarks beyond the
    effects, in eye distances, along the face's own right and down, as on a face looking straight ahead.
    """

    effects: Floats
    field: Floats


def poses(strengths: Strengths) -> Strengths:
    """The strengths at which to measure a face before drawing frames of these strengths.

    strengths: [frames, motions]. Returns [n, motions], each motion by itself: even steps up to the strongest
    on either side of the still frame; n = 0 if nothing moves.
    """
    rows = [np.zeros((0, strengths.shape[1]))]
    for motion, column in enumerate(strengths.T):
        for most in (min(column.min(), 0), max(column.max(), 0)):
            side = np.zeros((POSES if most else 0, strengths.shape[1]))
            side[:, motion] = most * np.arange(1, len(side) + 1) / POSES
            rows.append(side)
    return np.concatenate(rows)


class Response:
    """The effects of motions as smooth functions of their strengths; those of several motions add up."""

    def __init__(self) -> None:
        self._curves: dict[int, MonotoneCurve] = {}

    def measured(self, strengths: Strengths, reading: Reading) -> None:
        """Learn motions from a reading at the strengths [n, motions], one motion per row."""
        values = np.concatenate([reading.effects, reading.field.reshape(len(strengths), -1)], axis=1)
        for motion in np.flatnonzero(np.abs(strengths).max(axis=0, initial=0)):
            rows = np.flatnonzero(strengths[:, motion])
            self._learn(int(motion), strengths[rows, motion], values[rows])

    def stated(self, motion: int, effects: Provenance) -> None:
        """Learn a motion from what its file's provenance states; see `stated_effects`."""
        strengths, values = _parsed(effects)
        self._learn(motion, strengths, np.pad(values, ((0, 0), (0, 2 * LANDMARKS))))

    def __call__(self, strengths: Row) -> tuple[Effects, Floats]:
        """The effects at these strengths [motions], and the field [68, 2] beyond them (see `Reading`)."""
        total = np.zeros(len(NAMES) + 2 * LANDMARKS)
        for motion, strength in enumerate(strengths):
            if strength and motion in self._curves:
                total += self._curves[motion](strength)
        effects = dict(zip(NAMES, total[: len(NAMES)].tolist(), strict=True))
        return Effects(**effects), total[len(NAMES) :].reshape(LANDMARKS, 2)

    def _learn(self, motion: int, strengths: Floats, values: Floats) -> None:
        """Fit a curve through the values at these strengths, none of them 0, and through 0 at 0."""
        strengths, values = (
            np.append(strengths, 0.0),
            np.concatenate([values, np.zeros((1, values.shape[1]))]),
        )
        order = np.argsort(strengths)
        self._curves[motion] = MonotoneCurve(strengths[order], values[order])


def stated_effects(strengths: Sequence[float], effects: Floats) -> dict[str, str]:
    """Provenance entries of a motion file for effects [n, len(NAMES)] at strengths [n], none of them 0."""
    columns = {
        name: column for name, column in zip(NAMES, effects.T, strict=True) if np.abs(column).max() > 0
    }
    return {_STRENGTHS: _listed(strengths)} | {
        STATED + name: _listed(column) for name, column in columns.items()
    }


def states_effects(provenance: Provenance) -> bool:
    """Whether a motion's file states its effects."""
    return _STRENGTHS in provenance


def _listed(values: Sequence[float] | Floats) -> str:
    return " ".join(f"{value:.4g}" for value in values)


def _parsed(provenance: Provenance) -> tuple[Floats, Floats]:
    """Strengths [n] and effects [n, len(NAMES)] of a provenance; raises MotionError if they are invalid."""
    strengths = _numbers(_STRENGTHS, provenance)
    if len(strengths) != len(set(strengths)) or 0 in strengths:
        raise MotionError("The micromotion states its effects at a strength of 0, or twice at the same.")
    effects = np.zeros((len(strengths), len(NAMES)))
    for key in provenance:
        name = key.removeprefix(STATED)
        if name != key and key != _STRENGTHS:
            if name not in NAMES:
                raise MotionError(f"The micromotion states an unknown effect: {name!r:.40}.")
            values = _numbers(key, provenance)
            if len(values) != len(strengths):
                raise MotionError(f"The micromotion states {name!r} for a different number of strengths.")
            effects[:, NAMES.index(name)] = values
    return np.array(strengths), effects


def _numbers(key: str, provenance: Provenance) -> list[float]:
    try:
        values = [float(word) for word in str(provenance[key]).split()]
    except ValueError:
        values = []
    sane = all(math.isfinite(value) and abs(value) <= _MAX_VALUE for value in values)
    if not sane or not 1 <= len(values) <= _MAX_STATED:
        raise MotionError(
            f"The micromotion states invalid numbers for {key!r}: {str(provenance[key])!r:.60}; "
            f"it takes 1 to {_MAX_STATED} of at most ±{_MAX_VALUE:g}."
        )
    return values
