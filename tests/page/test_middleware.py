"""The page's allow-list of routes, and its command."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from micromotion.errors import MicromotionError, OptionError
from micromotion.page.middleware import AllowListMiddleware
from micromotion.page.server import check_gradio, listen

# The allow-list.


def ask(middleware: AllowListMiddleware, method: str, path: str, **headers: str) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(middleware)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7860") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(asked())


@pytest.fixture
def middleware() -> AllowListMiddleware:
    async def anything(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Cache-Control", b"public")]})
        await send({"type": "http.response.body", "body": b"in"})

    return AllowListMiddleware(anything, Path("/ours"), local=True)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("GET", "/gradio_api/queue/data?session_hash=x", 200),
        ("POST", "/gradio_api/queue/join", 200),
        ("GET", "/gradio_api/file=/ours/videos-a/b.mp4", 200),
        ("POST", "/gradio_api/file=/ours/videos-a/b.mp4", 404),
        ("GET", "/gradio_api/file=/ours/hash/photo.jpg", 404),
        ("GET", "/gradio_api/file=/ours/videos-a/../../etc/passwd", 404),
        ("GET", "/gradio_api/file=/ours/videos-a/%2e%2e/etc/passwd", 404),
        ("GET", "/gradio_api/file=https://elsewhere.example/", 404),
        ("GET", "/gradio_api/queue/join", 404),
        ("POST", "/", 404),
        ("PUT", "/", 404),
        ("GET", "/gradio_api/mcp/", 404),
        ("GET", "/monitoring/summary", 404),
        ("GET", "/proxy=https://elsewhere.example/", 404),
    ],
)
def test_only_what_the_page_needs_is_open(
    middleware: AllowListMiddleware, method: str, path: str, status: int
) -> None:
    assert ask(middleware, method, path).status_code == status


def test_only_requests_that_name_this_host_are_answered(middleware: AllowListMiddleware) -> None:
    for host in ("localhost:7860", "127.0.0.1:7860", "127.0.0.1", "[::1]:7860"):
        assert ask(middleware, "GET", "/", Host=host).status_code == 200
    for host in ("elsewhere.example", "127.0.0.1.elsewhere.example:7860", "192.168.0.2", ""):
        assert ask(middleware, "GET", "/", Host=host).status_code == 403
    open_to_all = AllowListMiddleware(middleware._app, Path("/ours"), local=False)
    assert ask(open_to_all, "GET", "/", Host="box.example:7860").status_code == 200
    for origin in ("http://elsewhere.example", "null", "http://127.0.0.1:80"):
        assert ask(open_to_all, "POST", "/gradio_api/upload", Origin=origin).status_code == 403
        assert ask(middleware, "POST", "/gradio_api/upload", Origin=origin).status_code == 403
    assert ask(middleware, "POST", "/gradio_api/upload", Origin="http://127.0.0.1:7860").status_code == 200


def test_the_security_policy_forbids_other_servers(middleware: AllowListMiddleware) -> None:
    for path in ("/", "/nowhere"):
        assert "connect-src 'self'" in ask(middleware, "GET", path).headers["content-security-policy"]
    assert ask(middleware, "GET", "/").headers["cache-control"] == "public"
    assert (
        ask(middleware, "GET", "/gradio_api/file=/ours/videos-a").headers["cache-control"]
        == "private, no-store"
    )


def test_a_port_in_use_gives_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OptionError, match=f"Cannot listen on 127.0.0.1, port {port}: .*--port 0"):
            listen("127.0.0.1", port)
    with listen("127.0.0.1", 0) as free:
        assert free.getsockname()[0] == "127.0.0.1"
    with pytest.raises(OptionError, match="port must be"):
        listen("127.0.0.1", 70000)


# The command.


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1", **environment},
    )


@pytest.mark.slow
def test_help_names_gradio_and_the_local_default_host() -> None:
    done = run("-m", "micromotion", "page", "--help", TERMINAL_WIDTH="100")
    assert done.returncode == 0
    for words in ("--port", "--host", "127.0.0.1", "--no-browser", "micromotion[page]"):
        assert words in done.stdout, words


@pytest.mark.slow
def test_the_rest_of_the_command_does_not_import_gradio() -> None:
    code = "import sys, micromotion.cli.main; print({'gradio', 'torch', 'fastapi'} & set(sys.modules))"
    assert run("-c", code).stdout == "set()\n"


def test_without_gradio_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "gradio" else SimpleNamespace()
    )
    with pytest.raises(MicromotionError, match=r'pip install "micromotion\[page\]"'):
        check_gradio()
