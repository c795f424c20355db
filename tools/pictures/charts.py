"""Pictures that show numbers: each function is given an animator and gives one RGB picture."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from benchmarks.claims.charts import COLOURS, FINER, INK, PAPER, RULE, scaled, write
from micromotion import Animator, parse_timeline
from micromotion import robust_pca as take_apart
from micromotion.inspection import render
from micromotion.motion.anchors import Anchors
from micromotion.motion.micromotion import Analysis, analyse
from micromotion.motion.schedule import schedule
from micromotion.motion.spline import smoothing_spline
from micromotion.options import AnimateOptions, Easing, Loop
from micromotion.video.contact_sheet import contact_sheet

FACE = Path(__file__).resolve().parents[2] / "docs" / "face.jpg"
WIDTH = 1000
EXAMPLE = "1s smile smooth, 1.6s hold, 1.8s eyesClose, 2s eyesClose=0, 3s smile=0 smooth"
"""The timeline that docs/cookbook.md explains."""


def robust_pca(animator: Animator) -> Image.Image:
    """One layer's anchors with errors planted in them, taken apart: D = L + S, a row per anchor."""
    found = Anchors.load(animator.bundle.motions["smile"])
    clean = found.w_plus.double() - found.w_plus.double().median(dim=0).values
    layer = int(clean.square().sum((0, 2)).argmax())
    clean, rng = clean[:, layer], torch.Generator().manual_seed(0)
    errors = torch.rand(clean.shape, generator=rng) < 0.04
    data = clean + errors * 6 * clean.std() * torch.randn(clean.shape, generator=rng, dtype=torch.float64)
    low_rank, sparse = take_apart(data)
    caught = float((sparse[errors].abs() > 1e-9).double().mean())
    columns, cell, gap, top = 96, 10, 34, 26
    rows = len(data)
    image, draw = _page(columns * cell + 40, 3 * (rows * cell + gap) + top)
    titles = (
        f"D: the change of style {layer} over {rows} anchors, 4% of its entries spoilt",
        f"L: low rank, {int(torch.linalg.matrix_rank(low_rank, rtol=1e-6))} of {rows}",
        f"S: sparse, with {caught:.0%} of the spoilt entries in it",
    )
    largest = float(data.abs().quantile(0.995))
    for number, (title, matrix) in enumerate(zip(titles, (data, low_rank, sparse), strict=True)):
        y = top + number * (rows * cell + gap)
        write(draw, (20, y - 20), title, 12)
        cells = _diverging(matrix[:, :columns] / largest)
        tile = Image.fromarray(cells).resize(
            (FINER * columns * cell, FINER * rows * cell), Image.Resampling.NEAREST
        )
        image.paste(tile, (FINER * 20, FINER * y))
    return _finished(image)


def _diverging(values: Tensor) -> np.ndarray:
    """[n, d] in −1…1 -> uint8 [n, d, 3]: blue below, paper at 0, red above."""
    way = values.clamp(-1, 1).numpy()[..., None]
    paper, red, blue = (np.array(each, np.float64) for each in (PAPER, COLOURS[0], COLOURS[2]))
    return (paper + np.where(way > 0, way * (red - paper), -way * (blue - paper))).round().astype(np.uint8)


def rank(animator: Animator) -> Image.Image:
    """Each motion's singular values, and the threshold below which they are noise."""
    motions = list(animator.bundle.motions)
    across, height, base = WIDTH // len(motions), 190, 140
    image, draw = _page(WIDTH, height + 10)
    for number, name in enumerate(motions):
        found = _analysis(animator, name)
        values, threshold = found.subspace.singular_values.tolist(), found.subspace.threshold
        left, largest = number * across + 18, values[0]
        bar = (across - 36) / len(values)
        for index, value in enumerate(values):
            x, y = left + index * bar, base - 110 * (value / largest) ** 0.5
            colour = COLOURS[0] if value > threshold else (190, 190, 188)
            draw.rectangle(scaled(x + 1, y, x + bar - 2, base), colour)
        y = base - 110 * (threshold / largest) ** 0.5
        for x in range(round(left), round(left + across - 36), 7):
            draw.line(scaled(x, y, x + 4, y), INK, FINER)
        write(draw, (left, 6), f"{name}: rank {found.subspace.coordinates.shape[1]}", 12)
        write(draw, (left, base + 8), f"a line explains {found.straightness:.1%}", 11)
        write(draw, (left, base + 24), f"sparse noise {np.mean(found.noise):.1%}", 11)
    return _finished(image)


