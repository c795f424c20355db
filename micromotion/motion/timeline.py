"""A timeline: which micromotion, when and how strong, as keyframes. `timeline_text` reads one from a text.

Importing this module does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from micromotion.errors import OptionError
from micromotion.option_checks import check_choice, check_strength, check_whole
from micromotion.options import MAX_FRAMES, Easing
from micromotion.types import Strengths

MAX_KEYFRAMES = 100
MAX_MOTIONS = 16
MAX_SECONDS = 600
MAX_REPEAT = 100


@dataclass(frozen=True)
class Keyframe:
    """The motions' strengths at a time.

    Attributes:
        time: seconds since the start, 0…600.
        strengths: by motion name, each within ±5. Other motions keep their strength.
        easing: from the previous keyframe; None for the caller's default.
    """

    time: float
    strengths: Mapping[str, float] = field(default_factory=dict)
    easing: Easing | None = None


@dataclass(frozen=True)
class Timeline:
    """Keyframes in the order of their times, played `repeat` times.

    Each repetition starts like the first one; unless the last keyframe equals that start, there is a jump.
    Raises OptionError for no keyframes or more than 100, more than 16 motions, times that do not increase, an
    invalid strength or easing, or a repeat outside 1…100.

    >>> blink = Timeline((Keyframe(0.1, {"eyesClose": 1.0}), Keyframe(0.3, {"eyesClose": 0.0})), repeat=2)
    >>> blink.motions, blink.count(fps=30)
    (('eyesClose',), 19)
    """

    keyframes: tuple[Keyframe, ...]
    repeat: int = 1

    def __post_init__(self) -> None:
        check_whole("the number of keyframes", len(self.keyframes), 1, MAX_KEYFRAMES)
        check_whole("the number of motions", len(self.motions), 0, MAX_MOTIONS)
        check_whole("repeat", self.repeat, 1, MAX_REPEAT)
        before = None
        for keyframe in self.keyframes:
            check_time(keyframe.time, before)
            for strength in keyframe.strengths.values():
                check_strength(strength)
            if keyframe.easing is not None:
                check_choice("easing", keyframe.easing, get_args(Easing))
            before = keyframe.time

    @property
    def is_drawn(self) -> bool:
        """Whether its strengths are random, from a seed."""
        return False

    @property
    def motions(self) -> tuple[str, ...]:
        """The names of its motions, in order of appearance."""
        return tuple(dict.fromkeys(name for each in self.keyframes for name in each.strengths))

    def with_files(self, files: Mapping[str, Path]) -> Timeline:
        """The same timeline with the motions of these names replaced by files, which end in .safetensors."""
        return replace(
            self,
            keyframes=tuple(
                replace(each, strengths={str(files.get(k, k)): v for k, v in each.strengths.items()})
                for each in self.keyframes
            ),
        )

    def count(self, fps: int) -> int:
        """The number of frames: one at 0s, and at least one more per repetition."""
        return 1 + self.repeat * math.ceil(self.keyframes[-1].time * fps - 1e-9)

    def strengths(self, fps: int, easing: Easing = "linear", seed: int | None = None) -> Strengths:
        """The strengths of `motions` in each frame, float64 [count(fps), motions].

        Frame i shows the time i/fps; the last frame of a repetition shows its last keyframe. easing: for
        keyframes without one. seed: for random timelines such as "alive". Raises OptionError if there
        would be more than 600 frames.
        """
        check_choice("easing", easing, get_args(Easing))
        if (count := self.count(fps)) > MAX_FRAMES:
            raise OptionError(
                f"The timeline has {count} frames at {fps} per second, but the limit is {MAX_FRAMES}: "
                "make it shorter, repeat it less often, or lower fps."
            )
        times, states, smooth = self._states(easing)
        steps = (count - 1) // self.repeat
        once = np.repeat(states[:1], steps + 1, axis=0)
        if len(times) > 1:
            now = np.minimum(np.arange(steps + 1) / fps, times[-1])
            to = np.searchsorted(times, now).clip(min=1)
            way = (now - times[to - 1]) / (times[to] - times[to - 1])
            way = np.where(smooth[to], eased(way, "smooth"), way)[:, None]
            once = (1 - way) * states[to - 1] + way * states[to]
        return np.concatenate([once, *[once[1:]] * (self.repeat - 1)])

    def _states(self, easing: Easing) -> tuple[NDArray[np.float64], Strengths, NDArray[np.bool_]]:
        """The keyframes' times from 0, strengths, and whether each is eased smoothly: [n], [n, motions], [n].

        n is 1 if there is no keyframe after 0.
        """
        names = self.motions
        times, states, smooth = [0.0], [np.zeros(len(names))], [False]
        for keyframe in self.keyframes:
            state = states[-1].copy()
            for name, strength in keyframe.strengths.items():
                state[names.index(name)] = strength
            if keyframe.time == 0:
                states[0] = state
            else:
                times.append(float(keyframe.time))
                states.append(state)
                smooth.append((keyframe.easing or easing) == "smooth")
        return np.array(times), np.stack(states), np.array(smooth)


def eased(way: NDArray[np.float64], easing: Easing) -> NDArray[np.float64]:
    """Ease values from 0 to 1: unchanged ("linear"), or 3x² − 2x³ ("smooth"), with slope 0 at both ends."""
    check_choice("easing", easing, get_args(Easing))
    return way * way * (3 - 2 * way) if easing == "smooth" else way


def check_time(time: float, before: float | None) -> None:
    """Raise OptionError unless a keyframe can have this time, in seconds, after one at the time `before`."""
    if not (isinstance(time, (int, float)) and 0 <= time <= MAX_SECONDS):
        raise OptionError(f"a time must be from 0s to {MAX_SECONDS}s")
    if before is not None and time <= before:
        raise OptionError(f"times must increase, but {time:g}s comes after {before:g}s")
