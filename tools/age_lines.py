"""Rewrite micromotion/photo/age.safetensors: what age draws on a face, over the frontal mean face.

    python -m tools.age_lines     # ten seconds on one core

Units are distances between the eyes' centres, x to the picture's right and y down from the midpoint; random
values come from a seeded generator, so the file is the same on every machine. `micromotion.photo.age`
describes its contents.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from scipy.interpolate import make_interp_spline

from micromotion.photo.age_map import ASSET, COARSE, FINE, FULL, KIND, LEFT, TOP, WIDTH_HEIGHT
from micromotion.photo.sampling import smoothstep
from micromotion.types import Floats
from stylegan2.checkpoints.storage import write_safetensors
from tools.mean_face import EYE, LOWER_LIP, UPPER_LIP, Point, mean_landmarks

ASSET_FILE = Path(__file__).resolve().parents[1] / "micromotion" / "photo" / ASSET
SEED = 20
SIDES = (-1, 1)


@dataclass(frozen=True)
class Line:
    """A line of age.

    points: [(x, y)], joined by a smooth curve. width: of the groove, as a Gaussian's sigma. depth: of the
    groove, 1 is a deep one. broken: how much the depth varies along the line, 0…1. wavy: how far it deviates
    from its curve. ends: the share of its length over which each end fades.
    """

    points: Sequence[Point]
    width: float
    depth: float
    broken: float = 0.4
    wavy: float = 0.008
    ends: tuple[float, float] = (0.25, 0.25)


def forehead(random: np.random.Generator) -> list[Line]:
    """Lines across the forehead, arched over each brow, dipping between; the lowest are the longest."""
    lines = []
    for row, (height, depth) in enumerate(((-0.58, 0.75), (-0.75, 1.0), (-0.92, 0.85), (-1.07, 0.5))):
        spans = ((-0.72, 0.70),) if row % 2 else ((-0.76, 0.16), (-0.10, 0.74))
        for start, end in spans:
            x = np.linspace(start, end, 7) + random.normal(0, 0.02)
            y = height + random.normal(0, 0.012) + 0.028 * np.cos(2 * np.pi * x / 0.95) + 0.07 * x * x
            lines.append(Line(list(zip(x, y, strict=True)), 0.015, 0.8 * depth, 0.35, 0.010, (0.35, 0.35)))
        for _ in range(2):  # faint companions
            middle, length = random.uniform(-0.4, 0.4), random.uniform(0.25, 0.5)
            x = np.linspace(middle - length / 2, middle + length / 2, 5)
            y = height + random.uniform(0.05, 0.11) + 0.02 * np.cos(2 * np.pi * x / 0.95) + 0.07 * x * x
            lines.append(Line(list(zip(x, y, strict=True)), 0.009, 0.30, 0.7, 0.012, (0.4, 0.4)))
    return lines


def frown(side: int) -> list[Line]:
    """Between the brows: a line from each brow's inner end up, a faint one within, one across the nose."""
    upward = [(side * 0.135, -0.10), (side * 0.095, -0.24), (side * 0.10, -0.38), (side * 0.135, -0.56)]
    within = [(side * 0.18, -0.22), (side * 0.17, -0.34), (side * 0.20, -0.48)]
    across = [(side * 0.01, -0.06), (side * 0.09, -0.10), (side * 0.17, -0.06)]
    return [
        Line(upward, 0.013, 0.6, 0.25, 0.005, (0.45, 0.55)),
        Line(within, 0.009, 0.25, 0.3, 0.005, (0.45, 0.45)),
        Line(across, 0.010, 0.3, 0.3, 0.004, (0.4, 0.4)),
    ]


def crows_feet(side: int, random: np.random.Generator) -> list[Line]:
    """A fan from the eye's outer corner."""
    lines = []
    corner = EYE[3]
    for angle, length, depth in (
        (-38.0, 0.24, 0.4),
        (-20.0, 0.30, 0.6),
        (-3.0, 0.33, 0.75),
        (15.0, 0.34, 0.7),
        (33.0, 0.32, 0.5),
        (50.0, 0.25, 0.3),
    ):
        angle += random.normal(0, 3)
        start, length = random.uniform(0.09, 0.13), length * random.uniform(0.85, 1.1)
        reach = np.linspace(start, start + length, 5)
        bend = np.radians(angle) + (0.55 if angle > 0 else 0.2) * (reach - start)
        points = [
            (side * (corner[0] + r * np.cos(a)), corner[1] + r * np.sin(a))
            for r, a in zip(reach, bend, strict=True)
        ]
        lines.append(Line(points, 0.010, 0.8 * depth, 0.5, 0.006, (0.2, 0.6)))
    return lines


