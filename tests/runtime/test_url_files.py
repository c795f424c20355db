"""Files behind URLs that others chose: data URLs are decoded, others are fetched within limits."""

from __future__ import annotations

import base64
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from misbehaving_server import (
    Exchange,
    File,
    MisbehavingServer,
    Status,
    drip_headers,
    endless,
    hang_up,
    redirect,
)
from running_server import wait_until

from micromotion.errors import DownloadError
from micromotion.runtime import url_files
from micromotion.runtime.address_policy import PRIVATE
from micromotion.runtime.url_files import open_url

CONTENT = bytes(range(256)) * 1000
MOST = 1 << 20


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MisbehavingServer]:
    """A server that may be fetched from, with shorter timeouts."""
    monkeypatch.setenv(PRIVATE, "1")
    monkeypatch.setattr(url_files, "MAX_SECONDS", 2.0)
    monkeypatch.setattr(url_files, "STALL", 1.0)
    with MisbehavingServer() as server:
        yield server


def refusal(url: str) -> str:
    """The one-sentence error of a refused URL; no file stays open."""
    before = open_files()
    with pytest.raises(DownloadError) as raised:
        open_url(url, MOST)
    sentence = str(raised.value)
    assert sentence[0].isupper()
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert len(sentence) < 250
    wait_until(lambda: open_files() <= before, 10, "all files to be closed")
    return sentence


def open_files() -> int:
    """The open files, including those of the server, which runs in this process."""
    folder = Path("/proc/self/fd")
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0


# --- data URLs ----------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from(["", "image/png", "image/png;charset=x", "application/x-a+b.c-d"]),
)
def test_a_data_url_gives_its_bytes(content: bytes, kind: str) -> None:
    with open_url(f"data:{kind};base64,{base64.b64encode(content).decode()}", MOST) as file:
        assert file.read() == content
    with open_url(f"data:{kind},{urllib.parse.quote_from_bytes(content)}", MOST) as file:
        assert file.read() == content


@settings(deadline=None)
@given(st.text(max_size=80))
def test_any_data_url_gives_bytes_or_a_sentence(text: str) -> None:
    for url in (f"data:{text}", f"data:image/png;base64,{text}"):
        try:
            open_url(url, MOST).close()
        except DownloadError as error:
            assert str(error).endswith(".")  # noqa: PT017


@pytest.mark.parametrize(
    "url", ["data:", "data:image/png", "data:;base64", "data:a#b,x", "data:" + "x" * 99_999 + ",x"]
)
def test_invalid_data_urls_are_refused(url: str) -> None:
    assert "data:image/jpeg;base64,…" in refusal(url)


def test_invalid_base64_is_refused() -> None:
    assert "cut off" in refusal("data:image/png;base64,AAAAA")
    assert "another alphabet" in refusal("data:image/png;base64,-_-_")
    for text in ("ä", "AA=A", "AAA==", "AAAA=", "AA==AA==", "A%00AA"):
        assert "no valid base64" in refusal(f"data:image/png;base64,{text}")


READ = [  # as in https://fetch.spec.whatwg.org/#data-urls
    ("DATA:IMAGE/JPEG;BASE64,/+8=", b"\xff\xef"),
    (" \t\r\ndAtA:,x\n", b"x"),
    ("data:None;base64,/+8=", b"\xff\xef"),
    ("data:a/b/c,x", b"x"),
    ("data:;base64,/+8", b"\xff\xef"),
    ("data:;BASE64,/+9", b"\xff\xef"),  # spare bits of the last character are ignored
    ("data:image/jpeg;name=my%20face.jpg;base64,/+8=", b"\xff\xef"),
    ('data:image/jpeg;name="a b";charset=utf-8;  Base64 ,/+8=', b"\xff\xef"),
    ("data:image/jpeg;base64,%2F%2b8%3D", b"\xff\xef"),
    ("data:image/jpeg;base64,/ +\n8%0A%09\f=", b"\xff\xef"),
    ("data:image/jpeg;base64;a=b,/+8=", b"/+8="),
    ("data:base64,/+8=", b"/+8="),
    ("data:,a%00%ff%zz%", b"a\0\xff%zz%"),
    ("data:,a\nb%0Ac#d", b"ab\nc"),
    ("data:,ä", "ä".encode()),
    ("data:,a,b", b"a,b"),
    ("data:image/png;base64,", b""),
    ("data:,", b""),
]


