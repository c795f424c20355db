"""The page on the network: one process, and one folder for what visitors send, which goes with it."""

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
from micromotion.options import check_whole

if TYPE_CHECKING:
    from micromotion.animator import Animator

MAX_UPLOAD = 64 * 2**20
"""Bytes of a photo that is sent."""

GRACE = 2
"""Seconds that open connections have when the page closes; a browser keeps one open all the time."""

_QUIET = {  # read by Gradio, and by what it brings, when they are imported
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_MCP_SERVER": "False",
    "GRADIO_SSR_MODE": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
}


def check_gradio() -> None:
    """Raise MicromotionError, with the command that mends it, unless Gradio is installed."""
    if importlib.util.find_spec("gradio") is None:
        raise MicromotionError('The page needs Gradio; run: pip install "micromotion[page]"')


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on a name or an address of this machine; port 0 takes a free one.

    Raises OptionError if that cannot be.
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
            f"{host}, port {port}, cannot be listened on: {error.strerror}; choose another, --port 0 takes a "
            "free one."
        ) from error
    return listener


def serve_page(animator: Animator, listener: socket.socket, on_ready: Callable[[str], None]) -> None:
    """Serve the page until SIGINT or SIGTERM; on_ready is told its address when a browser may open it.

    listener is what `listen` gave. What visitors send, and their films, lie in a folder of the system's
    temporary one, which is removed at the end. Must be called in the main thread.
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

    from micromotion.page.app import LOOK, build, theme
    from micromotion.page.doors import Doors
    from micromotion.page.studio import Studio
    from micromotion.page.visits import Visits

    address, port = listener.getsockname()[:2]
    local = ip_address(address).is_loopback
    visits = Visits(folder)
    page = build(Studio(animator), visits, local=local)
    page.has_launched = True  # only then Gradio checks that a file named by a visitor is one that was sent
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
        css=LOOK.read_text(encoding="utf-8"),
    )
    config = uvicorn.Config(
        Doors(app, folder, local=local),
        log_level="warning",
        timeout_graceful_shutdown=GRACE,
        server_header=False,
    )
    shown = f"[{address}]" if ":" in address else address
    on_ready(f"http://{shown}:{port}")
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        visits.close_all()
