"""Turn a head: move the photo's pixels with the surface of a 3D head.

The 3D head gives the forward map: where each cell goes. Drawing needs the inverse: where each comes from.
A depth buffer finds the nearest of all cells that land on a cell; from there, Newton's method finds the exact
point. So the foreground covers the background, and the map is smooth in the angle wherever nothing is covered
or uncovered. Where something is uncovered, the background's side stretches.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from micromotion.photo.head import CAMERA_Z, HeadFit, face_mask, rotation
from micromotion.photo.registration import LARGER, Registration
from micromotion.photo.sampling import Picture, blur, by_planes, sample, turned
from micromotion.photo.strokes import Stroke
from micromotion.types import Floats


@dataclass(frozen=True)
class TurnConfig:
    """Tuned constants.

    pivot: height y and depth z of the point about which the head turns, nods and tilts, in the model's units;
    lower moves the chin less and the hair more.
    last_yaw, last_pitch, last_roll: limits in degrees at which the head stops turning; more would show what
    the photo does not have. least_yaw: degrees that a head may always turn further.
    firm: how suddenly it stops (an exponent).
    density: cells of the map for each pixel of the picture's side; more sharpens outlines and takes longer.
    cells: lower and upper bound.
    steps: of Newton's method. stretch: smallest area factor that a step trusts, against folds.
    relight: fraction of the change of light that is shown; darkest: its bound, in log luminance.
    """

    pivot: tuple[float, float] = (-0.7, -0.15)
    last_yaw: float = 35.0
    last_pitch: float = 20.0
    last_roll: float = 30.0
    least_yaw: float = 3.0
    firm: float = 6.0
    density: float = 0.46
    cells: tuple[int, int] = (288, 512)
    steps: int = 3
    stretch: float = 0.3
    relight: float = 0.6
    darkest: float = 0.7


def reachable(asked: float, own: float, config: TurnConfig | None = None) -> float:
    """How many degrees a head already turned by `own` turns when `asked` more are requested.

    As requested, saturating as the total approaches the limit on that side.
    """
    config = config or TurnConfig()
    room = max(config.last_yaw - own * np.sign(asked), config.least_yaw)
    return _saturated(asked, room, config.firm)


@dataclass(frozen=True, eq=False)
class Turn:
    """Turns one photo's head. Create with `Turn.of`, once per photo.

    side: pixels of the photo's square. cells: grid cells per side of the map, C. box: rows and columns of
    the cells in which anything moves.
    shade: [G, G], how far the light on each cell changes as the head turns.
    eyes: the distance between the eyes in the model's units.
    """

    side: int
    head: HeadFit
    config: TurnConfig
    cells: int
    box: tuple[slice, slice]
    shade: Picture
    eyes: float

    @classmethod
    def of(cls, registration: Registration, head: HeadFit, config: TurnConfig | None = None) -> Turn:
        """Prepare a photo's head for turning."""
        config = config or TurnConfig()
        side = registration.side
        face = blur(face_mask((registration.landmarks + 0.5) / side).astype(np.float32), 6.0)
        cells = int(np.clip(round(config.density * side), *config.cells))
        moving = _resized(head.weight[..., None], cells)[..., 0] > 0
        rows, columns = np.flatnonzero(moving.any(axis=1)), np.flatnonzero(moving.any(axis=0))
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        eyes = registration.eye_distance / side * 2 * LARGER * head.frame[2]
        return cls(side, head, config, cells, box, face * head.cover * head.weight, eyes)

    def stroke(
        self, yaw: float, pitch: float = 0.0, roll: float = 0.0, travel: Floats | None = None
    ) -> Stroke:
        """The stroke that turns the head further, by any number of degrees; empty if nothing moves.

        yaw: above 0 to the picture's right. pitch: above 0 downwards. roll: above 0, the top of the head
        tilts to the picture's left. travel: [3], the head's translation (right, down) in eye distances, and
        by how much it grows; neck and surroundings follow less, or not.
        """
        config, head = self.config, self.head
        yaw = reachable(yaw, head.yaw, config)
        pitch = _saturated(pitch, config.last_pitch, config.firm)
        roll = _saturated(roll, config.last_roll, config.firm)
        away = self._away(travel)
        if yaw == pitch == roll == 0 and not away.any():
            return Stroke(0, 0)
        way = rotation(yaw, pitch, roll)
        pivot = np.array([0, *config.pivot])
        moved = (turned(head.position - pivot, way) + pivot + away).astype(np.float32)
        shift = (head.projected(moved) - self._before) * head.weight[..., None]
        source = _inverted(shift.astype(np.float32), moved[..., 2], self.cells, self.box, config)
        return self._drawn(source, self._gain(way))

    @cached_property
    def _before(self) -> Picture:
        """Where the head's cells are in the photo, [G, G, 2], fractions of the square's side."""
        before: Picture = self.head.projected(self.head.position)
        return before

    def _away(self, travel: Floats | None) -> Floats:
        """A translation and growth as a displacement [3] in the model's units: what grows comes nearer."""
        right, down, growth = (0.0, 0.0, 0.0) if travel is None else travel
        return np.array([right * self.eyes, -down * self.eyes, CAMERA_Z * growth / (1 + growth)])

    def _gain(self, way: Floats) -> Picture:
        """How much brighter each cell becomes by this rotation in the light, [G, G]."""
        normal, bound = self.head.normal, self.config.darkest
        brighter = np.clip(
            turned(turned(normal, way) - normal, self.head.light[None, 1:])[..., 0], -bound, bound
        )
        return np.exp(self.config.relight * brighter * self.shade).astype(np.float32)

    def _drawn(self, source: Picture, gain: Picture) -> Stroke:
        """The stroke of a source map [h, w, 2], in fractions of the square."""
        side, cells = self.side, self.cells
        shift = source - _centres(cells)[self.box]
        shift[~_beyond(shift, 1e-6)] = 0  # rounding errors would resample a still background
        light = sample(gain, source[..., 0] * len(gain) - 0.5, source[..., 1] * len(gain) - 0.5)
        planes = by_planes((cells, cells, 3), 0)
        planes[..., 2] = 1
        planes[self.box] = np.dstack([shift * side, light])
        rows, columns = (_pixels(part, cells, side) for part in self.box)
        full = _resized(planes, side, (rows, columns))
        return Stroke(columns.start, rows.start, full[..., :2], full[..., 2:])


