"""Effects of the five motions on a photo's face, as stated in their files.

For positive strengths they follow the model's own people (the regressor's medians over people drawn by the
generator; `tests/avatar/test_stated_effects.py` checks these numbers). The opposite of a motion cannot be
measured there, as the renderer's degrees end at 0, so these effects are declared: eyes wider open, brows up,
corners of the mouth down, smoother skin. A head turns by 25° at strength 1, though the model turns it by 30°:
what a photo shows of a face ends at about 35°.
"""

import numpy as np

from micromotion.photo.effects import NAMES, stated_effects

STRENGTHS = (-2.0, -1.0, -0.5, 0.5, 1.0, 1.5, 2.0)

EFFECTS: dict[str, dict[str, tuple[float, ...]]] = {
    "smile": {
        "smile": (-1.4, -0.8, -0.4, 0.55, 1.0, 1.25, 1.4),
        "mouth_open": (0.0, 0.0, 0.0, 0.0, 0.08, 0.35, 0.65),
        "left_eye": (0.0, 0.0, 0.0, 0.03, 0.1, 0.2, 0.3),
        "right_eye": (0.0, 0.0, 0.0, 0.03, 0.1, 0.2, 0.3),
    },
    "anger": {"anger": (-1.3, -0.8, -0.4, 0.55, 1.0, 1.25, 1.4)},
    "eyes_closed": {
        "left_eye": (-0.4, -0.25, -0.12, 0.52, 1.0, 1.0, 1.0),
        "right_eye": (-0.4, -0.25, -0.12, 0.52, 1.0, 1.0, 1.0),
    },
    "age": {"age": (-1.6, -0.9, -0.45, 0.55, 1.0, 1.35, 1.6)},
    "yaw": {"yaw": (-38.0, -25.0, -13.0, 13.0, 25.0, 33.0, 38.0)},
}
"""Motion (the renderer's name) → effect → its values at STRENGTHS."""


def stated(motion: str) -> dict[str, str]:
    """A motion's effects, as entries of its file's provenance."""
    values = np.zeros((len(STRENGTHS), len(NAMES)))
    for name, column in EFFECTS[motion].items():
        values[:, NAMES.index(name)] = column
    return stated_effects(STRENGTHS, values)
