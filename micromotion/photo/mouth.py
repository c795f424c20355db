"""A face's expression in the photo's own pixels: the whole face's displacement field, and the mouth it tears.

The field is smooth but between the lips, which may part: there are two fields, one that knows the upper lip
and one that knows the lower, and each pixel takes the one whose lip it comes from. What comes from neither
lies in the mouth.
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
_SKULL = [27, 28, 29, 30, 36, 39, 42, 45]  # the nose's ridge, the eyes' corners
_REST = [*range(17, 49), 54]  # all but lips and jaw; the mouth's corners


@dataclass(frozen=True)
class MouthConfig:
    """How the field is laid and torn. Lengths in widths of the mouth unless told otherwise."""

    stiff_jaw: float = 0.02
    """Squared parts of the square: how far landmarks of the jaw may be missed; dlib slides along it."""
    stiff: float = 2e-5
    """The same of all others; more is smoother, and moves less than asked."""
    crown: float = 0.62
    """How far above the brows the head keeps its shape, in units of the head; less creases the forehead."""
    cells: int = 64
    """Of the side on which the smooth field is computed: it is smooth; more costs time."""
    fine: int = 26
    """Cells of the mouth's width on which the torn fields are computed."""
    border: float = 0.03
    """Parts of the side over which the field fades at the square's border."""
    around: float = 0.32
    """How far around the lips the torn fields are computed: what `fade` and `corner` ask for, and half as
    much again where skin is stretched."""
    fade: float = 0.16
    """Beyond the lips' outlines the torn fields fade to the smooth one over this; less shows the outline."""
    corner: float = 0.12
    """…and outwards from the lips' inner corners over this; less has a kink there."""
    stretch: float = 0.3
    """How much longer own teeth may get before what is behind them is drawn."""
    round: float = 0.74
    """How wide the lips part halfway from a corner to the next landmark, of what they part there: .58 is a
    parabola, .76 an ellipse."""
    apart: tuple[float, float] = (0.01, 0.05)
    """Lips that part by more than the first are held to that distance less, by the second not at all."""
    line: float = 0.014
    """How much of a lip's edge goes where lips part: the dark line between them would rim the teeth."""
    seen: float = 0.02
    """A gap narrower than this shows less and less of the mouth: the lips' own dark line does."""


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
    """The mouth of a photo's face, and how the whole face follows its landmarks."""

    registration: Registration
    lips: Lips
    interior: Interior
    config: MouthConfig = MOUTH

    @classmethod
    def found(cls, registration: Registration, config: MouthConfig = MOUTH) -> Mouth:
        lips = Lips.found(registration)
        return cls(registration, lips, Interior.of(registration, lips, head_unit(registration)), config)

    def stroke(self, landmarks: Floats) -> Stroke:
        """The face with its landmarks there: [68, 2], pixels of the registration's square.

        Empty where none moves.
        """
        return composed(self.strokes(landmarks), self.registration.side)

    def strokes(self, landmarks: Floats) -> list[Stroke]:
        """The same as two steps, which costs less: how the picture moves, and what is painted between the
        lips, within the mouth's own box."""
        if np.array_equal(landmarks, self.registration.landmarks):
            return []
        shift = self._smooth(landmarks)
        box = self._box(landmarks)
        inside = shift[box.top : box.bottom, box.left : box.right]
        tear = _Tear.of(self, landmarks, box, inside)
        inside += tear.beyond(inside)
        return [Stroke(0, 0, shift=shift), *self._painted(tear, landmarks)]

    def _painted(self, tear: _Tear, landmarks: Floats) -> list[Stroke]:
        """What shows between the lips: nothing where they are shut, or their own teeth show."""
        shown = tear.shown(self.interior.edge)
        cut = span(shown > 0)
        if cut is None:
            return []
        scale = self.lips.frame.width
        points, shown = tear.points[cut], shown[cut][..., None]
        depth, height = (scale * np.maximum(-side[cut], 0) for side in (tear.over, tear.under))
        colour = self.interior.colour(points, depth, height, self._skull(landmarks))
        # A frame of pixels that change nothing, as a stroke's box must have.
        shown, added = (np.pad(plane, ((1, 1), (1, 1), (0, 0))) for plane in (shown, shown * colour))
        left, top = tear.box.left + cut[1].start - 1, tear.box.top + cut[0].start - 1
        return [Stroke(left, top, kept=1 - shown, added=added)]

    def _skull(self, landmarks: Floats) -> Floats:
        """How far the skull moves, and the teeth with it: [2], in pixels."""
        moved: Floats = (landmarks - self.registration.landmarks)[_SKULL].mean(axis=0)
        return moved

    @cached_property
    def _crown(self) -> Floats:
        """Points of forehead and temples [5, 2] that brows do not draw along, nor a hat's brim with them."""
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
        for marks, curve in ((UPPER_INNER, self.lips.upper_edge), (LOWER_INNER, self.lips.lower_edge)):
            inner = local[marks, 0] if self.lips.parted else both
            left, right = local[60, 0], local[64, 0]
            x = np.array([left, (left + inner[0]) / 2, *inner, (inner[2] + right) / 2, right])
            edges.append(frame.outside(np.stack([x, curve(x)], axis=-1)))
        return edges[0], edges[1]

    def _edge_moves(self, landmarks: Floats) -> tuple[Floats, Floats]:
        """How far those points move, [7, 2] each, in pixels."""
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
        """How much further apart the lips get over the photo's X, in its widths; below 0 they press."""
        frame, (upper, lower) = self.lips.frame, self._edge_moves(landmarks)
        x = np.stack([frame.inside(points)[:, 0] for points in self._edges]).mean(axis=0)
        x = np.maximum.accumulate(x) + 1e-4 * np.arange(len(x))
        apart = (lower - upper) @ frame.axes[1] / frame.width
        x = np.concatenate([[min(0.0, x[0] - 0.01)], x, [max(1.0, x[-1] + 0.01)]])
        return LipCurve(MonotoneCurve(x, np.pad(apart, 1)))

    def _smooth(self, landmarks: Floats) -> Picture:
        """The field without a tear, [N, N, 2] in pixels."""
        side, cells = self.registration.side, self.config.cells
        marks = [*_REST, *UPPER_OUTER, *LOWER_OUTER]
        spline = self._spline(landmarks, marks, np.zeros((0, 2)), np.zeros((0, 2)))
        at = (np.arange(cells) + 0.5) / cells - 0.5 / side
        coarse = (spline(np.stack(np.meshgrid(at, at), axis=-1)) * side).astype(np.float32)
        smooth = np.empty((side, side, 2), np.float32)
        for axis in (0, 1):
            smooth[..., axis] = product(product(self._widen, coarse[..., axis]), self._widen.T)
        return smooth

    @cached_property
    def _widen(self) -> Picture:
        """[N, cells]: interpolates the coarse field along one side, and fades it at the border."""
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
        """Pixels of a cell's side on which the torn fields are computed."""
        return max(1, round(self.lips.frame.width / self.config.fine))

    def _box(self, landmarks: Floats) -> _Box:
        """Around the lips as they will be, of whole cells that lie where they always do: no trembling."""
        cell, side = self._cell, self.registration.side
        reach = self.config.around * self.lips.frame.width
        lips = landmarks[48:68]
        low = np.floor((lips.min(axis=0) - reach) / cell).astype(int)
        high = np.ceil((lips.max(axis=0) + reach) / cell).astype(int)
        most = side // cell
        left, top = cell * np.clip(low, 0, most - 4)
        right, bottom = cell * np.clip(high, 4, most)
        return _Box(int(left), int(top), int(max(right, left + 4 * cell)), int(max(bottom, top + 4 * cell)))

    def _spline(self, landmarks: Floats, marks: list[int], points: Floats, moves: Floats) -> ThinPlate:
        """The field by which to read the photo, in parts of the side: through the jaw, these landmarks, the
        crown of the head, which the skull moves, and more points [n, 2] that move by `moves` [n, 2]."""
        crown = self._crown
        points = np.concatenate([crown, points])
        moves = np.concatenate([np.broadcast_to(self._skull(landmarks), crown.shape), moves])
        side, marks, edge = self.registration.side, [*_JAW, *marks], square_border()
        before = np.concatenate([self.registration.landmarks[marks], points]) / side
        after = np.concatenate([landmarks[marks], points + moves]) / side
        softness = np.full(len(before) + len(edge), self.config.stiff)
        softness[: len(_JAW)] = self.config.stiff_jaw
        softness[len(before) :] = 0
        return ThinPlate(
            np.concatenate([after, edge]), np.concatenate([before - after, np.zeros_like(edge)]), softness
        )


