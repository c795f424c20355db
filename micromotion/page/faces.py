"""The faces of a photo, each cropped once, and the example pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from micromotion.errors import NoFaceError
from micromotion.face.crop import AlignedFace, crop_quad, ffhq_quad
from micromotion.face.detection import detect, size_hint
from micromotion.face.landmarks import find_landmarks
from micromotion.runtime.folders import ROOTS

MAX_FACES = 12
"""Faces offered of one photo, the clearest first."""

CROP = 256
"""Side of a face's crop in pixels, the inverters' input size."""


@dataclass(frozen=True)
class Example:
    """An example picture: its file, and the name of the person."""

    path: Path
    title: str


def find_faces(photo: Image.Image) -> list[AlignedFace]:
    """The faces of an RGB photo, 1 to MAX_FACES, in `align`'s order and with its 256-pixel crops.

    Raises NoFaceError if there is none.
    """
    found = detect(photo)[:MAX_FACES]
    if not found:
        raise NoFaceError(
            "No face was found in the picture: try one that looks into the camera, well lit, not too small."
            f"{size_hint(photo.size)}"
        )
    faces = []
    for each in found:
        landmarks = find_landmarks(photo, each.box)
        quad = ffhq_quad(landmarks)
        faces.append(AlignedFace(crop_quad(photo, quad, CROP), quad, each.box, each.score, landmarks))
    return faces


def examples() -> list[Example]:
    """The example pictures: a rendered face, then real ones by name; empty if they are not installed."""
    for folder in (ROOTS[0] / "faces", ROOTS[1] / "docs" / "faces"):  # a wheel, a checkout
        if folder.is_dir():
            real = [
                Example(path, path.stem.replace("-", " ").title()) for path in sorted(folder.glob("*.jpg"))
            ]
            own = next(
                (path for path in (folder / "face.jpg", folder.parent / "face.jpg") if path.is_file()), None
            )
            rest = [each for each in real if each.path != own]
            return [Example(own, "A rendered face"), *rest] if own else rest
    return []
