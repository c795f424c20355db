"""Fit what a motion does to a picture by a smooth function of its strength.

Measured frame by frame, displacements tremble by the measuring error. But a motion's frames depend on one
parameter: fitted once to measurements at a few strengths, the displacement is known for all of them, without
trembling.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from micromotion.types import Strengths

_POWERS = 3  # of the polynomial, which is 0 at strength 0


class Family:
    """Values of any shape at any strengths of some motions, fitted to what was measured at `poses`."""

    def __init__(self, strengths: Strengths, values: Sequence[Tensor]) -> None:
        """strengths: [n, motions], one motion per row. values: n measurements of one shape, float32, relative
        to the still frame.
        """
        self._rest = torch.zeros_like(values[0])
        self._sides: dict[tuple[int, bool], Tensor] = {}
        motion = np.abs(strengths).argmax(axis=1)
        strength = strengths[np.arange(len(motion)), motion]
        for side in {(int(m), bool(s > 0)) for m, s in zip(motion, strength, strict=True)}:
            rows = np.flatnonzero((motion == side[0]) & ((strength > 0) == side[1]))
            fit = torch.from_numpy(np.linalg.pinv(_powers(strength[rows])))
            self._sides[side] = torch.tensordot(
                fit, torch.stack([values[int(row)] for row in rows]).double(), 1
            )

    def at(self, strengths: np.ndarray) -> list[Tensor]:
        """Each motion's contribution at these strengths [motions], in order; none for strength 0."""
        playing = [(m, float(s)) for m, s in enumerate(strengths) if (m, bool(s > 0)) in self._sides and s]
        return [
            torch.tensordot(torch.from_numpy(_powers(np.array([s]))[0]), self._sides[m, s > 0], 1).float()
            for m, s in playing
        ]

    def total(self, strengths: np.ndarray) -> Tensor:
        """The sum of `at`; 0 at strength 0."""
        return torch.stack([self._rest, *self.at(strengths)]).sum(dim=0)


def _powers(strength: np.ndarray) -> np.ndarray:
    """[n] -> [n, powers]: s, s², s³."""
    return np.stack([strength**power for power in range(1, _POWERS + 1)], axis=1)