def curve(animator: Animator) -> Image.Image:
    """The motion that bends most: its anchors on the first two axes, the line and the curve through them."""
    name = min(animator.bundle.motions, key=lambda each: _analysis(animator, each).straightness)
    found, kept = _analysis(animator, name), Anchors.load(animator.bundle.motions[name])
    points = found.subspace.coordinates[:, :2]
    if points.shape[1] < 2:
        points = torch.cat([points, torch.zeros(len(points), 1, dtype=points.dtype)], dim=1)
    spline = smoothing_spline(kept.degrees, points)
    degrees = kept.degrees.double()
    spread = degrees - degrees.mean()
    slope = (spread[:, None] * points).sum(0) / spread.square().sum()
    steps = torch.linspace(float(degrees[0]) - 0.08, float(degrees[-1]) + 0.08, 120, dtype=torch.float64)
    bent = torch.stack([spline(float(step)) for step in steps])
    straight = points.mean(0) + (steps - degrees.mean())[:, None] * slope
    width, height, margin = 760, 270, 60
    image, draw = _page(width, height)
    everything = torch.cat([bent, straight, points])
    low, high = everything.min(0).values, everything.max(0).values
    scale = min(
        (width - 2 * margin) / float(high[0] - low[0]), (height - 2 * margin) / float(high[1] - low[1])
    )

    def place(point: Tensor) -> tuple[float, float]:
        across, up = ((point - (low + high) / 2) * scale).tolist()
        return width / 2 + across, height / 2 - up

    for line, colour, thick in ((straight, (170, 170, 168), 2), (bent, COLOURS[0], 3)):
        for first, second in pairwise(line):
            draw.line(scaled(*place(first), *place(second)), colour, thick * FINER)
    for number, (degree, point) in enumerate(zip(degrees.tolist(), points, strict=True)):
        x, y = place(point)
        draw.ellipse(scaled(x - 4, y - 4, x + 4, y + 4), COLOURS[2])
        if number % 2 == 0:
            write(draw, (x, y - 20), f"{degree:.2f}", 10, "ma")
    write(draw, (16, 8), f"{name}: anchors and their degrees on the two main axes of the movement", 12)
    write(
        draw,
        (16, height - 22),
        "grey: the line of --path line; red: the spline of --path curve",
        11,
    )
    return _finished(image)


def timeline(animator: Animator) -> Image.Image:
    """The cookbook's timeline: how strong each motion is over time, and the face at its keyframes."""
    known = parse_timeline(EXAMPLE)
    fps = 30
    names, rows = schedule(known, AnimateOptions(fps=fps))
    seconds = np.arange(len(rows)) / fps
    chart = _over_time(EXAMPLE, [str(name) for name in names], seconds, rows, 1000, 230)
    video = animator.animate(FACE, known, fps=fps)
    wanted = [0, 15, 30, 48, 54, 60, 75, 90]
    frames = render(
        [latent[0] for index, latent in enumerate(video.latents()) if index in wanted], animator.bundle
    )
    strip = contact_sheet(frames, labels=[f"{index / fps:g} s" for index in wanted], columns=8, tile=117)
    page = Image.new("RGB", (1000, chart.height + strip.height), PAPER)
    page.paste(chart, (0, 0))
    page.paste(strip, ((1000 - strip.width) // 2, chart.height))
    return page


def loops(animator: Animator) -> Image.Image:
    """The ways to loop and to ease, as strength over time."""
    ways: tuple[tuple[Loop, Easing], ...] = (
        ("once", "linear"),
        ("once", "smooth"),
        ("pingpong", "smooth"),
        ("hold", "smooth"),
    )
    page = Image.new("RGB", (1000, 150), PAPER)
    for number, (loop, easing) in enumerate(ways):
        _, rows = schedule("smile", AnimateOptions(frames=31, loop=loop, easing=easing))
        title = f"--loop {loop} --easing {easing}"
        page.paste(
            _over_time(title, [], np.arange(len(rows)) / 30, rows, 250, 150, end=2.0), (250 * number, 0)
        )
    return page


def _over_time(
    title: str,
    names: Sequence[str],
    seconds: np.ndarray,
    rows: np.ndarray,
    width: int,
    height: int,
    end: float = 0.0,
) -> Image.Image:
    """Lines of strength over seconds; rows is [frames, motions]."""
    image, draw = _page(width, height)
    left, right, top, bottom = 44, width - 20, 40, height - 30
    last = end or float(seconds[-1])

    def place(second: float, strength: float) -> tuple[float, float]:
        return left + (right - left) * second / last, bottom - (bottom - top) * strength

    for strength in (0.0, 0.5, 1.0):
        x, y = place(0, strength)
        draw.line(scaled(left, y, right, y), RULE, FINER)
        write(draw, (x - 8, y - 7), f"{strength:g}", 11, "ra")
    for second in np.arange(0, last + 1e-6, 0.5):
        write(draw, (place(second, 0)[0], bottom + 6), f"{second:g} s", 11, "ma")
    write(draw, (14, 8), title, 12)
    for number, values in enumerate(rows.T):
        points = [place(s, v) for s, v in zip(seconds, values, strict=True)]
        for first, second in pairwise(points):
            draw.line(scaled(*first, *second), COLOURS[2 * number % 4], 3 * FINER)
        peak = points[int(values.argmax())]
        if names:
            write(draw, (peak[0] + 6, peak[1] - 16), names[number], 11)
    return _finished(image)


def _analysis(animator: Animator, motion: str) -> Analysis:
    return analyse(Anchors.load(animator.bundle.motions[motion]), motion)


def _page(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (FINER * width, FINER * height), PAPER)
    return image, ImageDraw.Draw(image)


def _finished(image: Image.Image) -> Image.Image:
    return image.resize((image.width // FINER, image.height // FINER), Image.Resampling.LANCZOS)
