"""The gateway before Cog's server: what it passes and refuses, and clients that must not block it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inner_server import Inner, running_inner
from running_server import wait_until

from micromotion.runtime.address_policy import PRIVATE
from micromotion.service import gateway
from micromotion.service.gateway import MAX_BODY, Gateway, Refusal, check_body


@pytest.fixture
def inner() -> Iterator[Inner]:
    with running_inner() as server:
        yield server


@pytest.fixture
def port(inner: Inner, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.delenv(PRIVATE, raising=False)
    with Gateway(("127.0.0.1", 0), inner.server_port) as opened:
        thread = threading.Thread(target=opened.serve_forever, args=[0.05])
        thread.start()
        try:
            yield opened.socket.getsockname()[1]
        finally:
            opened.shutdown()
            thread.join()


def call(port: int, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    try:
        connection.request(method, path, sent, {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or "null")
    finally:
        connection.close()


# --- what passes --------------------------------------------------------------------------------------------


def test_a_request_passes_unchanged(port: int, inner: Inner) -> None:
    body = b' {"input" : {"image": "data:,x"}, "id": "a-B_3.x"} '
    assert call(port, "POST", "/predictions", body, prefer="respond-async") == (200, {"answer": 1})
    method, path, came, headers = inner.calls[0]
    assert (method, path, came) == ("POST", "/predictions", body)
    assert headers["prefer"] == "respond-async"
    passing: list[tuple[str, str, object]] = [
        ("GET", "/", None),
        ("GET", "/health-check", None),
        ("GET", "/openapi.json", None),
        ("PUT", "/predictions/a.b-c_d", {"input": {}}),
        ("POST", "/predictions/a/cancel", {}),
        ("POST", "/shutdown", {}),
    ]
    for method, path, sent in passing:
        assert call(port, method, path, sent)[0] == 200, path
        assert inner.calls[-1][:2] == (method, path)


def test_statuses_are_passed_back(port: int, inner: Inner) -> None:
    for status in (202, 404, 422, 500):
        inner.statuses = [status]
        assert call(port, "POST", "/predictions", {}) == (status, {"answer": 1})


def test_the_gateway_waits_for_a_free_slot(port: int, inner: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    inner.statuses = [409, 409, 200]
    assert call(port, "POST", "/predictions", {"input": {}})[0] == 200
    assert len(inner.calls) == 3
    monkeypatch.setattr(gateway, "SLOT", 0.1)
    inner.statuses = [409] * 50
    assert call(port, "POST", "/predictions", {"input": {}})[0] == 409


def test_a_disconnected_client_ends_the_request(port: int, inner: Inner) -> None:
    inner.hold.clear()
    with socket.create_connection(("127.0.0.1", port)) as caller:
        caller.sendall(b"POST /predictions HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
        while not inner.calls:
            time.sleep(0.01)
    assert inner.gone.wait(10)


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/trainings", 404),
        ("GET", "/admin", 404),
        ("GET", "/health-check?a=b", 404),
        ("GET", "http://elsewhere/health-check", 404),
        ("GET", "/predictions/../health-check", 404),
        ("POST", "/predictions/..%2f..%2fx/cancel", 404),
        ("PUT", "/predictions/..", 404),
        ("PUT", "/predictions/.hidden", 404),
        ("PUT", "/predictions/" + "x" * 101, 404),
        ("PUT", "/predictions/a%00b", 404),
        ("GET", "/predictions", 405),
        ("DELETE", "/predictions", 405),
        ("POST", "/health-check", 405),
        ("OPTIONS", "/predictions", 405),
    ],
)
def test_other_paths_and_methods_are_refused(
    port: int, inner: Inner, method: str, path: str, status: int
) -> None:
    assert call(port, method, path, {"input": {}})[0] == status
    assert inner.calls == []


NAMES = [
    "",
    "..",
    ".",
    "../x",
    "/x",
    "a/b",
    "a\\b",
    "a b",
    "a\nb",
    "a\0b",
    "é",
    "-x",
    "x" * 101,
    5,
    [],
    {},
    True,
]


@pytest.mark.parametrize("name", NAMES)
def test_an_identifier_must_be_a_plain_name(port: int, inner: Inner, name: object) -> None:
    """Cog creates a folder of this name; a name for which it cannot would occupy its only slot for ever."""
    status, answer = call(port, "POST", "/predictions", {"id": name, "input": {}})
    assert (status, inner.calls) == (422, [])
    assert answer["detail"].endswith(".")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[" * 900, b"[]", b"5", b"null", b'"x"', b'["a", {}]']
)
def test_a_body_must_be_an_object(port: int, inner: Inner, body: bytes) -> None:
    """Lists are refused too, since Cog would read their entries as identifier, input, …"""
    assert call(port, "POST", "/predictions", body)[0] in (400, 422)
    assert call(port, "PUT", "/predictions/a", body)[0] in (400, 422)
    assert inner.calls == []


def test_a_body_of_too_many_values_is_refused(port: int, inner: Inner) -> None:
    for body in (b"[" * 2000, b'{"a": [' + b"{}," * 1_000_000 + b"{}]}"):
        assert call(port, "POST", "/predictions", body)[0] == 422
    assert inner.calls == []


@pytest.mark.parametrize(
    "url",
    ["", 5, "x", "file:///etc/passwd", "http://127.0.0.1:1/", "http://169.254.169.254/", "http://[::1]/"],
)
def test_a_webhook_to_a_private_address_is_refused(port: int, inner: Inner, url: object) -> None:
    status, answer = call(port, "POST", "/predictions", {"webhook": url, "input": {}})
    assert (status, inner.calls) == (422, [])
    assert answer["detail"].startswith("The webhook cannot be called. The URL")


def test_a_webhook_on_this_machine_can_be_allowed(
    port: int, inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PRIVATE, "1")
    assert call(port, "POST", "/predictions", {"webhook": "http://127.0.0.1:1/", "input": {}})[0] == 200


def test_a_page_in_a_browser_cannot_shut_it_down(port: int, inner: Inner) -> None:
    assert call(port, "POST", "/shutdown", {}, origin="http://evil.example")[0] == 403
    assert call(port, "POST", "/shutdown", {}, **{"x-forwarded-for": "8.8.8.8"})[0] == 403
    assert inner.calls == []


def test_a_body_that_is_too_large_is_not_read(port: int, inner: Inner) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as caller:
        caller.sendall(b"POST /predictions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (MAX_BODY + 1))
        assert caller.recv(100).startswith(b"HTTP/1.1 413")
    for bad, status in ((b"content-length: -5", b"400"), (b"transfer-encoding: chunked", b"411")):
        with socket.create_connection(("127.0.0.1", port), 10) as caller:
            caller.sendall(b"POST /predictions HTTP/1.1\r\n" + bad + b"\r\n\r\n")
            assert caller.recv(100).startswith(b"HTTP/1.1 " + status)
    assert inner.calls == []


# --- clients that would block it ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_client_that_sends_too_slowly_is_disconnected(
    port: int, inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "RECEIVING", 0.5)
    for begun in (b"", b"POST /predictions HT", b"POST /predictions HTTP/1.1\r\ncontent-length: 99\r\n\r\n{"):
        with socket.create_connection(("127.0.0.1", port), 10) as caller:
            caller.sendall(begun)
            caller.settimeout(10)
            while caller.recv(1000):
                pass
    assert inner.calls == []
    assert call(port, "GET", "/")[0] == 200


def test_a_client_that_does_not_read_the_answer_is_disconnected(
    port: int, inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A video that nobody reads would otherwise occupy a connection for ever."""
    monkeypatch.setattr(gateway, "ANSWERING", 0.5)
    inner.answer = bytes(50_000_000)  # larger than the system's buffers
    with socket.create_connection(("127.0.0.1", port), 10) as caller:
        caller.sendall(b"GET / HTTP/1.1\r\n\r\n")
        wait_until(inner.broken.is_set, 10, "the gateway to disconnect")
        caller.settimeout(10)
        taken = 0
        while chunk := caller.recv(1 << 20):
            taken += len(chunk)
    assert taken < len(inner.answer)
    inner.answer = b"1"
    assert call(port, "GET", "/") == (200, 1)


