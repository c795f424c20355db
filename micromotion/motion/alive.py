"""The timeline "alive": a face that breathes. It blinks, sways a little, and begins to smile, in a loop.

It is drawn from a seed and has no seam: the frame after the last one is the first, which is the still face.
Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from micromotion.errors import OptionError
from micromotion.motion.timeline import MAX_REPEAT, MAX_SECONDS, Keyframe, Timeline
from micromotion.options import MAX_FRAMES, Easing, check_whole
from micromotion.types import Floats, Strengths

ALIVE = "alive"
"""Its name."""

MOTIONS = ("eyesClose", "headsTurn", "smile")

SECONDS = 6.0
LEAST_SECONDS = 2.0


@dataclass(frozen=True)
class Pace:
    """How a person at rest moves; seconds and strengths of the motions.

    blinks: between two blinks, on average (people at rest: 2 to 6). closing, shut, opening: of a blink.
    quiet: at both ends of the loop, without a blink. sway: of the head's turn, of one, two and three swings
    in a loop. smile: the strength of its beginning, drawn between these. onset, offset: of the smile, as
    parts of the loop.
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
    """A loop of so many seconds, 2…600, played `repeat` times; it has no keyframes.

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
        """A seed draws it."""
        return True

    @property
    def motions(self) -> tuple[str, ...]:
        """The names of the motions that it plays."""
        return MOTIONS

    def with_files(self, files: Mapping[str, Path]) -> Alive:
        """Itself: it names the model's own motions."""
        return self

    def count(self, fps: int) -> int:
        """The number of its frames."""
        return self.repeat * round(self.seconds * fps)

    def strengths(self, fps: int, easing: Easing = "linear", seed: int | None = None) -> Strengths:
        """How strong each of `motions` is in each frame, float64 [count(fps), 3]; None is the seed 0.

        Raises OptionError if there would be more than 600 frames.
        """
        check_whole(f"the number of frames of {ALIVE!r}", self.count(fps), 1, MAX_FRAMES)
        time = np.arange(round(self.seconds * fps)) / fps
        rng = np.random.default_rng(seed or 0)
        once = np.stack([self._blinks(time, rng), self._sway(time, rng), self._smile(time, rng)], axis=1)
        return np.tile(once, (self.repeat, 1))

    def _blinks(self, time: Floats, rng: np.random.Generator) -> Floats:
        """Between 0 and 1; a lid falls faster than it rises."""
        pace = self.pace
        length = pace.closing + pace.shut + pace.opening
        last = self.seconds - pace.quiet - length
        closed = np.zeros_like(time)
        start = pace.quiet + rng.uniform(0.3, 1.0)
        while start <= last:
            since = time - start
            down = _risen(since / pace.closing)
            up = _risen((since - pace.closing - pace.shut) / pace.opening)
            closed += down - up
            start += length + pace.blinks * np.exp(rng.normal(-0.08, 0.4))  # mean 1, never long in coming
        return closed

    def _sway(self, time: Floats, rng: np.random.Generator) -> Floats:
        """Swings that come back to where they began, 0."""
        way = np.zeros_like(time)
        for swings, size in enumerate(self.pace.sway, start=1):
            phase = rng.uniform(0, 2 * np.pi)
            angle = 2 * np.pi * swings * time / self.seconds + phase
            way += size * (np.sin(angle) - np.sin(phase))
        return way

    def _smile(self, time: Floats, rng: np.random.Generator) -> Floats:
        """It comes, stays, and goes."""
        pace, part = self.pace, time / self.seconds
        size = rng.uniform(*pace.smile)
        start = rng.uniform(0.08, 0.25)
        end = rng.uniform(0.92, 1.0)
        return size * (_risen((part - start) / pace.onset) - _risen((part - end + pace.offset) / pace.offset))


def _risen(way: Floats) -> Floats:
    """0 up to way 0, 1 from way 1 on, without a jolt: 6w⁵ − 15w⁴ + 10w³."""
    way = np.clip(way, 0, 1)
    risen: Floats = way**3 * (10 + way * (6 * way - 15))
    return risen
