"""Small line charts, drawn with Pillow."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

PAPER, INK, RULE = (250, 250, 248), (70, 70, 72), (222, 222, 220)
COLOURS = ((200, 60, 50), (120, 95, 170), (40, 120, 180), (130, 130, 130))
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 420, 260, 46, 54, 40
FINER = 3  # drawn so many times larger, for smooth lines

Panel = tuple[str, Sequence[str], Mapping[str, Sequence[float]]]
"""A title, the names along the bottom, and of each line the values above them."""


def line_charts(path: Path, title: str, panels: Sequence[Panel]) -> None:
    """Write charts side by side as a PNG, all to one scale that begins at 0; what is less lies at 0."""
    top = nice(max(value for _, _, lines in panels for values in lines.values() for value in values))
    size = (len(panels) * WIDTH, HEIGHT)
    image = Image.new("RGB", (FINER * size[0], FINER * size[1]), PAPER)
    draw = ImageDraw.Draw(image)
    write(draw, (LEFT, 8), title, 13)
    along = WIDTH
    for number, name in enumerate(panels[0][2]):  # the key
        draw.line(scaled(along, 15, along + 18, 15), COLOURS[number % len(COLOURS)], 2 * FINER)
        write(draw, (along + 24, 8), name, 11)
        along += 40 + round(font(11).getlength(name) / FINER)
    for number, panel in enumerate(panels):
        draw_panel(draw, number * WIDTH, top, panel)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.resize(size, Image.Resampling.LANCZOS).save(path, optimize=True)


def draw_panel(draw: ImageDraw.ImageDraw, left: int, top: float, panel: Panel) -> None:
    title, names, lines = panel
    width, height = WIDTH - LEFT - 30, HEIGHT - TOP - BOTTOM

    def place(index: int, value: float) -> tuple[float, float]:
        across = left + LEFT + width * index / max(1, len(names) - 1)
        return across, TOP + height * (1 - min(max(value, 0.0), top) / top)

    for tick in range(5):
        x, y = place(0, top * tick / 4)
        draw.line(scaled(x, y, x + width, y), RULE, FINER)
        write(draw, (x - 8, y - 7), f"{top * tick / 4:g}", 11, "ra")
    for index, name in enumerate(names):
        write(draw, (place(index, 0)[0], HEIGHT - BOTTOM + 6), name, 11, "ma")
    write(draw, (left + LEFT + width / 2, HEIGHT - 18), title, 11, "ma")
    for number, values in enumerate(lines.values()):
        colour = COLOURS[number % len(COLOURS)]
        points = [place(index, value) for index, value in enumerate(values)]
        for (x, y), (u, v) in pairwise(points):
            draw.line(scaled(x, y, u, v), colour, 2 * FINER)
        for x, y in points:
            draw.ellipse(scaled(x - 3, y - 3, x + 3, y + 3), colour)


def nice(value: float) -> float:
    """The next of 1, 2, 4, 8 times a power of ten that is not smaller, for ticks at quarters."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 8, 10) if step * power >= value)


def write(
    draw: ImageDraw.ImageDraw, where: tuple[float, float], text: str, size: int, anchor: str = "la"
) -> None:
    draw.text((FINER * where[0], FINER * where[1]), text, INK, font(size), anchor=anchor)


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size * FINER)


def scaled(*numbers: float) -> tuple[float, ...]:
    return tuple(FINER * number for number in numbers)
