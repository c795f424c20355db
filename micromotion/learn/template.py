"""Sentences for collecting anchors: a template, whose `{degree}` is replaced by each degree in turn.

Both are plain data; nothing is evaluated. Importing this module does not import torch.
"""

import math
import re
from collections.abc import Iterable
from itertools import pairwise

from micromotion.errors import OptionError
from micromotion.motion.recipe import MAX_DEGREES, MAX_TEXT, PLACE, Degrees

EXAMPLE = f"a person with {PLACE} smile"
MAX_WORDS = 60  # characters of one degree's words

DEFAULT_DEGREES: Degrees = (("no", 0.0), *((f"{tenth}0%", tenth / 10) for tenth in range(1, 11)))
"""no, 10% … 100% (main.py of wuqiuche/micromotion-styleGAN), and their numeric values."""


def fill(template: str, degrees: Degrees) -> list[str]:
    """The sentence of each degree, in order.

    Raises OptionError unless the template is one line of at most 300 characters that contains `{degree}`
    once, and no other brace.
    """
    form = f'write {PLACE} where the degree goes, as in "{EXAMPLE}"'
    if not isinstance(template, str) or not template.strip():
        raise OptionError(f"The template is empty: {form}.")
    if len(template) > MAX_TEXT:
        raise OptionError(f"The template is longer than {MAX_TEXT} characters: {form}.")
    if not template.isprintable():
        raise OptionError(f"The template has unprintable characters, such as a line break: {form}.")
    if PLACE not in template:
        foreign = re.search(r"\{[^{}]*\}", template)
        wrong = f"has an unknown placeholder {foreign[0]!r}" if foreign else f"lacks {PLACE}"
        raise OptionError(f"The template {template!r} {wrong}: {form}.")
    rest = template.replace(PLACE, "", 1)
    if PLACE in rest:
        raise OptionError(f"The template {template!r} contains {PLACE} more than once: {form}.")
    if "{" in rest or "}" in rest:
        raise OptionError(f"The template {template!r} contains a brace besides {PLACE}: {form}.")
    return [template.strip().replace(PLACE, words) for words, _ in degrees]


def number_degrees(degrees: Iterable[str | tuple[str, float]]) -> Degrees:
    """Degrees with their numbers: pairs unchanged, or numbers for words alone.

    "no" is 0 and "30%" is 0.3; with any other word among them, all are spaced evenly from 0 to 1. Raises
    OptionError unless there are 2 to 100 different printable words without braces, with finite, increasing
    numbers.
    """
    given = [degrees] if isinstance(degrees, str) else list(degrees)
    if not 2 <= len(given) <= MAX_DEGREES:
        raise OptionError(
            f"A micromotion is collected at 2 to {MAX_DEGREES} degrees, not {len(given)}: "
            "list them from none to full, as in no,25%,50%,75%,100%."
        )
    words = [each if isinstance(each, str) else each[0] for each in given]
    _check_words(words)
    if any(isinstance(each, str) for each in given):
        numbers = _numbers(words)
    else:
        numbers = [float(each[1]) for each in given]
    if not all(math.isfinite(number) for number in numbers) or any(b <= a for a, b in pairwise(numbers)):
        raise OptionError(
            f"The degrees must increase, but {', '.join(words)} do not: "
            "list them from none to full, as in no,25%,50%,75%,100%."
        )
    return tuple(zip(words, numbers, strict=True))


def _check_words(words: list[str]) -> None:
    for word in words:
        if not isinstance(word, str) or not word.strip() or len(word) > MAX_WORDS or not word.isprintable():
            raise OptionError(
                f"A degree is 1 to {MAX_WORDS} printable characters, such as 10% or slight, not {word!r:.80}."
            )
        if "{" in word or "}" in word:
            raise OptionError(f"A degree is plain words without braces, such as 10%, not {word!r}.")
    repeated = next((word for i, word in enumerate(words) if word in words[:i]), None)
    if repeated is not None:
        raise OptionError(f"The degree {repeated!r} is listed twice: each degree gets one anchor.")


def _numbers(words: list[str]) -> list[float]:
    """The words' numeric values; evenly spaced from 0 to 1 if any of them has none."""
    read = [_number(word.strip()) for word in words]
    known = [number for number in read if number is not None]
    return known if len(known) == len(words) else [i / (len(words) - 1) for i in range(len(words))]


def _number(word: str) -> float | None:
    if word == "no":
        return 0.0
    return float(word[:-1]) / 100 if re.fullmatch(r"-?\d{1,6}(\.\d{1,6})?%", word, re.ASCII) else None
