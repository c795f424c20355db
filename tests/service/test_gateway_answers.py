"""The gateway's answers: JSON with `detail`, without the caller's values; repeated requests wait together."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from inner_server import Inner, running_inner
from running_server import wait_until

from micromotion.service.answers import Answer, without_echo
from micromotion.service.gateway import Gateway, Refusal, check_body

SECRET = "c2VjcmV0"
INPUTS: dict[str, dict[str, Any]] = {
    "image": {},
    "frames": {},
    "motion": {},
    "motion_file": {"nullable": True},
}


@pytest.fixture
def inner() -> Iterator[Inner]:
    with running_inner() as server:
        yield server


@pytest.fixture
def port(inner: Inner) -> Iterator[int]:
    with Gateway(("127.0.0.1", 0), inner.server_port, INPUTS) as opened:
        thread = threading.Thread(target=opened.serve_forever, args=[0.05])
        thread.start()
        try:
            yield opened.socket.getsockname()[1]
        finally:
            inner.hold.set()
            opened.shutdown()
            thread.join()


def call(
    port: int, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    try:
        connection.request(method, path, sent, {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def told(status: int, kind: str, body: bytes) -> dict[str, Any]:
    """Cog's answer as a caller gets it, which must not contain the secret."""
    answer = without_echo(Answer(status, body, kind), INPUTS)
    assert (answer.status, answer.kind) == (status, "application/json")
    assert SECRET.encode() not in answer.body
    document: dict[str, Any] = json.loads(answer.body)
    return document


# --- Cog's answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 404, 405, 406, 409, 413, 415, 422, 429, 500, 502, 503])
@pytest.mark.parametrize(
    ("kind", "body"),
    [("text/plain; charset=utf-8", f"unknown variant `{SECRET}`"), ("", ""), ("application/json", "{}")],
)
def test_answers_that_are_not_json_become_a_sentence(status: int, kind: str, body: str) -> None:
    detail = told(status, kind, body.encode())["detail"]
    assert isinstance(detail, str)
    assert detail.endswith(".")
    assert len(detail) < 200


RULES = [
    'is not of type "string"',
    'is not of types "null", "string"',
    'is not one of ["smile","angry"]',
    "is less than the minimum of 1",
    "is greater than the maximum of 5.0",
    "is less than the minimum of -5",
    "is longer than 200 characters",
    "is longer than 1 character",
]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "value", [f'"{SECRET}"', f'["{SECRET}\\n"]', f'{{"a\n":"{SECRET} is not one of [1]"}}']
)
def test_a_reason_names_the_rule_and_not_the_value(rule: str, value: str) -> None:
    each = {"loc": ["body", "input", "image"], "msg": f"{value} {rule}", "type": "value_error"}
    (detail,) = told(422, "application/json", json.dumps({"detail": [each]}).encode())["detail"]
    assert detail == {**each, "msg": f"The value {rule}"}


@pytest.mark.slow
@settings(deadline=None)
@given(st.text(), st.sampled_from([*RULES, "is none of ours"]), st.text(max_size=20))
@example("", 'is not one of ["smile","angry"]', "]")
def test_no_reason_contains_the_value(before: str, rule: str, after: str) -> None:
    each = {"loc": ["body", "input", SECRET], "msg": f"{before}{SECRET} {rule}{SECRET}{after}"}
    (detail,) = told(422, "application/json", json.dumps({"detail": [each]}).encode())["detail"]
    assert detail["loc"] == ["body", "input"]


def test_a_missing_field_is_reported_as_by_cog() -> None:
    each = {"loc": ["body", "input", "image"], "msg": "Field required", "type": "value_error.missing"}
    assert told(422, "application/json", json.dumps({"detail": [each]}).encode())["detail"] == [each]


def test_a_json_error_has_its_position_only_within_an_input_of_ours() -> None:
    text = "Failed to parse the request body as JSON: input.%s: number out of range at line 1 column 38"
    assert (
        "input.frames cannot be read, at line 1, column 38."
        in told(400, "text/plain", (text % "frames").encode())["detail"]
    )
    assert told(400, "text/plain", (text % SECRET).encode())["detail"] == "The request is not JSON."


