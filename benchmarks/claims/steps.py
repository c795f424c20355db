"""The steps of the measurement: each takes a minute or so, and returns its figures as plain numbers."""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from avatar.renderer.factors import MOTIONS
from avatar.report import heads
from avatar.report.keeping import Figures
from avatar.report.subject import Subject
from avatar.training.collect import model_person
from benchmarks.claims import sources
from benchmarks.claims.domains import DOMAINS, repaint
from benchmarks.claims.methods import CLEAN, METHODS, conditions
from benchmarks.claims.movement import COARSE, ENDS, FINE, ShownPeople, features
from micromotion.errors import MotionError, NoFaceError, OptionError
from micromotion.motion.anchor_analysis import analyse
from micromotion.motion.anchors import Anchors
from micromotion.video.driving_video import DrivingVideoError
from micromotion.weights.bundle import IDENTITY

OTHERS = 64
"""People whose latents corrupt anchors."""


class Form(NamedTuple):
    """How much is measured.

    people: number of unseen people. judges: the first of them, on whom corrupted anchors are played. draws:
    per kind of corruption. anchors: per motion. frames, side: of a video, side in pixels. steps: of learning
    from text.
    """

    people: int = 50
    judges: int = 12
    draws: int = 3
    anchors: int = 11
    frames: int = 21
    side: int = 360
    steps: int = 40


QUICK = Form(people=4, judges=2, draws=1, anchors=7, frames=9, side=192, steps=2)


@dataclass(frozen=True)
class ClaimsContext:
    """What the steps share: the model, how much is measured and of which motions, and the cache folders.

    renders: heads and videos, which depend on the renderer alone; cache: anchors of this model and form.
    """

    subject: Subject
    renders: Path
    cache: Path
    form: Form
    motions: tuple[str, ...] = MOTIONS

    @cached_property
    def renders_at_rest(self) -> Tensor:
        """Unseen people in the rest pose, uint8 [people, 3, S, S]."""
        return self.rendered(heads.neutral(self.form.people))

    @cached_property
    def people(self) -> ShownPeople:
        return ShownPeople(self.subject, self.subject.encode(self.renders_at_rest))

    @cached_property
    def judges(self) -> ShownPeople:
        return ShownPeople(self.subject, self.people.latents[: self.form.judges])

    @cached_property
    def others(self) -> Tensor:
        """Latents [OTHERS, styles, dim] of people with any expression, on the CPU."""
        return self.subject.sample(heads.as_met(OTHERS)).cpu().clone()

    def rendered(self, z: Tensor) -> Tensor:
        return heads.rendered(z, self.subject.size, self.renders)

    def error(self, motion: str) -> float:
        """The mean error of a reading of a motion's factor."""
        return float(self.subject.about["figures"]["regressor"][motion]["error"])

    def path(self, source: str, motion: str) -> Path:
        return self.cache / f"{source}-{motion}.safetensors"

    def video_path(self, motion: str) -> Path:
        """The path of a motion's video, in a folder named by a hash of what it shows."""
        shown = torch.cat([*model_person().values(), torch.full((1, 1), float(self.form.frames))])
        return self.renders / heads.part_key(shown, self.form.side) / f"{motion}.mp4"

    def anchors(self, source: str, motion: str) -> Anchors | None:
        """The collected anchors; None if collecting failed."""
        path = self.path(source, motion)
        return Anchors.load(path) if path.is_file() else None


def steps(context: ClaimsContext) -> Mapping[str, Callable[[], Figures]]:
    """All steps by name, in order; later ones need what earlier ones collect."""
    available = sources.sources(context.subject)
    pairs = [(source, motion) for source in available for motion in context.motions]
    result: dict[str, Callable[[], Figures]] = {}
    if context.subject.has(IDENTITY):
        result |= {
            f"same/renders/{motion}": partial(recognise, context, motion) for motion in context.motions
        }
    for what, work in (("anchors", collect), ("people", play), ("errors", spoil)):
        result |= {
            f"{what}/{source}/{motion}": partial(work, context, source, motion) for source, motion in pairs
        }
    return result | {f"domain/{domain}": partial(paint, context, domain, available) for domain in DOMAINS}


