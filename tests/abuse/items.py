"""Abusive inputs: what is sent, and which answers are acceptable."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

REFUSED, FAILED, SUCCEEDED = "refused", "failed", "succeeded"
"""A 4xx (the command line's own: exit status 2); a failed prediction (exit status 1); a good result."""

Content = Callable[[], bytes]


@dataclass(frozen=True)
class Request:
    """One HTTP request. body is the JSON text, or a function that makes it when the item is sent.

    says: words that the error of a failed prediction must contain.
    """

    group: str
    name: str
    body: Callable[[], object]
    expected: frozenset[str]
    says: str = ""
    method: str = "POST"
    path: str = "/predictions"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Command:
    """One call of the command line, its arguments made in an empty folder; encoding: of its streams."""

    group: str
    name: str
    arguments: Callable[[Path], Sequence[str]]
    expected: frozenset[str]
    says: str = ""
    encoding: str = "utf-8"


Item = Request | Command


def expected(*outcomes: str) -> frozenset[str]:
    return frozenset(outcomes)


EITHER = expected(FAILED, SUCCEEDED)
"""Damage that a decoder may or may not notice: a result or an error."""


def data_url(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
