"""Which URLs callers may make the service fetch or call."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micromotion.errors import DownloadError
from micromotion.runtime.address_policy import MAX_URL, PRIVATE, check_url, find_addresses, is_public

PRIVATE_ADDRESSES = [
    "127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "64:ff9b::7f00:1", "2002:7f00:1::",
    "2001:db8::1", "ff02::1", "localhost", "",
]  # fmt: skip


@pytest.mark.parametrize("host", PRIVATE_ADDRESSES)
def test_this_machine_and_private_networks_are_not_public(host: str) -> None:
    assert not is_public(host)


@pytest.mark.parametrize(
    "host", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_the_internet_is_public(host: str) -> None:
    assert is_public(host)


@settings(deadline=None)
@given(st.ip_addresses())
def test_is_public_agrees_with_the_standard_library(address: Any) -> None:
    """A public address stays public when mapped into IPv6, and a private one stays private."""
    if isinstance(address, ipaddress.IPv4Address):
        disguises = [f"::ffff:{address}", str(ipaddress.IPv6Address(int(address) + (0x64FF9B << 96)))]
        assert {is_public(each) for each in disguises} == {is_public(str(address))}
        assert is_public(str(address)) == (address.is_global and not address.is_multicast)
    elif not address.is_global and address not in ipaddress.IPv6Network("64:ff9b::/96"):
        assert not is_public(str(address)) or address.sixtofour or address.ipv4_mapped


def resolve(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    def answer(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 80)) for host in hosts]

    monkeypatch.setattr(socket, "getaddrinfo", answer)


def test_a_name_with_one_private_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PRIVATE, raising=False)
    resolve(monkeypatch, "8.8.8.8", "127.0.0.1")
    with pytest.raises(DownloadError, match="this machine or to a private network"):
        find_addresses(check_url("http://twofaced.example/a.png"))
    resolve(monkeypatch, "8.8.8.8", "1.1.1.1")
    assert find_addresses(check_url("http://a.example/")) == [("8.8.8.8", 80), ("1.1.1.1", 80)]
    assert find_addresses(check_url("https://a.example/")) == [("8.8.8.8", 443), ("1.1.1.1", 443)]


def test_private_addresses_can_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PRIVATE, "1")
    assert find_addresses(check_url("http://127.0.0.1:81/")) == [("127.0.0.1", 81)]
    monkeypatch.setenv(PRIVATE, "0")
    with pytest.raises(DownloadError):
        find_addresses(check_url("http://127.0.0.1:81/"))


@pytest.mark.parametrize(
    "url",
    [
        "", "a", "ftp://a.example/", "file:///etc/passwd", "http://", "http:///a", "http://[::1", "http://a:x/",
        "http://a:0/", "http://a:99999/", "http://a b/", "http://a/\r\nb", "http://a/\0", "http://ä.example/",
        "http://user@a.example/", "http://user:secret@a.example/", "http://a/" + "x" * MAX_URL, "//a/",
    ],
)  # fmt: skip
def test_invalid_urls_are_refused_in_one_sentence(url: str) -> None:
    with pytest.raises(DownloadError) as raised:
        check_url(url)
    sentence = str(raised.value)
    assert sentence.endswith(".")
    assert "secret" not in sentence
    assert len(sentence) < 120


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    for url in (text, f"http://{text}"):
        try:
            parts = check_url(url)
        except DownloadError:
            continue
        assert parts.scheme in ("http", "https")
        assert parts.hostname