def bags(side: int) -> list[Line]:
    """Under the eye: the bag's lower edge, the hollow from the inner corner, finer lines between."""

    def arc(drop: float, start: float, end: float, tilt: float) -> list[Point]:
        x = np.linspace(start, end, 7)
        bow = np.sin(np.pi * (x - start + 0.06) / (end - start + 0.12)) ** 0.8
        return [(side * a, 0.05 + drop * b + tilt * (a - start)) for a, b in zip(x, bow, strict=True)]

    return [
        Line(arc(0.24, 0.27, 0.74, 0.02), 0.024, 0.75, 0.25, 0.006, (0.2, 0.5)),
        Line(arc(0.15, 0.30, 0.72, 0.03), 0.014, 0.45, 0.35, 0.006, (0.25, 0.4)),
        Line(arc(0.10, 0.34, 0.70, 0.04), 0.009, 0.28, 0.5, 0.005, (0.3, 0.4)),
        Line(arc(0.195, 0.40, 0.76, 0.03), 0.009, 0.22, 0.6, 0.006, (0.4, 0.4)),
        Line(
            [(side * 0.26, 0.17), (side * 0.36, 0.34), (side * 0.55, 0.46)],
            0.035,
            0.5,
            0.2,
            0.006,
            (0.3, 0.6),
        ),
    ]


def lid_fold(side: int) -> list[Line]:
    """The upper lid's skin, hooded towards the outer corner."""
    return [
        Line(
            [(side * 0.58, -0.185), (side * 0.72, -0.13), (side * 0.82, -0.03)],
            0.016,
            0.4,
            0.2,
            0.004,
            (0.5, 0.5),
        )
    ]


def nasolabial(side: int) -> list[Line]:
    """From the nostril's wing past the mouth's corner, and a fine line beside it."""
    return [
        Line(
            [
                (side * 0.28, 0.62),
                (side * 0.37, 0.74),
                (side * 0.51, 0.92),
                (side * 0.575, 1.10),
                (side * 0.58, 1.18),
            ],
            0.022,
            1.1,
            0.12,
            0.004,
            (0.15, 0.5),
        ),
        Line(
            [(side * 0.47, 0.76), (side * 0.58, 0.93), (side * 0.64, 1.10)],
            0.011,
            0.3,
            0.4,
            0.008,
            (0.4, 0.4),
        ),
    ]


def marionette(side: int) -> list[Line]:
    """From the mouth's corner down to the jaw."""
    return [
        Line(
            [(side * 0.46, 1.10), (side * 0.505, 1.22), (side * 0.50, 1.40), (side * 0.47, 1.50)],
            0.022,
            0.75,
            0.25,
            0.006,
            (0.25, 0.6),
        )
    ]


def cheeks(side: int, random: np.random.Generator) -> list[Line]:
    """Long, fine, curved lines down the cheek, and at the jaw."""
    lines = []
    for k in range(5):
        x, y = 0.58 + 0.075 * k + random.normal(0, 0.015), 0.50 - 0.03 * k + random.normal(0, 0.03)
        lines.append(
            Line(
                [(side * x, y), (side * (x + 0.055), y + 0.25), (side * (x + 0.01), y + 0.55)],
                0.010,
                0.30,
                0.7,
                0.012,
                (0.4, 0.45),
            )
        )
    for k in range(3):
        x, y = 0.62 + 0.09 * k, 1.22 - 0.09 * k
        lines.append(
            Line(
                [(side * x, y), (side * (x + 0.02), y + 0.15), (side * (x - 0.05), y + 0.30)],
                0.011,
                0.26,
                0.6,
                0.012,
                (0.4, 0.5),
            )
        )
    return lines


