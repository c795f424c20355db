"""Contact sheets: some frames of a video in one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from micromotion.video.format_limits import Size

_TILE = 224  # pixels
_PAPER = (250, 250, 248)
_INK = (70, 70, 72)


def evenly_spaced(total: int, count: int) -> list[int]:
    """Up to `count` different frame numbers from 0 … total − 1, evenly spaced, including first and last.

    A single one is the last frame, where the motion is complete.

    Raises:
        ValueError: total or count is below 1.
    """
    if total < 1 or count < 1:
        raise ValueError(f"total and count must be at least 1, not {total} and {count}")
    count = min(count, total)
    if count == 1:
        return [total - 1]
    return [round(Fraction(i * (total - 1), count - 1)) for i in range(count)]


class _Layout(NamedTuple):
    """The layout of a sheet, in pixels."""

    frame: Size
    columns: int
    rows: int
    gap: int
    letters: int
    caption: int

    @classmethod
    def of(cls, size: Size, count: int, labelled: bool, columns: int | None, tile: int) -> _Layout:
        factor = tile / max(size)
        frame = max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
        columns = min(columns or _columns(count), count)
        letters = max(10, tile // 14)
        caption = round(letters * 1.6) if labelled else 0
        return cls(frame, columns, math.ceil(count / columns), max(2, tile // 28), letters, caption)

    @property
    def size(self) -> Size:
        across, down = self.frame[0] + self.gap, self.frame[1] + self.caption + self.gap
        return self.gap + self.columns * across, self.gap + self.rows * down


def sheet_size(frame: Size, count: int) -> Size:
    """Width and height in pixels of a contact sheet of `count` labelled frames of this size."""
    return _Layout.of(frame, count, True, None, _TILE).size


def contact_sheet(
    frames: Sequence[NDArray[np.uint8]],
    *,
    labels: Sequence[str] | None = None,
    columns: int | None = None,
    tile: int = _TILE,
) -> Image.Image:
    """Lay out frames in rows, left to right, on a light background, each with its label below.

    Args:
        frames: uint8 [H, W, 3] RGB arrays of one size, at least one.
        labels: a short text per frame; None for no labels.
        columns: frames per row; None fills rows of up to six evenly.
        tile: longer side of a frame on the sheet, in pixels; frames are scaled to it.

    Returns:
        An RGB picture, slightly wider than columns · tile.

    Raises:
        ValueError: no frames, frames of different sizes or types, a wrong number of labels, columns or tile
            below 1.
    """
    _check(frames, labels, columns, tile)
    lay = _Layout.of(frames[0].shape[1::-1], len(frames), labels is not None, columns, tile)
    width, height = lay.frame
    font = ImageFont.load_default(size=lay.letters)
    across, down = width + lay.gap, height + lay.caption + lay.gap
    sheet = Image.new("RGB", lay.size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, frame in enumerate(frames):
        left, top = lay.gap + index % lay.columns * across, lay.gap + index // lay.columns * down
        sheet.paste(Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS), (left, top))
        if labels is not None:
            where = (left + width / 2, top + height + lay.caption / 2)
            draw.text(where, _fitted(labels[index], font, width), _INK, font, anchor="mm")
    return sheet


def _check(
    frames: Sequence[NDArray[np.uint8]], labels: Sequence[str] | None, columns: int | None, tile: int
) -> None:
    if not len(frames):
        raise ValueError("a contact sheet needs at least one frame")
    for frame in frames:
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
            raise ValueError(f"a frame is {frame.dtype} {list(frame.shape)}, not uint8 [H, W, 3]")
        if frame.shape != frames[0].shape:
            raise ValueError(f"frames differ in size: {list(frames[0].shape)} and {list(frame.shape)}")
    if labels is not None and len(labels) != len(frames):
        raise ValueError(f"{len(labels)} labels for {len(frames)} frames")
    if tile < 1 or (columns is not None and columns < 1):
        raise ValueError("columns and tile must be at least 1")


def _columns(count: int) -> int:
    """The number of columns for even rows of up to six: 8 are 4 + 4, 10 are 5 + 5."""
    return math.ceil(count / math.ceil(count / 6))


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text, truncated with an ellipsis if it is wider than the frame."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
