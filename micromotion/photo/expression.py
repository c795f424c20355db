"""Displacement of a face's landmarks when it smiles, opens its mouth, gets angry, ages.

A shape is a table: landmark -> its displacement at degree 1, (outwards, down), in head units. It applies to
both halves of the face; "outwards" is away from the middle. On a turned head, sideways motion is
foreshortened in each half separately.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from micromotion.photo.lips import MouthFrame, lips_apart
from micromotion.photo.registration import Registration
from micromotion.photo.sampling import smoothstep
from micromotion.types import Floats

Shape = dict[tuple[int, ...], tuple[float, float]]
"""Landmarks in the left half of the picture's face, or on its midline -> (outwards, down)."""

PAIRS = [
    *((left, 16 - left) for left in range(8)),
    *((left, 43 - left) for left in range(17, 22)),
    *((31, 35), (32, 34)),
    *zip(range(36, 42), (45, 44, 43, 42, 47, 46), strict=True),
    *((48, 54), (49, 53), (50, 52), (58, 56), (59, 55), (60, 64), (61, 63), (67, 65)),
]
"""Landmarks of the left half in the picture, paired with their mirror images in the right one."""

SMILE: Shape = {
    (48,): (0.100, -0.085),
    (60,): (0.085, -0.078),
    (49,): (0.062, -0.058),
    (59,): (0.058, -0.050),
    (50,): (0.022, -0.030),
    (61,): (0.030, -0.030),
    (67,): (0.030, -0.022),
    (58,): (0.024, -0.018),
    (51,): (0.000, -0.020),
    (62, 66): (0.000, -0.012),
    (57,): (0.000, -0.004),
    (31,): (0.026, -0.016),
    (32,): (0.012, -0.010),
    (40, 41): (0.000, -0.020),
    (3,): (0.010, -0.012),
    (4, 5): (0.018, -0.014),
    (17, 18, 19): (0.000, -0.006),
}
"""Mouth corners up and out, with cheeks, lower lids and the nose's wings; the lips stay closed."""

PARTED: Shape = {
    (61, 62): (0.000, -0.036),
    (50, 51): (0.000, -0.023),
    (49,): (0.000, -0.008),
    (67, 66): (0.000, 0.068),
    (58, 57): (0.000, 0.055),
    (59,): (0.000, 0.028),
    (8, 7): (0.000, 0.030),
    (6,): (0.000, 0.020),
    (5,): (0.000, 0.010),
}
"""A smile's lips part, and the teeth show."""

FROWN: Shape = {
    (48, 60): (-0.014, 0.060),
    (49, 59): (-0.006, 0.030),
    (61, 67): (0.000, 0.004),
    (51, 62, 66): (0.000, -0.008),
    (57, 58): (0.000, -0.014),
    (21,): (-0.010, -0.018),
    (20,): (-0.005, -0.010),
}
"""A smile's opposite: corners down, the lower lip up, the brows' inner ends a little up, the lips closed."""

OPEN: Shape = {
    (48, 60): (-0.024, 0.070),
    (49,): (-0.012, 0.016),
    (50, 51, 61, 62): (0.000, -0.012),
    (67, 66): (0.000, 0.270),
    (58, 57): (0.000, 0.262),
    (59,): (-0.016, 0.205),
    (8, 7): (0.000, 0.220),
    (6,): (0.000, 0.180),
    (5,): (0.000, 0.115),
    (4,): (0.000, 0.050),
}
"""The jaw drops."""

ANGER: Shape = {
    (21,): (-0.036, 0.094),
    (20,): (-0.028, 0.083),
    (19,): (-0.018, 0.066),
    (18,): (-0.006, 0.044),
    (17,): (0.000, 0.012),
    (27,): (0.000, 0.012),
    (37, 38): (0.000, 0.016),
    (40, 41): (0.000, -0.012),
    (31,): (0.016, -0.014),
    (32,): (0.008, -0.008),
    (48, 60): (-0.012, 0.020),
    (49, 59): (-0.006, 0.010),
    (50, 51): (0.000, 0.012),
    (61, 62): (0.000, 0.002),
    (67, 66): (0.000, 0.002),
    (58, 57): (0.000, -0.016),
}
"""Brows down and together, lids narrow, lips pressed."""

AGE: Shape = {
    (17, 18): (0.000, 0.045),
    (19,): (0.000, 0.020),
    (37,): (0.000, 0.036),
    (38,): (0.000, 0.026),
    (36,): (0.000, 0.020),
    (48, 60): (0.000, 0.045),
    (49, 50, 51): (0.000, 0.028),
    (61, 62, 67, 66): (0.000, 0.012),
    (59, 58, 57): (0.000, -0.010),
    (30, 33): (0.000, 0.024),
    (31,): (0.020, 0.022),
    (32,): (0.010, 0.022),
    (4,): (0.025, 0.022),
    (5,): (0.045, 0.040),
    (6,): (0.040, 0.036),
}
"""Brows and lids sag at their outer ends, as do mouth corners, jowls and the nose's tip; lips thin."""


