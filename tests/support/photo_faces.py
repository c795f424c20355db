"""Registrations of the real faces in docs/faces, and transformations of them."""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from micromotion.face.alignment import align
from micromotion.photo.head import MIRROR
from micromotion.photo.registration import Registration, register

FACES = Path(__file__).parents[2] / "docs" / "faces"


@cache
def registered(name: str) -> Registration:
    """The face of that name in docs/faces; its arrays are shared and must not be changed."""
    with Image.open(FACES / f"{name}.jpg") as file:
        photo = file.convert("RGB")
    return register(photo, align(photo))


def mirrored(registration: Registration) -> Registration:
    """The mirrored face, with its landmarks in dlib's order."""
    landmarks = registration.landmarks[MIRROR].copy()
    landmarks[:, 0] = registration.side - 1 - landmarks[:, 0]
    return Registration(np.ascontiguousarray(registration.picture[:, ::-1]), landmarks, registration.matrix)


def enlarged(registration: Registration, times: int) -> Registration:
    """The face with `times` as many pixels per side, without added detail."""
    side = registration.side * times
    channels = [
        np.asarray(Image.fromarray(plane).resize((side, side), Image.Resampling.BICUBIC))
        for plane in np.moveaxis(registration.picture, -1, 0)
    ]
    picture = np.clip(np.stack(channels, axis=-1), 0, 1).astype(np.float32)
    return Registration(picture, (registration.landmarks + 0.5) * times - 0.5, registration.matrix / times)


def greyed(registration: Registration) -> Registration:
    grey = registration.picture.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    return Registration(grey, registration.landmarks, registration.matrix)
