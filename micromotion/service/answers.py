"""What callers of the service are told, and what of Cog's own answers is not passed on.

Cog 0.23 answers what its HTTP layer refuses with plain text or with nothing, quotes whatever was sent in its
reasons (a photo of 100 MB too), and shows a prediction's input to whoever guesses its identifier. A caller
gets JSON with `detail` in place of that: which input, and what it must be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

JSON = "application/json"

BUSY = "Another prediction is going on: ask again later."

_BY_STATUS = {
    400: "The request is not JSON",
    404: "There is nothing of this name (any more).",
    405: "This path does not take this method.",
    406: "The answer is JSON, and can be had as nothing else.",
    409: BUSY,
    413: "The request is too large.",
    415: "The request must be sent as JSON, with the header Content-Type: application/json.",
    422: "The request is not one for a prediction: it has an input, an id, a webhook, as /openapi.json says.",
    503: "The server is starting or has ended.",
}

_RULE = re.compile(  # Cog quotes the value, whole, and then comes what the schema says: the last of these
    r'.*\s(is not of types? "[a-z", ]+"'
    r"|is not one of \[[^\n]*\]"
    r"|is (?:less|greater) than (?:or equal to )?the (?:minimum|maximum) of [-+.\de]+"
    r"|is (?:shorter|longer) than \d+ characters?)",
    re.DOTALL,
)
_PLAIN = {"Field required", "prediction ID must match the ID supplied in the URL"}
_PLACE = re.compile(r": input\.(\w{1,60}): [^\n]* at line (\d{1,9}) column (\d{1,9})\Z")


@dataclass(frozen=True)
class Answer:
    """What a caller gets: the status, the body, and its content type, "" where there is none."""

    status: int
    body: bytes
    kind: str = JSON


def refusal(status: int, sentence: str) -> Answer:
    """An answer that says in one sentence why the request is not taken."""
    told = {"detail": sentence, "status": "STARTING" if status == 503 else "refused"}
    return Answer(status, json.dumps(told).encode())


def without_echo(answer: Answer, inputs: Collection[str]) -> Answer:
    """Cog's answer without what the caller sent; an error is JSON with `detail`.

    inputs: the names that a prediction's inputs have, which alone are called by name.
    """
    if answer.status == 200:
        return answer
    told = _object(answer)
    if told is None:
        return refusal(answer.status, _sentence(answer, inputs)) if answer.status >= 400 else answer
    told.pop("input", None)
    if isinstance(told.get("detail"), list):
        told["detail"] = [_wrong(each, inputs) for each in told["detail"]]
    elif answer.status >= 400 and (not told or "error" in told):
        told["detail"] = _sentence(answer, inputs)
    return Answer(answer.status, json.dumps(told).encode())


def _object(answer: Answer) -> dict[str, Any] | None:
    if not answer.kind.startswith(JSON):
        return None
    try:
        told = json.loads(answer.body)
    except ValueError:
        return None
    return told if isinstance(told, dict) else None


def _sentence(answer: Answer, inputs: Collection[str]) -> str:
    sentence = _BY_STATUS.get(answer.status, f"The server answers {answer.status}, and its log says why.")
    if answer.status != 400:
        return sentence
    place = _PLACE.search(answer.body.decode(errors="replace"))
    if place is None or place[1] not in inputs:
        return f"{sentence}."
    return f"{sentence}: input.{place[1]} cannot be read, at line {place[2]}, column {place[3]}."


def _wrong(each: Any, inputs: Collection[str]) -> dict[str, Any]:
    """One entry of Cog's `detail`: where, and what must be there."""
    each = each if isinstance(each, dict) else {}
    reason = str(each.get("msg", ""))
    rule = _RULE.fullmatch(reason)
    if reason not in _PLAIN:
        reason = f"The value {rule[1]}" if rule else "The value does not fit: /openapi.json says what does"
    known = {"body", "input", "id", "__root__", *inputs}
    loc = [part for part in each.get("loc", []) if part in known]
    return {"loc": loc, "msg": reason, "type": str(each.get("type", "value_error"))[:40]}
