"""Files behind data, http and https URLs that others chose: taken in whole, within limits.

http and https go through the address policy, and a fetch can be cancelled at any moment.
"""

from __future__ import annotations

import binascii
import errno
import http.client
import mimetypes
import re
import socket
import ssl
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import IO, Any
from urllib.parse import SplitResult, urljoin

from micromotion.errors import DownloadError
from micromotion.runtime.address_policy import check_url, find_addresses

MAX_SECONDS = 60.0
"""Longest fetch of a URL, in seconds, redirects included."""

MAX_REDIRECTS = 5
STALL = 10.0  # seconds without a byte
GLANCE = 0.1  # seconds between checks for a cancellation
CHUNK = 1 << 16

MAX_HEAD = 2000
"""Longest part of a data URL before its comma, in characters."""

BLANK = "".join(map(chr, range(33)))  # what browsers strip from both ends of a URL
_BASE64 = re.compile(r"; *base64\Z", re.IGNORECASE)


def open_url(url: str, most: int) -> Any:
    """The content of a data, http or https URL, in a temporary file that is deleted when closed.

    A data URL is parsed as browsers do (https://fetch.spec.whatwg.org/#data-urls).
    Raises DownloadError, one sentence: the URL is invalid, cannot be reached, leads to a private address
    (see `micromotion.runtime.address_policy`), answers with an error, redirects too often, takes more than
    MAX_SECONDS, or has more than `most` bytes (of http and https); or our own disk is full.
    """
    url = url.strip(BLANK)
    try:
        file: Any = tempfile.NamedTemporaryFile(suffix=_suffix(url))  # noqa: SIM115 (the caller closes it)
    except OSError as error:
        raise _no_room(error) from error
    try:
        if _is_data(url):
            file.write(_decoded(url))
        else:
            _fetch(url, file, most)
        file.flush()
        file.seek(0)
        return file
    except BaseException as error:  # a cancellation is not an Exception
        with suppress(OSError):  # from flushing the rest
            file.close()
        if isinstance(error, OSError):
            raise _no_room(error) from error
        raise


def _no_room(error: OSError) -> DownloadError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DownloadError("The server's disk is full, so the file could not be taken in: try again later.")
    return DownloadError(f"The server could not take the file in ({error.strerror}): try again later.")


def _is_data(url: str) -> bool:
    return url[:5].lower() == "data:"


def _suffix(url: str) -> str:
    """A harmless file suffix, from a data URL's media type."""
    kind = re.match(r"data:\s*([\w.+-]{1,60}/[\w.+-]{1,60})\s*[;,]", url[:300], re.IGNORECASE)
    return (mimetypes.guess_extension(kind[1].lower()) or "") if kind else ""


def _decoded(url: str) -> bytes:
    """The bytes in a data URL, whatever its media type."""
    url = url.partition("#")[0]
    comma = url.find(",", 0, MAX_HEAD)
    if comma < 0:
        raise DownloadError("The data URL is not written as data:image/jpeg;base64,… is: it has no comma.")
    content = url[comma + 1 :].translate(dict.fromkeys(map(ord, "\t\n\r")))
    sent = urllib.parse.unquote_to_bytes(content) if "%" in content else content.encode(errors="replace")
    return _from_base64(sent) if _BASE64.search(url[5:comma].strip()) else sent


def _from_base64(text: bytes) -> bytes:
    """Decode base64 leniently, as browsers do: blanks are skipped, and padding is optional."""
    text = text.translate(None, b"\t\n\f\r ")
    if len(text) % 4 == 0:
        text = text.removesuffix(b"=").removesuffix(b"=")
    if b"-" in text or b"_" in text:
        raise DownloadError(
            "The data URL holds no valid base64: - and _ are of another alphabet, encode it with + and /."
        )
    if len(text) % 4 == 1:
        raise DownloadError("The data URL holds no valid base64: it is cut off, or a character is missing.")
    try:
        return binascii.a2b_base64(text + b"=" * (-len(text) % 4), strict_mode=True)
    except binascii.Error as error:
        raise DownloadError("The data URL holds no valid base64: encode the file again.") from error


