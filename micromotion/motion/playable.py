"""Motions to be played: a line or a curve in W+ for any face, loaded from anchors or ready-made."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from micromotion.errors import MotionError
from micromotion.motion import directions
from micromotion.motion.anchor_analysis import analyse
from micromotion.motion.anchors import Anchors
from micromotion.motion.files import Provenance, motion_file_kind
from micromotion.motion.robust_pca import Subspace
from micromotion.motion.spline import Spline, smoothing_spline
from micromotion.options import AnimateOptions

PathKind = Literal["line", "curve"]
PATH = "path"
"""Key in a file's provenance: the path along which its anchors are played; by default the line."""


@dataclass(frozen=True, eq=False)
class Curve:
    """A smooth curve through the anchors in their principal subspace, for motions that bend.

    Each coordinate is a natural cubic smoothing spline over the degrees, its smoothness chosen by generalised
    cross-validation (see `smoothing_spline`). Anchors on a line give that line; beyond the first and the last
    anchor the curve continues straight, with the slope of the end.

    Attributes:
        spline: of the coordinates over the degrees.
        basis: float64 [r, styles, dim].
    """

    spline: Spline
    basis: Tensor

    @classmethod
    def through(cls, degrees: Tensor, subspace: Subspace, shape: tuple[int, int]) -> "Curve":
        """The path through anchors of these degrees [n], whose latents are [styles, dim]."""
        return cls(smoothing_spline(degrees, subspace.coordinates), subspace.basis.unflatten(1, shape))

    def offset(self, degree: float) -> Tensor:
        """The offset from degree 0 to this degree, float32 [styles, dim]; exactly zero at 0."""
        return torch.einsum("r,rsd->sd", self.spline(degree) - self.spline(0.0), self.basis).float()


class PathThroughLatents(Protocol):
    """What can be played instead of a straight line."""

    def offset(self, degree: float) -> Tensor:
        """The offset to a face's latent at this degree, float32 [styles, dim]."""


@dataclass(frozen=True, eq=False)
class Motion:
    """A line or a path in W+ that plays a micromotion on any face of the same generator.

    Attributes:
        name: for users.
        direction: float32 [styles, dim]; added to a face's latent, the recipe's full motion (degree 0 → 1).
        rank: per style, the rank of the anchors' low-rank part.
        noise: per style, ‖S‖_F/‖D‖_F: the share of the anchors' variation that is sparse noise.
        curve: played instead of the straight line; None for the line.
        provenance: its origin, from its file.
    """

    name: str
    direction: Tensor
    rank: tuple[int, ...] = ()
    noise: tuple[float, ...] = ()
    curve: PathThroughLatents | None = None
    provenance: Provenance = field(default_factory=dict)

    @classmethod
    def from_anchors(cls, anchors: Anchors, name: str, path: PathKind | None = None) -> "Motion":
        """Learn a motion from anchors, see `analyse` and `Curve`; path None uses the one in their provenance.

        Raises MotionError if path is neither "line" nor "curve", or the direction is not finite.
        """
        path = path_kind(anchors) if path is None else path_kind(anchors, path)
        found = analyse(anchors, name)
        curve: Curve | None = None
        if path == "curve":
            curve = Curve.through(
                anchors.degrees, found.subspace, (anchors.w_plus.shape[1], anchors.w_plus.shape[2])
            )
        return cls(name, found.direction, found.rank, found.noise, curve, anchors.provenance)

    def offset(self, strength: float) -> Tensor:
        """The offset to a face's W+ latent, float32 [styles, dim], on the device of `direction`.

        Strength 1 is the full motion, 0 none, negative the opposite. On a curve the strength is the degree;
        the curve continues straight beyond the anchors.
        """
        if self.curve is None:
            return strength * self.direction
        return self.curve.offset(strength).to(self.direction.device)

    def path(self, strength: float = 1.0, frames: int = 90) -> Iterator[Tensor]:
        """The offsets [styles, dim] of a video's frames, one by one: from 0 to `strength` in equal steps.

        A single frame shows the full strength. Raises OptionError if either is out of range.
        """
        AnimateOptions(strength=strength, frames=frames)  # checks both
        last = frames - 1
        return (self.offset(strength * (i / last if last else 1.0)) for i in range(frames))


def path_kind(anchors: Anchors, wanted: str | None = None) -> PathKind:
    """`wanted`, or the path in the anchors' provenance; by default the line.

    Raises MotionError if it is neither "line" nor "curve".
    """
    kind = anchors.provenance.get(PATH, "line") if wanted is None else wanted
    for known in get_args(PathKind):
        if kind == known:
            return known
    raise MotionError(f'The path of a micromotion is "line" or "curve", not {str(kind)[:40]!r}.')


def load_motion(
    path: str | Path, kind: PathKind | None = None, *, shape: tuple[int, int] | None = None
) -> Motion:
    """Read a micromotion, named after its file; the file's type is detected from its contents.

    Anchors (`Anchors.save`) are analysed, and played along the line or curve given by `kind` or by their
    provenance; a direction (`save_direction`) is used unchanged; for the original's `d_latent` files,
    strength 1 is the last frame of the original's video, 4.95 · d (see `full_motion`). Nothing in a file is
    executed.

    shape: (styles, dim) of the model that will play it; another shape is refused before the analysis, which
    can take half a minute for the largest files. Raises MotionError.
    """
    path = Path(path)
    if directions.is_published(path):
        published = directions.read_published(path)
        _require_shape(path.stem, published.shape, shape)
        return Motion(path.stem, directions.full_motion(published))
    if motion_file_kind(path) == directions.KIND:
        direction, provenance = directions.read_direction(path)
        _require_shape(path.stem, direction.shape, shape)
        return Motion(path.stem, direction, provenance=provenance)
    anchors = Anchors.load(path)
    _require_shape(path.stem, anchors.w_plus.shape[1:], shape)
    try:
        return Motion.from_anchors(anchors, path.stem, kind)
    except MotionError as error:
        raise MotionError(f"The micromotion in {path} cannot be played: {error}") from error


def _require_shape(name: str, found: Sequence[int], wanted: tuple[int, int] | None) -> None:
    if wanted is not None and tuple(found) != wanted:
        raise MotionError(
            f"The micromotion {name!r} was learned for another model: its latents have the shape "
            f"{list(found)}, those of this model {list(wanted)}."
        )
