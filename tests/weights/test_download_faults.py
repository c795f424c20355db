"""Downloads from servers that fail, temporarily or permanently."""

from __future__ import annotations

import email.utils
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faulty_downloads import CONTENT, QUICK, RIGHT, SIZE, assert_sentence, failure, finishes
from misbehaving_server import (
    Behaviour,
    DrivePage,
    Exchange,
    File,
    InTurn,
    MisbehavingServer,
    Status,
    babble,
    drip_chunk_extension,
    drip_headers,
    endless,
    gzipped,
    hang_up,
    page,
    redirect,
)

from micromotion.errors import DownloadError
from micromotion.weights.download import Url, download

OTHER = np.random.default_rng(8).bytes(3_000_000)


# ── bad servers ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        pytest.param(File(CONTENT, cut=100_000, ranges="ignored"), "breaks the connection", id="truncates"),
        pytest.param(
            File(CONTENT, cut=100_000, chunked=True, ranges="ignored"),
            "breaks the connection",
            id="in chunks",
        ),
        pytest.param(
            File(CONTENT, cut=100_000, lengthless=True, ranges="ignored"),
            "breaks off after 100000 of 3000000 bytes",
            id="without a length",
        ),
        pytest.param(
            File(CONTENT, cut=100_000, reset=True, ranges="ignored"), "breaks the connection", id="resets"
        ),
        pytest.param(hang_up, "breaks the connection", id="hangs up"),
        pytest.param(babble, "breaks the connection", id="not HTTP"),
        pytest.param(redirect("/bad"), "redirects more than 10 times", id="redirects in circles"),
        pytest.param(Status(401), "answers 401 Unauthorized", id="401"),
        pytest.param(Status(403), "answers 403 Forbidden", id="403"),
        pytest.param(Status(404), "answers 404 Not Found", id="404"),
        pytest.param(Status(429), "answers 429 Too Many Requests", id="429"),
        pytest.param(Status(500), "answers 500 Internal Server Error", id="500"),
        pytest.param(Status(503), "answers 503 Service Unavailable", id="503"),
        pytest.param(Status(299), "answers 299", id="299"),
        pytest.param(Status(204, body=b""), "answers 204", id="204"),
        pytest.param(Status(304, body=b""), "answers 304", id="304"),
        pytest.param(
            File(CONTENT, announce=SIZE - 1), "has 2999999 bytes instead of 3000000", id="says less"
        ),
        pytest.param(
            File(CONTENT, announce=SIZE + 1), "has 3000001 bytes instead of 3000000", id="says more"
        ),
        pytest.param(File(CONTENT[:-1], announce=SIZE), "ends after 2999999 bytes", id="has less"),
        pytest.param(File(CONTENT[:-1], chunked=True), "ends after 2999999 bytes", id="has less, in chunks"),
        pytest.param(File(CONTENT + b"x"), "has 3000001 bytes instead of 3000000", id="has more"),
        pytest.param(File(CONTENT + b"x", chunked=True), "sends more than", id="has more, in chunks"),
        pytest.param(
            Status(200, {"Content-Length": "-5"}), "breaks the connection", id="a length that is no number"
        ),
        pytest.param(endless, "sends more than", id="never ends"),
        pytest.param(File(OTHER), "SHA-256", id="other bytes"),
        pytest.param(File(CONTENT[:-1] + b"?"), "SHA-256", id="one other byte"),
        pytest.param(page("<html>Log in</html>"), "sends a web page", id="a page"),
        pytest.param(DrivePage(File(CONTENT), "id"), "sends a web page", id="Drive's page, but not Drive"),
        pytest.param(gzipped(CONTENT), "compressed", id="gzip"),
    ],
)
def test_bad_servers(server: MisbehavingServer, target: Path, behaviour: Behaviour, words: str) -> None:
    message = failure(server, target, behaviour)
    assert any(word in message for word in words.split("|")), message
    finishes(server, target)


@pytest.mark.slow
@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(File(CONTENT, stall=200_000), id="stalls"),
        pytest.param(lambda exchange: exchange.pause(60), id="no answer"),
    ],
)
def test_a_silent_server_times_out(server: MisbehavingServer, target: Path, behaviour: Behaviour) -> None:
    assert "sends nothing for 0.4 s" in failure(server, target, behaviour, timeout=0.4)
    finishes(server, target)