def lips(random: np.random.Generator) -> list[Line]:
    """Short lines that run into the lips' edge."""
    lines = []
    edge = np.array(sorted([*UPPER_LIP, *((-x, y) for x, y in UPPER_LIP[1:])]))
    below = np.array(sorted([*LOWER_LIP, *((-x, y) for x, y in LOWER_LIP[:-1])]))
    for x in (-0.33, -0.25, -0.17, -0.09, 0.10, 0.17, 0.26, 0.32):
        x += random.normal(0, 0.012)
        y, length = float(np.interp(x, edge[:, 0], edge[:, 1])), random.uniform(0.09, 0.15)
        lines.append(
            Line(
                [(1.1 * x, y - 0.02 - length), (1.04 * x, y - 0.02 - length / 2), (x, y - 0.01)],
                0.009,
                0.42,
                0.4,
                0.004,
                (0.5, 0.2),
            )
        )
        if abs(x) < 0.28:
            y = float(np.interp(x, below[:, 0], below[:, 1]))
            lines.append(
                Line(
                    [(x, y + 0.015), (1.05 * x, y + 0.05), (1.08 * x, y + 0.10)],
                    0.009,
                    0.22,
                    0.5,
                    0.004,
                    (0.25, 0.5),
                )
            )
    return lines


def chin() -> list[Line]:
    """The crease between lower lip and chin."""
    x = np.linspace(-0.24, 0.24, 5)
    return [Line(list(zip(x, 1.41 - 0.25 * x * x, strict=True)), 0.024, 0.4, 0.3, 0.006, (0.4, 0.4))]


class Canvas:
    """A plane over the mean face, with `cells` grid points per eye distance."""

    def __init__(self, cells: int) -> None:
        width, height = (round(cells * length) for length in WIDTH_HEIGHT)
        self.cells = cells
        self.plane = np.zeros((height, width))
        self.y, self.x = np.mgrid[:height, :width]
        self.x, self.y = (self.x + 0.5) / cells + LEFT, (self.y + 0.5) / cells + TOP

    def groove(self, line: Line, random: np.random.Generator) -> None:
        """Cut a line: a valley whose shoulders are a little raised."""
        n = 240
        along = np.linspace(0, 1, n)
        points = np.asarray(line.points, float)
        curve = make_interp_spline(np.linspace(0, 1, len(points)), points, k=min(3, len(points) - 1))(along)
        forward = np.gradient(curve, axis=0)
        across = np.stack([-forward[:, 1], forward[:, 0]], axis=1) / np.linalg.norm(forward, axis=1)[:, None]
        curve += across * (line.wavy * (wander(n, 5, random) + 0.25 * wander(n, 12, random)))[:, None]
        fade = smoothstep(0, line.ends[0], along) * smoothstep(1, 1 - line.ends[1], along)
        depth = line.depth * fade * np.clip(1 + line.broken * wander(n, 6, random), 0.2, 1.6)
        width = line.width * (0.7 + 0.3 * fade) * np.clip(1 + 0.25 * wander(n, 8, random), 0.5, 1.6)
        reach = 6 * line.width
        (left, top), (right, bottom) = curve.min(axis=0) - reach, curve.max(axis=0) + reach
        rows = slice(*(int(np.clip((y - TOP) * self.cells, 0, len(self.plane))) for y in (top, bottom)))
        columns = slice(
            *(int(np.clip((x - LEFT) * self.cells, 0, self.plane.shape[1])) for x in (left, right))
        )
        away = np.hypot(self.x[rows, columns, None] - curve[:, 0], self.y[rows, columns, None] - curve[:, 1])
        nearest = away.argmin(axis=-1)
        d, a = away.min(axis=-1) / width[nearest], depth[nearest]
        valley = np.exp(-(np.abs(d) ** 1.6)) + 0.35 * np.exp(-((d / 2.6) ** 2))
        shoulder = 0.30 * np.exp(-(((d - 2.6) / 1.5) ** 2))
        self.plane[rows, columns] += a * (shoulder - valley / 1.35)

    def blob(self, x: float, y: float, width: float, height: float, amount: float) -> None:
        """Add a Gaussian spot; width and height are its sigmas times √2."""
        self.plane += amount * np.exp(-(((self.x - x) / width) ** 2) - ((self.y - y) / height) ** 2)

    def noise(self, random: np.random.Generator, across: float, down: float) -> Floats:
        """Smooth noise of unit variance, with sigmas in eye distances."""
        noise = ndimage.gaussian_filter(
            random.normal(size=self.plane.shape), (down * self.cells, across * self.cells)
        )
        return noise / noise.std()


def wander(count: int, knots: int, random: np.random.Generator) -> Floats:
    """Smooth noise along a line, [count], of about unit variance."""
    spline = make_interp_spline(np.linspace(0, 1, knots), random.normal(size=knots), k=3)
    return np.clip(spline(np.linspace(0, 1, count)), -2, 2)


