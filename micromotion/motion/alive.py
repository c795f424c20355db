"""The timeline "alive": a face that blinks, sways a little and begins to smile, in a loop.

It is random, from a seed, and loops without a jump: after the last frame comes the first, the still frame.
Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from micromotion.errors import OptionError
from micromotion.motion.timeline import MAX_REPEAT, MAX_SECONDS, Keyframe, Timeline
from micromotion.option_checks import check_whole
from micromotion.options import MAX_FRAMES, Easing
from micromotion.types import Floats, Strengths

ALIVE = "alive"
"""The name of this timeline."""

MOTIONS = ("eyesClose", "headsTurn", "smile")

SECONDS = 6.0
LEAST_SECONDS = 2.0


@dataclass(frozen=True)
class Pace:
    """How a person at rest moves: times in seconds, and strengths of the motions.

    blinks: mean time between two blinks (people at rest: 2 to 6). closing, shut, opening: the phases of a
    blink. quiet: time without a blink at both ends of the loop. sway: strengths of the head's turn, with one,
    two and three swings in a loop. smile: the range from which the smile's strength is drawn. onset, offset:
    of the smile, as fractions of the loop.
    """

    blinks: float = 2.8
    closing: float = 0.10
    shut: float = 0.04
    opening: float = 0.20
    quiet: float = 0.4
    sway: tuple[float, ...] = (0.10, 0.05, 0.025)
    smile: tuple[float, float] = (0.30, 0.45)
    onset: float = 0.25
    offset: float = 0.35


@dataclass(frozen=True)
class Alive(Timeline):
    """A loop of `seconds`, 2…600, played `repeat` times; it has no keyframes.

    Raises OptionError for other lengths, and unless repeat is in 1…100.
    """

    keyframes: tuple[Keyframe, ...] = ()
    seconds: float = SECONDS
    pace: Pace = Pace()

    def __post_init__(self) -> None:
        check_whole("repeat", self.repeat, 1, MAX_REPEAT)
        if not LEAST_SECONDS <= self.seconds <= MAX_SECONDS:
            raise OptionError(
                f"The timeline {ALIVE!r} lasts {LEAST_SECONDS:g}s to {MAX_SECONDS}s, not {self.seconds:g}s."
            )

    @property
    def is_drawn(self) -> bool:
        """Always True: its strengths are random, from a seed."""
        return True

    @property
    def motions(self) -> tuple[str, ...]:
        """The names of the motions that it plays."""
        return MOTIONS

    def with_files(self, files: Mapping[str, Path]) -> Alive:
        """The timeline unchanged, since it plays the model's own motions."""
        return self

    def count(self, fps: int) -> int:
        """The number of its frames."""
        return self.repeat * round(self.seconds * fps)

    def strengths(self, fps: int, easing: Easing = "linear", seed: int | None = None) -> Strengths:
        """The strength of each of `motions` in each frame, float64 [count(fps), 3]; seed None is 0.

        Raises OptionError if there would be more than 600 frames.
        """
        check_whole(f"the number of frames of {ALIVE!r}", self.count(fps), 1, MAX_FRAMES)
        time = np.arange(round(self.seconds * fps)) / fps
        rng = np.random.default_rng(seed or 0)
        once = np.stack([self._blinks(time, rng), self._sway(time, rng), self._smile(time, rng)], axis=1)
        return np.tile(once, (self.repeat, 1))

    def _blinks(self, time: Floats, rng: np.random.Generator) -> Floats:
        """The strength of the blinks, 0…1; a lid closes faster than it opens."""
        pace = self.pace
        length = pace.closing + pace.shut + pace.opening
        last = self.seconds - pace.quiet - length
        closed = np.zeros_like(time)
        start = pace.quiet + rng.uniform(0.3, 1.0)
        while start <= last:
            since = time - start
            down = _ramp(since / pace.closing)
            up = _ramp((since - pace.closing - pace.shut) / pace.opening)
            closed += down - up
            start += length + pace.blinks * np.exp(rng.normal(-0.08, 0.4))  # log-normal of mean 1
        return closed

    def _sway(self, time: Floats, rng: np.random.Generator) -> Floats:
        """The strength of the head's turn: swings that start and end at 0."""
        way = np.zeros_like(time)
        for swings, size in enumerate(self.pace.sway, start=1):
            phase = rng.uniform(0, 2 * np.pi)
            angle = 2 * np.pi * swings * time / self.seconds + phase
            way += size * (np.sin(angle) - np.sin(phase))
        return way

    def _smile(self, time: Floats, rng: np.random.Generator) -> Floats:
        """The strength of the smile: it rises, stays, and falls."""
        pace, part = self.pace, time / self.seconds
        size = rng.uniform(*pace.smile)
        start = rng.uniform(0.08, 0.25)
        end = rng.uniform(0.92, 1.0)
        return size * (_ramp((part - start) / pace.onset) - _ramp((part - end + pace.offset) / pace.offset))


def _ramp(x: Floats) -> Floats:
    """A smooth step from 0 at x ≤ 0 to 1 at x ≥ 1: 6x⁵ − 15x⁴ + 10x³."""
    x = np.clip(x, 0, 1)
    step: Floats = x**3 * (10 + x * (6 * x - 15))
    return step
