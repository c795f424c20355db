"""Every limit exactly: the largest allowed value passes, and one more is refused."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from inner_server import running_inner
from misbehaving_server import File, MisbehavingServer, redirect

from micromotion.errors import DownloadError, OptionError, TimeLimitError
from micromotion.runtime.address_policy import PRIVATE
from micromotion.runtime.url_files import MAX_REDIRECTS as MAX_URL_REDIRECTS
from micromotion.service import deadline, gateway, uploads
from micromotion.service.deadline import VARIABLE, Deadline, seconds_allowed
from micromotion.service.gateway import Gateway, Refusal, check_body
from micromotion.service.uploads import take_in
from micromotion.weights.download import Url, download
from micromotion.weights.web import MAX_REDIRECTS

CONTENT = bytes(range(256)) * 8

# --- time ---------------------------------------------------------------------------------------------------


def test_the_deadline_itself_is_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(deadline.time, "monotonic", lambda: now)
    end = Deadline(600)
    now = 1599.5
    end.check("refining")
    now = 1600.0
    with pytest.raises(TimeLimitError):
        end.check("refining")


@pytest.mark.parametrize("seconds", ["1", "86400"])
def test_the_shortest_and_the_longest_time_limit_are_accepted(
    seconds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, seconds)
    assert seconds_allowed() == float(seconds)
    for beyond in ("0.999", "86400.1"):
        monkeypatch.setenv(VARIABLE, beyond)
        with pytest.raises(OptionError):
            seconds_allowed()


# --- requests to the gateway


@pytest.fixture
def opened() -> Iterator[Gateway]:
    with running_inner() as inner, Gateway(("127.0.0.1", 0), inner.server_port) as opened:
        thread = threading.Thread(target=opened.serve_forever, args=[0.05])
        thread.start()
        try:
            yield opened
        finally:
            opened.shutdown()
            thread.join()


@pytest.fixture
def port(opened: Gateway) -> int:
    return opened.socket.getsockname()[1]


def status_of(port: int, body: bytes) -> int:
    with socket.create_connection(("127.0.0.1", port), 30) as caller:
        head = b"POST /predictions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body)
        caller.sendall(head + body)
        return int(caller.recv(100).split()[1])


def test_the_largest_body_passes_and_one_more_byte_does_not(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.dumps({"input": {"image": "data:,x"}}).encode()
    monkeypatch.setattr(gateway, "MAX_BODY", len(body))
    assert status_of(port, body) == 200
    assert status_of(port, body + b" ") == 413


def test_only_large_bodies_wait_for_each_other(
    opened: Gateway, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the maximum of large bodies is in memory, one just below the threshold still passes."""
    body = json.dumps({"input": {"image": "data:,x"}}).encode()
    monkeypatch.setattr(gateway, "WAITING", 0.2)
    monkeypatch.setattr(gateway, "LARGE", len(body))
    for _ in range(gateway.MAX_LARGE):
        assert opened.large.acquire(blocking=False)
    assert status_of(port, body) == 200
    assert status_of(port, body + b" ") == 503


def test_large_bodies_release_their_slot(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps({"input": {"image": "data:,x"}}).encode()
    monkeypatch.setattr(gateway, "WAITING", 0.2)
    monkeypatch.setattr(gateway, "LARGE", len(body) - 1)
    assert [status_of(port, body) for _ in range(gateway.MAX_LARGE + 2)] == [200] * (gateway.MAX_LARGE + 2)


def test_the_largest_number_of_values_passes() -> None:
    def request(values: int) -> bytes:
        """{"input": [0, 0, …]}: an object, its colon, a list, and commas."""
        return b'{"input": [' + b"0," * (values - 3) + b"0]}"

    assert len(check_body(request(gateway.MAX_VALUES)).inputs) == gateway.MAX_VALUES - 2
    with pytest.raises(Refusal, match="more than 1000 values"):
        check_body(request(gateway.MAX_VALUES + 1))


def test_the_longest_identifier_has_a_hundred_letters() -> None:
    assert check_body(json.dumps({"id": "a" * 100}).encode()).name == "a" * 100
    with pytest.raises(Refusal, match="1 to 100"):
        check_body(json.dumps({"id": "a" * 101}).encode())


def test_only_this_machine_shuts_the_server_down(port: int) -> None:
    """A caller from any other address may not, even without a header that names its origin."""
    request = b"POST /shutdown HTTP/1.1\r\ncontent-length: 0\r\n\r\n"
    try:
        far = socket.create_connection(("127.0.0.1", port), 30, source_address=("127.0.0.2", 0))
    except OSError:
        pytest.skip("this system has one loopback address only")
    with far, socket.create_connection(("127.0.0.1", port), 30) as near:
        far.sendall(request)
        assert far.recv(100).split()[1] == b"403"
        near.sendall(request)
        assert near.recv(100).split()[1] == b"200"


# --- fetched files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("announced", [True, False])
def test_the_largest_file_is_accepted_and_one_more_byte_is_not(
    server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch, announced: bool
) -> None:
    monkeypatch.setenv(PRIVATE, "1")
    server.add("/file", File(CONTENT, chunked=not announced))
    monkeypatch.setattr(uploads, "MAX_BYTES", len(CONTENT))
    with take_in(server.url("/file")) as file:
        assert file.read() == CONTENT
    monkeypatch.setattr(uploads, "MAX_BYTES", len(CONTENT) - 1)
    with pytest.raises(DownloadError, match="larger than"):
        take_in(server.url("/file"))


def chained(server: MisbehavingServer, count: int) -> str:
    """The URL of a file behind this many redirects."""
    server.add("/0", File(CONTENT))
    for number in range(count):
        server.add(f"/{number + 1}", redirect(server.url(f"/{number}")))
    return server.url(f"/{count}")


def test_the_largest_number_of_redirects_is_followed(
    server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PRIVATE, "1")
    with take_in(chained(server, MAX_URL_REDIRECTS)) as file:
        assert file.read() == CONTENT
    with pytest.raises(DownloadError, match="more than 5 times"):
        take_in(chained(server, MAX_URL_REDIRECTS + 1))


def test_a_download_follows_the_largest_number_of_redirects(server: MisbehavingServer, target: Path) -> None:
    with pytest.raises(DownloadError, match="more than 10 times"):
        download([Url(chained(server, MAX_REDIRECTS + 1))], target, timeout=10.0, backoff=0.01)
    download([Url(chained(server, MAX_REDIRECTS))], target, timeout=10.0, backoff=0.01)
    assert target.read_bytes() == CONTENT
