"""Keep the heads of two faces in one photo apart, so that neither takes the other along when it moves.

Every place near both belongs to one of them: to the one whose mean head is nearer, unless the colours say
otherwise, with a preference for the head in front. Up to that border each face draws on its own side only;
but the head in front may move over the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from micromotion.photo.head import CELLS, HeadFit, cells_of, color_histogram
from micromotion.photo.registration import LARGER, Registration
from micromotion.photo.sampling import Picture, blur, sample, smoothstep
from micromotion.photo.strokes import Stroke, trimmed
from micromotion.types import Floats


@dataclass(frozen=True)
class BorderConfig:
    """Tuned constants. Lengths are fractions of the side of FFHQ's crop of the face in front.

    width: over which motion fades to nothing, on the side of the face behind. More shears that face's edge,
    less stretches what the head in front uncovers.
    sharp: width of the edge at which the head in front hides the other.
    hair: (from, to) distance from the mean head over which a place stops belonging to it. Less lets a
    neighbour move thick hair.
    preference: by how much the head in front may be farther away than the other, for a place to be its own.
    certainty: log odds for each crop's side that one head is nearer than the other.
    sure: this far inside one mean head and outside the other, a place shows the colours of the first.
    fewest: cells with which a head's colours are known. rare: as in `HeadConfig`. odds: of colours, at most.
    smooth: blur of the odds.
    edge: width of the fade at the border of the other's square, as a fraction of its side.
    """

    width: float = 0.1
    sharp: float = 0.012
    hair: tuple[float, float] = (0.2, 0.3)
    preference: float = 0.03
    certainty: float = 30.0
    sure: float = 0.04
    fewest: int = 100
    rare: float = 0.1
    odds: float = 4.0
    smooth: float = 0.012
    edge: float = 0.04


@dataclass(frozen=True, eq=False)
class Placed:
    """A face in its photo, and its head: what its neighbours must know of it."""

    registration: Registration
    head: HeadFit

    @property
    def crop(self) -> float:
        """The side of FFHQ's crop in pixels of the photo."""
        return square_width(self.registration) / LARGER


@dataclass(frozen=True, eq=False)
class Borders:
    """How much of each cell of a face's square belongs to its neighbours, 0…1, [G, G] each.

    theirs: to any of them, with a soft edge. hidden: to heads in front of this one, with a sharp edge.
    """

    theirs: Picture
    hidden: Picture

    @classmethod
    def of(cls, face: Placed, others: Iterable[Placed], config: BorderConfig | None = None) -> Borders | None:
        """The borders of a face to others, of which the larger ones are in front; None if none is near."""
        config = config or BorderConfig()
        theirs, hidden = np.zeros((2, CELLS, CELLS), np.float32)
        for other in others:
            there = _there(face, other, config)
            if other.crop > face.crop:
                depth = _seen_by(face, other, _depth_behind(other, face, config))
                np.maximum(theirs, there * smoothstep(config.width, 0, depth), out=theirs)
                np.maximum(hidden, there * smoothstep(config.sharp, 0, depth), out=hidden)
            else:
                depth = _depth_behind(face, other, config)
                np.maximum(theirs, there * smoothstep(0, config.width, depth), out=theirs)
        return cls(theirs, hidden) if theirs.any() else None

    def confine(self, head: HeadFit) -> HeadFit:
        """The head, taking nothing of its neighbours along."""
        return replace(head, weight=head.weight * (1 - self.theirs))

    def soften(self, stroke: Stroke, side: int) -> Stroke:
        """The stroke without what it does to its neighbours, on a square of that side."""
        return _weakened(stroke, self.theirs, side)

    def hide(self, stroke: Stroke, side: int) -> Stroke:
        """The stroke without what it draws on heads in front."""
        return _weakened(stroke, self.hidden, side)


def squares_meet(one: Registration, other: Registration) -> bool:
    """Whether the squares of two faces overlap in the photo."""
    apart = np.linalg.norm(_centre(one) - _centre(other))
    if apart > (square_width(one) + square_width(other)) / np.sqrt(2):  # farther than their half diagonals
        return False
    return bool((_inset(_seen_from(one, other), other.side) > 0).any())


def _centre(place: Registration) -> Floats:
    """The centre [2] of a face's square in the photo."""
    centre: Floats = place.matrix @ np.array([(place.side - 1) / 2, (place.side - 1) / 2, 1])
    return centre


