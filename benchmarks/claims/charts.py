"""Small line charts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

PAPER, INK, RULE = "#fafaf8", "#464648", "#dededc"
COLOURS = ("#c83c32", "#785faa", "#2878b4", "#828282")
DPI = 100
STYLE: dict[Any, Any] = {
    "figure.facecolor": PAPER, "axes.facecolor": PAPER, "text.color": INK, "axes.labelcolor": INK,
    "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": RULE, "grid.color": RULE, "axes.grid": True,
    "axes.grid.axis": "y", "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
    "font.size": 8, "axes.titlesize": 9, "axes.titlelocation": "left", "axes.axisbelow": True,
}  # fmt: skip

Panel = tuple[str, Sequence[str], Mapping[str, Sequence[float]]]
"""The label of the x axis, its tick names, and the values of each line."""


def figure(width: int, height: int) -> Figure:
    """An empty figure of that many pixels, to be drawn on within `rc_context(STYLE)`."""
    return Figure((width / DPI, height / DPI), dpi=DPI, layout="constrained")


def picture(drawn: Figure) -> Image.Image:
    """A figure as an RGB picture."""
    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])


def line_figure(title: str, panels: Sequence[Panel]) -> Figure:
    """Line charts side by side with one y axis that begins at 0; negative values are drawn at 0."""
    with rc_context(STYLE):
        drawn = figure(420 * len(panels), 260)
        every = drawn.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (below, names, lines) in zip(every, panels, strict=True):
            for colour, (name, values) in zip(COLOURS, lines.items(), strict=False):
                axes.plot(names, np.maximum(values, 0), "o-", color=colour, markersize=4, label=name)
            axes.set_xlabel(below)
            axes.tick_params(labelleft=True, length=0)
        every[0].set_ylim(bottom=0)
        drawn.suptitle(title, x=0.01, ha="left", fontsize=9)
        drawn.legend(*every[0].get_legend_handles_labels(), loc="upper right", ncols=4, frameon=False)
    return drawn


def line_charts(path: Path, title: str, panels: Sequence[Panel]) -> None:
    """Write `line_figure` as a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context(STYLE):
        picture(line_figure(title, panels)).save(path, optimize=True)
