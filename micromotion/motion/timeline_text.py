"""Timelines: a readable text that says which micromotions play when, and how strong.

    1s smile smooth, 1.5s hold, 2s smile=0 eyesClose=1, 2.2s eyesClose=0, repeat 2

Keyframes are separated by commas, semicolons or line breaks; `#` starts a comment. A keyframe starts with its
time in seconds, followed by the motions' strengths at that time: NAME=STRENGTH, or NAME for 1. `linear` or
`smooth` is the easing from the previous keyframe. A motion that is not named keeps its strength, so `hold`
names none. The video starts at 0s with a still face unless a keyframe says otherwise. `repeat N`, at the end,
plays everything N times.

    alive

A named timeline: a face that blinks, sways and begins to smile, in a loop (see
`micromotion.motion.alive`). Its length may follow, `alive 8s`, and `repeat N`.

Importing this module does not import torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import get_args

from micromotion.errors import MotionError, OptionError
from micromotion.motion.alive import ALIVE, MOTIONS, SECONDS, Alive
from micromotion.motion.timeline import MAX_KEYFRAMES, MAX_MOTIONS, MAX_REPEAT, Keyframe, Timeline, check_time
from micromotion.option_checks import check_strength, check_whole
from micromotion.options import Easing

MAX_TEXT = 2000  # characters
MAX_NAME = 255  # characters

_EXCERPT = 60  # characters of a line that an error shows
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)")
_WORD = re.compile(
    r"#[^\n]*|[,;\n]|(?P<name>[^\s,;=#]+)([^\S\n]*(?P<equals>=)[^\S\n]*(?P<value>[^\s,;=#]*))?|="
)


class TimelineError(OptionError):
    """A timeline's text is invalid; its note (PEP 678) shows the line with a caret at the error."""


@dataclass(frozen=True)
class _Word:
    """A word of the text and its position; if an equals sign follows, also the value after it."""

    text: str
    at: int
    value: str | None = None
    value_at: int = 0


def parse_timeline(text: str, check: Callable[[str], object] | None = None) -> Timeline:
    """Parse a timeline; the module's docstring describes the language.

    check: called with each motion's name; raises MotionError for an unknown one. Raises TimelineError, with
    the line and column of the error, and the reason.

    >>> parse_timeline("1s smile=0.8 smooth, 2s hold, repeat 3").repeat
    3
    """
    if len(text) > MAX_TEXT:
        raise TimelineError(f"A timeline has at most {MAX_TEXT} characters, not {len(text)}.")
    keyframes: list[Keyframe] = []
    names: set[str] = set()
    repeat: int | None = None
    parts = list(_parts(text))
    if parts and parts[0][0].text == ALIVE:
        return _read_alive(text, parts, check)
    for words in parts:
        with _with_position(text, words[0].at):
            if repeat is not None:
                raise OptionError("nothing can follow repeat")
            if len(keyframes) == MAX_KEYFRAMES:
                raise OptionError(f"this is more than {MAX_KEYFRAMES} keyframes")
        if words[0].text == "repeat":
            repeat = _read_repeat(text, words)
            continue
        keyframes.append(_read_keyframe(text, words, keyframes[-1].time if keyframes else None, check))
        names |= keyframes[-1].strengths.keys()
        with _with_position(text, words[0].at):
            check_whole("the number of motions", len(names), 0, MAX_MOTIONS)
    if not keyframes:
        raise TimelineError("The timeline is empty: write times and motions, such as '1s smile, 2s hold'.")
    return Timeline(tuple(keyframes), repeat or 1)


def _read_alive(text: str, parts: list[list[_Word]], check: Callable[[str], object] | None) -> Timeline:
    """The named timeline "alive", with its length and a repeat if they follow."""
    (name, *length), *rest = parts
    seconds, repeat = SECONDS, 1
    with _with_position(text, length[0].at if length else name.at):
        if name.value is not None or len(length) > 1:
            raise OptionError("alive stands alone, or with its length: alive 8s")
        if length:
            seconds = _read_time(text, length[0])
        if rest and (len(rest) > 1 or rest[0][0].text != "repeat"):
            raise OptionError("nothing but repeat can follow alive")
        if check is not None:
            for motion in MOTIONS:
                check(motion)
        if rest:
            repeat = _read_repeat(text, rest[0])
        return Alive(repeat=repeat, seconds=seconds)


def _parts(text: str) -> Iterator[list[_Word]]:
    """The words of each part between separators, without empty parts and comments."""
    part: list[_Word] = []
    for found in _WORD.finditer(text):
        name, at = found["name"], found.start()
        if name is not None:
            part.append(_Word(name, at, found["value"], found.start("value")))
        elif found[0] == "=":
            raise _wrong(text, at, "an equals sign goes between a motion and its strength: smile=1")
        elif found[0] in ",;\n":
            if part:
                yield part
            part = []
    if part:
        yield part


