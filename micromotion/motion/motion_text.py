"""Motions as people type them: NAME, or NAME=STRENGTH. Importing this module does not import torch."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from micromotion.errors import OptionError
from micromotion.motion.library import SUFFIX


def read_motions(
    texts: Sequence[str], known: Container[str], find: Callable[[str], str] = str
) -> dict[str, float]:
    """NAME, NAME=STRENGTH, … as a mapping; a known name, or a file's, may hold an equals sign.

    find: called with each name; the mapping has what it returns.
    Raises OptionError for a motion that is given twice, or a strength that is no number.
    """
    wanted: dict[str, float] = {}
    for text in texts:
        name, equals, strength = text.rpartition("=")
        if not equals or text in known or text.endswith(SUFFIX):
            name, strength = text, "1"
        found = find(name)
        if found in wanted:
            raise OptionError(f"--motion {name} is given twice; give each motion once, with its strength.")
        try:
            wanted[found] = float(strength)
        except ValueError:
            raise OptionError(
                f"--motion {text}: the equals sign must be followed by a strength such as 0.5."
            ) from None
    return wanted
