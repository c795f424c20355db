"""Displacement fields of a face between two pictures: from its landmarks, then from the pixels.

Fields are [1, 2, H, W] (x, y), float32, in fractions of a square picture's side, so that they hold at any
resolution: after(p) ≈ before(p + field(p)). Points are (x, y) in the unit square, (0, 0) the outer corner of
the top left pixel. Pictures are [1, C, N, N], float32 in 0…1.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from micromotion.photo.spline import square_border
from micromotion.types import Floats

SIDE = 128
"""Grid cells per side for measuring displacement."""

_STIFF_JAW, _STIFF_INNER = 0.4, 0.002  # jaw landmarks slide along the jaw; eyes and mouth are precise
_JAW = 17
_SPLINE = 64  # grid cells per side for the spline
_LEVELS, _ROUNDS = 3, 4  # levels of the pyramid; steps on each
_ASTRAY = 0.015  # fraction of the side: larger corrections are errors
_WINDOW = 2.0  # cells: sigma of the neighbourhood that moves together
_PLAIN = 0.02  # a neighbourhood with less texture than this hardly moves
_CONTRAST = 0.04  # weaker local contrast is not amplified


def landmark_field(at: Floats, value: Floats, side: int = SIDE) -> Tensor:
    """The smoothest field [1, 2, side, side] with about `value` [68, 2] at the 68 landmarks `at` [68, 2].

    A smoothing thin-plate spline (Bookstein 1989), 0 on the square's border.
    """
    border = square_border()
    points = np.concatenate([at, border])
    count = len(points)
    softness = np.full(count, 1e-6)
    softness[:_JAW], softness[_JAW : len(at)] = _STIFF_JAW, _STIFF_INNER
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _bending(points, points) + np.diag(softness)
    system[:count, count:] = _affine(points)
    system[count:, :count] = _affine(points).T
    values = np.zeros((count + 3, 2))
    values[: len(at)] = value
    weights = np.linalg.solve(system, values)
    coarse = min(side, _SPLINE)  # smooth enough; evaluating it at every cell would dominate a frame's time
    cells = grid(coarse).reshape(-1, 2).double().numpy()
    field = np.concatenate([_bending(cells, points), _affine(cells)], axis=1) @ weights
    spline = torch.from_numpy(field.astype(np.float32)).reshape(1, coarse, coarse, 2).movedim(-1, 1)
    return F.interpolate(spline, (side, side), mode="bicubic", align_corners=False)


def rigid_field(at: Floats, value: Floats, side: int = SIDE) -> Tensor:
    """The rotation and translation [1, 2, side, side] closest to `value` [n, 2] at points `at` [n, 2].

    Least squares in the complex plane, without scale: the head's motion, as far as a picture shows it.
    """
    before, after = (points[:, 0] + 1j * points[:, 1] for points in (at, at + value))
    turn = np.vdot(before - before.mean(), after - after.mean())
    turn /= max(abs(turn), 1e-12)
    x, y = grid(side)[0].double().numpy().transpose(2, 0, 1)
    cells = x + 1j * y
    field = after.mean() + turn * (cells - before.mean()) - cells
    return torch.from_numpy(np.stack([field.real, field.imag])[None]).float()


def refined(field: Tensor, before: Tensor, after: Tensor, where: Tensor) -> Tensor:
    """Refine a field [1, 2, SIDE, SIDE] by the pictures, within `where` [1, 1, SIDE, SIDE] in 0…1.

    Pyramidal Lucas-Kanade (1981; Bouguet 2001) on locally normalised pictures, so that changes of light are
    not mistaken for motion; applied only as far as the pictures then agree better.
    """
    found = field
    pairs = list(zip(_pyramid(before), _pyramid(after), strict=True))
    for old, new in reversed(pairs):
        found = resized(found, old.shape[-1])
        for _ in range(_ROUNDS):
            found = _step(found, old, new)
    found = field + blurred((found - field).clamp(-_ASTRAY, _ASTRAY), 2.0)
    before, after = resized(before, SIDE), resized(after, SIDE)
    was, now = (blurred(_apart(before, after, each), 3.0) for each in (field, found))
    gain = (2 * (was - now) / (was + 1e-5)).clamp(0, 1)
    return field + where * blurred(gain, 2.0) * (found - field)


def unfolded(field: Tensor, least: float = 0.2) -> Tensor:
    """The field, smoothed where it would fold over.

    least: the smallest fraction of its area to which a cell may shrink.
    """
    for sigma in (2.0, 3.0, 4.0, 6.0, 8.0):
        folds = (_area(field) < least).float()
        if not folds.any():
            break
        near = (4 * blurred(folds, 2 * sigma)).clamp(max=1)
        field = field + near * (blurred(field, sigma) - field)
    return field


def grid(side: int) -> Tensor:
    """The cell centres of a grid on the unit square, [1, side, side, 2], (x, y)."""
    at = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(at, at, indexing="ij")
    return torch.stack([x, y], dim=-1)[None]


def read(picture: Tensor, points: Tensor, mode: str = "bilinear") -> Tensor:
    """Sample a picture [1, C, H, W] at points [1, h, w, 2], its border extended; [1, C, h, w]."""
    return F.grid_sample(picture, 2 * points - 1, mode=mode, padding_mode="border", align_corners=False)


def moved(picture: Tensor, field: Tensor) -> Tensor:
    """Warp a square picture: read every point where the field says."""
    side = picture.shape[-1]
    return read(picture, grid(side) + resized(field, side).movedim(1, -1))


def resized(picture: Tensor, side: int) -> Tensor:
    """[1, C, N, N] -> [1, C, side, side]: averaged when smaller, interpolated when larger."""
    if picture.shape[-1] == side:
        return picture
    if side < picture.shape[-1]:
        return F.interpolate(picture, (side, side), mode="area")
    return F.interpolate(picture, (side, side), mode="bilinear", align_corners=False)


def blurred(picture: Tensor, sigma: float) -> Tensor:
    """[1, C, H, W] after a Gaussian blur, its border extended; sigma in cells."""
    reach = max(1, round(2.5 * sigma))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    channels = picture.shape[1]
    weights = (weights / weights.sum()).repeat(channels, 1, 1, 1)
    picture = F.conv2d(F.pad(picture, (reach, reach, 0, 0), "replicate"), weights, groups=channels)
    return F.conv2d(F.pad(picture, (0, 0, reach, reach), "replicate"), weights.mT, groups=channels)


def _bending(points: Floats, centres: Floats) -> Floats:
    square = ((points[:, None] - centres) ** 2).sum(axis=-1)
    bending: Floats = square * np.log(square + 1e-12)
    return bending


def _affine(points: Floats) -> Floats:
    return np.concatenate([np.ones((len(points), 1)), points], axis=1)


def _pyramid(picture: Tensor) -> list[Tensor]:
    """Locally normalised, finest first."""
    levels = []
    for level in range(_LEVELS):
        picture = resized(picture, SIDE >> level)
        detail = picture - blurred(picture, 3.0)
        contrast = blurred(detail.square().mean(dim=1, keepdim=True), 3.0).sqrt()
        levels.append(detail / (contrast + _CONTRAST))
    return levels


def _step(field: Tensor, old: Tensor, new: Tensor) -> Tensor:
    """One Lucas-Kanade step at every point, at most a cell, then smoothed."""
    guess = moved(old, field)
    across = F.pad(guess, (1, 1, 0, 0), "replicate")
    down = F.pad(guess, (0, 0, 1, 1), "replicate")
    x, y = (across[..., 2:] - across[..., :-2]) / 2, (down[..., 2:, :] - down[..., :-2, :]) / 2
    error = new - guess
    products = torch.cat([a * b for a, b in ((x, x), (y, y), (x, y), (x, error), (y, error))])
    xx, yy, xy, xe, ye = blurred(products.mean(dim=1)[None], _WINDOW).split(1, dim=1)
    xx, yy = xx + _PLAIN, yy + _PLAIN
    step = torch.cat([yy * xe - xy * ye, xx * ye - xy * xe], dim=1) / (xx * yy - xy * xy)
    return blurred(field + step.clamp(-1, 1) / old.shape[-1], 1.0)


def _apart(before: Tensor, after: Tensor, field: Tensor) -> Tensor:
    return (moved(before, field) - after).square().mean(dim=1, keepdim=True)


def _area(field: Tensor) -> Tensor:
    """The factor by which the field changes each cell's area, [1, 1, H, W]; below 0: folded over."""
    side = field.shape[-1]
    across = F.pad(field, (0, 1, 0, 0), "replicate").diff(dim=-1) * side
    down = F.pad(field, (0, 0, 0, 1), "replicate").diff(dim=-2) * side
    return (1 + across[:, :1]) * (1 + down[:, 1:]) - across[:, 1:] * down[:, :1]
