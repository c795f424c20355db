"""The trial of one face: all motions at several strengths, drawn now and by the previous method."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.likeness.measures import Seen, identity, seen, trembles, turned
from micromotion import Animator
from micromotion.errors import MicromotionError
from micromotion.face.alignment import align
from micromotion.face.crop import AlignedFace
from micromotion.motion.library import load_fitting
from micromotion.motion.playable import Motion
from micromotion.options import AnimateOptions
from micromotion.photo.effects import Response, poses
from micromotion.photo.head import yaw_of
from micromotion.photo.paste import Paste
from micromotion.photo.views import Stage, whole_photo
from micromotion.types import Frame

MOTIONS = ("eyesClose", "smile", "angry", "headsTurn", "aging")
STRENGTHS = (0.5, 1.0, 1.5)
EXTREMES = (-1.0, 2.0)
PLAYED = ("smile", "headsTurn")  # for the tremble
FRAMES = 90
STEADY_FACES = ("eileen-collins", "grace-hopper", "mona-lisa", "young-woman-in-mauve")  # sharp and large

WAYS = ("now", "before")


@dataclass(frozen=True)
class Measured:
    """The measurements for one face, motion, strength and way; None if it was refused."""

    face: str
    motion: str
    strength: float
    way: str
    seen: Seen | None
    identity: float | None
    yaw: float | None
    milliseconds: float | None


@dataclass(frozen=True)
class Trial:
    """All measurements of one face; still, yaw: of its photo."""

    face: str
    still: Seen
    yaw: float
    rows: list[Measured]
    tremble: dict[str, tuple[float, float]]

    def as_json(self) -> dict[str, object]:
        """The trial as plain values for `json`."""
        return asdict(self)


def try_face(animator: Animator, path: Path, pictures: Path) -> Trial:
    """Draw and measure a face; its frames at strength 1 go to the folder of pictures as PNG."""
    photo = Image.open(path).convert("RGB")
    face = align(photo)
    stage = Stage(whole_photo(photo, face))
    still, points = seen(np.asarray(photo), face.box)
    who = identity(np.asarray(photo), face.box)
    rows = []
    for motion in MOTIONS:
        for way, drawn in _drawn(animator, photo, face, stage, motion):
            for strength in (*STRENGTHS, *EXTREMES):
                began = time.process_time()
                try:
                    frame = drawn(strength)
                except MicromotionError:
                    rows.append(Measured(path.stem, motion, strength, way, None, None, None, None))
                    continue
                spent = 1000 * (time.process_time() - began)
                if strength == 1.0:
                    Image.fromarray(frame).crop(_around(face.quad, photo.size)).save(
                        pictures / f"{path.stem}-{motion}-{way}.png"
                    )
                found = seen(frame, face.box)[0]
                apart = float(np.linalg.norm(identity(frame, face.box) - who))
                yaw = turned(np.asarray(photo), frame, face.quad) if motion == "headsTurn" else None
                rows.append(Measured(path.stem, motion, strength, way, found, apart, yaw, spent))
    Image.fromarray(np.asarray(photo)).crop(_around(face.quad, photo.size)).save(
        pictures / f"{path.stem}.png"
    )
    options = AnimateOptions(frames=FRAMES, easing="smooth")
    played = PLAYED if path.stem in STEADY_FACES else ()
    tremble = {
        motion: trembles([seen(frame, face.box)[1] for frame in animator.animate(photo, motion, options)])
        for motion in played
    }
    return Trial(path.stem, still, yaw_of(points), rows, tremble)


def _drawn(
    animator: Animator, photo: Image.Image, face: AlignedFace, stage: Stage, motion: str
) -> Iterator[tuple[str, Callable[[float], Frame]]]:
    """Yield each way with its function from strength to frame, set up so that only frames are timed."""
    loaded = load_fitting(animator.bundle.motions[motion], animator.bundle)
    response = Response()
    response.stated(0, loaded.provenance)

    def now(strength: float) -> Frame:
        return stage.drawn(*response(np.array([strength])))

    now(1.0)
    yield "now", now
    yield "before", _before(animator, photo, face, loaded)


def _before(
    animator: Animator, photo: Image.Image, face: AlignedFace, motion: Motion
) -> Callable[[float], Frame]:
    """The previous method: the photo's pixels moved by the optical flow of the model's frames."""
    latent = animator.encode(photo)
    paste = Paste(photo, face, animator.still(latent, [motion], [0.0]))
    try:
        rows = poses(np.array([[max(STRENGTHS)]]))
        paste.learn([(row, animator.still(latent, [motion], row.tolist())) for row in rows])
    except MicromotionError:
        pass  # then each frame is measured, and refused, on its own

    def drawn(strength: float) -> Frame:
        known = np.array([strength]) if 0 < strength <= max(STRENGTHS) else None
        return paste(animator.still(latent, [motion], [strength]), known)

    return drawn


def _around(quad: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    low, high = np.floor(quad.min(axis=0)).clip(0), np.ceil(quad.max(axis=0))
    return int(low[0]), int(low[1]), int(min(high[0], size[0])), int(min(high[1], size[1]))


def with_seen(row: dict[str, Any]) -> Measured:
    """The `Measured` of a row from `Trial.as_json`."""
    found = row["seen"]
    return Measured(**row | {"seen": None if found is None else Seen(**found)})