@dataclass(frozen=True)
class ExpressionConfig:
    """How shapes fit a face. The head unit is the eye distance of a head looking straight ahead."""

    eyes_to_mouth: float = 1.1
    """Units from between the eyes down to the mouth of a typical face: if it is more, the eye distance is
    foreshortened, and the unit larger."""
    mouth_half: float = 0.42
    """Units of half a typical mouth: narrower or foreshortened halves move outwards proportionally less."""
    narrowest: float = 0.4
    """Lower bound of that factor: in near-profile, a mouth's far half still moves a little."""
    saturation: float = 1.0
    """How early a degree saturates: 1 is 1, 2 is 1.27, -1 is -1, infinity 1.31. More: earlier."""
    parts_from: float = 0.15
    """Degree of a smile from which the lips part."""
    smiling: tuple[float, float] = (0.06, 0.18)
    """Units by which the corners are above the lips' middle in a face that already smiles: from, fully."""
    restraint: float = 0.45
    """How much less a face moves that already smiles fully."""
    parts_on: float = 0.12
    """How much of a parting counts as done if the lips are already as far apart."""


EXPRESSION = ExpressionConfig()


def expression_landmarks(
    registration: Registration,
    *,
    smile: float = 0.0,
    mouth_open: float = 0.0,
    anger: float = 0.0,
    age: float = 0.0,
    field: Floats | None = None,
    config: ExpressionConfig = EXPRESSION,
) -> Floats:
    """This face's landmarks [68, 2] at these degrees, in pixels of the registration's square.

    Degrees: 0 is the photo, 1 the full expression; they saturate beyond 1, and below 0 do the opposite (a
    negative smile is a frown, with closed lips), except that mouth_open below 0 does nothing. They add up.
    field: [68, 2], further displacement of the landmarks, (right, down) of the head in eye distances.
    """
    landmarks = registration.landmarks
    fit = _Fit.of(registration, config)
    smiling = fit.calm * _saturated(smile, config)
    moved = max(smiling, 0) * _SMILE + max(-smiling, 0) * _FROWN
    gap = lips_apart(registration) * fit.mouth
    moved += _left_to_part(_PARTED, gap, config) * _parting(smile, config) * _PARTED
    moved += _left_to_part(_OPEN, gap, config) * max(_saturated(mouth_open, config), 0) * _OPEN
    moved += _saturated(anger, config) * _ANGER + _saturated(age, config) * _AGE
    local = fit.unit * moved * np.stack([fit.across, np.ones(68)], axis=1)
    if field is not None:
        local = local + registration.eye_distance * np.asarray(field, np.float64)
    goes: Floats = landmarks + local @ registration.axes
    return goes


def head_unit(registration: Registration, config: ExpressionConfig = EXPRESSION) -> float:
    """This head's eye distance if it looked straight ahead, in pixels of the registration's square."""
    landmarks = registration.landmarks
    down = landmarks[48:60].mean(axis=0) - landmarks[36:48].mean(axis=0)
    return max(registration.eye_distance, float(down @ registration.axes[1]) / config.eyes_to_mouth)


@dataclass(frozen=True, eq=False)
class _Fit:
    """How a shape fits a face: pixels per unit; factor of sideways motion at each landmark [68]; factor of a
    smile (0…1); the mouth's width in units."""

    unit: float
    across: Floats
    calm: float
    mouth: float

    @classmethod
    def of(cls, registration: Registration, config: ExpressionConfig) -> _Fit:
        landmarks, down = registration.landmarks, registration.axes[1]
        unit = head_unit(registration, config)
        frame = MouthFrame.of(landmarks)
        width = frame.width / unit
        halves = np.array([frame.middle, 1 - frame.middle]) * width / config.mouth_half
        left, right = np.clip(halves, config.narrowest, 1.15)
        across = np.full(68, (left + right) / 2)
        across[[mark for mark, _ in PAIRS]] = left
        across[[mark for _, mark in PAIRS]] = right
        lifted = (landmarks[[62, 66]].mean(axis=0) - landmarks[[48, 54]].mean(axis=0)) @ down / unit
        calm = 1 - config.restraint * float(smoothstep(*config.smiling, lifted))
        return cls(unit, across, calm, width)


def _table(shape: Shape) -> Floats:
    """A shape as the displacement (right, down) of each landmark [68, 2]."""
    moved, fellows = np.zeros((68, 2)), dict(PAIRS)
    for marks, (outwards, down) in shape.items():
        for mark in marks:
            moved[mark] = -outwards, down
            if mark in fellows:
                moved[fellows[mark]] = outwards, down
    return moved


_SMILE, _PARTED, _FROWN, _OPEN, _ANGER, _AGE = map(_table, (SMILE, PARTED, FROWN, OPEN, ANGER, AGE))


def _saturated(degree: float, config: ExpressionConfig) -> float:
    """0 -> 0, 1 -> 1, saturating beyond; odd."""
    return float(np.tanh(config.saturation * degree) / np.tanh(config.saturation))


def _parting(smile: float, config: ExpressionConfig) -> float:
    return float(smoothstep(config.parts_from, 1.0, smile)) * max(_saturated(smile, config), 0)


def _left_to_part(parted: Floats, gap: float, config: ExpressionConfig) -> float:
    """The fraction of a parting left for lips already `gap` units apart; 1 if they are closed."""
    whole = parted[66, 1] - parted[62, 1]
    return 1 - (1 - config.parts_on) * float(smoothstep(0.2, 1.3, gap / whole))
