"""Micromotions: the direction in W+ that plays one on any face, learned from anchors or ready-made."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from micromotion import directions
from micromotion.anchors import Anchors
from micromotion.errors import MotionError
from micromotion.lowrank import robust_pca
from micromotion.motionfiles import motion_file_kind
from micromotion.options import check_play

__all__ = ["Anchors", "Motion", "load_motion"]

_MAX_PAIRS = 512
_RANK_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Motion:
    """A direction in W+ that plays a micromotion on any face of the same generator.

    Attributes:
        name: what people call it.
        direction: float32 [styles, dim]; added to a face's code, the recipe's full motion (degree 0 → 1).
        rank: per style, the rank of what robust PCA kept of the anchors.
        noise: per style, ‖S‖_F/‖D‖_F: how much of the anchors' change robust PCA took for sparse noise.
    """

    name: str
    direction: Tensor
    rank: tuple[int, ...] = ()
    noise: tuple[float, ...] = ()

    @classmethod
    def from_anchors(cls, anchors: Anchors, name: str) -> "Motion":
        """Learn the direction from anchors: robust PCA per style, then the line through what is left.

        *Centred.* Robust PCA looks at what changes from anchor to anchor. Uncentred, the identity is far
        larger than the motion, and a weak motion is absorbed. The centre is each entry's median over the
        anchors, not the mean: one gross error moves the mean, and so reaches every anchor.

        *A fitted line.* The original takes the last anchor less the first. Here every low-rank anchor counts:
        the least-squares slope over the degrees has a third less noise for eleven anchors, needs no anchor to
        lie at exactly 0 or 1, and is the change per unit of degree, so strength 1 is the full motion.

        *Steady change is not noise.* With few anchors, principal component pursuit caps the entries of the
        direction at about 0.9·√n (2.9 for eleven anchors) times their root mean square and puts the rest into
        S, where it grows with the degree. That part is given back as the median of S's slopes between pairs
        of anchors (Theil 1950, Sen 1968), which is blind to errors in single anchors. A clean straight line
        comes back to within 0.1% at even degrees, and to within a few per cent at very uneven ones.

        Raises MotionError if the anchors are so far apart that the direction is no finite float32.
        """
        centred = anchors.w_plus.double().transpose(0, 1)  # [styles, n, dim]
        centred = centred - _median(centred, dim=1).unsqueeze(1)
        degrees = anchors.degrees.double()
        low_rank, sparse = robust_pca(centred)
        direction = (_least_squares_slope(low_rank, degrees) + _median_slope(sparse, degrees)).float()
        if not bool(torch.isfinite(direction).all()):
            raise MotionError(f"The anchors of the micromotion {name!r} give no finite direction.")
        size = torch.linalg.matrix_norm(centred)
        noise = torch.linalg.matrix_norm(sparse) / torch.where(size > 0, size, 1.0)
        rank = torch.linalg.matrix_rank(low_rank, rtol=_RANK_TOLERANCE)
        return cls(name, direction, tuple(rank.tolist()), tuple(noise.tolist()))

    def offset(self, strength: float) -> Tensor:
        """What to add to a face's W+ code, float32 [styles, dim]; 1 is full, negative the opposite."""
        return strength * self.direction

    def path(self, strength: float = 1.0, frames: int = 90) -> Iterator[Tensor]:
        """The offsets [styles, dim] of a clip's frames, one by one: from 0 to `strength` in equal steps.

        A single frame shows the full strength. Raises OptionError at once where either is outside its limits.
        """
        check_play(strength=strength, frames=frames)
        last = frames - 1
        return (self.offset(strength * (i / last if last else 1.0)) for i in range(frames))


def load_motion(path: str | Path) -> Motion:
    """Read a micromotion, whose name is the file's; what the file holds decides, not what it is called.

    Anchors (`Anchors.save`) are learned from; a direction (`save_direction`) is taken as it is; of the
    original's `d_latent` files strength 1 is the last frame of the original's clip, 4.95 · d (see
    `full_motion`). Nothing in a file is executed. Raises MotionError, in one sentence.
    """
    path = Path(path)
    if directions.is_published(path):
        return Motion(path.stem, directions.full_motion(directions.read_published(path)))
    if motion_file_kind(path) == directions.KIND:
        return Motion(path.stem, directions.read_direction(path)[0])
    return Motion.from_anchors(Anchors.load(path), path.stem)


# --- slopes ------------------------------------------------------------------------------------


def _median(values: Tensor, dim: int) -> Tensor:
    """The median; of an even count the mean of the middle two, so negating the data negates it exactly."""
    return (values.median(dim).values - (-values).median(dim).values) / 2


def _least_squares_slope(values: Tensor, degrees: Tensor) -> Tensor:
    """[styles, n, dim], [n] -> [styles, dim], change per unit of degree."""
    spread = degrees - degrees.mean()
    return torch.einsum("n,snd->sd", spread / spread.square().sum(), values)


def _median_slope(values: Tensor, degrees: Tensor) -> Tensor:
    """[styles, n, dim], [n] -> [styles, dim], over all pairs of anchors, or every k-th if they are many."""
    first, second = torch.triu_indices(len(degrees), len(degrees), offset=1)
    every = math.ceil(len(first) / _MAX_PAIRS)
    first, second = first[::every], second[::every]
    rise = values[:, second] - values[:, first]
    return _median(rise / (degrees[second] - degrees[first])[:, None], dim=1)