def draw_lines(groups: Sequence[Line], random: np.random.Generator) -> Floats:
    canvas = Canvas(FINE)
    for line in groups:
        canvas.groove(line, random)
    return canvas.plane


def draw_creases(random: np.random.Generator) -> Floats:
    """Fine creases that cross: valleys of noise, longer across the face than down."""
    canvas = Canvas(FINE)
    ridges = [
        1 - 2 * np.minimum(np.abs(canvas.noise(random, *sigmas)), 1)
        for sigmas in ((0.022, 0.008), (0.012, 0.016))
    ]
    pores = canvas.noise(random, 0.007, 0.007)
    creases = (
        -sum(np.maximum(ridge, 0) ** 1.5 for ridge in ridges) * (1 + 0.4 * canvas.noise(random, 0.12, 0.12))
        + 0.25 * pores
    )
    return 0.3 * (creases - creases.mean()) / creases.std()


def draw_hollows() -> Floats:
    """Soft light and shade: bags swell, temples and cheeks sink, jowls hang."""
    canvas = Canvas(COARSE)
    for side in SIDES:
        for x, y, width, height, amount in (
            (0.50, 0.19, 0.22, 0.07, 0.30),  # the bag
            (0.48, 0.34, 0.26, 0.06, -0.55),  # below it
            (0.26, 0.08, 0.08, 0.12, -0.45),  # the eye's inner corner
            (0.74, 0.78, 0.17, 0.26, -0.50),  # the cheek
            (0.60, 0.58, 0.16, 0.11, 0.15),  # its bone
            (0.42, 0.80, 0.09, 0.18, 0.12),  # the fold above nose to mouth
            (0.98, -0.38, 0.13, 0.25, -0.45),  # the temple
            (0.62, 1.42, 0.12, 0.10, 0.20),  # the jowl
            (0.43, 1.52, 0.07, 0.12, -0.35),  # in front of it
            (0.55, -0.20, 0.25, 0.05, -0.25),  # the lid
        ):
            canvas.blob(side * x, y, width, height, amount)
    return canvas.plane


def draw_mottling(random: np.random.Generator) -> Floats:
    canvas = Canvas(COARSE)
    return 0.5 * np.clip(
        0.6 * canvas.noise(random, 0.05, 0.05) + 0.6 * canvas.noise(random, 0.11, 0.11), -2, 2
    )


def draw_spots(random: np.random.Generator) -> Floats:
    """Age spots on forehead, temples and cheeks, 0…1."""
    canvas = Canvas(COARSE)
    count = 0
    while count < 34:
        x, y = random.uniform(-1.05, 1.05), random.uniform(-1.2, 1.4)
        if (abs(x) < 0.85 and -0.45 < y < 0.28) or (abs(x) < 0.5 and y > 0.28):
            continue  # on eyes, nose and mouth they would look like dirt
        size, long = random.uniform(0.014, 0.038), random.uniform(0.75, 1.35)
        canvas.blob(x, y, size * long, size / long, random.uniform(0.3, 0.9))
        count += 1
    return np.clip(canvas.plane, 0, 1)


def small_integers(plane: Floats) -> torch.Tensor:
    """A plane of values −FULL…FULL as int8."""
    return torch.from_numpy(np.clip(np.round(plane / FULL * 127), -127, 127).astype(np.int8))


def main() -> None:
    """Write the file."""
    argparse.ArgumentParser(
        prog="python -m tools.age_lines", description=(__doc__ or "").split("\n")[0]
    ).parse_args()
    random = np.random.default_rng(SEED)
    lines = [*forehead(random), *lips(random), *chin()]
    for side in SIDES:
        lines += [*frown(side), *crows_feet(side, random), *lid_fold(side), *bags(side)]
        lines += [*nasolabial(side), *marionette(side), *cheeks(side, random)]
    soft = [draw_hollows(), draw_mottling(random), draw_spots(random)]
    state = {
        "lines": small_integers(draw_lines(lines, random)),
        "creases": small_integers(draw_creases(random)),
        "soft": torch.stack([small_integers(plane) for plane in soft]),
        "landmarks": torch.from_numpy(mean_landmarks()).float(),
    }
    write_safetensors(ASSET_FILE, KIND, {}, state)
    print(f"{ASSET_FILE.name}: {ASSET_FILE.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
