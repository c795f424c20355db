"""Measurements of a moved face, compared with its photo.

Identity: dlib's face-recognition network, which the product does not use. Motion: dlib's 68 landmarks, which
the product does use to register the photo; so these figures show whether it did what was intended, not how it
looks to others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from micromotion.face.crop import crop_quad
from micromotion.face.landmarks import find_landmarks
from micromotion.photo.effects import NAMES
from micromotion.photo.landmark_reading import LandmarkReader, eye_aspect_ratios
from micromotion.photo.sampling import blur, luminance
from micromotion.types import Floats, Frame

RECOGNITION_SIDE = 150  # pixels, of the input of dlib's network
WHITE = 0.6  # of the skin's upper quartile: brighter pixels between the lips are teeth


@dataclass(frozen=True)
class Seen:
    """The measurements of one picture; lengths over the distance of the eyes' outer corners, or as stated.

    eyes: mean aspect ratio; by dlib a shut eye has about 0.4 to 0.5 of that of the open one. gap: between the
    inner lips, over the mouth's width. teeth: the bright share of the area between the lips. width, lift: of
    the mouth, and of its corners over its middle. brows: height above the eyes' corners. fine: detail on brow
    and cheeks.
    """

    eyes: float
    gap: float
    teeth: float
    width: float
    lift: float
    brows: float
    fine: float


def seen(frame: Frame, box: tuple[int, int, int, int]) -> tuple[Seen, Floats]:
    """The measurements and the landmarks [68, 2] of the face in a box of a frame."""
    points = find_landmarks(Image.fromarray(frame), box)
    across = points[45] - points[36]
    unit = float(np.linalg.norm(across))
    down = np.array([-across[1], across[0]]) / unit

    def apart(one: int, other: int) -> float:
        return float(np.linalg.norm(points[one] - points[other]))

    mouth = apart(48, 54)
    gap = float(np.mean([apart(a, b) for a, b in ((61, 67), (62, 66), (63, 65))])) / mouth
    middle = (points[62] + points[66]) / 2
    brows = [(points[[36, 39]].mean(axis=0) - points[17:22].mean(axis=0)) @ down]
    brows.append((points[[42, 45]].mean(axis=0) - points[22:27].mean(axis=0)) @ down)
    return Seen(
        eyes=float(eye_aspect_ratios(points).mean()),
        gap=gap,
        teeth=_teeth(frame, points) if gap > 0.05 else 0.0,
        width=mouth / unit,
        lift=float((middle - (points[48] + points[54]) / 2) @ down) / unit,
        brows=float(np.mean(brows)) / unit,
        fine=_fine(frame, points),
    ), points


def identity(frame: Frame, box: tuple[int, int, int, int]) -> Floats:
    """dlib's descriptor [128] of the face in a box; those of one person are less than 0.6 apart."""
    import dlib

    shape, network = _recognition()
    found = shape(np.ascontiguousarray(frame), dlib.rectangle(*box))
    return np.array(network.compute_face_descriptor(np.ascontiguousarray(frame), found))


def turned(still: Frame, frame: Frame, quad: Floats) -> float:
    """Degrees of yaw between two frames, from a head's pose fitted to the landmarks in the crop `quad`."""
    crops = [np.asarray(crop_quad(Image.fromarray(each), quad, 256)) for each in (still, frame)]
    reading = LandmarkReader()(crops[0], crops[1:])
    return float(reading.effects[0, NAMES.index("yaw")])


def trembles(points: list[Floats]) -> tuple[float, float]:
    """Second differences of landmarks [68, 2] between frames, over the eyes' distance: rms, 99% quantile."""
    stacked = np.stack(points)
    size = np.linalg.norm(np.diff(stacked, n=2, axis=0), axis=-1)
    size /= np.linalg.norm(stacked[0, 45] - stacked[0, 36])
    return float(np.sqrt(np.square(size).mean())), float(np.quantile(size, 0.99))


def _teeth(frame: Frame, points: Floats) -> float:
    from skimage.draw import polygon2mask

    light = luminance(frame.astype(np.float32))
    inside = polygon2mask(light.shape, points[60:68, ::-1])
    skin = points[[1, 2, 14, 15, 29, 31, 35]] * 0.6 + points[30] * 0.4
    rows, columns = np.rint(skin).astype(int).T[::-1]
    bright = light[rows.clip(0, len(light) - 1), columns.clip(0, light.shape[1] - 1)]
    return float((light[inside] > WHITE * np.quantile(bright, 0.75)).mean()) if inside.any() else 0.0


def _fine(frame: Frame, points: Floats) -> float:
    """Standard deviation of detail 2 to 6 pixels wide in a face of 300 pixels, on brow and cheeks."""
    low, high = points.min(axis=0), points.max(axis=0)
    low[1] -= 0.35 * (high[1] - low[1])
    face = Image.fromarray(frame).crop((*low.astype(int).tolist(), *high.astype(int).tolist()))
    light = luminance(np.asarray(face.resize((300, 400), Image.Resampling.LANCZOS)).astype(np.float32))
    band = blur(light, 1.0) - blur(light, 4.0)
    parts = (band[40:110, 70:230], band[220:300, 30:85], band[220:300, 215:270])
    return float(sum(part.std() for part in parts))


@cache
def _recognition() -> tuple[Any, Any]:
    import dlib

    package = find_spec("face_recognition_models")
    assert package is not None
    assert package.origin is not None
    models = Path(package.origin).parent / "models"
    return (
        dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat")),
        dlib.face_recognition_model_v1(str(models / "dlib_face_recognition_resnet_model_v1.dat")),
    )