@pytest.mark.parametrize(("url", "content"), READ)
def test_a_data_url_is_read_as_browsers_read_it(url: str, content: bytes) -> None:
    with open_url(url, MOST) as file:
        assert file.read() == content


# --- URLs ---------------------------------------------------------------------------------------------------


def test_a_file_is_fetched(server: MisbehavingServer) -> None:
    server.add("/file", File(CONTENT))
    server.add("/moved", redirect(server.url("/file")))
    server.add("/relative", redirect("file"))
    for path in ("/file", "/moved", "/relative", "/file?a=b"):
        with open_url(server.url(path), MOST) as file:
            assert file.read() == CONTENT


def test_this_machine_is_not_fetched_from(server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PRIVATE, "0")
    server.add("/file", File(CONTENT))
    assert "this machine" in refusal(server.url("/file"))
    assert "this machine" in refusal(server.url("/file").replace("127.0.0.1", "localhost"))
    assert server.requests == []


def test_redirects_are_checked_too(server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first address counts as public; the second is checked as it is."""
    monkeypatch.setenv(PRIVATE, "0")
    monkeypatch.setattr("micromotion.runtime.address_policy.is_public", lambda host: host == "127.0.0.1")
    server.add("/inside", redirect("http://127.0.0.2:1/latest/meta-data"))
    assert "private network" in refusal(server.url("/inside"))
    server.add("/file", redirect("file:///etc/passwd"))
    assert "not one of http or https" in refusal(server.url("/file"))


def test_a_redirect_loop_ends(server: MisbehavingServer) -> None:
    server.add("/loop", redirect(server.url("/loop")))
    assert "more than 5 times" in refusal(server.url("/loop"))
    assert len(server.requests) == 6


@pytest.mark.parametrize("status", [204, 206, 304, 404, 500])
def test_other_statuses_are_reported(server: MisbehavingServer, status: int) -> None:
    server.add("/file", Status(status))
    assert f"answers {status}" in refusal(server.url("/file"))


def drip(exchange: Exchange) -> None:
    """Send a body of one byte at a time, for ever."""
    exchange.begin(200, {})
    while True:
        exchange.write(b"x")
        exchange.pause(0.2)


@pytest.mark.slow
def test_slow_servers_time_out(server: MisbehavingServer) -> None:
    for name, behaviour in (("headers", drip_headers), ("body", drip)):
        server.add(f"/{name}", behaviour)
        start = time.monotonic()
        assert "too slow" in refusal(server.url(f"/{name}"))
        assert time.monotonic() - start < 10
    server.add("/silent", lambda exchange: exchange.pause(3))
    assert "is silent" in refusal(server.url("/silent"))


def test_too_large_files_are_refused(server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(url_files, "MAX_SECONDS", 60.0)
    server.add("/endless", endless)
    server.add("/stated", File(bytes(1 << 21)))
    assert "larger than 1 MB" in refusal(server.url("/endless"))
    assert "larger than 1 MB" in refusal(server.url("/stated"))


def test_broken_connections_are_reported(server: MisbehavingServer) -> None:
    server.add("/hang-up", hang_up)
    server.add("/short", File(CONTENT, cut=1000))
    assert "broke off" in refusal(server.url("/hang-up"))
    assert "broke off" in refusal(server.url("/short"))
    assert "refuses" in refusal("http://127.0.0.1:1/")
    assert "certificate" in refusal(server.url("/short").replace("http:", "https:"))


def test_a_cancellation_takes_effect_at_once(
    server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any exception raised in the waiting thread, as Cog's cancellation is."""

    class Cancelled(BaseException):
        pass

    monkeypatch.setattr(url_files, "MAX_SECONDS", 60.0)
    server.add("/silent", lambda exchange: exchange.pause(60))
    join = threading.Thread.join

    def struck(self: threading.Thread, timeout: float | None = None) -> None:
        join(self, timeout)
        raise Cancelled

    monkeypatch.setattr(threading.Thread, "join", struck)
    start = time.monotonic()
    with pytest.raises(Cancelled):
        open_url(server.url("/silent"), MOST)
    assert time.monotonic() - start < 5
    monkeypatch.undo()
