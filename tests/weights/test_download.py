"""Downloads: fallback sources, resuming, packed files, unexpected answers, proxies."""

from __future__ import annotations

import bz2
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from downloads import CONTENT, QUICK, RIGHT, SHA256, failure, fetch, leave_part, part_of
from misbehaving_server import File, InTurn, MisbehavingServer, Status, gzipped, page

from micromotion import __version__
from micromotion.errors import DownloadError
from micromotion.weights.download import Drive, Hub, Source, Url, _bunzip, download

OTHER = np.random.default_rng(8).bytes(300_000)


# ── the plain case ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("known", [RIGHT, {"size": len(CONTENT)}, {"sha256": SHA256.upper()}, {}])
def test_a_file_is_downloaded(server: MisbehavingServer, target: Path, known: dict[str, Any]) -> None:
    seen: list[tuple[int, int | None]] = []
    address = server.add("/a.pt", File(CONTENT))
    fetch([Url(address)], target, **known, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)
    (request,) = server.requests
    assert request.headers["user-agent"] == f"micromotion/{__version__}"
    assert request.headers["accept-encoding"] == "identity"
    assert "range" not in request.headers


def test_without_a_length_the_connections_end_counts(server: MisbehavingServer, target: Path) -> None:
    seen: list[int | None] = []
    address = server.add("/a.pt", File(CONTENT, chunked=True))
    fetch([Url(address)], target, on_progress=lambda _, total: seen.append(total))
    assert set(seen) == {None}


