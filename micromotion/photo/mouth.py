"""A face's expression in the photo's own pixels: the face's displacement field, torn between the lips.

The field is smooth except between the lips, which may part. There are two fields, one through the upper lip
and one through the lower; each pixel takes the one whose lip it comes from. A pixel of neither is inside the
mouth.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch.nn import functional as F

from micromotion.photo.expression import head_unit
from micromotion.photo.lips import (
    LOWER_INNER,
    LOWER_OUTER,
    UPPER_INNER,
    UPPER_OUTER,
    LipCurve,
    Lips,
)
from micromotion.photo.mouth_interior import Interior
from micromotion.photo.registration import Registration
from micromotion.photo.sampling import MonotoneCurve, Picture, product, smoothstep, span
from micromotion.photo.spline import ThinPlate, square_border
from micromotion.photo.strokes import Stroke, composed
from micromotion.types import Floats

_JAW = list(range(17))
_SKULL = [27, 28, 29, 30, 36, 39, 42, 45]  # bridge of the nose, corners of the eyes
_REST = [*range(17, 49), 54]  # all but lips and jaw; the mouth's corners


@dataclass(frozen=True)
class MouthConfig:
    """How the field is computed and torn. Lengths in mouth widths unless stated otherwise."""

    stiff_jaw: float = 0.02
    """Softness of jaw landmarks, squared fractions of the square: dlib's slide along the jaw."""
    stiff: float = 2e-5
    """The same of all others; more is smoother, and moves less than requested."""
    crown: float = 0.62
    """Height above the brows from which the head is rigid, in head units; less creases the forehead."""
    cells: int = 64
    """Grid cells per side for the smooth field; more costs time."""
    fine: int = 26
    """Grid cells per mouth width for the torn fields."""
    border: float = 0.03
    """Fraction of the side over which the field fades at the square's border."""
    around: float = 0.32
    """How far around the lips the torn fields are computed: as `fade` and `corner` need, and half as much
    again for stretched skin."""
    fade: float = 0.16
    """Distance beyond the lips' outlines over which the tear fades out; less shows the outline."""
    corner: float = 0.12
    """…and outwards from the lips' inner corners over this; less has a kink there."""
    stretch: float = 0.3
    """How far the photo's own teeth may stretch before the mouth behind them is drawn."""
    round: float = 0.74
    """The gap halfway between a corner and the next landmark, over the gap at that landmark: .58 is a
    parabola, .76 an ellipse."""
    apart: tuple[float, float] = (0.01, 0.05)
    """Lips that part by more than the first are less bound to that distance, from the second not at all."""
    line: float = 0.014
    """How much of a lip's edge is removed where lips part: their dark line would rim the teeth."""
    seen: float = 0.02
    """In a gap narrower than this the mouth fades out, in favour of the lips' own dark line."""


MOUTH = MouthConfig()