def _fetch(url: str, file: IO[bytes], most: int) -> None:
    """Fetch in a separate thread, so that a cancellation, raised in this one, takes effect at once."""
    failures: list[BaseException] = []
    fetch = _Fetch(url, file, most)

    def work() -> None:
        try:
            fetch.run()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work, daemon=True)
    try:
        thread.start()
        while thread.is_alive() and time.monotonic() < fetch.end:
            thread.join(GLANCE)
    finally:
        fetch.stop()
    thread.join(STALL)
    if fetch.late or thread.is_alive():
        raise DownloadError(f"The URL's server is too slow: the file must come within {MAX_SECONDS:.0f} s.")
    if failures:
        raise _told(failures[0]) from failures[0]


def _told(error: BaseException) -> DownloadError:
    if isinstance(error, DownloadError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _no_room(error)
    if isinstance(error, ssl.SSLError):
        return DownloadError("The URL's server has no valid certificate, or speaks no TLS.")
    if isinstance(error, ConnectionRefusedError):
        return DownloadError("The URL's server refuses connections.")
    if isinstance(error, TimeoutError):
        return DownloadError(f"The URL's server is silent for {STALL:.0f} s.")
    return DownloadError("The connection to the URL's server broke off.")


class _Fetch:
    """One fetch with its redirects; stop() aborts it from another thread."""

    def __init__(self, url: str, file: IO[bytes], most: int) -> None:
        self.url, self.file, self.most = url, file, most
        self.end = time.monotonic() + MAX_SECONDS
        self.late = False
        self._stopped = False
        self._socket: socket.socket | None = None

    def stop(self) -> None:
        self.late = time.monotonic() >= self.end
        self._stopped = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        url = self.url
        for _ in range(MAX_REDIRECTS + 1):
            parts = check_url(url)
            with self._get(parts) as answer:
                if answer.status in (301, 302, 303, 307, 308):
                    url = urljoin(url, answer.headers.get("location", ""))
                    continue
                if answer.status != 200:
                    raise DownloadError(f"The URL's server answers {answer.status} {answer.reason:.40}.")
                self._copy(answer)
                return
        raise DownloadError(f"The URL redirects more than {MAX_REDIRECTS} times.")

    @contextmanager
    def _get(self, parts: SplitResult) -> Iterator[http.client.HTTPResponse]:
        """The response to a GET, from the very address that was checked."""
        host, port = find_addresses(parts)[0]
        secure = parts.scheme == "https"
        connection = http.client.HTTPConnection(str(parts.hostname), port, timeout=STALL)
        self._socket = connection.sock = socket.create_connection((host, port), STALL)
        if self._stopped:
            raise TimeoutError
        try:
            if secure:
                context = ssl.create_default_context()
                wrapped = context.wrap_socket(connection.sock, server_hostname=str(parts.hostname))
                self._socket = connection.sock = wrapped
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            shown = f"[{parts.hostname}]" if ":" in str(parts.hostname) else str(parts.hostname)
            name = shown if parts.port is None else f"{shown}:{port}"
            connection.putrequest("GET", target, skip_host=True, skip_accept_encoding=True)
            for header, value in (("Host", name), ("User-Agent", "micromotion"), ("Accept", "*/*")):
                connection.putheader(header, value)
            connection.endheaders()
            with closing(connection.getresponse()) as answer:
                yield answer
        finally:
            connection.close()

    def _copy(self, answer: http.client.HTTPResponse) -> None:
        if int(answer.headers.get("content-length") or 0) > self.most:
            raise _too_large(self.most)
        count = 0
        while chunk := answer.read(CHUNK):
            count += len(chunk)
            if count > self.most:
                raise _too_large(self.most)
            self.file.write(chunk)
        if answer.length:  # bytes missing from the stated length
            raise ConnectionResetError


def _too_large(most: int) -> DownloadError:
    return DownloadError(f"The URL's file is larger than {most >> 20} MB: make it smaller first.")