def test_the_state_of_a_prediction_omits_its_input() -> None:
    state = {"id": "x", "input": {"image": SECRET}, "status": "processing"}
    assert told(202, "application/json", json.dumps(state).encode()) == {"id": "x", "status": "processing"}


@pytest.mark.slow
def test_a_busy_answer_keeps_its_fields_besides_the_detail(port: int, inner: Inner) -> None:
    inner.statuses = [409] * 1000
    inner.answer = b'{"error": "At capacity", "status": "failed"}'
    status, _, body = call(port, "POST", "/predictions", {"input": {}})
    answer = json.loads(body)
    assert (status, answer["error"], answer["status"]) == (409, "At capacity", "failed")
    assert answer["detail"].endswith(".")


# --- the gateway's own answers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        f"{SECRET}\r\n\r\n",
        f"GET /{SECRET}\r\n\r\n",
        f"{SECRET} / HTTP/1.1\r\n\r\n",
        f"GET / HTTP/{SECRET}\r\n\r\n",
        f"GET /{SECRET * 10_000} HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\n" + f"x: {SECRET}\r\n" * 200 + "\r\n",
        f"GET / HTTP/1.1\r\nx: {SECRET * 10_000}\r\n\r\n",
        f"POST /predictions HTTP/1.1\r\ncontent-length: {SECRET}\r\n\r\n",
        f"POST /predictions HTTP/1.1\r\ncontent-encoding: {SECRET}\r\ncontent-length: 2\r\n\r\n{{}}",
        f"POST /predictions HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n{SECRET}",
        f"POST /{SECRET}/ HTTP/1.1\r\nexpect: 100-continue\r\n\r\n",
    ],
)
def test_malformed_http_is_refused_in_json(port: int, inner: Inner, sent: str) -> None:
    with socket.create_connection(("127.0.0.1", port), 30) as caller:
        caller.sendall(sent.encode())
        answer = http.client.HTTPResponse(caller)
        answer.begin()
        assert 400 <= answer.status < 600
        assert answer.headers["content-type"] == "application/json"
        body = answer.read().decode()
    assert json.loads(body)["detail"].endswith(".")
    assert SECRET not in body + str(answer.headers)
    assert inner.calls == []


@pytest.mark.parametrize(
    "more",
    [
        {"webhook_events_filter": None},
        {"webhook_events_filter": [SECRET]},
        {"webhook_events_filter": {SECRET: 1}},
        {"context": None},
        {"context": {SECRET: 1}},
        {"id": f"../{SECRET}"},
        {"webhook": f"ftp://{SECRET}"},
        {"webhook": f"http://{SECRET}.invalid/"},
    ],
)
def test_invalid_fields_beside_the_input_are_refused_in_a_sentence(
    port: int, inner: Inner, more: dict[str, Any]
) -> None:
    status, _, body = call(port, "POST", "/predictions", {"input": {}, **more})
    assert (status, inner.calls) == (422, [])
    assert json.loads(body)["detail"].endswith(".")
    assert SECRET not in body.decode()


def test_a_byte_order_mark_is_named(port: int, inner: Inner) -> None:
    status, _, body = call(port, "POST", "/predictions", b'\xef\xbb\xbf{"input": {}}')
    assert (status, inner.calls) == (400, [])
    assert "byte order mark" in json.loads(body)["detail"]


def test_a_refused_method_gets_the_allowed_ones(port: int) -> None:
    for method, path, allowed in [
        ("OPTIONS", "/predictions", "POST"),
        ("GET", "/predictions/x", "PUT"),
        ("POST", "/health-check", "GET, HEAD"),
        ("HEAD", "/predictions", "POST"),
    ]:
        status, headers, _ = call(port, method, path)
        assert (status, headers["allow"]) == (405, allowed)


