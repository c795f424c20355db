"""One HTTP request for a file: redirects, stalls, slow servers, responses that are not the file.

It raises one of three: Failed (try the next source), Temporary (try again) and Wrong (discard the bytes).
Their messages are predicates of the source's name, such as "answers 404 Not Found".
"""

from __future__ import annotations

import email.utils
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import httpx

from micromotion import __version__
from micromotion.errors import DownloadError
from micromotion.weights.sources import MAX_PAGE_BYTES

MAX_REDIRECTS = 10
MIN_RATE = 1000  # bytes a second, on average over a window
_WAIT_AND_RETRY = {408, 425, 429, *range(500, 600)}


class Failed(Exception):  # noqa: N818
    """A source is unusable; the message briefly says why. The part keeps its bytes."""


class Wrong(Failed):
    """The bytes are wrong or cannot be resumed: discard them."""


class Temporary(Failed):
    """Worth a retry, after `wait` seconds if the server gave a time."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class Watch:
    """Breaks a connection that is alive but too slow, in whichever part of HTTP.

    Timeouts cover single reads only; so a thread checks once a window how much has arrived, and shuts the
    socket down, which the reading thread sees as a broken connection.
    """

    def __init__(self, window: float) -> None:
        self.window = window
        self.expired = False
        self._count = 0
        self._socket: socket.socket | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """For httpx's `trace` extension: records the connection's socket."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")

    def counted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Pass on the chunks of a body, counting their bytes."""
        for chunk in chunks:
            self._count += len(chunk)
            yield chunk

    def _look(self) -> None:
        while not self._done.wait(self.window):
            if self._count < MIN_RATE * self.window:
                self.expired = True
                if self._socket is not None:
                    with suppress(OSError):  # not TLS's own method, which would disturb the read in progress
                        socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
            self._count = 0


def open_client(timeout: float) -> httpx.Client:
    """An HTTP client without keep-alive, with the environment's proxies and certificates."""
    try:
        return httpx.Client(
            headers={"User-Agent": f"micromotion/{__version__}", "Accept-Encoding": "identity"},
            timeout=timeout,
            limits=httpx.Limits(max_keepalive_connections=0),
        )
    except (ValueError, ImportError, OSError, httpx.InvalidURL) as error:
        raise DownloadError(
            "The proxy or certificates that the environment names (HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE) "
            "cannot be used: correct or unset them and try again."
        ) from error


def get(client: httpx.Client, address: str, headers: Mapping[str, str], watch: Watch) -> httpx.Response:
    """The response after all redirects, its body unread. httpx drops the authorisation at another host."""
    request = client.build_request("GET", address, headers=headers, extensions={"trace": watch.trace})
    for _ in range(MAX_REDIRECTS + 1):
        if request.url.scheme not in ("http", "https") or not request.url.host:
            raise Failed("leads to an address that is neither http nor https")
        response = client.send(request, stream=True, follow_redirects=False)
        if response.next_request is None:
            return response
        response.close()
        if request.url.scheme == "https" and response.next_request.url.scheme == "http":
            raise Failed("redirects from https to http, which is not safe")
        request = response.next_request
    raise Failed(f"redirects more than {MAX_REDIRECTS} times")


def check_answer(response: httpx.Response, have: int) -> None:
    """Raise unless the status is 200, or 206 if we `have` bytes, and the body is the file, not encoded."""
    status = response.status_code
    if status == 416 and have:
        raise Wrong(f"ends after {have} bytes or before")
    if status in _WAIT_AND_RETRY:
        raise Temporary(_status(response), _retry_after(response))
    if status not in ((200, 206) if have else (200,)):
        raise Failed(_status(response))
    if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise Failed("sends the file compressed though asked not to")
    if is_page(response):
        raise Failed("sends a web page instead of the file")


def announced(response: httpx.Response) -> int | None:
    """The length of the body by its Content-Length; None if unknown."""
    length = response.headers.get("Content-Length", "")
    return int(length) if re.fullmatch(r"\d{1,18}", length) else None


def version(response: httpx.Response) -> str | None:
    """A value for If-Range: a strong ETag, else the date of the last change."""
    tag = response.headers.get("ETag", "")
    if tag.startswith('"'):
        return str(tag)
    return response.headers.get("Last-Modified")


def is_page(response: httpx.Response) -> bool:
    """Is it a web page, by its Content-Type? Weights never are."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return kind in ("text/html", "application/xhtml+xml")


def read_page(response: httpx.Response) -> str:
    """The text of a web page, up to about MAX_PAGE_BYTES."""
    page = b""
    for chunk in response.iter_raw():
        page += chunk
        if len(page) > MAX_PAGE_BYTES:
            break
    response.close()
    return page.decode("utf-8", errors="replace")


def _status(response: httpx.Response) -> str:
    return f"answers {response.status_code} {httpx.codes.get_reason_phrase(response.status_code)}".strip()


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds to wait by Retry-After, which is a number of seconds or a date."""
    text = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}", text):
        return float(text)
    with suppress(ValueError, OverflowError):
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    return None


@contextmanager
def in_words(watch: Watch, timeout: float) -> Iterator[None]:
    """Turn httpx's errors into Failed or Temporary, with a short message."""
    slow = f"sends less than {MIN_RATE} bytes a second"
    try:
        yield
        if not watch.expired:
            return
        raise Failed(slow)  # a body without a length just seems to end where the watch cut it off
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError, OverflowError) as error:
        raise Failed("leads to an address that is not a valid one") from error
    except httpx.HTTPError as error:
        if watch.expired:
            raise Failed(slow) from error
        raise _translated(error, timeout) from error


def _translated(error: httpx.HTTPError, timeout: float) -> Failed:
    if isinstance(error, httpx.ConnectTimeout):
        return Temporary(f"gives no connection within {timeout:g} s")
    if isinstance(error, httpx.TimeoutException):
        return Temporary(f"sends nothing for {timeout:g} s")
    if _caused_by(error, ssl.SSLCertVerificationError):
        return Failed("has a certificate that is not trusted")
    if isinstance(error, httpx.ProxyError):
        return Temporary("cannot be reached through the proxy")
    if isinstance(error, httpx.ConnectError):
        return Temporary("cannot be reached")
    return Temporary("breaks the connection")


def _caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__ or error.__context__
    return False
