"""Measure effects in a model's frames: how far a motion moves this face from its still frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from micromotion.photo.effects import (
    LANDMARKS,
    NAMES,
    Provenance,
    Reading,
    Response,
    poses,
    states_effects,
)
from micromotion.types import Floats, Frame, Pose, Strengths

DEAD = {"yaw": 0.15, "pitch": 0.3, "roll": 0.4}
OTHERWISE_DEAD = 0.06
"""Readings up to this are regressor error (docs/avatar.md); it is subtracted from larger ones, so that
nothing jumps."""

UNITS = {"yaw": 35.0, "pitch": 11.5, "roll": 12.0}
"""Degrees that the regressor reads as 1 (`avatar.renderer.pose`)."""

# Effect -> the regressor's factor.
_FACTORS = {name: name for name in NAMES} | {"left_eye": "eyes_closed", "right_eye": "eyes_closed"}

Reader = Callable[[Frame, Sequence[Frame]], Reading]
"""The still frame, and frames [n] of the same face in motion -> reading."""


class RegressorReader:
    """Measures with a regressor trained on one model's faces (`encoder4editing.regressor`)."""

    def __init__(
        self, regressor: Callable[[Tensor], Tensor], names: Sequence[str], device: torch.device
    ) -> None:
        """regressor: pictures [B, 3, S, S] in [-1, 1], on `device` -> readings [B, len(names)]."""
        self._regressor, self._device = regressor, device
        self._columns = [names.index(_FACTORS[name]) for name in NAMES]

    def __call__(self, still: Frame, frames: Sequence[Frame]) -> Reading:
        pictures = torch.from_numpy(np.stack([still, *frames])).movedim(-1, 1)
        with torch.inference_mode():
            read = self._regressor(pictures.to(self._device).float() / 127.5 - 1).double().cpu().numpy()
        change = (read[1:] - read[0])[:, self._columns]
        dead = np.array([DEAD.get(name, OTHERWISE_DEAD) for name in NAMES])
        change = np.sign(change) * np.maximum(np.abs(change) - dead, 0) / (1 - dead)
        effects: Floats = change * [UNITS.get(name, 1.0) for name in NAMES]
        return Reading(effects, np.zeros((len(frames), LANDMARKS, 2)))


class EffectsReader:
    """The effects of some motions on one face: as their files state, or else measured on its frames."""

    def __init__(self, motions: Sequence[Provenance], reader: Reader) -> None:
        """motions: each file's provenance, which may state the effects. reader: measures them otherwise."""
        self._motions, self._reader = motions, reader
        self._stated = np.array([states_effects(provenance) for provenance in motions], bool)

    def looks_at(self, strengths: Strengths) -> Strengths:
        """The strengths [n, motions] whose frames it needs for a video of these strengths: of the still frame
        and of motions whose files state no effects, each by itself; n is 0 if all are stated.
        """
        wanted = poses(np.where(self._stated, 0.0, strengths))
        still = np.zeros((1 if len(wanted) else 0, strengths.shape[1]))
        return np.concatenate([still, wanted])

    def response(self, seen: Sequence[Pose]) -> Response:
        """The effects at any strengths, given the poses of `looks_at`; others of stated motions are ignored.

        Raises MotionError if a file states them wrongly.
        """
        response = Response()
        for motion in np.flatnonzero(self._stated).tolist():
            response.stated(motion, self._motions[motion])
        read = [pose for pose in seen[1:] if not self._stated[np.argmax(pose[0] != 0)]]
        if read:
            rows = np.stack([row for row, _ in read])
            response.measured(rows, self._reader(seen[0][1], [frame for _, frame in read]))
        return response
