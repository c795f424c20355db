"""How far a motion moves its own factor, and how far the others, on unseen heads."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar.renderer.factors import MOTIONS
from avatar.report.measure import spearman
from avatar.report.subject import Subject
from avatar.training.regressor import read_all

STRENGTHS = tuple(i / 10 for i in range(11))


@dataclass(frozen=True)
class MotionResponse:
    """What a motion does to N heads between strength 0 and 1, as the regressor reads it.

    order: Spearman's correlation of its own factor with the strength, [N]. slopes: change of every factor of
    MOTIONS per unit of strength, [N, 5], by least squares over STRENGTHS. own: its index there.
    """

    order: np.ndarray
    slopes: np.ndarray
    own: int

    def monotone(self, bound: float = 0.97) -> float:
        """The share of heads whose own factor grows with the strength: a correlation above ``bound``."""
        return float((self.order > bound).mean())

    @property
    def moved(self) -> float:
        """Mean change of its own factor."""
        return float(self.slopes[:, self.own].mean())

    def others(self) -> dict[str, tuple[float, float]]:
        """By name, the change of each other factor as a share of that of its own: the mean, with its sign,
        and the mean of absolute values over heads, which includes the regressor's noise.
        """
        share = self.slopes / self.moved
        return {
            name: (float(share[:, i].mean()), float(np.abs(share[:, i]).mean()))
            for i, name in enumerate(MOTIONS)
            if i != self.own
        }


def movement(subject: Subject, motion: str, factor: str, latents: Tensor) -> MotionResponse:
    """Play a motion (its published name), which is to move ``factor``, on latents [N, styles, dim]."""
    offset = subject.motions[motion].offset
    shown = [subject.show(latents + offset(strength).to(latents.device)) for strength in STRENGTHS]
    read = torch.stack([read_all(subject.regressor, pictures) for pictures in shown])
    return movement_of(read[..., : len(MOTIONS)].double().numpy(), MOTIONS.index(factor))


def movement_of(read: np.ndarray, own: int) -> MotionResponse:
    """The response in readings [strengths, N, 5] at STRENGTHS."""
    at = np.asarray(STRENGTHS) - np.mean(STRENGTHS)
    slopes = np.tensordot(at / np.square(at).sum(), read, axes=1)
    order = np.array([spearman(series) for series in read[..., own].T])
    return MotionResponse(order, slopes, own)