def _read_repeat(text: str, words: list[_Word]) -> int:
    with _with_position(text, words[-1].at):
        if len(words) != 2 or words[0].value or words[1].value or not re.fullmatch("[0-9]+", words[1].text):
            raise OptionError(f"repeat takes one whole number from 1 to {MAX_REPEAT}, as in 'repeat 3'")
        repeat = int(words[1].text)
        check_whole("repeat", repeat, 1, MAX_REPEAT)
    return repeat


def _read_keyframe(
    text: str, words: list[_Word], before: float | None, check: Callable[[str], object] | None
) -> Keyframe:
    first, *rest = words
    with _with_position(text, first.at):
        time = _read_time(text, first)
        check_time(time, before)
        if not rest:
            raise OptionError(f"say what happens at {first.text}: a motion such as smile=1, or hold")
    strengths: dict[str, float] = {}
    easing: Easing | None = None
    for word in rest:
        with _with_position(text, word.at):
            if word.text == "hold" and word.value is None:
                if len(rest) > 1:
                    raise OptionError("hold must be alone after its time: it keeps everything unchanged")
            elif (found := _easing(word)) is not None:
                if easing is not None:
                    raise OptionError("a keyframe has one easing, linear or smooth")
                easing = found
            else:
                _check_name(word, check)
                if word.text in strengths:
                    raise OptionError(f"{word.text} is in this keyframe already")
                with _with_position(text, word.value_at if word.value else word.at):
                    strengths[word.text] = _read_strength(word)
    with _with_position(text, rest[0].at):
        if easing is not None and not strengths:
            raise OptionError(f"say which motion goes {easing} there, such as smile=1 {easing}")
    return Keyframe(time, strengths, easing)


def _easing(word: _Word) -> Easing | None:
    return next((each for each in get_args(Easing) if word.value is None and word.text == each), None)


def _read_time(text: str, word: _Word) -> float:
    number = word.text.removesuffix("s")
    if word.value is None and _NUMBER.fullmatch(number):
        if number != word.text:
            return float(number)
        if meant := _with_decimal_point(text, word):
            raise OptionError(f"a comma ends a keyframe, so decimals have a point: write {meant}")
        raise OptionError(f"a time needs its unit, seconds: write {number}s")
    raise OptionError(
        f"a keyframe starts with a time such as 1.5s, or is 'repeat 3' at the end, not {word.text!r:.40}"
    )


def _with_decimal_point(text: str, word: _Word) -> str | None:
    """The number with a decimal point, if this word is one half of 0,1s or =0,5; else None."""
    before, behind = text[: word.at], text[word.at + len(word.text) :]
    if (decimals := re.match(r",([0-9]+)s?(?![^\s,;#])", behind)) and word.text.isdecimal():
        return f"{word.text}.{decimals[1]}s"
    if (whole := re.search(r"([+-]?[0-9]+),$", before)) and word.text.isdecimal():
        return f"{whole[1]}.{word.text}"
    return None


def _read_strength(word: _Word) -> float:
    if word.value is None:
        return 1.0
    if not _NUMBER.fullmatch(word.value):
        raise OptionError(f"the strength of {word.text:.40} must be a number, not {word.value!r:.40}")
    strength = float(word.value)
    check_strength(strength)
    return strength


def _check_name(word: _Word, check: Callable[[str], object] | None) -> None:
    """Raise MotionError unless the motion can be played; suggests a keyword for a misspelt one."""
    if len(word.text) > MAX_NAME:
        raise MotionError(f"no motion has a name of {len(word.text)} characters")
    if check is None:
        return
    try:
        check(word.text)
    except MotionError:
        near = (
            get_close_matches(word.text.lower(), ["hold", *get_args(Easing)], n=1)
            if word.value is None
            else []
        )
        if near:
            raise MotionError(
                f"{word.text!r} is neither a keyword nor a motion; did you mean {near[0]!r}?"
            ) from None
        raise


@contextmanager
def _with_position(text: str, at: int) -> Iterator[None]:
    """Within the block, add the position in the text to each error."""
    try:
        yield
    except TimelineError:
        raise
    except (OptionError, MotionError) as error:
        raise _wrong(text, at, str(error)) from None


def _wrong(text: str, at: int, reason: str) -> TimelineError:
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    line = text[start : end if end >= 0 else None]
    number, column = text.count("\n", 0, at) + 1, at - start + 1
    stop = "" if reason.endswith((".", "?")) else "."
    error = TimelineError(f"The timeline is wrong at line {number}, column {column}: {reason}{stop}")
    error.add_note(_excerpt(line, column - 1))
    return error


def _excerpt(line: str, at: int) -> str:
    """The line, or an excerpt of it, and a caret below the position."""
    left = max(0, min(at - _EXCERPT // 2, len(line) - _EXCERPT))
    shown = "".join(each if each.isprintable() else " " for each in line[left : left + _EXCERPT])
    before, behind = "…" if left else "", "…" if left + _EXCERPT < len(line) else ""
    return f"  {before}{shown}{behind}\n  {' ' * (len(before) + at - left)}^"
