"""The schedule of a video: its micromotions, and their strengths in each frame.

Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from micromotion.errors import OptionError
from micromotion.motion.timeline import MAX_MOTIONS, Timeline, eased
from micromotion.option_checks import check_strength, check_whole
from micromotion.options import MAX_FRAMES, MAX_SEED, AnimateOptions, Loop
from micromotion.types import Strengths

MAX_STRENGTHS = 24

MotionName = str | Path
"""A micromotion's name, or its file (see `micromotion.motion.library.find_motion`)."""
Motions = MotionName | Mapping[str, float] | Mapping[MotionName, float] | Sequence[MotionName] | Timeline
"""One motion, several at once (a mapping gives their strengths), or a timeline."""
MotionChoice = Mapping[str, float] | Timeline
"""The `Motions` of the command line and the page: strengths by name, or a timeline."""


def schedule(
    motion: Motions, options: AnimateOptions | None = None
) -> tuple[tuple[MotionName, ...], Strengths]:
    """The micromotions, and their strengths in each frame, float64 [frames, motions].

    One motion, or several at once, go from 0 to their strength in `frames` frames with the given easing; a
    mapping gives their strengths. A timeline has its own length; the easing applies to keyframes without one.
    `strength` multiplies all strengths. loop: see `looped`.
    Raises OptionError for no motion, too many, a repeated one, or strengths out of range.
    """
    options = options or AnimateOptions()
    if isinstance(motion, Timeline):
        names: tuple[MotionName, ...] = motion.motions
        strengths = options.strength * motion.strengths(options.fps, options.easing, options.seed)
    else:
        wanted = _wanted(motion)
        names = tuple(wanted)
        way = np.arange(options.frames) / (options.frames - 1) if options.frames > 1 else np.ones(1)
        way = eased(way, options.easing)
        strengths = way[:, None] * (options.strength * np.array(list(wanted.values()), np.float64))
    for each in (strengths.min(initial=0.0), strengths.max(initial=0.0)):
        check_strength(float(each))
    if options.loop != "once" and 2 * len(strengths) - 1 > MAX_FRAMES:
        raise OptionError(
            f"The loop {options.loop!r} makes {2 * len(strengths) - 1} frames of {len(strengths)}, but the "
            f"limit is {MAX_FRAMES}: use fewer frames."
        )
    return names, looped(strengths, options.loop)


def schedule_face(
    motion: Motions, options: AnimateOptions, number: int
) -> tuple[tuple[MotionName, ...], Strengths]:
    """`schedule` for one of several faces: its own motions if `options.faces` gives it some, else `motion`.

    A random timeline is another one for each face, with the seed plus the face's number. Raises OptionError
    as `schedule`, or for a timeline beside motions of its own.
    """
    own = options.selection.motions_of(number) if options.selection else {}
    if own and isinstance(motion, Timeline):
        raise OptionError(
            "A timeline plays on all faces: leave out the motions in faces, or give them without a timeline."
        )
    if is_drawn(motion):
        options = replace(options, seed=((options.seed or 0) + number) % (MAX_SEED + 1))
    return schedule(own or motion, options)


@dataclass(frozen=True, eq=False)
class Parts:
    """What several faces play in one video; faces that play the same share its columns.

    names: of the motions, by column. strengths: float64 [frames, columns]. columns: of each face, by number.
    """

    names: tuple[MotionName, ...]
    strengths: Strengths
    columns: Mapping[int, list[int]]

    def labels(self, names: Sequence[str]) -> list[str]:
        """These names of the motions, after the numbers of the faces unless all faces play the same."""
        if all(len(columns) == len(names) for columns in self.columns.values()):
            return list(names)
        who = [
            ",".join(str(number) for number, columns in self.columns.items() if column in columns)
            for column in range(len(names))
        ]
        return [f"{numbers}: {name}" for numbers, name in zip(who, names, strict=True)]


def schedule_faces(motion: Motions, options: AnimateOptions, numbers: Iterable[int]) -> Parts:
    """The parts of these faces, see `schedule_face`."""
    names: list[MotionName] = []
    strengths: list[Strengths] = []
    columns: dict[int, list[int]] = {}
    known: dict[tuple[tuple[MotionName, ...], bytes], list[int]] = {}
    for number in numbers:
        played, rows = schedule_face(motion, options, number)
        key = played, rows.tobytes()
        if key not in known:
            known[key] = list(range(len(names), len(names) + len(played)))
            names += played
            strengths.append(rows)
        columns[number] = known[key]
    return Parts(tuple(names), np.concatenate(strengths, axis=1), columns)


def is_drawn(motion: Motions) -> bool:
    """Whether the motion is random, from a seed."""
    return isinstance(motion, Timeline) and motion.is_drawn


def schedule_strip(motion: Motions, strengths: Sequence[float]) -> tuple[tuple[MotionName, ...], Strengths]:
    """The micromotions of a strip, and their strengths in each frame, float64 [strengths, motions].

    Each strength multiplies those of several motions. Raises OptionError as `schedule` does, for a timeline,
    and unless there are 1 to 24 strengths.
    """
    if isinstance(motion, Timeline):
        raise OptionError("A strip of strengths shows motions, not a timeline.")
    check_whole("the number of strengths", len(strengths), 1, MAX_STRENGTHS)
    rows = []
    for strength in strengths:
        names, row = schedule(motion, AnimateOptions(strength=strength, frames=1))
        rows.append(row)
    return names, np.concatenate(rows)


def frame_at(moment: float | None, count: int, fps: float) -> int:
    """The index of the frame that a video of `count` frames shows at a moment, in seconds; None: the last.

    Raises OptionError unless the moment is in the video.
    """
    if moment is None:
        return count - 1
    if not (isinstance(moment, (int, float)) and 0 <= moment <= count / fps):
        raise OptionError(
            f"at must be a moment of the video, from 0 to {count / fps:.4g} seconds, not {moment!r:.40}."
        )
    return min(int(moment * fps + 1e-6), count - 1)


def looped(strengths: Strengths, loop: Loop) -> Strengths:
    """The n rows ("once"), or 2n − 1: then in reverse ("pingpong"), or the last one repeated ("hold")."""
    if loop == "pingpong":
        return np.concatenate([strengths, strengths[-2::-1]])
    if loop == "hold":
        return np.concatenate([strengths, np.repeat(strengths[-1:], len(strengths) - 1, axis=0)])
    return strengths


def _wanted(
    motion: MotionName | Mapping[str, float] | Mapping[MotionName, float] | Sequence[MotionName],
) -> dict[MotionName, float]:
    """The motions' strengths by name; raises OptionError."""
    if isinstance(motion, Mapping):
        wanted: dict[MotionName, float] = dict(motion.items())
    else:
        names = [motion] if isinstance(motion, str) or not isinstance(motion, Sequence) else list(motion)
        wanted = dict.fromkeys(names, 1.0)
        if len(wanted) < len(names):
            raise OptionError(f"The motion {_twice(names)!s:.80} is listed twice; list each motion once.")
    check_whole("the number of motions", len(wanted), 1, MAX_MOTIONS)
    for strength in wanted.values():
        check_strength(strength)
    return wanted


def _twice(names: Sequence[MotionName]) -> MotionName:
    return next(name for index, name in enumerate(names) if name in names[:index])
