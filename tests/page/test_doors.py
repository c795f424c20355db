"""What of the page is open to the network, and its command."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from micromotion.errors import MicromotionError, OptionError
from micromotion.page.doors import Doors
from micromotion.page.server import check_gradio, listen

# What is open to the network.


def ask(doors: Doors, method: str, path: str, **headers: str) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(doors)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7860") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(asked())


@pytest.fixture
def doors() -> Doors:
    async def anything(scope, receive, send):  # type: ignore[no-untyped-def]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Cache-Control", b"public")]})
        await send({"type": "http.response.body", "body": b"in"})

    return Doors(anything, Path("/ours"), local=True)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("GET", "/gradio_api/queue/data?session_hash=x", 200),
        ("POST", "/gradio_api/queue/join", 200),
        ("GET", "/gradio_api/file=/ours/films-a/b.mp4", 200),
        ("POST", "/gradio_api/file=/ours/films-a/b.mp4", 404),
        ("GET", "/gradio_api/file=/ours/hash/photo.jpg", 404),
        ("GET", "/gradio_api/file=/ours/films-a/../../etc/passwd", 404),
        ("GET", "/gradio_api/file=/ours/films-a/%2e%2e/etc/passwd", 404),
        ("GET", "/gradio_api/file=https://elsewhere.example/", 404),
        ("GET", "/gradio_api/queue/join", 404),
        ("POST", "/", 404),
        ("PUT", "/", 404),
        ("GET", "/gradio_api/mcp/", 404),
        ("GET", "/monitoring/summary", 404),
        ("GET", "/proxy=https://elsewhere.example/", 404),
    ],
)
def test_only_what_the_page_needs_is_open(doors: Doors, method: str, path: str, status: int) -> None:
    assert ask(doors, method, path).status_code == status


def test_only_this_machines_own_names_are_answered(doors: Doors) -> None:
    for host in ("localhost:7860", "127.0.0.1:7860", "127.0.0.1", "[::1]:7860"):
        assert ask(doors, "GET", "/", Host=host).status_code == 200
    for host in ("elsewhere.example", "127.0.0.1.elsewhere.example:7860", "192.168.0.2", ""):
        assert ask(doors, "GET", "/", Host=host).status_code == 403
    open_to_all = Doors(doors._app, Path("/ours"), local=False)
    assert ask(open_to_all, "GET", "/", Host="box.example:7860").status_code == 200
    for origin in ("http://elsewhere.example", "null", "http://127.0.0.1:80"):
        assert ask(open_to_all, "POST", "/gradio_api/upload", Origin=origin).status_code == 403
        assert ask(doors, "POST", "/gradio_api/upload", Origin=origin).status_code == 403
    assert ask(doors, "POST", "/gradio_api/upload", Origin="http://127.0.0.1:7860").status_code == 200


def test_the_browser_is_told_to_ask_nobody_else(doors: Doors) -> None:
    for path in ("/", "/nowhere"):
        assert "connect-src 'self'" in ask(doors, "GET", path).headers["content-security-policy"]
    assert ask(doors, "GET", "/").headers["cache-control"] == "public"
    assert ask(doors, "GET", "/gradio_api/file=/ours/films-a").headers["cache-control"] == "private, no-store"


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OptionError, match=f"port {port}, cannot be listened on: .*--port 0"):
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


def test_help_says_what_it_needs_and_listens_to_this_machine_alone() -> None:
    done = run("-m", "micromotion", "page", "--help", TERMINAL_WIDTH="100")
    assert done.returncode == 0
    for words in ("--port", "--host", "127.0.0.1", "--no-browser", "micromotion[page]"):
        assert words in done.stdout, words


def test_the_rest_of_the_command_does_not_import_gradio() -> None:
    code = "import sys, micromotion.cli.main; print({'gradio', 'torch', 'fastapi'} & set(sys.modules))"
    assert run("-c", code).stdout == "set()\n"


def test_without_gradio_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "gradio" else SimpleNamespace()
    )
    with pytest.raises(MicromotionError, match=r'pip install "micromotion\[page\]"'):
        check_gradio()
