"""Where downloads come from: redirects, addresses, the hub, Google Drive."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from downloads import CONTENT, RIGHT, failure, fetch, leave_part
from misbehaving_server import DrivePage, File, MisbehavingServer, page, redirect

from micromotion.weights import web
from micromotion.weights.download import Drive, Hub, Url
from micromotion.weights.web import read_page

# ── redirects and addresses ────────────────────────────────────────────────────────────────────────────────


def test_redirects_are_followed_with_the_range(server: MisbehavingServer, target: Path) -> None:
    server.add("/1", redirect("/2", 301))
    server.add("/2", redirect("deep/3", 307))
    server.add("/deep/3", redirect(server.url("/4"), 308))
    server.add("/4", redirect("../a.pt", 303))
    server.add("/a.pt", File(CONTENT))
    leave_part(target, CONTENT[:1000])
    fetch([Url(server.url("/1"))], target, **RIGHT)
    assert server.asked("/a.pt")[0].headers["range"] == "bytes=1000-"


def test_at_most_ten_redirects_are_followed(server: MisbehavingServer, target: Path) -> None:
    for i in range(11):
        server.add(f"/{i}", redirect(f"/{i + 1}"))
    server.add("/11", File(CONTENT))
    fetch([Url(server.url("/1"))], target, **RIGHT)
    target.unlink()
    assert "redirects more than 10 times" in failure([Url(server.url("/0"))], target, **RIGHT)


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("/loop", "redirects more than 10 times"),
        ("ftp://127.0.0.1/a", "neither http nor https"),
        ("file:///etc/hostname", "neither http nor https"),
        ("http://", "cannot be reached|neither http nor https"),
        ("http://[::1", "breaks the connection"),
        ("", "redirects more than 10 times|answers 302"),
    ],
)
def test_bad_redirects(server: MisbehavingServer, target: Path, to: str, words: str) -> None:
    assert re.search(words, failure([Url(server.add("/loop", redirect(to)))], target, **RIGHT))


@pytest.mark.slow
@pytest.mark.parametrize(
    "address",
    [
        "",
        "weights.pt",
        "ftp://host/a",
        "file:///etc/passwd",
        "http://a\x00b",
        "http:///a",
        "http://a..b/",
        "http://" + "a" * 70 + "/",
    ],
)
def test_bad_addresses(target: Path, address: str) -> None:
    assert "leads to an address that is" in failure([Url(address)], target, **RIGHT)


def test_https_does_not_become_http(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a real server, since https would need a trusted certificate."""

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.scheme == "https", "asked over http"
        return httpx.Response(302, headers={"Location": "http://example.org/a"})

    client = httpx.Client(transport=httpx.MockTransport(answer))
    monkeypatch.setattr(web, "open_client", lambda timeout: client)
    assert "from https to http" in failure([Url("https://example.org/a")], target, **RIGHT)


# ── the hub ────────────────────────────────────────────────────────────────────────────────────────────────


def test_hub_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    source = Hub("AIRI-Institute/HairFastGAN", "pretrained models/e4e.pt", revision="refs/pr/1")
    assert source.address == (
        "https://huggingface.co/AIRI-Institute/HairFastGAN/resolve/refs%2Fpr%2F1/pretrained%20models/e4e.pt"
    )
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert Hub("a/b", "c").address == "https://mirror.example/a/b/resolve/main/c"


def test_the_token_is_sent_only_to_the_hub(
    server: MisbehavingServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with MisbehavingServer() as store:  # another port is another host
        store.add("/blob", File(CONTENT))
        server.add("/a/b/resolve/main/c.pt", redirect("/moved"))
        server.add("/moved", redirect(store.url("/blob")))
        fetch([Hub("a/b", "c.pt", base=server.base)], target, **RIGHT)
        target.unlink()
        fetch([Url(store.url("/blob"))], target, **RIGHT)
        assert all("authorization" not in request.headers for request in store.requests)
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer hf_secret"] * 2


@pytest.mark.parametrize("token", ["", "  ", "zwölf", "a\nb"])
def test_an_invalid_token_is_not_sent(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    assert Hub("a/b", "c").headers() == {}


def test_the_token_is_not_sent_unencrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert Hub("a/b", "c").headers() == {"Authorization": "Bearer hf_secret"}
    assert Hub("a/b", "c", base="http://mirror.example").headers() == {}


# ── Google Drive ───────────────────────────────────────────────────────────────────────────────────────────


def test_drive_addresses() -> None:
    assert Drive("1-a_B&c").address == (
        "https://drive.usercontent.google.com/download?id=1-a_B%26c&export=download&confirm=t"
    )


def test_drive_sends_the_file_at_once(server: MisbehavingServer, target: Path) -> None:
    server.add("/download", File(CONTENT))
    fetch([Drive("abc", base=server.base)], target, **RIGHT)
    assert server.requests[0].path == "/download?id=abc&export=download&confirm=t"


def test_drive_wants_a_confirmation(server: MisbehavingServer, target: Path) -> None:
    server.add("/download", DrivePage(File(CONTENT), "abc", uuid="u&1"))
    leave_part(target, CONTENT[:5000])
    fetch([Drive("abc", base=server.base)], target, **RIGHT)
    assert server.requests[-1].path == "/download?id=abc&export=download&confirm=t&uuid=u%261"
    assert server.requests[-1].headers["range"] == "bytes=5000-"


FORM = (
    '<form id="download-form" action="{action}" method="get"><input type="hidden" name="id" value="{id}">'
    '<input type="hidden" name="confirm" value="t"></form>'
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "<html><title>Sign in</title></html>",
        FORM.format(action="http://evil.example/download", id="abc"),
        FORM.format(action="HOST.evil.example/download", id="abc"),
        FORM.format(action="http://drive.google.com/download", id="abc").replace("http:", "javascript:"),
        FORM.format(action="http://user@HOST/download", id="abc"),
        FORM.format(action="HOST/download", id="another"),
        FORM.format(action="/download", id="abc"),
        FORM.format(action="HOST/download", id="abc").replace("download-form", "login"),
        FORM.format(action="HOST/download", id="abc").replace('"confirm"', '"sure"'),
        FORM.format(action="HOST/download", id="abc") * 2,
        "x" * (3 << 20) + FORM.format(action="HOST/download", id="abc"),
    ],
)
def test_other_pages_of_drive_are_refused(server: MisbehavingServer, target: Path, text: str) -> None:
    server.add("/download", page(text.replace("HOST", server.base)))
    assert "web page" in failure([Drive("abc", base=server.base)], target, **RIGHT)
    assert len(server.requests) == 1


def test_a_form_is_followed_only_to_google_over_https() -> None:
    good = FORM.format(action="https://drive.usercontent.google.com/download", id="abc")
    assert Drive("abc").confirmed(good) == "https://drive.usercontent.google.com/download?id=abc&confirm=t"
    assert Drive("abc").confirmed(good.replace("https:", "http:")) is None
    assert Drive("abc").confirmed(good.replace(".google.", ".googel.")) is None


def test_a_page_after_the_confirmation(server: MisbehavingServer, target: Path) -> None:
    server.add("/download", DrivePage(page("<html>no</html>"), "abc"))
    assert "web page" in failure([Drive("abc", base=server.base)], target)
    assert len(server.requests) == 2


def test_an_endless_page_is_read_only_in_part() -> None:
    chunks = (bytes(1 << 16) for _ in range(1000))
    assert len(read_page(httpx.Response(200, content=chunks))) < 1 << 21
    assert next(chunks, None) is not None
