"""The latent trajectory of a driving video: what the inverter of a model sees its face do, frame by frame.

It is played on another face of the same model, as differences from the rest pose. Robust PCA over time takes
out what is wrong in single frames; what is left lies in a subspace of few dimensions, in which it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from micromotion.drive.filters import bridged, savitzky_golay
from micromotion.drive.landmark_track import FaceTrack, track_face
from micromotion.drive.read import OnProgress, open_played, read_track
from micromotion.face.crop import crop_quad, ffhq_quad
from micromotion.learn.video import BATCH, CROP, invert_pictures
from micromotion.motion.playable import Motion
from micromotion.motion.robust_pca import principal_subspace, robust_pca
from micromotion.types import Floats
from micromotion.video.driving_video import DrivingVideo
from micromotion.weights.bundle import Bundle

_SMOOTH = 0.28  # seconds over which the crop's place is smoothed: its tremble would shake the latents


@dataclass(frozen=True, eq=False)
class LatentPath:
    """A path through W+ over time, in a subspace: the `curve` of a `Motion` whose strength is a place in it.

    coordinates: float64 [n, r], differences from the rest pose. basis: float64 [r, styles, dim].
    """

    coordinates: Tensor
    basis: Tensor

    def __len__(self) -> int:
        return len(self.coordinates)

    def offset(self, degree: float) -> Tensor:
        """The offset from the rest pose at a place, 0 the first frame, 1 the last: float32 [styles, dim]."""
        frame = round(degree * (len(self) - 1))
        return torch.einsum("r,rsd->sd", self.coordinates[frame], self.basis).float()

    def scaled(self, strength: float) -> LatentPath:
        """The same with each difference times `strength`."""
        return LatentPath(strength * self.coordinates, self.basis)


@dataclass(frozen=True, eq=False)
class ReadLatents:
    """A video's latent path, its average frames per second, and what was found, for people."""

    path: LatentPath
    fps: float
    sentences: tuple[str, ...]

    def motion(self, strength: float) -> Motion:
        """The path as a motion, to be played from place 0 to place 1."""
        path = self.path.scaled(strength)
        return Motion("clip", torch.zeros(path.basis.shape[1:]), curve=path)


def read_latents(
    path: str | Path,
    bundle: Bundle,
    *,
    face: int = 0,
    rest: int | None = None,
    on_progress: OnProgress | None = None,
) -> ReadLatents:
    """Invert the face of each frame of a video; arguments and errors as in `read_driving_video`.

    Frames are streamed twice: memory holds the latents, [n, styles · dim] in float32. Raises
    DeviceMemoryError, too.
    """
    video = open_played(path)
    total = 2 * len(video)

    def report(done: int) -> None:
        if on_progress:
            on_progress(done, total)

    track = track_face(video, face, report)
    trajectory, found = read_track(track, rest)
    latents = _latents(video, track, trajectory.fps, bundle, report)
    low_rank, noise = _low_rank(latents)
    rest_pose = low_rank[list(found.rest)].mean(dim=0)
    coordinates, basis = _subspace(low_rank - rest_pose)
    even = track.seconds[0] + np.arange(len(track)) / trajectory.fps
    timed = np.stack([np.interp(even, track.seconds, column) for column in coordinates.T], axis=1)
    played = torch.from_numpy(timed * trajectory.weight[:, None])
    told = f"Latents: rank {len(basis)}; sparse noise, which is left out: {100 * noise:.1f}% of the movement."
    sentences = (*found.sentences("clip_face"), told)
    return ReadLatents(LatentPath(played, basis.unflatten(1, latents.shape[1:])), trajectory.fps, sentences)


def _latents(
    video: DrivingVideo, track: FaceTrack, fps: float, bundle: Bundle, report: Callable[[int], None]
) -> Tensor:
    """The latent of each frame, float32 [n, styles, dim]; where the face is lost, between its neighbours'."""
    landmarks = savitzky_golay(bridged(track.landmarks, ~track.seen), _SMOOTH * fps)
    found: list[Tensor] = []
    waiting: list[Image.Image] = []
    for done, picture in enumerate(_crops(video, landmarks), 1):
        waiting.append(picture)
        if len(waiting) == BATCH or done == len(track):
            found.append(invert_pictures(waiting, bundle))
            waiting = []
        report(len(track) + done)
    latents = torch.cat(found)
    shown = torch.from_numpy(bridged(latents.flatten(1).numpy(), ~track.seen))
    return shown.unflatten(1, latents.shape[1:])


def _crops(video: DrivingVideo, landmarks: Floats) -> Iterator[Image.Image]:
    for frame, at in zip(video, landmarks, strict=True):
        yield crop_quad(frame.image, ffhq_quad(at), CROP)


def _low_rank(latents: Tensor) -> tuple[Tensor, float]:
    """The low-rank part [n, styles, dim] of latents, style by style, and the share ‖S‖/‖D‖ of the noise."""
    parts, noise, size = [], 0.0, 0.0
    for style in latents.unbind(1):
        moved = style - style.median(dim=0).values
        low_rank, sparse = robust_pca(moved)
        parts.append(low_rank)
        noise, size = noise + float(sparse.square().sum()), size + float(moved.square().sum())
    return torch.stack(parts, dim=1), (noise / size) ** 0.5 if size else 0.0


def _subspace(moved: Tensor) -> tuple[Floats, Tensor]:
    """Coordinates [n, r], r at least 1, and basis float64 [r, styles · dim] of differences [n, styles, dim]
    from the rest pose."""
    flat = moved.flatten(1).double()
    if len(flat) < 2:
        return np.zeros((len(flat), 1)), torch.zeros(1, flat.shape[1], dtype=torch.float64)
    found = principal_subspace(flat)
    basis = found.basis if len(found.basis) else torch.zeros(1, flat.shape[1], dtype=torch.float64)
    coordinates: Floats = (flat @ basis.T).numpy()
    return coordinates, basis
