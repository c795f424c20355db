"""Checks of options: of their names and values, each with one sentence for people."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from micromotion.errors import OptionError

MAX_STRENGTH = 5.0


def check_fields(options: Any) -> None:
    """Check a dataclass of options by its fields' metadata: `limits` (lowest, highest), `word`, `choices`.

    A field whose default is None may be None. Raises OptionError, naming the option.
    """
    for each in fields(options):
        value = getattr(options, each.name)
        if "limits" in each.metadata and not (value is None and each.default is None):
            low, high = each.metadata["limits"]
            check_whole(each.name, value, low, high, each.metadata.get("word"))
        if "choices" in each.metadata:
            check_choice(each.name, value, each.metadata["choices"])


def check_names(names: Iterable[str], known: Iterable[str]) -> None:
    """Raise TypeError, with the nearest known name, unless all names of options are known."""
    known = list(known)
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f": did you mean {near[0]!r}?" if near else f"; there is {', '.join(known)}."
            raise TypeError(f"There is no option {name!r}{hint}")


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


def check_whole(name: str, value: object, low: int, high: int, word: str | None = None) -> None:
    """Raise OptionError unless value is an integer (Python's or NumPy's) in low…high, or the word."""
    if word is not None and value == word:
        return
    try:
        valid = low <= operator.index(value) <= high  # type: ignore[arg-type]  # TypeError is caught
    except TypeError:
        valid = False
    if not valid:
        other = f", or {word!r}" if word else ""
        raise OptionError(f"{name} must be a whole number from {low} to {high}{other}, not {value!r:.80}.")


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise OptionError, listing the choices, unless value is one of them."""
    known = list(choices)
    if value not in known:
        raise OptionError(f"{name} must be {', '.join(known[:-1])} or {known[-1]}, not {value!r:.80}.")