def test_clients_above_the_limit_are_disconnected(inner: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "MAX_CALLS", 3)
    with Gateway(("127.0.0.1", 0), inner.server_port) as opened:
        thread = threading.Thread(target=opened.serve_forever, args=[0.05])
        thread.start()
        address = opened.socket.getsockname()
        callers = [socket.create_connection(address, 10) for _ in range(3)]
        time.sleep(0.5)
        with socket.create_connection(address, 10) as fourth:
            assert fourth.recv(1) == b""
        for caller in callers:
            caller.close()
        end = time.monotonic() + 10
        status = 0
        while status != 200 and time.monotonic() < end:
            try:
                status = call(address[1], "GET", "/")[0]
            except OSError:
                time.sleep(0.05)
        opened.shutdown()
        thread.join()
    assert status == 200


def test_without_an_inner_server_the_status_is_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    with Gateway(("127.0.0.1", 0), free) as opened:
        thread = threading.Thread(target=opened.serve_forever, args=[0.05])
        thread.start()
        status, answer = call(opened.socket.getsockname()[1], "GET", "/health-check")
        opened.shutdown()
        thread.join()
    assert (status, answer["status"]) == (503, "STARTING")


# --- any body -----------------------------------------------------------------------------------------------

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
def test_any_body_passes_or_is_refused(body: bytes) -> None:
    """A body that passes is an object whose identifier, if any, is a plain name."""
    try:
        check_body(body)
    except Refusal as refusal:
        assert 400 <= refusal.status < 500  # noqa: PT017
        return
    passed = json.loads(body)
    assert isinstance(passed, dict)
    assert "/" not in (passed.get("id") or "")


