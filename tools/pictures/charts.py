"""Pictures that show numbers: each function takes an animator and returns one RGB picture."""

from pathlib import Path

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MultipleLocator
from PIL import Image

from benchmarks.claims.charts import COLOURS, INK, PAPER, STYLE, figure, picture
from micromotion import Animator, parse_timeline
from micromotion import robust_pca as decompose
from micromotion.inspection import render
from micromotion.motion.anchor_analysis import Analysis, analyse
from micromotion.motion.anchors import Anchors
from micromotion.motion.schedule import schedule
from micromotion.motion.spline import smoothing_spline
from micromotion.options import AnimateOptions, Easing, Loop
from micromotion.video.contact_sheet import contact_sheet

FACE = Path(__file__).resolve().parents[2] / "docs" / "face.jpg"
WIDTH = 1000
EXAMPLE = "1s smile smooth, 1.6s hold, 1.8s eyesClose, 2s eyesClose=0, 3s smile=0 smooth"
"""The timeline that docs/cookbook.md explains."""


def robust_pca(animator: Animator) -> Image.Image:
    """One layer's anchors with planted errors, decomposed: D = L + S, a row per anchor."""
    found = Anchors.load(animator.bundle.motions["smile"])
    clean = found.w_plus.double() - found.w_plus.double().median(dim=0).values
    layer = int(clean.square().sum((0, 2)).argmax())
    clean, rng = clean[:, layer], torch.Generator().manual_seed(0)
    errors = torch.rand(clean.shape, generator=rng) < 0.04
    data = clean + errors * 6 * clean.std() * torch.randn(clean.shape, generator=rng, dtype=torch.float64)
    low_rank, sparse = decompose(data)
    caught = float((sparse[errors].abs() > 1e-9).double().mean())
    rows, columns = len(data), 96
    titles = (
        f"D: the change of style {layer} over {rows} anchors, 4% of its entries spoilt",
        f"L: low rank, {int(torch.linalg.matrix_rank(low_rank, rtol=1e-6))} of {rows}",
        f"S: sparse, with {caught:.0%} of the spoilt entries in it",
    )
    largest = float(data.abs().quantile(0.995))
    colours = LinearSegmentedColormap.from_list("signed", (COLOURS[2], PAPER, COLOURS[0]))
    with rc_context(STYLE):
        drawn = figure(WIDTH, 460)
        every = drawn.subplots(3, 1)
        for axes, title, matrix in zip(every, titles, (data, low_rank, sparse), strict=True):
            axes.imshow(matrix[:, :columns], cmap=colours, vmin=-largest, vmax=largest, interpolation="none")
            axes.set_title(title)
            axes.set_axis_off()
        return picture(drawn)


def rank(animator: Animator) -> Image.Image:
    """Each motion's singular values, and the threshold below which they are noise."""
    motions = list(animator.bundle.motions)
    with rc_context(STYLE | {"axes.grid": False}):
        drawn = figure(WIDTH, 200)
        every = drawn.subplots(1, len(motions), squeeze=False)[0]
        for axes, name in zip(every, motions, strict=True):
            found = _analysis(animator, name)
            values, threshold = found.subspace.singular_values.numpy(), found.subspace.threshold
            kept = [COLOURS[0] if value > threshold else "#bebebc" for value in values]
            axes.bar(range(len(values)), np.sqrt(values / values[0]), color=kept)
            axes.axhline(np.sqrt(threshold / values[0]), color=INK, linestyle="--", linewidth=0.8)
            axes.set_title(f"{name}: rank {found.subspace.coordinates.shape[1]}")
            axes.set_xlabel(
                f"a line explains {found.straightness:.1%}\nsparse noise {np.mean(found.noise):.1%}"
            )
            axes.set(xticks=[], yticks=[])
        return picture(drawn)


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
    with rc_context(STYLE | {"axes.grid": False}):
        drawn = figure(760, 270)
        axes = drawn.subplots()
        axes.plot(*straight.T, color="#aaaaa8", label="--path line")
        axes.plot(*bent.T, color=COLOURS[0], linewidth=2, label="--path curve")
        axes.plot(*points.T, "o", color=COLOURS[2])
        for degree, (x, y) in list(zip(degrees.tolist(), points.tolist(), strict=True))[::2]:
            axes.annotate(f"{degree:.2f}", (x, y), (0, 7), textcoords="offset points", ha="center")
        axes.set_title(f"{name}: anchors and their degrees on the two main axes of the movement")
        axes.set_aspect("equal", "datalim")
        axes.legend(frameon=False)
        axes.set_axis_off()
        return picture(drawn)


def timeline(animator: Animator) -> Image.Image:
    """The cookbook's timeline: how strong each motion is over time, and the face at its keyframes."""
    known = parse_timeline(EXAMPLE)
    fps = 30
    names, rows = schedule(known, AnimateOptions(fps=fps))
    seconds = np.arange(len(rows)) / fps
    with rc_context(STYLE):
        drawn = figure(WIDTH, 230)
        axes = drawn.subplots()
        _over_time(axes, EXAMPLE, seconds, rows)
        for name, values in zip(names, rows.T, strict=True):
            peak = int(values.argmax())
            axes.annotate(str(name), (seconds[peak], values[peak]), (5, 3), textcoords="offset points")
        chart = picture(drawn)
    video = animator.animate(FACE, known, fps=fps, view="model")
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
    with rc_context(STYLE):
        drawn = figure(WIDTH, 150)
        for axes, (loop, easing) in zip(drawn.subplots(1, len(ways), sharey=True), ways, strict=True):
            _, rows = schedule("smile", AnimateOptions(frames=31, loop=loop, easing=easing))
            _over_time(axes, f"--loop {loop} --easing {easing}", np.arange(len(rows)) / 30, rows)
            axes.set_xlim(0, 2)
        return picture(drawn)


def _over_time(axes: Axes, title: str, seconds: np.ndarray, rows: np.ndarray) -> None:
    """Lines of strength over seconds; rows is [frames, motions]."""
    for colour, values in zip((COLOURS[0], COLOURS[2]), rows.T, strict=False):
        axes.plot(seconds, values, color=colour, linewidth=2)
    axes.set_title(title)
    axes.set_yticks([0, 0.5, 1])
    axes.xaxis.set_major_locator(MultipleLocator(0.5))
    axes.xaxis.set_major_formatter("{x:g} s")


def _analysis(animator: Animator, motion: str) -> Analysis:
    return analyse(Anchors.load(animator.bundle.motions[motion]), motion)
