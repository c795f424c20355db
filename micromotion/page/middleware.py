"""An allow-list in front of Gradio's server: only the routes that the page itself uses.

Gradio also offers to fetch other sites' files, to list its functions, to monitor itself and more. The page
needs none of that, so all of it is closed, including whatever a later version adds. A content security
policy keeps the browser from contacting other servers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from micromotion.page.sessions import VIDEO_FOLDER_PREFIX

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

API = "/gradio_api"
READ = {"/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt", f"{API}/queue/data",
        f"{API}/upload_progress"}  # fmt: skip
READ_BELOW = ("/assets/", "/static/", "/svelte/", f"{API}/heartbeat/")
SENT = {f"{API}/queue/join", f"{API}/upload", f"{API}/run/predict", f"{API}/cancel", f"{API}/reset"}
FILE = f"{API}/file="

LOCAL = {"localhost", "127.0.0.1", "::1"}
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
)
HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
}


class AllowListMiddleware:
    """ASGI middleware that answers 404 to every route that is not on the list.

    folder: where uploads and videos are stored; only videos are served. local: answer 403 unless the host of
    the request is this machine, so that another site's name cannot be rebound to this address.
    """

    def __init__(self, app: App, folder: Path, *, local: bool) -> None:
        self._app = app
        self._files = f"{FILE}{folder}/{VIDEO_FOLDER_PREFIX}"
        self._local = local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if not self._is_for_us(headers):
            await _refuse(send, 403)
        elif not self._is_open(scope["method"], scope["path"]):
            await _refuse(send, 404)
        else:
            await self._app(scope, receive, _with_headers(send, private=scope["path"].startswith(FILE)))

    def _is_for_us(self, headers: MutableMapping[bytes, str]) -> bool:
        """Whether the request names this host, and its origin is this page or absent."""
        host = headers.get(b"host", "")
        if self._local and urlsplit(f"//{host}").hostname not in LOCAL:
            return False
        origin = headers.get(b"origin")
        return origin is None or urlsplit(origin).netloc == host

    def _is_open(self, method: str, path: str) -> bool:
        if method in ("GET", "HEAD"):
            if path.startswith(FILE):
                return path.startswith(self._files) and ".." not in path.split("/")
            return path in READ or path.startswith(READ_BELOW)
        return method == "POST" and path in SENT


def _with_headers(send: Send, *, private: bool) -> Send:
    """Add our headers to every answer; private: a visitor's files, which no cache may store."""
    ours = HEADERS | ({b"cache-control": b"private, no-store"} if private else {})

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            theirs = [each for each in message.get("headers", []) if each[0].lower() not in ours]
            message = {**message, "headers": [*theirs, *ours.items()]}
        await send(message)

    return sending


async def _refuse(send: Send, status: int) -> None:
    text = b"Not found." if status == 404 else b"Forbidden for this host or origin."
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *HEADERS.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