def recognise(context: ClaimsContext, motion: str) -> Figures:
    """The mean identity cosine of the judges' own renders, in the rest pose and at the full motion."""
    judges = heads.neutral(context.form.people)[: context.form.judges]
    full = features(context.subject, context.rendered(heads.with_factor(judges, motion, 1.0)))
    rest = features(context.subject, context.renders_at_rest[: len(judges)])
    assert full is not None
    assert rest is not None
    return {"alike": float((full * rest).sum(dim=1).mean())}


def collect(context: ClaimsContext, source: str, motion: str) -> Figures:
    """Collect a motion's anchors; returns their figures, or the reason for failure."""
    subject, form, video = context.subject, context.form, context.video_path(motion)
    context.cache.mkdir(parents=True, exist_ok=True)
    if source == sources.VIDEO and not video.is_file():
        video.parent.mkdir(parents=True, exist_ok=True)
        sources.shoot(motion, video, form.frames, form.side)
    try:
        if source == sources.FACTORS:
            anchors = sources.from_factors(subject, motion, form.anchors)
        elif source == sources.TEXT:
            anchors = sources.from_words(subject, motion, form.steps, context.cache / f"text-{motion}")
        else:
            anchors = sources.from_video(subject, video, form.anchors)
        found = analyse(anchors, motion)
    except (DrivingVideoError, MotionError, NoFaceError, OptionError) as error:
        return {"failed": str(error).replace(f"{video.parent}/", "")}
    anchors.save(context.path(source, motion))
    values = found.subspace.singular_values
    return {
        "count": len(anchors.degrees),
        "rank": len(found.subspace.basis),
        "first": float(values[0].square() / values.square().sum().clamp(min=1e-30)),
        "straightness": found.straightness,
        "strays": list(found.strays),
    }


def play(context: ClaimsContext, source: str, motion: str) -> Figures:
    """Play a motion on all people."""
    anchors = context.anchors(source, motion)
    if anchors is None:
        return {}
    return context.people.moved(analyse(anchors).direction, motion, FINE, context.error(motion))


def spoil(context: ClaimsContext, source: str, motion: str) -> Figures:
    """Try each method on clean and corrupted anchors; returns figures by condition, method and draw."""
    anchors = context.anchors(source, motion)
    if anchors is None:
        return {}
    figures: Figures = {}
    for condition in conditions(context.others):
        figures[condition] = {method: [] for method in METHODS}
        for draw in range(1 if condition == CLEAN else context.form.draws):
            wrong = spoilt(context, source, motion, condition, draw)
            for method, direction in METHODS.items():
                found = context.judges.moved(direction(wrong), motion, ENDS, context.error(motion))
                figures[condition][method].append({key: found[key] for key in ("own", "leak", "alike")})
    return figures


def spoilt(context: ClaimsContext, source: str, motion: str, condition: str, draw: int) -> Anchors:
    """The collected anchors, corrupted; each draw differs, and is reproducible."""
    anchors = context.anchors(source, motion)
    assert anchors is not None
    seed = zlib.crc32(f"{source} {motion} {condition} {draw}".encode())
    return conditions(context.others)[condition](anchors, torch.Generator().manual_seed(seed))


def paint(context: ClaimsContext, domain: str, available: tuple[str, ...]) -> Figures:
    """All motions on the same people as works of art, inverted as they are: by source and motion."""
    works = repaint(context.renders_at_rest, domain)
    people = ShownPeople(context.subject, context.subject.encode(works))
    figures: Figures = {}
    for source in available:
        for motion in context.motions:
            anchors = context.anchors(source, motion)
            if anchors is not None:
                direction = analyse(anchors).direction
                moved = people.moved(direction, motion, COARSE, context.error(motion))
                figures.setdefault(source, {})[motion] = moved
    return figures
