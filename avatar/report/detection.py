"""Whether dlib finds a face in the model's pictures, with its landmarks in the right positions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar.renderer.camera import crop_frame, landmarks
from avatar.renderer.factors import factors_from_z
from avatar.report.heads import TURN
from avatar.report.subject import Subject, as_image
from micromotion.face.detection import detect
from micromotion.face.landmarks import find_landmarks

STRENGTHS = (0.0, 0.5, 1.0)
TURNS = (-TURN, -TURN / 2, 0.0, TURN / 2, TURN)
FARTHEST = 0.35
"""Largest allowed error of an eye or the mouth, in distances between the eyes."""

EYES = slice(36, 42), slice(42, 48)
MOUTH = 48, 54


@dataclass(frozen=True)
class DetectionCounts:
    """Numbers of pictures: looked at, with a face found, and with sensible landmarks."""

    looked: int
    found: int
    sensible: int

    @property
    def rate(self) -> float:
        return self.found / self.looked

    @property
    def sensible_rate(self) -> float:
        return self.sensible / self.looked


def expected(z: Tensor) -> np.ndarray:
    """Positions of a head's eyes and mouth: [N, 3, 2], x and y in [0, 1] of the crop, of codes [N, Z_DIM].

    They are the renderer's points of the rest pose: left eye, right eye, middle of the mouth.
    """
    f = factors_from_z(z)
    cx, cy, half = crop_frame(f)
    points = landmarks(f)
    at = {
        name: torch.cat([(x - cx) / half + 1, 1 - (y - cy) / half], dim=1) / 2
        for name, (x, y) in points.items()
    }
    mouth = (at["left_mouth"] + at["right_mouth"]) / 2
    return torch.stack([at["left_eye"], at["right_eye"], mouth], dim=1).numpy()


def sensible(found: np.ndarray, where: np.ndarray) -> bool:
    """Whether 68 landmarks [68, 2], in [0, 1] of the crop, are those of a face with eyes and mouth at
    ``where`` [3, 2] (see ``expected``).

    That is: all points but those of the jaw are in the crop, and each eye and the mouth are within FARTHEST
    times the distance between the eyes of their true positions, so that the eyes are above the mouth and the
    left one is left of the right.
    """
    left, right = (found[eye].mean(axis=0) for eye in EYES)
    mouth = found[list(MOUTH)].mean(axis=0)
    inside = found[17:].min() >= 0 and found[17:].max() <= 1
    off = np.linalg.norm(np.stack([left, right, mouth]) - where, axis=1)
    return bool(inside and off.max() <= FARTHEST * np.linalg.norm(where[1] - where[0]))


def look(pictures: Tensor, where: np.ndarray) -> tuple[DetectionCounts, list[int]]:
    """Detect faces in crops uint8 [N, 3, S, S]; also returns the indices of those that failed."""
    found = good = 0
    failed = []
    for i, picture in enumerate(pictures):
        image = as_image(picture)
        faces = detect(image)
        found += bool(faces)
        points = find_landmarks(image, faces[0].box, compatible=True) / image.width if faces else None
        if points is not None and sensible(points, where[i]):
            good += 1
        else:
            failed.append(i)
    return DetectionCounts(len(pictures), found, good), failed


def detection(
    subject: Subject,
    motion: str,
    latents: Tensor,
    where: Callable[[float], np.ndarray],
    strengths: Sequence[float],
) -> tuple[dict[str, DetectionCounts], Tensor]:
    """Play a motion on latents [N, styles, dim] of faces whose eyes and mouth are at ``where(strength)``
    [N, 3, 2].

    Returns the counts by strength, as text, and the pictures [M, 3, S, S] that failed.
    """
    result, failures = {}, [torch.zeros(0, 3, subject.size, subject.size, dtype=torch.uint8)]
    for strength in strengths:
        pictures = subject.show(latents + subject.motions[motion].offset(strength).to(latents.device))
        result[f"{strength:.2g}"], failed = look(pictures, where(strength))
        failures.append(pictures[failed])
    return result, torch.cat(failures)