@dataclass(frozen=True, eq=False)
class _Box:
    """Pixels left … right - 1, top … bottom - 1."""

    left: int
    top: int
    right: int
    bottom: int

    def points(self) -> Floats:
        """Its pixels' (x, y), [h, w, 2]."""
        y, x = np.mgrid[self.top : self.bottom, self.left : self.right]
        return np.stack([x, y], axis=-1).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Mouth:
    """A photo's mouth, and the motion of the whole face with its landmarks."""

    registration: Registration
    lips: Lips
    interior: Interior
    config: MouthConfig = MOUTH

    @classmethod
    def found(cls, registration: Registration, config: MouthConfig = MOUTH) -> Mouth:
        lips = Lips.found(registration)
        return cls(registration, lips, Interior.of(registration, lips, head_unit(registration)), config)

    def stroke(self, landmarks: Floats) -> Stroke:
        """The stroke that moves the face's landmarks to [68, 2], pixels of the registration's square.

        Empty if none moves.
        """
        return composed(self.strokes(landmarks), self.registration.side)

    def strokes(self, landmarks: Floats) -> list[Stroke]:
        """`stroke` as two steps, which is faster: the motion of the picture, and the paint between the lips,
        within the mouth's own box."""
        if np.array_equal(landmarks, self.registration.landmarks):
            return []
        shift = self._smooth(landmarks)
        box = self._box(landmarks)
        inside = shift[box.top : box.bottom, box.left : box.right]
        tear = _Tear.of(self, landmarks, box, inside)
        inside += tear.beyond(inside)
        return [Stroke(0, 0, shift=shift), *self._painted(tear, landmarks)]

    def _painted(self, tear: _Tear, landmarks: Floats) -> list[Stroke]:
        """What shows between the lips: nothing if they are shut, or if the photo's own teeth show."""
        shown = tear.shown(self.interior.edge)
        cut = span(shown > 0)
        if cut is None:
            return []
        scale = self.lips.frame.width
        points, shown = tear.points[cut], shown[cut][..., None]
        depth, height = (scale * np.maximum(-side[cut], 0) for side in (tear.over, tear.under))
        colour = self.interior.colour(points, depth, height, self._skull(landmarks))
        # A border of pixels that change nothing, as a stroke's box requires.
        shown, added = (np.pad(plane, ((1, 1), (1, 1), (0, 0))) for plane in (shown, shown * colour))
        left, top = tear.box.left + cut[1].start - 1, tear.box.top + cut[0].start - 1
        return [Stroke(left, top, kept=1 - shown, added=added)]

    def _skull(self, landmarks: Floats) -> Floats:
        """Displacement of the skull, and of the teeth with it: [2], in pixels."""
        moved: Floats = (landmarks - self.registration.landmarks)[_SKULL].mean(axis=0)
        return moved

    @cached_property
    def _crown(self) -> Floats:
        """Points of forehead and temples [5, 2] that brows do not drag along, nor a hat's brim with them."""
        landmarks, (right, down) = self.registration.landmarks, self.registration.axes
        unit, brows = self.interior.unit, landmarks[17:27].mean(axis=0)
        across = np.linspace(-1, 1, 5)[:, None]
        crown: Floats = brows + unit * (across * right - self.config.crown * (1 - 0.3 * across**2) * down)
        return crown

    @cached_property
    def _edges(self) -> tuple[Floats, Floats]:
        """Points on the edges of the upper and the lower lip, [7, 2] each, in pixels: at the inner landmarks,
        and between these and the corners."""
        frame, local = self.lips.frame, self.lips.frame.inside(self.registration.landmarks)
        both = (local[UPPER_INNER, 0] + local[LOWER_INNER, 0]) / 2
        edges = []
        for indices, curve in ((UPPER_INNER, self.lips.upper_edge), (LOWER_INNER, self.lips.lower_edge)):
            inner = local[indices, 0] if self.lips.parted else both
            left, right = local[60, 0], local[64, 0]
            x = np.array([left, (left + inner[0]) / 2, *inner, (inner[2] + right) / 2, right])
            edges.append(frame.outside(np.stack([x, curve(x)], axis=-1)))
        return edges[0], edges[1]

    def _edge_moves(self, landmarks: Floats) -> tuple[Floats, Floats]:
        """The displacements of these points, [7, 2] each, in pixels."""
        moves = landmarks - self.registration.landmarks
        upper, lower = moves[[60, *UPPER_INNER, 64]], moves[[60, *LOWER_INNER, 64]]
        line, apart = (upper + lower) / 2, (upper - lower) / 2
        between = [((line[a] + line[b]) / 2, self.config.round * apart[b]) for a, b in ((0, 1), (4, 3))]
        found = []
        for edge, sign in ((upper, 1), (lower, -1)):
            left, right = (middle + sign * half for middle, half in between)
            found.append(np.array([edge[0], left, *edge[1:4], right, edge[4]]))
        return found[0], found[1]

    def _parting(self, landmarks: Floats) -> LipCurve:
        """How much the lips part over the photo's X, in mouth widths; below 0 they are pressed together."""
        frame, (upper, lower) = self.lips.frame, self._edge_moves(landmarks)
        x = np.stack([frame.inside(points)[:, 0] for points in self._edges]).mean(axis=0)
        x = np.maximum.accumulate(x) + 1e-4 * np.arange(len(x))
        apart = (lower - upper) @ frame.axes[1] / frame.width
        x = np.concatenate([[min(0.0, x[0] - 0.01)], x, [max(1.0, x[-1] + 0.01)]])
        return LipCurve(MonotoneCurve(x, np.pad(apart, 1)))

    def _smooth(self, landmarks: Floats) -> Picture:
        """The field without the tear, [N, N, 2] in pixels."""
        side, cells = self.registration.side, self.config.cells
        indices = [*_REST, *UPPER_OUTER, *LOWER_OUTER]
        spline = self._spline(landmarks, indices, np.zeros((0, 2)), np.zeros((0, 2)))
        at = (np.arange(cells) + 0.5) / cells - 0.5 / side
        coarse = (spline(np.stack(np.meshgrid(at, at), axis=-1)) * side).astype(np.float32)
        planes = [product(product(self._widen, coarse[..., axis]), self._widen.T) for axis in (0, 1)]
        return np.moveaxis(np.stack(planes), 0, -1)

    @cached_property
    def _widen(self) -> Picture:
        """[N, cells]: matrix that interpolates the coarse field along a side, and fades it at the border."""
        side, cells = self.registration.side, self.config.cells
        rows = torch.eye(cells)[None, None]
        widen = F.interpolate(rows, (side, cells), mode="bicubic", align_corners=False)[0, 0].numpy()
        near = (np.arange(side) + 0.5) / side
        fade = smoothstep(0, self.config.border, np.minimum(near, 1 - near)).astype(np.float32)
        fade[[0, -1]] = 0
        faded: Picture = widen * fade[:, None]
        return faded

    def _fine(self, spline: ThinPlate, box: _Box) -> Floats:
        """A field at the pixels of a box, [h, w, 2] in pixels."""
        side, cell = self.registration.side, self._cell
        height, width = box.bottom - box.top, box.right - box.left
        x, y = (
            start + (np.arange(length // cell) + 0.5) * cell - 0.5
            for start, length in ((box.left, width), (box.top, height))
        )
        coarse = spline(np.stack(np.meshgrid(x, y), axis=-1) / side) * side
        field = torch.from_numpy(coarse.astype(np.float32)).movedim(-1, 0)[None]
        wide = F.interpolate(field, (height, width), mode="bicubic", align_corners=False)
        fine: Floats = wide[0].movedim(0, -1).numpy()
        return fine

    @property
    def _cell(self) -> int:
        """Pixels per side of a grid cell of the torn fields."""
        return max(1, round(self.lips.frame.width / self.config.fine))

    def _box(self, landmarks: Floats) -> _Box:
        """A box around the moved lips, of whole cells on a fixed grid, to avoid trembling."""
        cell, side = self._cell, self.registration.side
        reach = self.config.around * self.lips.frame.width
        lips = landmarks[48:68]
        low = np.floor((lips.min(axis=0) - reach) / cell).astype(int)
        high = np.ceil((lips.max(axis=0) + reach) / cell).astype(int)
        most = side // cell
        left, top = cell * np.clip(low, 0, most - 4)
        right, bottom = cell * np.clip(high, 4, most)
        return _Box(int(left), int(top), int(max(right, left + 4 * cell)), int(max(bottom, top + 4 * cell)))

    def _spline(self, landmarks: Floats, indices: list[int], points: Floats, moves: Floats) -> ThinPlate:
        """The field by which to read the photo, in fractions of the side: through the jaw, the landmarks at
        these indices, the crown of the head, which moves with the skull, and more points [n, 2] that move by
        `moves` [n, 2]."""
        crown = self._crown
        points = np.concatenate([crown, points])
        moves = np.concatenate([np.broadcast_to(self._skull(landmarks), crown.shape), moves])
        side, indices, edge = self.registration.side, [*_JAW, *indices], square_border()
        before = np.concatenate([self.registration.landmarks[indices], points]) / side
        after = np.concatenate([landmarks[indices], points + moves]) / side
        softness = np.full(len(before) + len(edge), self.config.stiff)
        softness[: len(_JAW)] = self.config.stiff_jaw
        softness[len(before) :] = 0
        return ThinPlate(
            np.concatenate([after, edge]), np.concatenate([before - after, np.zeros_like(edge)]), softness
        )


@dataclass(frozen=True, eq=False)
class _Tear:
    """A mouth's two fields for one expression, at the pixels of a box [h, w].

    points: [h, w, 2]. upper, lower: the fields [h, w, 2], in pixels. over, under: distance of
    a pixel's source from the edge, in mouth widths, on its lip's side in each; below 0 it is not on the lip.
    across: X of the source. share: weight of the tear in the field, 0…1; the rest is the smooth one's.
    """

    mouth: Mouth
    box: _Box
    points: Floats
    upper: Floats
    lower: Floats
    over: Floats
    under: Floats
    across: Floats
    share: Floats

    @classmethod
    def of(cls, mouth: Mouth, landmarks: Floats, box: _Box, smooth: Picture) -> _Tear:
        lips, points = mouth.lips, box.points()
        outer = [*_REST, *UPPER_OUTER], [*_REST, *LOWER_OUTER]
        upper, lower = (
            mouth._fine(mouth._spline(landmarks, indices, edge, moves), box)
            for indices, edge, moves in zip(outer, mouth._edges, mouth._edge_moves(landmarks), strict=True)
        )
        above, below = lips.frame.inside(points + upper), lips.frame.inside(points + lower)
        over = lips.upper_edge(above[..., 0]) - above[..., 1]
        under = below[..., 1] - lips.lower_edge(below[..., 0])
        across = np.clip((above[..., 0] + below[..., 0]) / 2, 0, 1)
        # Between the fields' anchors, and where lips are pressed, they would part a little, or both claim a
        # pixel: each gives up half of the excess. Not where lips part: the fields are bent there, so that
        # over and under do not measure the distance.
        own, parting = lips.lower_edge(across) - lips.upper_edge(across), mouth._parting(landmarks)(across)
        pressed = (over + under + np.maximum(own + parting, 0)) / 2
        pressed = np.maximum(pressed * (1 - smoothstep(*mouth.config.apart, parting)), (over + under) / 2)
        push = pressed[..., None] * lips.frame.width * lips.frame.axes[1]
        share = _share(mouth, lips.frame.inside(points + smooth))
        return cls(
            mouth, box, points, upper + push, lower - push, over - pressed, under - pressed, across, share
        )

    def beyond(self, smooth: Picture) -> Picture:
        """The tear's difference from the smooth field [h, w, 2] of the box."""
        field = np.where((self.over > self.under)[..., None], self.upper, self.lower)
        if self.mouth.lips.parted:
            own, _, _ = self._own()
            inside = ((self.over < 0) & (self.under < 0))[..., None]
            up = (-self.over - own)[..., None] * self.mouth.lips.frame.width * self.mouth.lips.frame.axes[1]
            field = np.where(inside, self.upper - up, field)
        added: Picture = (self.share[..., None] * (field - smooth)).astype(np.float32)
        return added

    def shown(self, edge: float) -> Picture:
        """Opacity of the painted mouth at each pixel, [h, w].

        edge: pixels over which lips end.
        """
        width, config = self.mouth.lips.frame.width, self.mouth.config
        soft = max(edge, 0.5) / width
        gap = -(self.over + self.under)
        inside = np.minimum(-self.over, -self.under) + config.line * smoothstep(0, 4 * config.seen, gap)
        if self.mouth.lips.parted:
            own, whole, gap = self._own()
            inside = np.minimum(own - whole - soft, -self.under)
        covered = np.clip(0.5 + inside / (2 * soft), 0, 1) * smoothstep(0, config.seen, gap)
        shown: Picture = (self.share * covered).astype(np.float32)
        return shown

    def _own(self) -> tuple[Floats, Floats, Floats]:
        """For a mouth that is open in the photo: each pixel's depth below the upper lip at its source; the
        lower lip's depth there; and the excess of the new gap over that, stretched."""
        lips, stretch = self.mouth.lips, self.mouth.config.stretch
        whole = np.maximum(lips.lower_edge(self.across) - lips.upper_edge(self.across), 0)
        gap = np.maximum(-(self.over + self.under), 0)
        ratio = (gap + 0.01) / (whole + 0.01)  # the corners have almost no depth
        longer = np.where(ratio > 1, 1 + stretch * np.tanh((ratio - 1) / stretch), ratio)
        return -self.over / longer, whole, np.maximum(gap - longer * whole, 0)


def _share(mouth: Mouth, at: Floats) -> Floats:
    """The weight of the tear [h, w], 0…1: on the lips, and a little around them.

    at: the pixels' sources without the tear, [h, w, 2] in the mouth's coordinates.
    """
    lips, config = mouth.lips, mouth.config
    x, y = at[..., 0], at[..., 1]
    beyond = np.maximum(lips.upper_outer(x) - y, y - lips.lower_outer(x))
    left, right = lips.frame.inside(mouth.registration.landmarks[[60, 64]])[:, 0]
    beside = smoothstep(left - config.corner, left, x) * smoothstep(right + config.corner, right, x)
    share: Floats = (1 - smoothstep(0, config.fade, beyond)) * beside
    return share
