"""Pictures of people with known effects, in front of a fixed camera; rendered once and cached."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from avatar.renderer.camera import _level
from avatar.renderer.factors import INDEX, Factors, factors_from_z, sample_z
from avatar.renderer.render import crop_frame, render
from avatar.report.heads import renderer_sources
from avatar.report.keeping import content_hash
from benchmarks.drive.clips import EFFECTS, Clip
from micromotion.types import Floats, Frame

SIDE = 192
"""Side of a rendered picture, in pixels."""

ZOOM = 0.88
OUT = 256
"""Side of a clip's frames, which show what a rendered picture shows."""

_TOGETHER = 16  # pictures rendered at once: half the time of one by one
_NOISE = 3.0  # gray levels, of a camera in a room
_AT_REST = dict.fromkeys(("glasses", "roll", *EFFECTS), 0.0) | {"age": -1.0}


def person(number: int) -> Factors:
    """The factors of a person at rest, without glasses and not old; from 100 on, those of photos.

    The renderer's eyes are half as large again as people's, and dlib's landmarks, which were fitted to
    people, miss them: so the eyes are given people's size here, and the brows their height.
    """
    z = sample_z(1, torch.Generator().manual_seed(7000 + number))
    for name in _AT_REST:
        z[:, INDEX[name]] = _AT_REST[name]
    z[:, INDEX["hair_length"]] = z[:, INDEX["hair_length"]].clamp(max=0.5)
    factors = factors_from_z(z)
    factors["eye_size"] = 0.50 + 0.25 * factors["eye_size"]
    factors["eye_openness"] = 0.32 + 0.25 * factors["eye_openness"]
    factors["brow_height"] = 0.2 * factors["brow_height"] - 0.5
    return factors


def posed(rest: Factors, effects: Floats) -> Factors:
    """A person's factors with effects [n, len(EFFECTS)]."""
    many = {name: value.expand(len(effects), 1).clone() for name, value in rest.items()}
    for column, name in enumerate(EFFECTS):
        many[name] = torch.from_numpy(effects[:, column : column + 1]).float()
    return many


def pictures(number: int, effects: Floats, kept: Path) -> NDArray[np.uint8]:
    """Pictures [n, SIDE, SIDE, 3] of a person, in FFHQ's crop enlarged by 1 / ZOOM, each effect once."""
    unique, index = np.unique(effects, axis=0, return_inverse=True)
    folder = kept / f"renders-{_renderer_hash()}" / f"person{number}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / ("_".join(f"{round(100 * value)}" for value in row) + ".png") for row in unique]
    missing = [at for at, path in enumerate(paths) if not path.is_file()]
    for start in range(0, len(missing), _TOGETHER):
        rows = missing[start : start + _TOGETHER]
        drawn = render(posed(person(number), unique[rows]), SIDE, 1, zoom=ZOOM)
        for at, picture in zip(rows, drawn, strict=True):
            part = paths[at].with_suffix(".part")
            Image.fromarray(_bytes(picture.permute(1, 2, 0).numpy() * 0.5 + 0.5)).save(part, "PNG")
            part.rename(paths[at])
    return np.stack([np.asarray(Image.open(path)) for path in paths])[index.reshape(-1)]


def filmed(clip: Clip, kept: Path) -> list[Frame]:
    """The clip's frames [OUT, OUT, 3], as a fixed camera sees them, with a little grain."""
    drawn = pictures(clip.person, clip.effects, kept)
    factors = posed(person(clip.person), clip.effects)
    middle_x, middle_y, half = (part[:, 0].double().numpy() for part in crop_frame(factors))
    cosine, sine = (part[:, 0].double().numpy() for part in _level(factors))
    rest = middle_x[0], middle_y[0], half[0] / ZOOM
    rng = np.random.default_rng(clip.person)
    frames = []
    for i, picture in enumerate(drawn):
        # Frame pixel -> the plane of the camera (x right, y up) -> the crop's own axes -> its pixels.
        right, down, roll, growth = clip.camera[i]
        turn, reach = np.radians(roll), rest[2] * np.exp(-growth)
        to_plane = np.array([[reach, 0, rest[0]], [0, -reach, rest[1]], [0, 0, 1]])
        sway = np.array([[1, 0, -2 * right * half[0]], [0, 1, 2 * down * half[0]], [0, 0, 1]])
        tilt = np.array([[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
        level = np.array([[cosine[i], sine[i], 0], [-sine[i], cosine[i], 0], [0, 0, 1]])
        unit = half[i] / ZOOM
        to_crop = np.array(
            [[1 / unit, 0, -middle_x[i] / unit], [0, -1 / unit, middle_y[i] / unit], [0, 0, 1]]
        )
        pixels, units = _pixels(SIDE), np.linalg.inv(_pixels(OUT))
        whole = pixels @ to_crop @ level @ sway @ tilt @ to_plane @ units
        frames.append(_through(picture, whole, rng))
    return frames


@cache
def _renderer_hash() -> str:
    return content_hash(renderer_sources())[:12]


def _pixels(side: int) -> Floats:
    """From −1…1 to pixel edges 0…side."""
    return np.array([[side / 2, 0, side / 2], [0, side / 2, side / 2], [0, 0, 1]])


def _through(picture: Frame, matrix: Floats, rng: np.random.Generator) -> Frame:
    border = SIDE // 2
    wide = Image.fromarray(np.pad(picture, ((border, border), (border, border), (0, 0)), mode="edge"))
    moved = matrix.copy()
    moved[:2, 2] += border
    seen = wide.transform(
        (OUT, OUT), Image.Transform.AFFINE, tuple(moved[:2].reshape(-1)), Image.Resampling.BICUBIC
    )
    return _bytes((np.asarray(seen) + rng.normal(0, _NOISE, (OUT, OUT, 3))) / 255)


def _bytes(values: NDArray) -> Frame:
    return (values.clip(0, 1) * 255).round().astype(np.uint8)