@pytest.mark.parametrize("path", ["/", "/health-check", "/openapi.json"])
def test_head_is_get_without_the_body(port: int, inner: Inner, path: str) -> None:
    status, headers, body = call(port, "HEAD", path)
    assert (status, headers["content-type"], body) == (200, "application/json", b"")
    assert inner.calls[0][:2] == ("GET", path)


# --- null ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_null_for_an_optional_input_is_removed(port: int, inner: Inner, method: str) -> None:
    path = "/predictions/x" if method == "PUT" else "/predictions"
    for prefer in ({}, {"prefer": "respond-async"}):
        call(port, method, path, {"input": {"motion_file": None, "motion": None}}, **prefer)
        sent = [body for _, _, body, _ in inner.calls if body != b"{}"]
        assert json.loads(sent[-1]) == {"input": {"motion": None}}


def test_a_request_without_such_a_null_is_not_rewritten() -> None:
    body = b' {"input" : {"motion_file":"null", "image": null}}'
    assert check_body(body, ["motion_file"]).body is body


# --- repeated requests --------------------------------------------------------------------------------------


class Asked(threading.Thread):
    """A PUT with the identifier "same", in a separate thread."""

    def __init__(self, port: int, frames: int = 5, **headers: str) -> None:
        super().__init__()
        self.port, self.body, self.headers = port, {"input": {"frames": frames}}, headers
        self.start()

    def run(self) -> None:
        status, _, body = call(self.port, "PUT", "/predictions/same", self.body, **self.headers)
        self.answer = status, json.loads(body)


def begun(inner: Inner) -> int:
    return sum(body != b"{}" for _, _, body, _ in inner.calls)


def test_repeated_requests_share_one_answer(port: int, inner: Inner) -> None:
    inner.hold.clear()
    first = Asked(port)
    wait_until(lambda: begun(inner) == 1, 30, "the first request")
    others = [Asked(port), Asked(port)]
    status, _, body = call(port, "PUT", "/predictions/same", {"input": {"frames": 6}})
    assert status == 409
    assert "other inputs" in json.loads(body)["detail"]
    inner.hold.set()
    for each in (first, *others):
        each.join(60)
        assert each.answer == (200, {"answer": 1})
    assert begun(inner) == 1


@pytest.mark.slow
def test_a_disconnecting_client_does_not_cancel_for_others(port: int, inner: Inner) -> None:
    inner.hold.clear()
    body = json.dumps({"input": {"frames": 5}}).encode()
    with socket.create_connection(("127.0.0.1", port)) as caller:
        caller.sendall(b"PUT /predictions/same HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        wait_until(lambda: begun(inner) == 1, 30, "the first request")
        other = Asked(port)
        other.join(1)  # until it waits as well
    assert not inner.gone.wait(1)
    inner.hold.set()
    other.join(60)
    assert other.answer == (200, {"answer": 1})


@pytest.mark.slow
def test_an_asynchronous_request_continues_without_a_waiting_client(port: int, inner: Inner) -> None:
    inner.going_on = {"same"}
    inner.hold.clear()
    later = Asked(port, prefer="respond-async")
    later.join(60)
    assert later.answer == (202, {"id": "same", "status": "starting"})
    Asked(port, prefer="respond-async").join(60)
    waits = Asked(port)
    waits.join(1)
    assert waits.is_alive()
    inner.hold.set()
    waits.join(60)
    assert waits.answer == (200, {"answer": 1})
    assert begun(inner) == 1


def test_a_refused_prediction_is_refused_asynchronously_too(port: int, inner: Inner) -> None:
    inner.statuses = [422]
    later = Asked(port, prefer="respond-async")
    later.join(60)
    assert later.answer[0] == 422


def test_two_names_for_one_prediction_are_refused(port: int, inner: Inner) -> None:
    assert call(port, "PUT", "/predictions/a", {"id": "b", "input": {}})[0] == 422
    assert inner.calls == []
    with pytest.raises(Refusal):
        check_body(b'{"input": ' + b"[" * 990 + b"]" * 990 + b"}").digest()
