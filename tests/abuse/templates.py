"""Templates: what is no sentence with one {degree} in it; nothing is evaluated, and each is told why."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from abuse.items import FAILED, REFUSED, Item, Request, expected

WRONG: dict[str, str] = {
    "nothing": "",
    "blanks": "   ",
    "no place for the degree": "a person with a smile",
    "only the place, twice": "{degree}{degree}",
    "three places": "{degree} {degree} {degree}",
    "Python": "{__import__('os').system('touch sprung')}",
    "Python in an f-string": "{degree!r:{__import__('os')}}",
    "an attribute": "{degree.__class__.__mro__}",
    "an item": "{degree[0]}",
    "a conversion": "{degree!r}",
    "a format": "{degree:>1000000000}",
    "another name": "a {smile}",
    "a number": "a {0} smile",
    "empty braces": "a {} smile",
    "doubled braces": "a {{degree}} smile",
    "half a brace": "a {degree smile",
    "the other half": "a degree} smile",
    "braces the wrong way": "a }degree{ smile",
    "a brace besides": "a {degree} smile {",
    "capitals": "a {DEGREE} smile",
    "blanks in the place": "a { degree } smile",
    "shell": "$(touch sprung) `touch sprung` {}",
    "percent": "%(degree)s %s %n",
    "Jinja": "{{ degree }}",
    "a line's end": "a {degree}\nsmile",
    "a zero byte": "a {degree}\0smile",
    "a bell": "a {degree}\x07smile",
    "an escape sequence": "\x1b[2J{degree}",
    "from right to left": "\u202e{degree} smile",
    "an invisible blank": "a {degree}\u200bsmile",
    "a byte order mark": "\ufeff{degree}",
    "half of a pair": "a {degree} \udcff",
    "another brace's look": "a ｛degree｝ smile",
}
LONG: dict[str, str] = {
    "201 characters": "{degree}" + "x" * 193,
    "10,000 characters": "{degree}" + "x" * 10_000,
    "a million braces": "{" * 1_000_000,
}


def templates(photo: str) -> Iterator[Item]:
    for name, text in WRONG.items():
        outcome = expected(REFUSED) if "\udcff" in text else expected(FAILED)
        yield Request("templates", f"template: {name}", partial(_body, photo, text), outcome)
    for name, text in LONG.items():
        yield Request("templates", f"template: {name}", partial(_body, photo, text), expected(REFUSED))
    both = {"image": photo, "frames": 1, "motion": "smile", "template": "a {degree} smile"}
    yield Request("templates", "template: not asked for", lambda: {"input": both}, expected(FAILED), "custom")


def _body(photo: str, template: str) -> object:
    return {"input": {"image": photo, "frames": 1, "motion": "custom", "template": template}}
