"""What a row asks for: the motions, and the options of `animate`, of the whole batch or of one row."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

from micromotion.errors import MotionError, OptionError
from micromotion.motion.library import find_motion, playable_motions
from micromotion.motion.motion_text import read_motions
from micromotion.motion.schedule import MotionChoice, schedule
from micromotion.motion.timeline import Timeline
from micromotion.motion.timeline_text import parse_timeline
from micromotion.option_checks import check_strength
from micromotion.options import OPTIONS, AnimateOptions, options_from
from micromotion.types import MotionOwner

OWN = ("motion", "timeline", "full_size")
"""What a row may set besides the fields of `AnimateOptions`."""

_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


@dataclass(frozen=True)
class Request:
    """How a photo is animated.

    motions: strengths by name, in the order given; empty if a timeline, in its text, is played.
    """

    motions: Mapping[str, float]
    timeline: str | None
    options: AnimateOptions
    full_size: bool = False
    credentials: bool = True

    def choice(self, model: MotionOwner) -> MotionChoice:
        """What `Animator.animate` plays. Raises OptionError, MotionError."""
        if self.timeline is None:
            return self.motions
        return parse_timeline(self.timeline, lambda name: find_motion(name, model))

    def key(self, model: MotionOwner) -> dict[str, Any]:
        """What decides the result, for JSON: the motions' files by hash, and the changed options.

        Raises OptionError, MotionError for a request that cannot be played.
        """
        choice = self.choice(model)
        names, _ = schedule(choice, self.options)
        files = {str(name): _hash(find_motion(name, model)) for name in names}
        played = self.timeline if isinstance(choice, Timeline) else list(choice.items())
        changed = {
            name: value
            for name, value in asdict(self.options).items()
            if value != OPTIONS[name].default  # so that a new option leaves the ids of old rows
        }
        written = {"full_size": self.full_size, "credentials": self.credentials}
        return {"played": played, "files": files, "options": changed, **written}

    def overridden(self, row: Mapping[str, Any], model: MotionOwner) -> Request:
        """The request with what a row of a list sets; texts, as in a CSV, are read as the option's type.

        Raises OptionError for an unknown name or a wrong value.
        """
        named = {name: value for name, value in row.items() if value is not None and value != ""}
        if "motion" in named and "timeline" in named:
            raise OptionError("Give motion or timeline, not both: the timeline names its own motions.")
        request = self
        if "motion" in named:
            request = replace(request, motions=motions_from(named.pop("motion"), model), timeline=None)
        if "timeline" in named:
            request = replace(request, motions={}, timeline=str(named.pop("timeline")))
        if "full_size" in named:
            request = replace(request, full_size=_flag("full_size", named.pop("full_size")))
        check_names(named)
        typed = {name: _typed(name, value) for name, value in named.items()}
        return replace(request, options=options_from(typed, request.options))


def check_names(names: Mapping[str, Any] | list[str]) -> None:
    """Raise OptionError, suggesting the nearest, unless each name is one that a row may set."""
    known = (*OWN, *OPTIONS)
    for name in names:
        if name not in known:
            near = get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"a list may have {', '.join(known)}."
            raise OptionError(f"The column {str(name)!r:.60} is no option of a row: {hint}")


def motions_from(value: Any, model: MotionOwner) -> dict[str, float]:
    """Strengths by name, from a mapping, a list, or a text such as "smile=0.5, eyesClose".

    Raises OptionError, MotionError.
    """
    if isinstance(value, Mapping):
        for strength in value.values():
            check_strength(strength)
        wanted = {str(name): float(strength) for name, strength in value.items()}
    elif not isinstance(value, str | Sequence):
        raise OptionError(f"motion must be a name, a list or names with strengths, not {value!r:.60}.")
    else:
        texts = value.split(",") if isinstance(value, str) else list(value)
        known = playable_motions(model)
        wanted = read_motions([str(each).strip() for each in texts], known)
    for name in wanted:
        find_motion(name, model)
    return wanted


def _typed(name: str, value: Any) -> Any:
    """A text as the type of the option of that name; other values, and texts that are none, unchanged."""
    if not isinstance(value, str):
        return int(value) if isinstance(value, float) and value.is_integer() and _is(name, int) else value
    if _is(name, bool):
        return _flag(name, value)
    kinds: list[Callable[[str], Any]] = [kind for kind in (int, float) if _is(name, kind)]
    for kind in kinds:
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def _is(name: str, kind: type) -> bool:
    """Whether an option's values are, or may be, of that type."""
    declared = get_type_hints(AnimateOptions)[name]
    return declared is kind or kind in get_args(declared)


def _flag(name: str, value: Any) -> bool:
    text = str(value).lower()
    if text not in _TRUE + _FALSE:
        raise OptionError(f"{name} must be true or false, not {value!r:.40}.")
    return text in _TRUE


@cache
def _hash(path: Path) -> str:
    """The SHA-256 of a motion's file; raises MotionError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MotionError(f"The micromotion {str(path)!r:.120} cannot be read: {error.strerror}.") from error