def square_width(place: Registration) -> float:
    """The side of a face's square in pixels of the photo."""
    return float(np.linalg.norm(place.matrix[:, 0])) * place.side


def _depth_behind(front: Placed, behind: Placed, config: BorderConfig) -> Picture:
    """How far each cell of the front face's square is beyond its border to another face, [G, G].

    In fractions of the front face's crop; below 0 on its own side.
    """
    own = front.head.outside
    their = behind.crop / front.crop * _seen_by(front, behind, behind.head.outside)
    farther = own - their - config.preference
    odds = config.certainty * farther + _color_odds(front, own, their, config)
    beyond = blur(odds.astype(np.float32), config.smooth * CELLS / LARGER) > 0
    far = ndimage.distance_transform_edt(beyond) - ndimage.distance_transform_edt(~beyond)
    depth: Picture = (far * (LARGER / CELLS)).astype(np.float32)
    return depth


def _color_odds(front: Placed, own: Picture, their: Picture, config: BorderConfig) -> Picture:
    """Log odds [G, G] that a cell has the colours of the other head rather than of the front face's own."""
    ours, others = (
        (one < -config.sure) & (other > config.sure) for one, other in ((own, their), (their, own))
    )
    if min(ours.sum(), others.sum()) < config.fewest:
        return np.zeros_like(own)
    bins = (cells_of(front.registration.picture) * 15.99).astype(int)
    index = tuple(np.moveaxis(bins, -1, 0))
    known = [color_histogram(bins[where])[index] + config.rare for where in (others, ours)]
    return np.clip(np.log(known[0] / known[1]), -config.odds, config.odds).astype(np.float32)


def _there(face: Placed, other: Placed, config: BorderConfig) -> Picture:
    """Where the other's head and hair can be on the cells of a face's square, [G, G] in 0…1."""
    inset = _inset(_seen_from(face.registration, other.registration), other.registration.side)
    near = smoothstep(*config.hair[::-1], _seen_by(face, other, other.head.outside))
    there: Picture = (near * smoothstep(0, config.edge, inset)).astype(np.float32)
    return there


def _seen_by(face: Placed, other: Placed, plane: Picture) -> Picture:
    """A plane [G, G] of the cells of the other's square, on the cells of the face's."""
    at = _seen_from(face.registration, other.registration)
    return _read(plane, at[..., 0], at[..., 1], other.registration.side)


def _seen_from(face: Registration, other: Registration) -> Floats:
    """The cells of a face's square as points of another's, in its pixels, [G, G, 2]."""
    column, row = np.meshgrid(*2 * [(np.arange(CELLS) + 0.5) * (face.side / CELLS) - 0.5])
    cells = np.stack([column, row], axis=-1)
    photo = cells @ face.matrix[:, :2].T + face.matrix[:, 2]
    points: Floats = (photo - other.matrix[:, 2]) @ np.linalg.inv(other.matrix[:, :2]).T
    return points


def _inset(at: Floats, side: int) -> Floats:
    """How far points [..., 2] are within a square of that side, as a fraction of it; below 0 beyond."""
    share = (at + 0.5) / side
    inset: Floats = np.minimum(share, 1 - share).min(axis=-1)
    return inset


def _weakened(stroke: Stroke, by: Picture, side: int) -> Stroke:
    """The stroke without its part `by`, [G, G] in 0…1 on the cells of a square of that side."""
    if not all(stroke.size):
        return stroke
    x, y = np.meshgrid(
        np.arange(stroke.left, stroke.right, dtype=np.float32),
        np.arange(stroke.top, stroke.bottom, dtype=np.float32),
    )
    amount = 1 - _read(by, x, y, side)[..., None]
    shift = None if stroke.shift is None else stroke.shift * amount
    kept = None if stroke.kept is None else 1 + (stroke.kept - 1) * amount
    added = None if stroke.added is None else stroke.added * amount
    return trimmed(Stroke(stroke.left, stroke.top, shift, kept, added))


def _read(plane: Picture, x: NDArray, y: NDArray, side: int) -> Picture:
    """A plane of cells at pixels x, y [h, w] of its square, [h, w]."""
    scale = CELLS / side
    return sample(plane, (x + 0.5) * scale - 0.5, (y + 0.5) * scale - 0.5)
