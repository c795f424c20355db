"""Invalid templates and timelines; each is refused with the reason."""

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
TIMELINES: dict[str, str] = {
    "a word": "smile",
    "no number": "xs smile",
    "a time that is none": "NaNs smile",
    "an endless time": "infs smile",
    "a time before": "-1s smile",
    "times that fall": "2s smile, 1s angry",
    "a day": "86400s smile",
    "countless frames": "600s smile, repeat 100",
    "more repeats than allowed": "1s smile, repeat 999999999",
    "an infinite strength": "1s smile=inf",
    "a strength of 400 digits": "1s smile=" + "9" * 400,
    "Python": "1s __import__('os').system('touch sprung')=1",
    "a file of the server": "1s /etc/passwd=1",
    "a motion's file of the server": "1s ../../anchors/smile.safetensors=1",
    "an upload that was not sent": "1s motion_file=1",
    "a template that was not sent": "1s custom=1",
    "a zero byte": "1s smile\0=1",
    "an escape sequence": "1s \x1b[2Jsmile",
    "only commas": "," * 900,
    "one name of 1,900 letters": "1s " + "x" * 1900,
    "300 keyframes": ",".join(f"{i / 100}s" for i in range(300)),
}


def templates(photo: str) -> Iterator[Item]:
    for name, text in WRONG.items():
        outcome = expected(REFUSED) if "\udcff" in text else expected(FAILED)
        yield Request("templates", f"template: {name}", partial(_body, photo, text), outcome)
    for name, text in LONG.items():
        yield Request("templates", f"template: {name}", partial(_body, photo, text), expected(REFUSED))
    for name, text in TIMELINES.items():
        body = {"input": {"image": photo, "frames": 1, "timeline": text}}
        yield Request("templates", f"timeline: {name}", partial(dict, body), expected(FAILED))
    both = {"image": photo, "frames": 1, "motion": "smile", "template": "a {degree} smile"}
    yield Request("templates", "template: not asked for", lambda: {"input": both}, expected(FAILED), "custom")


def _body(photo: str, template: str) -> object:
    return {"input": {"image": photo, "frames": 1, "motion": "custom", "template": template}}
