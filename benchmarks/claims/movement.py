"""How a direction changes people: its own factor, the others and identity, read from the pictures."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatar.renderer.factors import MOTIONS
from avatar.report.keeping import Figures
from avatar.report.measure import spearman
from avatar.report.subject import Subject, unit
from avatar.training.regressor import read_all
from micromotion.weights.bundle import IDENTITY

FINE, COARSE, ENDS = tuple(i / 10 for i in range(11)), (0.0, 0.5, 1.0), (0.0, 1.0)
"""Strengths at which a motion is drawn; those between the first and the last show its evenness."""


def readings(subject: Subject, pictures: Tensor) -> NDArray[np.float64]:
    """The factors of MOTIONS, [N, 5], read from uint8 pictures [N, 3, S, S]."""
    return read_all(subject.regressor, pictures)[:, : len(MOTIONS)].double().numpy()


class ShownPeople:
    """People's latents [N, styles, dim], with their pictures and readings in the rest pose, computed once."""

    def __init__(self, subject: Subject, latents: Tensor) -> None:
        self.subject, self.latents = subject, latents
        self.pictures = subject.show(latents)
        self.rest = readings(subject, self.pictures)
        self.who = features(subject, self.pictures)

    def moved(self, direction: Tensor, motion: str, strengths: tuple[float, ...], error: float) -> Figures:
        """The figures of `summary` for a direction [styles, dim] played on these people."""
        read, alike = [self.rest], None
        for strength in strengths[1:]:
            pictures = self.subject.show(self.latents + strength * direction.to(self.latents.device))
            read.append(readings(self.subject, pictures))
        now = features(self.subject, pictures)  # the last strength is the full motion
        if now is not None and self.who is not None:
            alike = (now * self.who).sum(dim=1).double().numpy()
        return summary(np.stack(read), strengths, MOTIONS.index(motion), error, alike)


@torch.inference_mode()
def features(subject: Subject, pictures: Tensor) -> Tensor | None:
    """Unit identity features [N, D] of uint8 pictures [N, 3, S, S]; None without an identity network."""
    if not subject.has(IDENTITY):
        return None
    bundle = subject.animator.bundle
    parts = [bundle.identity.features(unit(part).to(bundle.device)).cpu() for part in pictures.split(16)]
    return torch.cat(parts)


def summary(
    read: NDArray[np.float64],
    strengths: tuple[float, ...],
    own: int,
    error: float,
    alike: NDArray[np.float64] | None = None,
) -> Figures:
    """Figures of readings [strengths, N, 5].

    Args:
        strengths: rising, from 0 to 1.
        own: the index of the intended factor.
        error: the error of one of its readings; a smaller movement does not count.
        alike: identity cosines [N] between each person at the full motion and in the rest pose.

    Returns:
        people: N. right: how many of them moved the right way. own: mean movement of the own factor per unit
        of strength, by least squares; least: its 5% quantile. order: the mean of Spearman's correlation with
        the strength; steady: on how many people it is above 0.97. steps: the smallest and the largest of the
        mean steps from strength to strength, 1 if all are equal. others: the mean signed movement of each
        other factor. leak: the mean absolute movement of the others, over people and factors. alike,
        alike_least: as `own` and `least`, or None.
    """
    at = np.asarray(strengths) - np.mean(strengths)
    slopes = np.tensordot(at / np.square(at).sum(), read, axes=1)
    order = np.array([spearman(series) for series in read[..., own].T])
    way = np.diff(read[..., own].mean(axis=1)) / np.diff(strengths)
    whole = read[-1, :, own].mean() - read[0, :, own].mean()
    parts = way / whole if whole else np.zeros_like(way)
    others = [i for i in range(len(MOTIONS)) if i != own]
    return {
        "people": int(read.shape[1]),
        "right": int((read[-1, :, own] - read[0, :, own] > error).sum()),
        "own": float(slopes[:, own].mean()),
        "least": float(np.quantile(slopes[:, own], 0.05)),
        "order": float(order.mean()),
        "steady": int((order > 0.97).sum()),
        "steps": [float(parts.min()), float(parts.max())],
        "others": {MOTIONS[i]: float(slopes[:, i].mean()) for i in others},
        "leak": float(np.abs(slopes[:, others]).mean()),
        "alike": None if alike is None else float(alike.mean()),
        "alike_least": None if alike is None else float(np.quantile(alike, 0.05)),
    }
