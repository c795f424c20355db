"""The pictures of docs/claims.md: strips of each motion, what corrupted anchors do, and the domains."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from avatar.report.keeping import Figures
from avatar.report.pictures import STRIP, sheet
from avatar.training.collect import PUBLISHED_NAMES
from benchmarks.claims.charts import line_charts
from benchmarks.claims.domains import DOMAINS, repaint
from benchmarks.claims.figures import by_condition, merits
from benchmarks.claims.methods import METHODS, conditions
from benchmarks.claims.sources import SOURCES
from benchmarks.claims.steps import ClaimsContext, spoilt
from micromotion.motion.anchor_analysis import analyse

TILE, PERSON = 150, 0


def draw(context: ClaimsContext, figures: Mapping[str, Figures], folder: Path) -> None:
    """Draw all pictures, except for sources without anchors."""
    for source in SOURCES:
        if merits(figures, source):
            strips(context, source, folder / f"{source}.jpg")
            wrong(context, source, folder / f"{source}-errors.jpg")
            chart(figures, source, folder / f"{source}-errors.png")
    domains(context, folder / "domains.jpg")


def strips(context: ClaimsContext, source: str, path: Path) -> None:
    """Each motion from a source as a row, on one of the unseen people."""
    latent = context.people.latents[PERSON]
    rows, labels = [], []
    for motion, direction in directions(context, source).items():
        rows.append(
            context.subject.show(torch.stack([latent + s * direction.to(latent.device) for s in STRIP]))
        )
        labels += [f"{PUBLISHED_NAMES[motion]} {strength:.0%}" for strength in STRIP]
    sheet(path, rows, labels, tile=TILE)


def wrong(context: ClaimsContext, source: str, path: Path) -> None:
    """One motion at full strength, as each method (a row) learns it from anchors with errors (columns)."""
    motion = next(iter(directions(context, source)))
    latent = context.people.latents[PERSON]
    rows, labels = [], []
    for method, direction in METHODS.items():
        learned = [direction(spoilt(context, source, motion, name, 0)) for name in conditions(context.others)]
        rows.append(context.subject.show(torch.stack([latent + each.to(latent.device) for each in learned])))
        labels += [f"{method}, {name}" for name in conditions(context.others)]
    sheet(path, rows, labels, tile=TILE)


def domains(context: ClaimsContext, path: Path) -> None:
    """A row per domain: the work, its inversion, and each motion at full strength on it."""
    source = next(source for source in reversed(SOURCES) if directions(context, source))
    moves = directions(context, source)
    rows, labels = [], []
    for domain in DOMAINS:
        work = repaint(context.renders_at_rest[: PERSON + 1], domain)[PERSON:]
        latent = context.subject.encode(work)
        offsets = torch.stack(
            [torch.zeros_like(latent[0]), *(each.to(latent.device) for each in moves.values())]
        )
        rows.append(torch.cat([work, context.subject.show(latent + offsets)]))
        labels += [domain, "inverted", *(PUBLISHED_NAMES[motion] for motion in moves)]
    sheet(path, rows, labels, tile=TILE)


def chart(figures: Mapping[str, Figures], source: str, path: Path) -> None:
    """Movement per leakage over the amount of corruption, a line per method."""
    found = by_condition(figures, source)
    names = list(found)
    entries = [name for name in names if "anchor" not in name]
    whole = [names[0], *(name for name in names if "anchor" in name)]
    panels = []
    for title, chosen in (("entries of the anchors", entries), ("whole anchors", whole)):
        lines = {method: [found[name][method]["merit"] for name in chosen] for method in METHODS}
        panels.append((title, [name.split()[0] for name in chosen], lines))
    line_charts(path, "intended movement per leakage", panels)


def directions(context: ClaimsContext, source: str) -> dict[str, Tensor]:
    """The directions by motion, of those that have anchors."""
    found = {motion: context.anchors(source, motion) for motion in context.motions}
    return {motion: analyse(each).direction for motion, each in found.items() if each is not None}
