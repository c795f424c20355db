"""The page's server: one process, and one temporary folder for uploads and videos."""

from __future__ import annotations

import importlib.util
import os
import socket
import tempfile
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from micromotion.errors import MicromotionError, OptionError
from micromotion.option_checks import check_whole

if TYPE_CHECKING:
    from micromotion.animator import Animator

MAX_UPLOAD = 64 * 2**20
"""Bytes of an uploaded photo."""

GRACE = 2
"""Seconds until open connections are cut when the page closes; a browser always keeps one open."""

_QUIET = {  # read by Gradio and its dependencies when they are imported
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_MCP_SERVER": "False",
    "GRADIO_SSR_MODE": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
}


def check_gradio() -> None:
    """Raise MicromotionError, with the command that installs it, if Gradio is missing."""
    if importlib.util.find_spec("gradio") is None:
        raise MicromotionError('The page needs Gradio; run: pip install "micromotion[page]"')


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on a name or an address of this machine; port 0 takes a free port.

    Raises OptionError if the address or the port is not available.
    """
    check_whole("port", port, 0, 65535)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, _, _, address = min(found, key=lambda each: each[0])  # IPv4 first
        listener = socket.socket(family, kind)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise OptionError(
            f"Cannot listen on {host}, port {port}: {error.strerror}; choose another port (--port 0 takes a "
            "free one)."
        ) from error
    return listener


def serve_page(animator: Animator, listener: socket.socket, on_ready: Callable[[str], None]) -> None:
    """Serve the page until SIGINT or SIGTERM; calls on_ready with its address once a browser may open it.

    listener: from `listen`. Uploads and videos are stored in a temporary folder that is removed at the end.
    Must be called in the main thread.
    """
    with tempfile.TemporaryDirectory(prefix="micromotion-page-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        os.environ.update(_QUIET, GRADIO_TEMP_DIR=str(folder))
        _serve(animator, folder, listener, on_ready)


def _serve(
    animator: Animator, folder: Path, listener: socket.socket, on_ready: Callable[[str], None]
) -> None:
    import gradio
    import uvicorn
    from fastapi import FastAPI

    from micromotion.page.app import STYLESHEET, build, theme
    from micromotion.page.middleware import AllowListMiddleware
    from micromotion.page.sessions import Sessions
    from micromotion.page.studio import Studio

    address, port = listener.getsockname()[:2]
    local = ip_address(address).is_loopback
    sessions = Sessions(folder)
    page = build(Studio(animator), sessions, local=local)
    page.has_launched = True  # only then does Gradio check that a file named by a visitor was uploaded
    app = gradio.mount_gradio_app(
        FastAPI(openapi_url=None),
        page,
        path="/",
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        show_error=False,
        max_file_size=MAX_UPLOAD,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        ssr_mode=False,
        theme=theme(),
        css=STYLESHEET.read_text(encoding="utf-8"),
    )
    config = uvicorn.Config(
        AllowListMiddleware(app, folder, local=local),
        log_level="warning",
        timeout_graceful_shutdown=GRACE,
        server_header=False,
    )
    shown = f"[{address}]" if ":" in address else address
    on_ready(f"http://{shown}:{port}")
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        sessions.close_all()
