"""Where a face lies in its photo, and the square of the photo around it in which its motion is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from micromotion.face.crop import FACE_IN_CROP, AlignedFace, crop_quad
from micromotion.face.landmarks import find_landmarks
from micromotion.photo.sampling import Picture
from micromotion.types import Floats

LARGER = 1.36
"""The drawn square's side over that of FFHQ's crop: hair and shoulders move, too."""

MAX_SIDE = 1400
"""Pixels of the drawn square's side at most; the pixels of a larger one move as those of this one do."""

MIN_SIDE = 192


@dataclass(frozen=True, eq=False)
class Registration:
    """A face as it lies in the photo, before it moves.

    picture: float32 [N, N, 3] in 0…1, the square around the face, upright, as near to the photo's own pixels
    as MIN_SIDE and MAX_SIDE let it be. landmarks: dlib's 68, float64 [68, 2], in pixels of `picture`.
    matrix: [2, 3] float64, a point of `picture` (x, y, 1) -> a point of the photo, in pixels.
    """

    picture: Picture
    landmarks: Floats
    matrix: Floats

    @property
    def side(self) -> int:
        return len(self.picture)

    @cached_property
    def eye_distance(self) -> float:
        """From the middle of one eye to that of the other, in pixels of `picture`."""
        left, right = self.landmarks[36:42].mean(axis=0), self.landmarks[42:48].mean(axis=0)
        return float(np.linalg.norm(right - left))

    @cached_property
    def axes(self) -> Floats:
        """[2, 2]: the face's own right (towards the picture's right) and down, unit vectors in `picture`."""
        across = self.landmarks[42:48].mean(axis=0) - self.landmarks[36:42].mean(axis=0)
        across /= np.linalg.norm(across)
        return np.array([across, (-across[1], across[0])])


def register(photo: Image.Image, face: AlignedFace) -> Registration:
    """Find a face's landmarks, and cut the square around it out of the photo.

    photo: RGB, what `align` was given. face: what it gave. A picture taken as it is, without landmarks, is
    looked at where FFHQ's faces are. Raises BundleError if the landmark model is missing.
    """
    middle = face.quad.mean(axis=0)
    quad = middle + LARGER * (face.quad - middle)
    side = int(np.clip(round(float(np.linalg.norm(quad[3] - quad[0]))), MIN_SIDE, MAX_SIDE))
    picture = crop_quad(photo, quad, side)
    square = AlignedFace(picture, quad, face.box, face.score, face.landmarks)
    if face.landmarks is None:
        edge = (1 - 1 / LARGER) / 2
        box = [round(side * (edge + at / LARGER)) for at in FACE_IN_CROP]
        landmarks = find_landmarks(picture, (box[0], box[1], box[2], box[3]))
    else:
        landmarks = square.to_aligned(face.landmarks)
    return Registration(np.asarray(picture).astype(np.float32) / np.float32(255), landmarks, square.matrix)
