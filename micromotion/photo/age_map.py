"""The map of age lines, warped onto the face of a photo.

The asset covers a mean face seen from the front, in eye distances: x to the right, y down from the
midpoint between the eyes (`tools/age_lines.py` draws it). Its planes are int8, −127…127 for −FULL…FULL:
`lines` and `creases` are skin heights, grooves below 0, at FINE cells per eye distance; `soft` has three
planes at COARSE: hollows (light and shade, −1…1), mottling (around 0) and spots (0…1). `landmarks` are the
mean face's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from micromotion.photo.displacement import landmark_field
from micromotion.photo.registration import Registration
from micromotion.photo.sampling import Picture, blur, sample
from micromotion.types import Floats
from stylegan2.checkpoints.storage import read_safetensors

ASSET, KIND = "age.safetensors", "age"
LEFT, TOP = -1.3, -1.35
"""The asset's top left corner, in eye distances."""
WIDTH_HEIGHT = 2.6, 3.2
FINE, COARSE = 170, 60
"""Cells per eye distance."""
FULL = 2.0
"""The value of 127."""

_FLAT = [*range(17, 28), *range(36, 60)]  # brows, eyes, lips: nearly in one plane
_FOREHEAD = np.array([(x, y) for y in (-0.75, -1.15) for x in (-0.75, 0.0, 0.75)])
"""Forehead points, which dlib does not have, in eye distances on the mean face."""


@dataclass(frozen=True, eq=False)
class AgeMap:
    """The asset's planes over a box of a registration's picture, each float32 [h, w].

    left, top: the box's first pixel. lines, creases, hollows, mottling, spots: as in the asset; the heights
    are blurred as requested.
    """

    left: int
    top: int
    lines: Picture
    creases: Picture
    hollows: Picture
    mottling: Picture
    spots: Picture


@dataclass(frozen=True, eq=False)
class _Asset:
    lines: Picture
    creases: Picture
    hollows: Picture
    mottling: Picture
    spots: Picture
    landmarks: Floats


def age_map(registration: Registration, blurred: float, mirrored: bool) -> AgeMap:
    """Warp the asset onto a photo's face.

    blurred: sigma in pixels with which the heights are blurred, that of the photo's own edges. mirrored:
    whether the asset's left is on the picture's right: like real faces, the asset is not symmetric.
    """
    asset = _asset()
    mean = asset.landmarks
    middle, axes, unit = _frame(registration)
    box = _box(registration, middle, axes, unit)
    at = _on_the_mean_face(registration, mean, middle, axes, unit, box)
    x, y = at[..., 0], at[..., 1]
    if mirrored:
        x = -x

    def read(plane: Picture, cells: int, sigma: float = 0.0) -> Picture:
        plane = blur(plane, sigma * cells / unit)
        return sample(plane, (x - LEFT) * cells - 0.5, (y - TOP) * cells - 0.5, bicubic=True, beyond="zeros")

    heights = [read(plane, FINE, blurred) for plane in (asset.lines, asset.creases)]
    soft = [read(plane, COARSE) for plane in (asset.hollows, asset.mottling, asset.spots)]
    return AgeMap(box[0], box[1], *heights, *soft)


@cache
def _asset() -> _Asset:
    _, state = read_safetensors(Path(__file__).with_name(ASSET), KIND)
    tensors = (state["lines"], state["creases"], *state["soft"])
    lines, creases, hollows, mottling, spots = (
        tensor.numpy().astype(np.float32) * np.float32(FULL / 127) for tensor in tensors
    )
    return _Asset(lines, creases, hollows, mottling, spots, state["landmarks"].double().numpy())


def _frame(registration: Registration) -> tuple[Floats, Floats, float]:
    """The midpoint between the eyes, the face's right and down axes, and the eye distance, in pixels."""
    return registration.landmarks[36:48].mean(axis=0), registration.axes, registration.eye_distance


def _box(registration: Registration, middle: Floats, axes: Floats, unit: float) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the face's bounding box, in whole pixels."""
    corners = np.array([(x, y) for x in (-1.35, 1.35) for y in (-1.45, 2.0)])
    corners = np.concatenate([middle + unit * corners @ axes, registration.landmarks])
    low, high = corners.min(axis=0), corners.max(axis=0) + 2
    left, top, right, bottom = (int(np.clip(v, 0, registration.side)) for v in (*low, *high))
    return left, top, right, bottom


def _on_the_mean_face(
    registration: Registration,
    mean: Floats,
    middle: Floats,
    axes: Floats,
    unit: float,
    box: tuple[int, int, int, int],
) -> Floats:
    """Map the pixels of a box to the mean face, [h, w, 2] in eye distances.

    A thin-plate spline through the landmarks. dlib has none on the forehead: an affine map of the landmarks
    in its plane locates it, so that its lines are foreshortened when the head is turned.
    """
    landmarks, side = registration.landmarks, registration.side
    system = np.concatenate([mean[_FLAT], np.ones((len(_FLAT), 1))], axis=1)
    affine = np.linalg.lstsq(system, landmarks[_FLAT], rcond=None)[0]
    forehead = np.concatenate([_FOREHEAD, np.ones((len(_FOREHEAD), 1))], axis=1) @ affine
    here = np.concatenate([landmarks, forehead])
    there = middle + unit * np.concatenate([mean, _FOREHEAD]) @ axes
    field = landmark_field((here + 0.5) / side, (there - here) / side)
    left, top, right, bottom = box
    y, x = np.mgrid[top:bottom, left:right]
    cells = field.shape[-1] / side
    shift = side * sample(
        field[0].movedim(0, -1).numpy(), (x + 0.5) * cells - 0.5, (y + 0.5) * cells - 0.5, bicubic=True
    )
    at: Floats = ((np.stack([x, y], axis=-1) + shift - middle) / unit) @ axes.T
    return at
