"""Five ways to show a head that no network here was trained on: works of art, and a worn photograph.

The encoder's training augments its renders too (`avatar.data.augment`), some of them in a painter's style.
None of those filters is used here: overlapping strokes where training has the flat dabs of Kuwahara's filter;
tone from hatched lines where it shades a difference of Gaussians; few colours chosen for each picture, with a
black outline, where it rounds each colour by itself; an emulsion that is blind to red, with a halo, creases,
scratches and dust, where it has sepia and grain; and carved stone, of which it has only the hue.

All work on float32 pictures [H, W, 3] in 0 … 1 and draw from an explicit generator.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

Array = NDArray[np.float32]
Filter = Callable[[Array, torch.Generator], Array]

GRAY = np.array([0.299, 0.587, 0.114], np.float32)


def oil_painting(picture: Array, rng: torch.Generator) -> Array:
    """Long strokes in three layers, broad to fine, along the edges, with the relief of thick paint.

    Litwinowicz 1997, "Processing images and video for an impressionist effect".
    """
    size = len(picture)
    unit = size / 128
    canvas = _image(np.broadcast_to(picture.mean(axis=(0, 1)), picture.shape))
    relief = Image.new("L", canvas.size, 128)
    for width, length, spacing in ((7.0, 16.0, 4.0), (3.4, 9.0, 2.2), (1.5, 4.5, 0.9)):
        soft = _blurred(picture, 0.4 * width * unit)
        along = _edge_direction(soft, 2 * unit)
        _lay_strokes(canvas, relief, soft, along, width * unit, length * unit, spacing * unit, rng)
    slope = np.gradient(_blurred(_array(relief), 0.4 * unit))
    light = (slope[0] + slope[1])[..., None] * unit
    return _clipped(_array(canvas) + 0.4 * light)


def pencil_sketch(picture: Array, rng: torch.Generator) -> Array:
    """Contours, and tone from four layers of hatching, each at its own angle, where it is dark enough."""
    size = len(picture)
    unit = size / 128
    gray = picture @ GRAY
    behind = _backdrop(picture)
    dark, bright = np.quantile(gray[behind < 0.5], (0.02, 0.9))
    tone = np.clip((_blurred(gray, 0.7 * unit) - dark) / max(bright - dark, 0.05), 0, 1)
    tone = np.maximum(tone, behind)
    steep = np.hypot(*np.gradient(tone)) * unit
    ink = 0.85 * np.clip((steep - 0.05) / 0.12, 0, 1)
    y, x = np.mgrid[:size, :size] / unit
    wobble = 0.5 * _clouds(size, 12, rng)
    for level, degrees in ((0.75, 45.0), (0.5, 60.0), (0.3, 135.0), (0.15, 20.0)):
        angle = math.radians(degrees)
        lines = 0.5 + 0.5 * np.sin((x * math.cos(angle) + y * math.sin(angle) + wobble) * 2 * math.pi / 2.6)
        here = np.clip((level - tone) / 0.2, 0, 1)
        ink = np.maximum(ink, 0.7 * here * lines)
    tooth = 0.82 + 0.18 * _random((size, size), rng)
    return _clipped(np.array([0.97, 0.96, 0.93], np.float32) * (1 - ink * tooth)[..., None])


def marble(picture: Array, rng: torch.Generator) -> Array:
    """A bust of white stone in front of a dark wall: hair and eyes lose their colour and much of their depth.

    Veins are Perlin's marble (1985, "An image synthesizer"): a sine wave shaken by turbulence.
    """
    size = len(picture)
    unit = size / 128
    gray = picture @ GRAY
    around = _blurred(gray, 14 * unit)
    carved = np.clip(0.66 + 0.75 * (gray - around) + 0.16 * (around - 0.5), 0, 1)
    slope = np.gradient(_blurred(gray, 1.5 * unit))
    gloss = np.clip(-(slope[0] + slope[1]) * 2.2 * unit, 0, 0.3)
    y, x = np.mgrid[:size, :size] / unit
    turbulence = sum(_clouds(size, cells, rng) / share for cells, share in ((4, 1), (9, 2), (19, 4)))
    vein = np.abs(np.sin((x + 0.6 * y) / 26 + 1.6 * turbulence)) ** 0.25
    stone = _clipped((carved + gloss) * (0.86 + 0.14 * vein))[..., None] * np.array(
        [1.0, 0.985, 0.95], np.float32
    )
    wall = 0.16 + 0.03 * _clouds(size, 6, rng)[..., None] * np.ones(3, np.float32)
    behind = _backdrop(picture)[..., None]
    return _clipped(stone * (1 - behind) + wall * behind)


def cartoon_outline(picture: Array, rng: torch.Generator) -> Array:
    """Ten flat colours chosen for the picture, and a black outline along strong edges."""
    size = len(picture)
    unit = max(1, round(size / 128))
    flat = _image(picture)
    for _ in range(2):
        flat = flat.filter(ImageFilter.MedianFilter(2 * unit + 1))
    flat = flat.quantize(10, Image.Quantize.MEDIANCUT, kmeans=3).convert("RGB")
    flat = flat.filter(ImageFilter.ModeFilter(2 * unit + 1))
    smooth = _blurred(picture, 0.8 * unit)
    steep = np.sqrt(sum(np.square(part).sum(axis=2) for part in np.gradient(smooth, axis=(0, 1)))) * unit
    line = _blurred((steep > np.maximum(np.quantile(steep, 0.94), 0.05)).astype(np.float32), 0.4 * unit)
    colours = _array(flat)
    bright = colours.mean(axis=2, keepdims=True)
    return _clipped((bright + 1.35 * (colours - bright)) * (1 - 0.9 * line)[..., None])


def old_photograph(picture: Array, rng: torch.Generator) -> Array:
    """A print from an emulsion that is blind to red, faded, with a halo, creases, scratches and dust."""
    size = len(picture)
    unit = size / 128
    gray = picture @ np.array([0.12, 0.46, 0.42], np.float32)
    gray = np.clip(gray / max(float(np.quantile(gray, 0.97)), 0.05), 0, 1)
    gray = np.maximum(_blurred(gray, 0.8 * unit), 0.6 * _blurred(gray, 5 * unit))  # halation
    gray = 0.1 + 0.8 * gray + 0.03 * _clouds(size, 5, rng) + 0.03 * _clouds(size, size // 2, rng)
    marks = Image.new("L", (size, size), 0)
    draw = ImageDraw.Draw(marks)
    for _ in range(3):  # scratches, nearly upright
        x, lean = (_random((2,), rng) * (size, 0.1 * size)).tolist()
        draw.line((x, 0, x + lean, size), fill=60, width=max(1, round(0.5 * unit)))
    crease = _random((2,), rng) * size
    draw.line((0, float(crease[0]), size, float(crease[1])), fill=150, width=max(1, round(0.9 * unit)))
    for x, y, r in (_random((30, 3), rng) * (size, size, 1.1 * unit)).tolist():
        draw.ellipse((x - r, y - r, x + r, y + r), fill=130)
    gray = np.clip(gray + 0.5 * _blurred(_array(marks), 0.4 * unit), 0, 1)[..., None]
    shadows, lights = np.array([0.20, 0.11, 0.10], np.float32), np.array([0.96, 0.89, 0.72], np.float32)
    return _clipped(shadows + (lights - shadows) * gray)


DOMAINS: Mapping[str, Filter] = {
    "oil painting": oil_painting,
    "pencil sketch": pencil_sketch,
    "marble": marble,
    "cartoon outline": cartoon_outline,
    "old photograph": old_photograph,
}


def repaint(pictures: Tensor, domain: str) -> Tensor:
    """uint8 pictures [N, 3, S, S] as works of a domain, of the same shape; each has its own seed."""
    made = []
    for number, picture in enumerate(pictures):
        rng = torch.Generator().manual_seed(1000 + number)
        unit = picture.movedim(0, -1).float().numpy() / 255
        work = DOMAINS[domain](unit, rng)
        made.append(torch.from_numpy(np.rint(work * 255).astype(np.uint8)).movedim(-1, 0))
    return torch.stack(made)


# --- parts ------------------------------------------------------------------------------------------------


def _lay_strokes(
    canvas: Image.Image,
    relief: Image.Image,
    colours: Array,
    along: Array,
    width: float,
    length: float,
    spacing: float,
    rng: torch.Generator,
) -> None:
    """Draw strokes on the canvas, one about every `spacing` pixels, in random order, and their height."""
    size = len(colours)
    draw, height = ImageDraw.Draw(canvas), ImageDraw.Draw(relief)
    count = round((size / spacing) ** 2)
    drawn = _random((count, 4), rng)
    for x, y, shade, thick in drawn.tolist():
        row, column = int(y * size), int(x * size)
        angle = float(along[row, column]) + 0.5 * (shade - 0.5)
        dx, dy = 0.5 * length * math.cos(angle), 0.5 * length * math.sin(angle)
        ends = (column - dx, row - dy, column + dx, row + dy)
        rgb = np.clip(colours[row, column] + 0.07 * (shade - 0.5), 0, 1) * 255
        draw.line(ends, fill=tuple(np.rint(rgb).astype(int).tolist()), width=max(1, round(width)))
        height.line(ends, fill=int(90 + 80 * thick), width=max(1, round(width)))


def _edge_direction(picture: Array, width: float) -> Array:
    """The angle along which brightness changes least, [H, W], by the smoothed structure tensor."""
    down, across = np.gradient(picture @ GRAY)
    xx, yy, xy = (_blurred(part, width) for part in (across * across, down * down, across * down))
    return (0.5 * np.arctan2(2 * xy, xx - yy) + math.pi / 2).astype(np.float32)


def _backdrop(picture: Array) -> Array:
    """A soft mask [H, W], 1 in the background: where colours follow a smooth surface fitted to the rim."""
    size = len(picture)
    v, u = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    surface = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=2)
    rim = (np.maximum(np.abs(u), -v) > 0.9) & (v < 0.5)
    known, colours = surface[rim], picture[rim]
    weight = np.ones(len(known))
    for _ in range(8):  # hair that reaches the rim counts less and less
        fit = np.linalg.lstsq(known * weight[:, None], colours * weight[:, None], rcond=None)[0]
        weight = 1 / (0.02 + np.abs(colours - known @ fit).max(axis=1))
    apart = np.abs(picture - surface @ fit).max(axis=2)
    outside = np.hypot(u / 0.5, (v - 0.1) / 0.75) > 1
    return _blurred(((apart < 0.07) & outside).astype(np.float32), size / 128)


def _clouds(size: int, cells: int, rng: torch.Generator) -> Array:
    """Smooth noise [size, size], about ±1, interpolated from a grid of cells × cells values."""
    drawn = torch.randn(1, 1, cells, cells, generator=rng)
    smooth = torch.nn.functional.interpolate(drawn, size=(size, size), mode="bicubic", align_corners=False)
    return smooth[0, 0].numpy()


def _random(shape: tuple[int, ...], rng: torch.Generator) -> Array:
    drawn: Array = torch.rand(shape, generator=rng).numpy()
    return drawn


def _blurred(values: Array, width: float) -> Array:
    """[H, W] or [H, W, C] smoothed by a Gaussian of this standard deviation, mirrored at the borders."""
    reach = min(math.ceil(3 * width), len(values) - 1)
    at = torch.arange(-reach, reach + 1, dtype=torch.float32)
    bell = torch.exp(-at.square() / (2 * max(width, 1e-3) ** 2))
    bell = (bell / bell.sum())[None, None]
    planes = torch.from_numpy(np.ascontiguousarray(values, np.float32))
    planes = planes[None, None] if values.ndim == 2 else planes.movedim(-1, 0)[:, None]
    padded = torch.nn.functional.pad(planes, (reach,) * 4, mode="reflect")
    smooth = torch.nn.functional.conv2d(padded, bell[..., None, :])
    smooth = torch.nn.functional.conv2d(smooth, bell[..., None])
    result: Array = (smooth[0, 0] if values.ndim == 2 else smooth[:, 0].movedim(0, -1)).numpy()
    return result


def _image(values: Array) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8))


def _array(image: Image.Image) -> Array:
    return (np.asarray(image) / 255).astype(np.float32)


def _clipped(values: Array) -> Array:
    return np.clip(values, 0, 1).astype(np.float32)