def _saturated(asked: float, room: float, firm: float) -> float:
    """`asked`, saturating at `room`: smooth, odd, of slope 1 at 0."""
    return float(asked / (1 + abs(asked / room) ** firm) ** (1 / firm))


def _pixels(cells: slice, count: int, side: int) -> slice:
    """The pixels of a picture of `side` within a span of cells, `count` cells per side."""
    return slice(-(-cells.start * side // count), cells.stop * side // count)


def _beyond(vectors: Picture, most: float) -> NDArray[np.bool_]:
    """Which of the vectors [..., 2] have a component of more than `most`."""
    return (np.abs(vectors[..., 0]) > most) | (np.abs(vectors[..., 1]) > most)


def _resized(planes: Picture, side: int, box: tuple[slice, slice] | None = None) -> Picture:
    """[N, N, C] -> [side, side, C], linearly; only the rows and columns of a box of the result.

    One axis after the other: torch's own function computes every pixel's place, which takes three times as
    long.
    """
    rows, columns = box or (slice(0, side), slice(0, side))
    found = torch.from_numpy(planes.astype(np.float32, copy=False)).movedim(-1, 0)
    for part in (columns, rows):
        first, second, share = _between(len(planes), side, part)
        found = found.mT.contiguous()
        found = torch.lerp(found.index_select(1, first), found.index_select(1, second), share[:, None])
    return found.movedim(0, -1).numpy()


def _between(count: int, side: int, part: slice) -> tuple[Tensor, Tensor, Tensor]:
    """The two of `count` cells between which the centre of each of some of `side` cells is, and the second's
    share."""
    at = ((torch.arange(part.start, part.stop) + 0.5) * (count / side) - 0.5).clamp(0, count - 1)
    first = at.long()
    return first, (first + 1).clamp(max=count - 1), (at - first).float()


def _centres(cells: int) -> Picture:
    """[C, C, 2], (x, y) of the cells' centres in the unit square."""
    at = (np.arange(cells, dtype=np.float32) + 0.5) / cells
    return np.stack(np.meshgrid(at, at), axis=-1)


def _inverted(
    shift: Picture, depth: Picture, cells: int, box: tuple[slice, slice], config: TurnConfig
) -> Picture:
    """The source of each cell in a box of the result, [h, w, 2], in fractions of the square.

    shift: [G, G, 2], where each cell of the source goes. depth: [G, G], its z there.
    """
    source, hole = _nearest(shift, depth, cells, box)
    source, exact = _refined(_filled(source, hole), shift, cells, box, config)
    if not exact.all():  # exactly on the foreground's edge: as beside it
        index = ndimage.distance_transform_edt(~exact, return_distances=False, return_indices=True)
        wanted = _centres(cells)[box]
        source = wanted + (source - wanted)[index[0], index[1]]
    return source


def _nearest(
    shift: Picture, depth: Picture, cells: int, box: tuple[slice, slice]
) -> tuple[Picture, NDArray[np.bool_]]:
    """Depth buffer: the nearest of all points that land on each cell, [h, w, 2], and where none does."""
    dense = 2 * cells
    rows, columns = (slice(2 * part.start, 2 * part.stop) for part in box)
    planes = torch.from_numpy(_resized(np.dstack([shift * cells, depth * 4096]), dense, (rows, columns)))
    height, width = len(planes), planes.shape[1]
    column = (planes[..., 0] + (torch.arange(width) + 0.5) / 2).floor_().int()
    row = (planes[..., 1] + (torch.arange(height)[:, None] + 0.5) / 2).floor_().int()
    inside = (column >= 0) & (column < width // 2) & (row >= 0) & (row < height // 2)
    index = torch.arange(height * width).view(height, width)
    rank = ((planes[..., 2] + 4 * 4096).clamp_(0, 32767).long() << 32) | index
    buffer = torch.full((height * width // 4 + 1,), -1, dtype=torch.long)
    target = torch.where(inside, row * (width // 2) + column, height * width // 4).long()
    buffer.scatter_reduce_(0, target.view(-1), rank.view(-1), "amax")
    buffer = buffer[:-1]
    chosen = (buffer & 0xFFFFFFFF).numpy()
    x, y = (chosen % width + columns.start + 0.5) / dense, (chosen // width + rows.start + 0.5) / dense
    shape = height // 2, width // 2
    return np.stack([x, y], axis=-1).reshape(*shape, 2).astype(np.float32), (buffer < 0).view(shape).numpy()


def _filled(source: Picture, hole: NDArray[np.bool_]) -> Picture:
    """The map with holes filled along rows, by linear interpolation between both sides."""
    index = np.arange(source.shape[1])
    for row in np.flatnonzero(hole.any(axis=1)):
        known = ~hole[row]
        if known.any():
            for axis in range(2):
                source[row, :, axis] = np.interp(index, index[known], source[row, known, axis])
    return source


def _refined(
    source: Picture, shift: Picture, cells: int, box: tuple[slice, slice], config: TurnConfig
) -> tuple[Picture, NDArray[np.bool_]]:
    """The exact map, source + shift(source) = the cell itself, by Newton's method; and where it converged."""
    own, wanted = len(shift), _centres(cells)[box]
    across, down = (np.gradient(shift, axis=axis) * own for axis in (1, 0))
    planes = np.dstack([shift, across, down])
    for _ in range(config.steps):
        read = sample(planes, source[..., 0] * own - 0.5, source[..., 1] * own - 0.5)
        error = wanted - source - read[..., :2]
        xx, yx, xy, yy = 1 + read[..., 2], read[..., 3], read[..., 4], 1 + read[..., 5]
        area = np.maximum(xx * yy - xy * yx, config.stretch)
        across_by = (yy * error[..., 0] - xy * error[..., 1]) / area
        down_by = (xx * error[..., 1] - yx * error[..., 0]) / area
        step = np.stack([across_by, down_by], axis=-1)
        source = source + np.clip(step, -1 / cells, 1 / cells)
    return source, ~_beyond(error, 0.5 / cells)