@dataclass(frozen=True, eq=False)
class _Tear:
    """A mouth's two fields for one expression, at the pixels of a box [h, w].

    points: [h, w, 2]. upper, lower: the fields [h, w, 2], in pixels. over, under: how far on its lip's side
    of the edge a pixel's source lies in each, in widths of the mouth; below 0 it is no lip's. across: X of
    the source. share: the tear's part in the field, 0…1; the rest is the smooth one's.
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
            mouth._fine(mouth._spline(landmarks, marks, edge, moves), box)
            for marks, edge, moves in zip(outer, mouth._edges, mouth._edge_moves(landmarks), strict=True)
        )
        above, below = lips.frame.inside(points + upper), lips.frame.inside(points + lower)
        over = lips.upper_edge(above[..., 0]) - above[..., 1]
        under = below[..., 1] - lips.lower_edge(below[..., 0])
        across = np.clip((above[..., 0] + below[..., 0]) / 2, 0, 1)
        # Between the points through which the fields go, and where lips are pressed, these would part a
        # little, or both claim a pixel: what is too much is given up by halves. Not where lips part: the
        # fields are bent there, so that over and under do not tell how far.
        own, parting = lips.lower_edge(across) - lips.upper_edge(across), mouth._parting(landmarks)(across)
        pressed = (over + under + np.maximum(own + parting, 0)) / 2
        pressed = np.maximum(pressed * (1 - smoothstep(*mouth.config.apart, parting)), (over + under) / 2)
        push = pressed[..., None] * lips.frame.width * lips.frame.axes[1]
        share = _share(mouth, lips.frame.inside(points + smooth))
        return cls(
            mouth, box, points, upper + push, lower - push, over - pressed, under - pressed, across, share
        )

    def beyond(self, smooth: Picture) -> Picture:
        """What the tear adds to the smooth field [h, w, 2] of the box."""
        field = np.where((self.over > self.under)[..., None], self.upper, self.lower)
        if self.mouth.lips.parted:
            own, _, _ = self._own()
            inside = ((self.over < 0) & (self.under < 0))[..., None]
            up = (-self.over - own)[..., None] * self.mouth.lips.frame.width * self.mouth.lips.frame.axes[1]
            field = np.where(inside, self.upper - up, field)
        added: Picture = (self.share[..., None] * (field - smooth)).astype(np.float32)
        return added

    def shown(self, edge: float) -> Picture:
        """How much of each pixel is drawn, since it lies in the mouth: [h, w].

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
        """Of an open mouth: how deep below the upper lip each pixel's source lies; how deep the lower lip lay
        there; how much further the lips are apart than that and its stretching explain."""
        lips, stretch = self.mouth.lips, self.mouth.config.stretch
        whole = np.maximum(lips.lower_edge(self.across) - lips.upper_edge(self.across), 0)
        gap = np.maximum(-(self.over + self.under), 0)
        ratio = (gap + 0.01) / (whole + 0.01)  # the corners have no depth to speak of
        longer = np.where(ratio > 1, 1 + stretch * np.tanh((ratio - 1) / stretch), ratio)
        return -self.over / longer, whole, np.maximum(gap - longer * whole, 0)


def _share(mouth: Mouth, at: Floats) -> Floats:
    """Where the tear rules [h, w], 0…1: on the lips, and a little around them.

    at: where pixels come from but for the tear, [h, w, 2] in the mouth's coordinates.
    """
    lips, config = mouth.lips, mouth.config
    x, y = at[..., 0], at[..., 1]
    beyond = np.maximum(lips.upper_outer(x) - y, y - lips.lower_outer(x))
    left, right = lips.frame.inside(mouth.registration.landmarks[[60, 64]])[:, 0]
    beside = smoothstep(left - config.corner, left, x) * smoothstep(right + config.corner, right, x)
    share: Floats = (1 - smoothstep(0, config.fade, beyond)) * beside
    return share
