"""A head that turns: the photo's pixels moved as the surface of a head in depth moves.

Every cell of the head knows where it goes. A picture is drawn the other way round: each of its cells asks
where it comes from. The nearest of all cells that land on a cell is found with a depth buffer; from there,
Newton's method finds the exact point. So what is near covers what lies behind, and the map is smooth in the
angle wherever nothing is covered or laid bare. Where something is laid bare, the background's side stretches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from micromotion.photo.head import HeadFit, face_mask
from micromotion.photo.registration import Registration
from micromotion.photo.sampling import Picture, blur, sample
from micromotion.photo.strokes import Stroke
from micromotion.types import Floats


@dataclass(frozen=True)
class TurnConfig:
    """What was tuned.

    pivot_yaw, pivot_nod: height y and depth z of the points about which the head turns, and about which it
    nods and leans, in the model's units; lower moves the chin less and the hair more.
    last_yaw, last_pitch, last_roll: degrees at which the head stands still, however far it is asked to turn;
    more shows what the photo has not. least_yaw: degrees that a head may always turn on.
    firm: how suddenly it comes to a stand (an exponent).
    cells: of the side of the square in which the map is made; more sharpens outlines and takes longer.
    steps: of Newton's method. stretch: least part of an area that a step believes in, against folds.
    relight: how much of the light's change is shown; darkest: its bound, in log luminance.
    """

    pivot_yaw: tuple[float, float] = (0.0, -0.15)
    pivot_nod: tuple[float, float] = (-0.45, -0.15)
    last_yaw: float = 35.0
    last_pitch: float = 20.0
    last_roll: float = 30.0
    least_yaw: float = 3.0
    firm: float = 6.0
    cells: int = 384
    steps: int = 3
    stretch: float = 0.3
    relight: float = 0.6
    darkest: float = 0.7


def reachable(asked: float, own: float, config: TurnConfig | None = None) -> float:
    """How far a head that is turned by `own` degrees turns when it is asked to turn `asked` degrees further.

    As far as asked, until the whole turn nears its end on that side; then less and less.
    """
    config = config or TurnConfig()
    room = max(config.last_yaw - own * np.sign(asked), config.least_yaw)
    return _saturated(asked, room, config.firm)


@dataclass(frozen=True, eq=False)
class Turn:
    """How one photo's head turns. Made by `Turn.of`, once for a photo.

    side: of the picture, in pixels. shade: [G, G], how far the light on each cell changes as the head turns.
    """

    side: int
    head: HeadFit
    config: TurnConfig
    shade: Picture

    @classmethod
    def of(cls, registration: Registration, head: HeadFit, config: TurnConfig | None = None) -> Turn:
        """Get a photo's head ready to turn."""
        landmarks = (registration.landmarks + 0.5) / registration.side
        face = blur(face_mask(landmarks).astype(np.float32), 6.0)
        return cls(registration.side, head, config or TurnConfig(), face * head.cover * head.weight)

    def stroke(self, yaw: float, pitch: float = 0.0, roll: float = 0.0) -> Stroke:
        """Turn the head further, by degrees of any size; nothing at 0, 0, 0.

        yaw: above 0 towards the picture's right. pitch: above 0 downwards. roll: above 0, the top of the head
        leans to the picture's left.
        """
        config = self.config
        yaw = reachable(yaw, self.head.yaw, config)
        pitch = _saturated(pitch, config.last_pitch, config.firm)
        roll = _saturated(roll, config.last_roll, config.firm)
        if yaw == pitch == roll == 0:
            return Stroke(0, 0)
        rotation = _rotation(yaw, pitch, roll)
        moved = self._moved(rotation)
        shift = self.head.projected(moved) - self.head.projected(self.head.position)
        shift *= self.head.weight[..., None]
        source = _inverted(shift.astype(np.float32), moved[..., 2], config)
        return self._drawn(source, rotation)

    def _moved(self, rotation: Floats) -> Picture:
        """The head's cells after a rotation, [G, G, 3]."""
        height, depth = self.config.pivot_nod
        pivot = np.array([0, height, depth])
        return ((self.head.position - pivot) @ rotation.T + pivot).astype(np.float32)

    def _drawn(self, source: Picture, rotation: Floats) -> Stroke:
        """The stroke of a source map [C, C, 2], in parts of the square."""
        normal, bound = self.head.normal, self.config.darkest
        turned = np.clip((normal @ rotation.T - normal) @ self.head.light[1:], -bound, bound)
        gain = np.exp(self.config.relight * turned * self.shade).astype(np.float32)
        cells = len(gain)
        light = sample(gain, source[..., 0] * cells - 0.5, source[..., 1] * cells - 0.5)
        shift = source - _centres(len(source))
        shift[np.abs(shift).max(axis=-1) < 1e-6] = 0  # what rounding leaves would resample a still background
        full = _resized(np.dstack([shift * self.side, light]), self.side)
        return Stroke(0, 0, np.ascontiguousarray(full[..., :2]), np.ascontiguousarray(full[..., 2:]))


