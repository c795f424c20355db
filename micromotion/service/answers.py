"""Responses to callers of the service: errors as JSON, and Cog's responses without the caller's input.

Cog 0.23 answers requests that its HTTP layer refuses with plain text or nothing, echoes the input in its
error messages (even a photo of 100 MB), and shows a prediction's input to whoever guesses its id. Here the
caller gets JSON instead, with `detail`: which input is wrong, and what it must be.
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
    406: "The response is available as JSON only.",
    409: BUSY,
    413: "The request is too large.",
    415: "The request must be sent as JSON, with the header Content-Type: application/json.",
    422: "The request is not for a prediction: it has an input, an id, a webhook, as /openapi.json says.",
    503: "The server is starting or has ended.",
}

_RULE = re.compile(  # Cog quotes the whole value, then the schema's rule: the last match of these
    r'.*\s(is not of types? "[a-z", ]+"'
    r'|is not one of \[(?:(?:"[\w .-]*"|[-+.\de]+)(?:, ?|(?=\])))*\]'
    r"|is (?:less|greater) than (?:or equal to )?the (?:minimum|maximum) of [-+.\de]+"
    r"|is (?:shorter|longer) than \d+ characters?)",
    re.DOTALL,
)
_PLAIN = {"Field required", "prediction ID must match the ID supplied in the URL"}
_POSITION = re.compile(r": input\.(\w{1,60}): [^\n]* at line (\d{1,9}) column (\d{1,9})\Z")


@dataclass(frozen=True)
class Answer:
    """A response: its status, its body, and the body's content type, "" if there is none."""

    status: int
    body: bytes
    kind: str = JSON


def refusal(status: int, sentence: str) -> Answer:
    """A JSON response that says in one sentence why the request is refused."""
    body = {"detail": sentence, "status": "STARTING" if status == 503 else "refused"}
    return Answer(status, json.dumps(body).encode())


def without_echo(answer: Answer, inputs: Collection[str]) -> Answer:
    """Cog's response without the caller's input; an error is JSON with `detail`.

    inputs: the names of a prediction's inputs; no other names are repeated.
    """
    if answer.status == 200:
        return answer
    body = _object(answer)
    if body is None:
        return refusal(answer.status, _sentence(answer, inputs)) if answer.status >= 400 else answer
    body.pop("input", None)
    if isinstance(body.get("detail"), list):
        body["detail"] = [_wrong(each, inputs) for each in body["detail"]]
    elif answer.status >= 400 and (not body or "error" in body):
        body["detail"] = _sentence(answer, inputs)
    return Answer(answer.status, json.dumps(body).encode())


def _object(answer: Answer) -> dict[str, Any] | None:
    if not answer.kind.startswith(JSON):
        return None
    try:
        body = json.loads(answer.body)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _sentence(answer: Answer, inputs: Collection[str]) -> str:
    sentence = _BY_STATUS.get(answer.status, f"The server answers {answer.status}, and its log says why.")
    if answer.status != 400:
        return sentence
    found = _POSITION.search(answer.body.decode(errors="replace"))
    if found is None or found[1] not in inputs:
        return f"{sentence}."
    return f"{sentence}: input.{found[1]} cannot be read, at line {found[2]}, column {found[3]}."


def _wrong(each: Any, inputs: Collection[str]) -> dict[str, Any]:
    """One entry of Cog's `detail`: the location, and what the value must be."""
    each = each if isinstance(each, dict) else {}
    reason = str(each.get("msg", ""))
    rule = _RULE.fullmatch(reason)
    if reason not in _PLAIN:
        reason = f"The value {rule[1]}" if rule else "The value does not fit: /openapi.json says what does"
    known = {"body", "input", "id", "__root__", *inputs}
    loc = [part for part in each.get("loc", []) if part in known]
    return {"loc": loc, "msg": reason, "type": str(each.get("type", "value_error"))[:40]}
