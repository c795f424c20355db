"""Locate a face in its photo, and the square around it in which its motion is drawn."""

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
"""The drawn square's side over that of FFHQ's crop, as hair and shoulders move, too."""

MAX_SIDE = 1400
"""Largest side of the drawn square in pixels; the motion of a larger one is computed at this size."""

MIN_SIDE = 192


@dataclass(frozen=True, eq=False)
class Registration:
    """A face in its photo, before it moves.

    picture: float32 [N, N, 3] in 0…1, the square around the face, upright, as near to the photo's own
    resolution as MIN_SIDE and MAX_SIDE allow. landmarks: dlib's 68, float64 [68, 2], in pixels of `picture`.
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
        """The distance between the eyes' centres, in pixels of `picture`."""
        left, right = self.landmarks[36:42].mean(axis=0), self.landmarks[42:48].mean(axis=0)
        return float(np.linalg.norm(right - left))

    @cached_property
    def axes(self) -> Floats:
        """[2, 2]: the face's own right (towards the picture's right) and down, unit vectors in `picture`."""
        across = self.landmarks[42:48].mean(axis=0) - self.landmarks[36:42].mean(axis=0)
        across /= np.linalg.norm(across)
        return np.array([across, (-across[1], across[0])])


def register(photo: Image.Image, face: AlignedFace) -> Registration:
    """Find a face's landmarks, and cut out the square around it.

    photo: RGB, the input of `align`. face: its result. In an already aligned picture, without landmarks,
    the face is searched where FFHQ's faces are. Raises BundleError if the landmark model is missing.
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
