"""Checks of a prediction request before it reaches Cog's server."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from micromotion.errors import DownloadError, OptionError
from micromotion.runtime.address_policy import check_url, find_addresses
from micromotion.service.driving import check_driving
from micromotion.service.published import check_alone, is_asked

MAX_VALUES = 1000
"""Most values in a request: each takes far more memory than its character in the text."""

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
"""The pattern of a prediction's id: a harmless folder name."""

MAX_QUOTED = 40
"""Longest part of an unknown input's name that is compared and quoted, in characters."""

_EVENTS = ("start", "output", "logs", "completed")


class Refusal(Exception):  # noqa: N818
    """A refused request: the status, and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class PredictionRequest:
    """A request that may be forwarded: its id or "", its inputs, and its body."""

    name: str
    inputs: Any
    body: bytes

    def digest(self) -> str:
        """A hash of the inputs, whatever their order."""
        try:
            text = json.dumps(self.inputs, sort_keys=True)
        except RecursionError:
            raise Refusal(400, "The request is not JSON.") from None
        return hashlib.sha256(text.encode()).hexdigest()


def check_body(body: bytes, nullable: Collection[str] = (), known: Collection[str] = ()) -> PredictionRequest:
    """Parse and check a request's body.

    known: the inputs that there are; if empty, any. Raises Refusal unless the request is a JSON object whose
    id, webhook and context are harmless and whose inputs are known and of one kind (see
    `micromotion.service.published`). Cog checks the inputs' values against the schema, but does not accept
    null, so the inputs `nullable` are removed where null.
    """
    if sum(map(body.count, (b"{", b"[", b",", b":"))) > MAX_VALUES:
        raise Refusal(422, f"The request holds more than {MAX_VALUES} values.")
    request = _parsed(body)
    name = request.get("id")
    if name is not None and not (isinstance(name, str) and re.fullmatch(NAME, name)):
        raise Refusal(422, "The id must be 1 to 100 letters, digits, dots, dashes and underscores.")
    _check_webhook(request)
    _check_context(request)
    inputs = request.get("input")
    if isinstance(inputs, dict):
        nulls = [each for each in nullable if each in inputs and inputs[each] is None]
        for each in nulls:
            del inputs[each]
        if nulls:
            body = json.dumps(request).encode()
        _check_inputs(inputs, known)
    return PredictionRequest(name or "", inputs, body)


def _parsed(body: bytes) -> dict[str, Any]:
    if body.startswith(b"\xef\xbb\xbf"):
        raise Refusal(400, "The request is not JSON: leave out the byte order mark that it begins with.")
    try:
        request = json.loads(body.decode())
    except (ValueError, RecursionError):
        raise Refusal(400, "The request is not JSON.") from None
    if not isinstance(request, dict):
        raise Refusal(422, "The request is not a JSON object.")
    return request


def _check_inputs(inputs: dict[str, Any], known: Collection[str]) -> None:
    for name in inputs if known else ():
        if name not in known:
            near = get_close_matches(name[:MAX_QUOTED].lower(), known, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise Refusal(
                422, f"There is no input {name[:MAX_QUOTED]!r}{hint}; the inputs are {', '.join(known)}."
            )
    try:
        if is_asked(inputs):
            check_alone(inputs, sent=True)
        check_driving(inputs, sent=True)
    except OptionError as error:
        raise Refusal(422, str(error)) from None


def _check_webhook(request: dict[str, Any]) -> None:
    webhook = request.get("webhook")
    if webhook is not None:
        try:
            find_addresses(check_url(webhook if isinstance(webhook, str) else ""))
        except DownloadError as error:
            raise Refusal(422, f"The webhook cannot be called. {error}") from None
    events = request.get("webhook_events_filter", [])
    if not isinstance(events, list) or not all(each in _EVENTS for each in events):
        raise Refusal(422, f"The webhook_events_filter must be a list of some of {', '.join(_EVENTS)}.")


def _check_context(request: dict[str, Any]) -> None:
    context = request.get("context", {})
    if not isinstance(context, dict) or not all(isinstance(each, str) for each in context.values()):
        raise Refusal(422, "The context must be an object whose values are strings.")