def _saturated(asked: float, room: float, firm: float) -> float:
    """As far as asked, but never as far as `room`: smooth, odd, of slope 1 at 0."""
    return float(asked / (1 + abs(asked / room) ** firm) ** (1 / firm))


def _rotation(yaw: float, pitch: float, roll: float) -> Floats:
    """[3, 3]: first a roll, then a pitch, then a yaw, as `avatar.renderer.pose` turns heads."""
    y, p, r = np.radians([yaw, pitch, roll])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    rotation: Floats = about_y @ about_x @ about_z
    return rotation


def _resized(planes: Picture, side: int) -> Picture:
    """[N, N, C] -> [side, side, C], linearly."""
    tensor = torch.from_numpy(planes.astype(np.float32)).movedim(-1, 0)[None]
    resized = F.interpolate(tensor, (side, side), mode="bilinear", align_corners=False)
    return resized[0].movedim(0, -1).numpy()


def _centres(cells: int) -> Picture:
    """[C, C, 2], (x, y) of the cells' centres in the unit square."""
    at = (np.arange(cells, dtype=np.float32) + 0.5) / cells
    return np.stack(np.meshgrid(at, at), axis=-1)


def _inverted(shift: Picture, depth: Picture, config: TurnConfig) -> Picture:
    """Where each cell of the result comes from, [C, C, 2], in parts of the square.

    shift: [G, G, 2], where each cell of the source goes. depth: [G, G], its z there.
    """
    source, hole = _nearest(shift, depth, config.cells)
    source = _filled(source, hole)
    return _refined(source, shift, config)


def _nearest(shift: Picture, depth: Picture, cells: int) -> tuple[Picture, NDArray[np.bool_]]:
    """Of all points that land on a cell the nearest, [C, C, 2], and where none does (a depth buffer)."""
    dense = 2 * cells
    planes = torch.from_numpy(_resized(np.dstack([shift, depth]), dense))
    at = (torch.arange(dense) + 0.5) / dense
    column = ((at + planes[..., 0]) * cells).floor().long()
    row = ((at[:, None] + planes[..., 1]) * cells).floor().long()
    inside = (column >= 0) & (column < cells) & (row >= 0) & (row < cells)
    index = torch.arange(dense * dense).view(dense, dense)
    rank = (((planes[..., 2] + 4) * 4096).clamp(0, 32767).long() << 32) | index
    buffer = torch.full((cells * cells,), -1, dtype=torch.long)
    buffer.scatter_reduce_(0, (row * cells + column)[inside], rank[inside], "amax")
    chosen = (buffer & 0xFFFFFFFF).numpy()
    source = np.stack([(chosen % dense + 0.5) / dense, (chosen // dense + 0.5) / dense], axis=-1)
    return source.reshape(cells, cells, 2).astype(np.float32), (buffer < 0).view(cells, cells).numpy()


def _filled(source: Picture, hole: NDArray[np.bool_]) -> Picture:
    """The map without holes: along rows, linear between what is known on both sides."""
    index = np.arange(len(source))
    for row in np.flatnonzero(hole.any(axis=1)):
        known = ~hole[row]
        if known.any():
            for axis in range(2):
                source[row, :, axis] = np.interp(index, index[known], source[row, known, axis])
    return source


def _refined(source: Picture, shift: Picture, config: TurnConfig) -> Picture:
    """The map made exact: source + shift(source) = the cell itself, by Newton's method."""
    cells, wanted = len(shift), _centres(config.cells)
    across, down = (np.gradient(shift, axis=axis) * cells for axis in (1, 0))
    planes = np.dstack([shift, across, down])
    for _ in range(config.steps):
        read = sample(planes, source[..., 0] * cells - 0.5, source[..., 1] * cells - 0.5)
        error = wanted - source - read[..., :2]
        xx, yx, xy, yy = 1 + read[..., 2], read[..., 3], read[..., 4], 1 + read[..., 5]
        area = np.maximum(xx * yy - xy * yx, config.stretch)
        across_by = (yy * error[..., 0] - xy * error[..., 1]) / area
        down_by = (xx * error[..., 1] - yx * error[..., 0]) / area
        step = np.stack([across_by, down_by], axis=-1)
        source = source + np.clip(step, -1 / config.cells, 1 / config.cells)
    return source