def test_existing_files_are_not_fetched_again(server: MisbehavingServer, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    for known in (RIGHT, {"size": len(CONTENT)}, {"sha256": SHA256}, {}):
        fetch([Url(server.url("/a.pt"))], target, **known)
    assert server.requests == []


@pytest.mark.parametrize("there", [CONTENT[:-1], OTHER, b""])
def test_a_wrong_file_is_replaced(server: MisbehavingServer, target: Path, there: bytes) -> None:
    target.parent.mkdir()
    target.write_bytes(there)
    fetch([Url(server.add("/a.pt", File(CONTENT)))], target, **RIGHT)


def test_a_wrong_file_is_removed_even_without_a_replacement(server: MisbehavingServer, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(OTHER)
    failure([Url(server.url("/missing"))], target, **RIGHT)


def test_a_link_at_the_target_is_replaced_and_not_followed(
    server: MisbehavingServer, target: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(OTHER)
    target.parent.mkdir()
    target.symlink_to(mine)
    fetch([Url(server.add("/a.pt", File(CONTENT)))], target, **RIGHT)
    assert mine.read_bytes() == OTHER


def test_a_link_at_the_parts_path_is_not_followed(
    server: MisbehavingServer, target: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(OTHER)
    target.parent.mkdir()
    part_of(target).symlink_to(mine)
    failure([Url(server.add("/a.pt", File(CONTENT)))], target, **RIGHT)
    assert mine.read_bytes() == OTHER


# ── sources in order ───────────────────────────────────────────────────────────────────────────────────────


def test_any_failure_leads_to_the_next_source(server: MisbehavingServer, target: Path) -> None:
    sources: list[Source] = [
        Url(server.add("/gone", Status(404))),
        Url(server.add("/other", File(OTHER))),
        Url(server.add("/page", page("<html>Please log in</html>"))),
        Hub("someone/faces", "e4e.pt", base=server.base),
        Url(server.add("/good", File(CONTENT))),
        Url(server.add("/never", File(CONTENT))),
    ]
    fetch(sources, target, **RIGHT)
    assert len(server.asked("/gone")) == len(server.asked("/other")) == len(server.asked("/page")) == 1
    assert not server.asked("/never")


def test_the_error_names_each_problem_and_a_remedy(server: MisbehavingServer, target: Path) -> None:
    sources: list[Source] = [
        Url(server.add("/gone", Status(404))),
        Hub("someone/faces", "e4e.pt", base=server.add("", Status(403))),
        Drive("abc", base=server.base),
    ]
    server.add("/someone/faces/resolve/main/e4e.pt", Status(403))
    server.add("/download", page("<title>Google Drive - Quota exceeded</title>"))
    host = server.base.removeprefix("http://")
    assert failure(sources, target, **RIGHT) == (
        f"weights.pt could not be downloaded from any of its 3 sources ({host} answers 404 Not Found; "
        f"{host}/someone/faces answers 403 Forbidden; Google Drive has had its quota of downloads for now): "
        f"try again later, or download it by hand to {target} and start again."
    )


def test_a_download_without_sources_is_refused(target: Path) -> None:
    assert "no known source" in failure([], target)


def test_a_packed_source_between_plain_ones(server: MisbehavingServer, target: Path) -> None:
    """Its failure leaves the beginning of the unpacked file, from which the next source resumes."""
    sources: list[Source] = [
        Url(server.add("/a.bz2", File(bz2.compress(CONTENT, 1), cut=250_000)), unpack="bz2"),
        Url(server.add("/a", File(CONTENT))),
    ]
    fetch(sources, target, **RIGHT)
    assert all("range" not in request.headers for request in server.asked("/a.bz2"))
    assert server.asked("/a")[0].headers["range"] != "bytes=0-"


# ── resume ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_next_call_resumes(server: MisbehavingServer, target: Path) -> None:
    broken = File(CONTENT, cut=100_000)
    address = server.add("/a.pt", InTurn(broken, Status(404), File(CONTENT)))
    message = failure([Url(address)], target, **RIGHT)
    assert "it resumes where it stopped" in message
    assert part_of(target).read_bytes() == CONTENT[:100_000]
    seen: list[int] = []
    fetch([Url(address)], target, **RIGHT, on_progress=lambda done, _: seen.append(done))
    assert seen[0] == 100_000
    assert server.requests[-1].headers["range"] == "bytes=100000-"


@pytest.mark.parametrize("known", [RIGHT, {"sha256": SHA256}])
def test_a_complete_part_needs_no_server(target: Path, known: dict[str, Any]) -> None:
    leave_part(target, CONTENT)
    fetch([Url("http://127.0.0.1:9/nobody-listens")], target, **known)


@pytest.mark.slow
@pytest.mark.parametrize("ranges", ["ignored", "shifted", "refused", "liar"])
@pytest.mark.parametrize("part", [CONTENT[:70_000], OTHER[:70_000], CONTENT + b"more", OTHER])
def test_a_mismatch_of_part_and_server_restarts(
    server: MisbehavingServer, target: Path, ranges: str, part: bytes
) -> None:
    leave_part(target, part)
    fetch([Url(server.add("/a.pt", File(CONTENT, ranges=ranges)))], target, **RIGHT)


def test_a_part_from_another_file_costs_one_more_request(server: MisbehavingServer, target: Path) -> None:
    leave_part(target, OTHER[:70_000])
    fetch([Url(server.add("/a.pt", File(CONTENT)))], target, **RIGHT)
    assert [request.headers.get("range") for request in server.requests] == ["bytes=70000-", None]


def test_the_part_is_removed_if_the_hash_is_wrong(server: MisbehavingServer, target: Path) -> None:
    leave_part(target, CONTENT[:70_000])
    message = failure([Url(server.add("/a.pt", File(OTHER)))], target, **RIGHT)
    assert "SHA-256" in message
    assert list(target.parent.iterdir()) == []


class TestWithoutAHash:
    """Without a hash, nothing could detect that a part and its rest are from different files."""

    def test_the_same_version_is_resumed(self, server: MisbehavingServer, target: Path) -> None:
        address = server.add("/a.pt", InTurn(File(CONTENT, cut=100_000), File(CONTENT)))
        fetch([Url(address)], target)
        last = server.requests[-1].headers
        assert last["range"] == "bytes=100000-"
        assert last["if-range"].startswith('"')

    def test_a_date_counts_as_a_version(self, server: MisbehavingServer, target: Path) -> None:
        date = "Wed, 21 Oct 2015 07:28:00 GMT"
        file = File(CONTENT, cut=100_000, version=None, headers={"Last-Modified": date}, if_range=False)
        address = server.add("/a.pt", InTurn(file, File(CONTENT, version=None, if_range=False)))
        fetch([Url(address)], target)
        assert server.requests[-1].headers["if-range"] == date

    def test_a_weak_tag_does_not_count(self, server: MisbehavingServer, target: Path) -> None:
        address = server.add("/a.pt", InTurn(File(OTHER, cut=9, version='W/"v"'), File(CONTENT)))
        fetch([Url(address)], target)
        assert "range" not in server.requests[-1].headers

    @pytest.mark.parametrize("if_range", [True, False])
    def test_another_version_is_not_resumed(
        self, server: MisbehavingServer, target: Path, if_range: bool
    ) -> None:
        address = server.add("/a.pt", File(CONTENT, if_range=if_range))
        leave_part(target, OTHER[:70_000], address, '"old"')
        fetch([Url(address)], target)

    def test_an_unknown_version_is_not_resumed(self, server: MisbehavingServer, target: Path) -> None:
        address = server.add(
            "/a.pt", InTurn(File(OTHER, cut=90_000, version=None), File(CONTENT, version=None))
        )
        fetch([Url(address)], target)
        assert "range" not in server.requests[-1].headers

    def test_another_source_is_not_resumed(self, server: MisbehavingServer, target: Path) -> None:
        leave_part(target, OTHER[:70_000], server.url("/b.pt"), '"b"')
        fetch([Url(server.add("/a.pt", File(CONTENT)))], target)

    def test_one_of_two_sources_is_not_resumed(self, server: MisbehavingServer, target: Path) -> None:
        first = server.add("/a.pt", InTurn(File(OTHER, cut=70_000, version='"v"'), Status(404)))
        second = server.add("/b.pt", InTurn(File(CONTENT, cut=1), Status(404)))
        failure([Url(first)], target)
        failure([Url(second)], target, **RIGHT)  # with a hash, a part of another file may be tried
        assert part_of(target).read_bytes() == OTHER[:70_000] + CONTENT[70_000:70_001]
        fetch([Url(server.add("/a.pt", File(CONTENT, version='"v"')))], target)


# ── packed files ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "packed",
    [bz2.compress(CONTENT), bz2.compress(CONTENT[:1]) + bz2.compress(CONTENT[1:])],
    ids=["one stream", "two streams"],
)
@pytest.mark.parametrize("known", [RIGHT, {}])
def test_bzip2(server: MisbehavingServer, target: Path, packed: bytes, known: dict[str, Any]) -> None:
    fetch([Url(server.add("/a.bz2", File(packed)), unpack="bz2")], target, **known)


def test_bzip2_does_not_promise_to_resume(server: MisbehavingServer, target: Path) -> None:
    address = server.add("/a.bz2", File(bz2.compress(CONTENT, 1), cut=250_000))
    assert "try again later" in failure([Url(address, unpack="bz2")], target, **RIGHT)


def test_bzip2_restarts(server: MisbehavingServer, target: Path) -> None:
    packed = bz2.compress(CONTENT)
    leave_part(target, CONTENT[:1000])
    address = server.add("/a.bz2", InTurn(File(packed, cut=100_000), File(packed)))
    fetch([Url(address, unpack="bz2")], target, **RIGHT)
    assert all("range" not in request.headers for request in server.requests)


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (CONTENT, "not a bzip2 file"),
        (bz2.compress(CONTENT) + b"trailing rubbish", "not a bzip2 file"),
        (bz2.compress(CONTENT[:-1]), "bytes instead of"),
        (bz2.compress(OTHER), "SHA-256"),
        (bz2.compress(CONTENT)[:-10], "breaks off within the packed file"),
        (b"", "breaks off within the packed file"),
        (bz2.compress(bytes(20_000_000)), "more than the 300000 bytes"),
    ],
    ids=["plain", "rubbish", "short", "other", "cut", "empty", "bomb"],
)
def test_bad_bzip2(server: MisbehavingServer, target: Path, packed: bytes, words: str) -> None:
    seen = [0]
    address = server.add("/a.bz2", File(packed))
    message = failure([Url(address, unpack="bz2")], target, **RIGHT, on_progress=lambda n, _: seen.append(n))
    assert words in message
    assert max(seen) <= len(CONTENT)


def test_bzip2_is_unpacked_in_small_pieces() -> None:
    """However much a few bytes unpack to, memory holds only a piece."""
    sizes = [len(piece) for piece in _bunzip([bz2.compress(bytes(50_000_000))])]
    assert sum(sizes) == 50_000_000
    assert max(sizes) <= 1 << 20


# ── other answers ──────────────────────────────────────────────────────────────────────────────────────────


def test_compressed_answers_are_refused(server: MisbehavingServer, target: Path) -> None:
    assert "compressed" in failure([Url(server.add("/a", gzipped(CONTENT)))], target, **RIGHT)


def test_web_pages_are_refused_without_size_and_hash(server: MisbehavingServer, target: Path) -> None:
    assert "web page" in failure([Url(server.add("/a", page("<html>")))], target)


def test_empty_files_are_refused(server: MisbehavingServer, target: Path) -> None:
    assert "empty" in failure([Url(server.add("/a", File(b"")))], target)


def test_an_unrequested_range_is_refused(server: MisbehavingServer, target: Path) -> None:
    answer = Status(206, {"Content-Range": "bytes 0-1/2"}, b"no")
    assert "answers 206" in failure([Url(server.add("/a", answer))], target)


def test_the_environments_proxy_is_used(
    server: MisbehavingServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add("/a.pt", File(CONTENT))
    monkeypatch.setenv("HTTP_PROXY", server.base)
    monkeypatch.setenv("NO_PROXY", "")
    fetch([Url("http://weights.example/a.pt")], target, **RIGHT)
    assert server.requests[0].path == "http://weights.example/a.pt"


@pytest.mark.parametrize("proxy", ["gopher://127.0.0.1:1", "http://[", "socks5://127.0.0.1:1"])
def test_a_bad_proxy_gives_one_sentence(
    server: MisbehavingServer, target: Path, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(DownloadError):
        download([Url(server.add("/a", File(CONTENT)))], target, **RIGHT, **QUICK)
    assert not target.exists()


def test_an_exception_in_on_progress_stops_and_keeps_the_part(
    server: MisbehavingServer, target: Path
) -> None:
    def stop(done: int, total: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download([Url(server.add("/a", File(CONTENT)))], target, **RIGHT, on_progress=stop)
    assert not target.exists()
    fetch([Url(server.url("/a"))], target, **RIGHT)
    assert "range" in server.requests[-1].headers