@settings(deadline=None)
@given(st.text(max_size=120))
def test_an_identifier_is_a_single_folder_name(name: str) -> None:
    try:
        check_body(json.dumps({"id": name}).encode())
    except Refusal:
        return
    assert name.isascii()
    assert name not in ("", ".", "..")
    assert len(name) <= 100
    assert not set(name) & set("/\\\0\n ")


# --- cancellations ------------------------------------------------------------------------------------------


def cancellations(inner: Inner) -> int:
    return sum(path.endswith("/cancel") for _, path, *_ in inner.calls)


def settled(inner: Inner) -> int:
    """The number of cancellations, once no more arrive."""
    before = -1
    while (now := cancellations(inner)) != before:
        before = now
        time.sleep(0.5)
    return now


@pytest.mark.slow
def test_a_prediction_is_cancelled_until_it_is_gone(
    port: int, inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "AGAIN", 0.05)
    inner.statuses = [200, 200, 200, 404]
    assert call(port, "POST", "/predictions/slow/cancel")[0] == 200
    assert settled(inner) == 4
    inner.statuses = [404]
    assert call(port, "POST", "/predictions/slow/cancel")[0] == 404
    assert settled(inner) == 5, "one that is not known is not cancelled again"


@pytest.mark.slow
def test_a_repeated_prediction_is_not_cancelled(
    port: int, inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "AGAIN", 0.2)
    for path, body in (("/predictions", {"id": "same"}), ("/predictions/same", {})):
        before = cancellations(inner)
        assert call(port, "POST", "/predictions/same/cancel")[0] == 200
        method = "POST" if "id" in body else "PUT"
        assert call(port, method, path, {"input": {}, **body})[0] == 200
        assert settled(inner) == before + 1


@pytest.mark.slow
def test_a_disconnecting_caller_cancels_until_the_prediction_is_gone(
    port: int, inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "AGAIN", 0.05)
    inner.hold.clear()
    body = b'{"id": "left", "input": {}}'
    with socket.create_connection(("127.0.0.1", port)) as caller:
        head = f"POST /predictions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        caller.sendall(head.encode() + body)
        while not inner.calls:
            time.sleep(0.01)
    assert inner.gone.wait(30)
    inner.statuses = [200, 404]
    inner.hold.set()
    assert settled(inner) == 2