def test_a_refused_connection_is_reported(target: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/a"
        with pytest.raises(DownloadError, match="cannot be reached") as caught:
            download([Url(address)], target, **RIGHT, **QUICK)
    assert_sentence(str(caught.value))


@pytest.mark.slow
@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(File(CONTENT, chunk=1, pace=0.01), id="body"),
        pytest.param(File(CONTENT, chunk=1, pace=0.01, lengthless=True), id="body without a length"),
        pytest.param(drip_headers, id="headers"),
        pytest.param(drip_chunk_extension, id="chunk extension"),
    ],
)
@pytest.mark.parametrize("known", [RIGHT, {"size": None, "sha256": None}], ids=["known", "unknown"])
def test_a_drip_is_bounded(
    server: MisbehavingServer, target: Path, behaviour: Behaviour, known: dict[str, Any]
) -> None:
    """Every byte arrives well within the timeout; only the rate is too low."""
    message = failure(server, target, behaviour, **known, timeout=30.0, patience=0.4)
    assert "sends less than 1000 bytes a second" in message
    assert len(server.requests) <= 1  # none if this machine stalls for a whole window before the request


@pytest.mark.slow
def test_slow_is_not_too_slow(server: MisbehavingServer, target: Path) -> None:
    """Longer than several windows, at 20 kB per window where 2 would suffice."""
    content = CONTENT[:60_000]
    address = server.add("/slow", File(content, chunk=1000, pace=0.1))
    download([Url(address)], target, size=len(content), timeout=30.0, patience=2.0)
    assert target.read_bytes() == content


# ── retries ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("behaviour", "requests"),
    [(Status(404), 1), (Status(403), 1), (File(OTHER), 1), (Status(500), 3), (Status(429), 3), (hang_up, 3)],
)
def test_the_number_of_retries(
    server: MisbehavingServer, target: Path, behaviour: Behaviour, requests: int
) -> None:
    failure(server, target, behaviour)
    assert len(server.requests) == requests


@pytest.mark.parametrize("passing", [Status(500), Status(429), hang_up, File(CONTENT, cut=5000)])
def test_temporary_failures_are_retried(server: MisbehavingServer, target: Path, passing: Behaviour) -> None:
    address = server.add("/a", InTurn(passing, passing, File(CONTENT)))
    download([Url(address)], target, **RIGHT, **QUICK)
    assert target.read_bytes() == CONTENT


def test_a_connection_that_breaks_often_still_succeeds(server: MisbehavingServer, target: Path) -> None:
    """Each answer delivers over a megabyte, which is progress for any number of answers."""
    content = CONTENT * 3
    address = server.add("/a", File(content, cut=1_100_000))
    download([Url(address)], target, size=len(content), **QUICK)
    assert target.read_bytes() == content
    assert len(server.requests) == 9


def test_a_server_that_breaks_at_the_same_place_for_ever(server: MisbehavingServer, target: Path) -> None:
    failure(server, target, File(CONTENT, cut=1_500_000, ranges="ignored"))
    assert len(server.requests) == 3


@pytest.mark.slow
def test_retry_after_is_respected(server: MisbehavingServer, target: Path) -> None:
    times: list[float] = []

    def good(exchange: Exchange) -> None:
        times.append(time.monotonic())
        File(CONTENT)(exchange)

    def busy(exchange: Exchange) -> None:
        times.append(time.monotonic())
        Status(429, {"Retry-After": "1"})(exchange)

    download([Url(server.add("/a", InTurn(busy, good)))], target, **RIGHT, **QUICK)
    assert times[1] - times[0] >= 1  # how much longer depends on the machine


IN_AN_HOUR = email.utils.formatdate(time.time() + 3600, usegmt=True)


@pytest.mark.parametrize("when", ["3600", pytest.param(IN_AN_HOUR, id="a date"), "9" * 9])
def test_long_retry_after_times_are_not_waited_for(
    server: MisbehavingServer, target: Path, when: str
) -> None:
    busy = server.add("/busy", Status(503, {"Retry-After": when}))
    download([Url(busy), Url(server.add("/good", File(CONTENT)))], target, **RIGHT, **QUICK)
    assert len(server.asked("/busy")) == 1


@pytest.mark.parametrize("when", ["soon", "-1", "", "0", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_other_retry_after_times_do_not_delay(server: MisbehavingServer, target: Path, when: str) -> None:
    failure(server, target, Status(503, {"Retry-After": when}))
    assert len(server.requests) == 3
