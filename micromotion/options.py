"""What a person may ask for, and the limits of it; checked before anything is loaded or decoded."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal, get_args

from micromotion.errors import MotionError, OptionError

if TYPE_CHECKING:
    from stylegan2 import Generator

MAX_STRENGTH = 5.0
MAX_FRAMES = 600
MAX_FPS = 60
MAX_SEED = 2**32 - 1
MAX_REFINE = 200
MAX_FILM_PIXELS = 4_000_000_000  # of all frames together: 80 of the largest photo

Loop = Literal["once", "pingpong", "hold"]
Easing = Literal["linear", "smooth"]
View = Literal["crop", "photo"]


def check_play(
    *,
    strength: float = 1.0,
    frames: int = 90,
    fps: int = 30,
    face: int = 0,
    seed: int | None = None,
    refine: int = 0,
) -> None:
    """Raise OptionError, naming the value and its limits, unless a clip can be played like this.

    strength is a finite number with |strength| ≤ 5, frames a whole number in 1…600, fps in 1…60 (per second),
    face counts from 0 (the best-scoring one), seed is None or a whole number in 0…2³²−1, refine one in 0…200.
    """
    check_strength(strength)
    check_whole("frames", frames, 1, MAX_FRAMES)
    check_whole("fps", fps, 1, MAX_FPS)
    check_whole("face", face, 0, 99)
    if seed is not None:
        check_whole("seed", seed, 0, MAX_SEED)
    check_refine(refine)


def seed_that_draws(seed: int | None, generator: Generator, warn: Callable[[str], object]) -> int | None:
    """The seed; None where the generator has no noise that it could draw, which is said by `warn`."""
    if seed is None or generator.has_noise:
        return seed
    warn("This model has no noise: a seed draws no other texture.")
    return None


def check_refine(steps: int) -> None:
    """Raise OptionError unless a code can be refined by so many steps: a whole number in 0…200."""
    check_whole("refine", steps, 0, MAX_REFINE)


def check_strength(strength: float) -> None:
    """Raise OptionError unless strength is a finite number with |strength| ≤ 5."""
    try:
        valid = math.isfinite(strength) and abs(strength) <= MAX_STRENGTH
    except (TypeError, OverflowError):
        valid = False
    if not valid:
        raise OptionError(
            f"strength must be a number from {-MAX_STRENGTH:g} to {MAX_STRENGTH:g}, not {strength!r}."
        )


def check_whole(name: str, value: int, low: int, high: int) -> None:
    """Raise OptionError unless value is an integer (Python's or NumPy's) in low…high."""
    try:
        valid = low <= operator.index(value) <= high
    except TypeError:
        valid = False
    if not valid:
        raise OptionError(f"{name} must be a whole number from {low} to {high}, not {value!r}.")


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise OptionError, listing the choices, unless value is one of them."""
    known = list(choices)
    if value not in known:
        raise OptionError(f"{name} must be {', '.join(known[:-1])} or {known[-1]}, not {value!r:.80}.")


def check_view(frame: str, *, compare: bool) -> None:
    """Raise OptionError unless frame is "crop", or "photo" and there is no comparison."""
    check_choice("frame", frame, get_args(View))
    if compare and frame == "photo":
        raise OptionError(
            "A comparison shows the crop of the photo: leave out compare, or the frame 'photo'."
        )


def check_film(size: tuple[int, int], frames: int) -> None:
    """Raise OptionError unless so many frames of this width and height can be written in bearable time."""
    if size[0] * size[1] * frames > MAX_FILM_PIXELS:
        most = MAX_FILM_PIXELS // (size[0] * size[1])
        raise OptionError(
            f"{frames} frames of a photo of {size[0]}×{size[1]} pixels are too many, {most} are possible: "
            "take fewer, a smaller photo, or the frame 'crop'."
        )


def check_motion(name: str, known: Iterable[str]) -> None:
    """Raise MotionError, listing the known motions and suggesting the nearest, unless name is one of them."""
    known = list(known)
    if name in known:
        return
    if not known:
        raise MotionError(
            f"There is no micromotion {name!r}: this model comes without any; "
            "add some with `micromotion weights add FILE --name MODEL`."
        )
    by_lower_case = {each.lower(): each for each in known}
    near = get_close_matches(str(name).lower(), by_lower_case, n=1)
    hint = f" (did you mean {by_lower_case[near[0]]!r}?)" if near else ""
    raise MotionError(f"There is no micromotion {name!r}{hint}; this model has {', '.join(known)}.")
