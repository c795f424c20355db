"""The page end to end: the real command in its own process, and a headless Chromium."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserType, Page

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 300.0
"""Timeout in seconds; a busy machine needs many."""

EXAMPLE = "#mm-examples [data-example='0']"
PREVIEW = "#mm-preview img"
RENDER = "#mm-render"

NEEDS_GRADIO = pytest.mark.skipif(find_spec("gradio") is None, reason="the extra `page` is not installed")


@dataclass
class Served:
    """A served page: its address, its folder of temporary files, and its folder of learned motions."""

    address: str
    temporary: Path
    data: Path
    process: subprocess.Popen[str]
    asked_outside: list[str]

    def files(self) -> list[Path]:
        """All visitors' files. Not by ``Path.rglob``, which fails when a folder vanishes meanwhile."""
        return [Path(folder, name) for folder, _, names in os.walk(self.temporary) for name in names]


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[Served]:
    """`micromotion page` on a free port; requests to other machines are recorded and not answered."""
    temporary, data = folder / "temporary", folder / "data"
    temporary.mkdir()
    with _nowhere() as (proxy, asked):
        environment = {
            **os.environ,
            "TMPDIR": str(temporary),
            "MICROMOTION_DATA": str(data),
            "MICROMOTION_CACHE": str(folder / "cache"),
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYTHONPATH": str(ROOT),
            "NO_PROXY": "127.0.0.1,localhost",
            **dict.fromkeys(["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"], proxy),
        }
        command = [sys.executable, "-W", "ignore", "-m", "micromotion", "page", "--port", "0", "--no-browser"]
        with (folder / "errors.txt").open("w") as errors:
            process = subprocess.Popen(
                [*command, *arguments], env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("The page is at http://127.0.0.1:"), (folder / "errors.txt").read_text()
            yield Served(line.split()[4], temporary, data, process, asked)
        finally:
            process.terminate()
            process.wait(PATIENCE)
            assert process.stdout is not None
            process.stdout.close()


@contextmanager
def _nowhere() -> Iterator[tuple[str, list[str]]]:
    """A proxy that hangs up, and the first lines of the requests it got."""
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def note() -> None:
            with suppress(OSError):
                while True:
                    caller, _ = listener.accept()
                    with caller:
                        asked.append(caller.recv(200).decode("latin-1").split("\r\n")[0])

        threading.Thread(target=note, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked


def chromium() -> str | None:
    """The path of a Chromium: the system's, or the one that Playwright has downloaded."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if (found := shutil.which(name)) is not None:
            return found
    folder = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache" / "ms-playwright")
    return next(map(str, sorted(folder.glob("chromium*/*/*headless[-_]shell"))), None)


@contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium; the test is skipped if there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if chromium() is None:
        pytest.skip("there is no Chromium: .ci/browser.sh installs one where it can")
    with playwright.sync_playwright() as driver, launched(driver.chromium) as opened:
        yield opened


@contextmanager
def launched(kind: BrowserType, *arguments: str) -> Iterator[Browser]:
    """A headless browser that resolves no other host."""
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
    alone = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
    opened = kind.launch(executable_path=chromium(), args=[*quiet, alone, *arguments])
    try:
        yield opened
    finally:
        opened.close()


@dataclass
class Visitor:
    """A page open in a browser, the URLs it has requested, and its console errors."""

    page: Page
    asked: list[str]
    complaints: list[str]

    def source(self) -> str | None:
        """The picture that the preview shows."""
        found = self.page.query_selector(PREVIEW)
        return found.get_attribute("src") if found else None

    def wait_for(self, selector: str) -> Any:
        return self.page.wait_for_selector(selector, timeout=1000 * PATIENCE)

    def wait_for_change(self, selector: str, attribute: str, before: str | None) -> None:
        """Wait until an attribute of an element differs from `before`."""
        self.page.wait_for_function(
            "([selector, name, before]) => { const found = document.querySelector(selector); "
            "return found && found.getAttribute(name) !== before; }",
            arg=[selector, attribute, before],
            timeout=1000 * PATIENCE,
        )

    def choose_example(self, selector: str = EXAMPLE) -> None:
        """Click an example, and wait for its preview."""
        before = self.source()
        self.page.click(selector)
        self.wait_for(PREVIEW)
        self.wait_for_change(PREVIEW, "src", before)

    def set(self, elem_id: str, value: str) -> None:
        """Write a number into the field beside a slider."""
        field = self.page.locator(f"#{elem_id} input[type=number]")
        field.fill(value)
        field.press("Tab")

    def short(self, frames: int = 4) -> None:
        """Make videos short, played once."""
        self.page.click("#mm-more button")
        self.wait_for("#mm-frames input[type=number]")
        self.set("mm-frames", str(frames))
        self.page.check("#mm-loop input[value=once]")

    def render(self) -> None:
        """Press the button, and wait for the video."""
        self.page.click(RENDER)
        self.wait_for("#mm-video video")

    def download(self, folder: Path) -> Path:
        """Click the download button, and save the file."""
        with self.page.expect_download(timeout=1000 * PATIENCE) as coming:
            self.page.click("#mm-download")
        path = folder / coming.value.suggested_filename
        coming.value.save_as(path)
        return path


@contextmanager
def visiting(browser: Browser, address: str, **options: Any) -> Iterator[Visitor]:
    """Open the page, wait for its sliders, and close it at the end."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    try:
        visitor = Visitor(context.new_page(), [], [])
        visitor.page.on("request", lambda request: visitor.asked.append(request.url))
        visitor.page.on(
            "console", lambda said: visitor.complaints.append(said.text) if said.type == "error" else None
        )
        visitor.page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
        visitor.page.goto(address)
        visitor.wait_for("#mm-sliders input[type=range]")
        yield visitor
    finally:
        context.close()


@contextmanager
def visiting_alone(browser: Browser, page: Served) -> Iterator[Visitor]:
    """The same; also checks that the browser has contacted no other machine, and has not complained."""
    with visiting(browser, page.address) as visitor:
        yield visitor
        local = (page.address, "data:", "blob:")
        assert [url for url in visitor.asked if not url.startswith(local)] == []
        refused = "404 (Not Found)"  # the browser tries to show the file that it has uploaded
        assert [each for each in visitor.complaints if refused not in each] == []


def eventually(true: Callable[[], bool], what: str) -> None:
    """Wait until `true()` holds; fails with `what` after PATIENCE seconds."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.02)
