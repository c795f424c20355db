"""The address policy for untrusted URLs: only public internet addresses are allowed.

Whoever makes the service fetch a URL, or call a webhook, uses the service's own rights: towards programs on
the same machine, the network behind the firewall, a cloud's metadata. So hosts are resolved and checked
here, and the connection goes to the very address that was checked.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from micromotion.errors import DownloadError

PRIVATE = "MICROMOTION_PRIVATE_URLS"
"""Environment variable: "1" also allows URLs of this machine and of private networks."""

MAX_URL = 2000
"""Longest URL, in characters; servers and browsers accept no longer ones either."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def private_allowed() -> bool:
    return os.environ.get(PRIVATE) == "1"


def check_url(url: str) -> SplitResult:
    """The parts of an http or https URL with a host.

    Raises DownloadError, one sentence, for anything else, and if it is too long, or has blanks, control
    characters or a user name.
    """
    if len(url) > MAX_URL:
        raise DownloadError(f"The URL is longer than {MAX_URL} characters.")
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a broken IPv6 address, an invalid port
        fits = False
    if not fits or not url.isascii() or not url.isprintable() or " " in url:
        raise DownloadError("The URL is not one of http or https with a host: check how it is written.")
    if parts.username is not None:
        raise DownloadError("The URL holds a user's name or password, which is not passed on.")
    return parts


def find_addresses(parts: SplitResult) -> list[tuple[str, int]]:
    """The addresses (numeric host, port) of a URL, in the resolver's order.

    Raises DownloadError if there is none, or if any is not public while `PRIVATE` is not set.
    """
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DownloadError("The URL's host is not known: check how it is written.") from error
    hosts = list(dict.fromkeys(str(address[0]) for *_, address in found))
    if not private_allowed():
        require_public(hosts)
    return [(host, port) for host in hosts]


def require_public(hosts: Iterable[str]) -> None:
    """Raise DownloadError unless all of these numeric addresses are public."""
    if not all(map(is_public, hosts)):
        raise DownloadError(
            "The URL leads to this machine or to a private network, which is not allowed here: "
            f"send the file as a data URL, or start the service with {PRIVATE}=1."
        )


def is_public(host: str) -> bool:
    """Whether a numeric address is public; an IPv4 address embedded in IPv6 is checked itself."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        else:
            address = address.ipv4_mapped or address.sixtofour or address
    return address.is_global and not address.is_multicast
