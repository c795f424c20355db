"""The real server and command line on a small model, with measured answers, seconds, memory and files."""

from __future__ import annotations

import base64
import http.client
import io
import json
import multiprocessing
import os
import re
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import running_server
from learn_networks import save_learning_bundle
from misbehaving_server import File, MisbehavingServer, Status, drip_headers, endless, hang_up, redirect
from PIL import Image
from random_networks import STYLE_DIM, STYLES, random_anchors
from running_server import Server, relatives, wait_until
from shown import shown

from abuse.items import FAILED, REFUSED, SUCCEEDED, Command, Item, Request, data_url

HANG = 90.0
"""Seconds after which an answer counts as missing; the slowest regular one takes a few."""

MOTIONS = ("smile", "angry", "aging", "eyesClose", "headsTurn")
PRELOADED = [
    "micromotion.cli.main",
    "micromotion.animator",
    "micromotion.learn.video",
    "micromotion.inspection",
]
_HIDDEN = ("Traceback", 'File "', "site-packages", "object at 0x", "<class ", "/tmp", "Errno")


@dataclass
class Result:
    """The outcome of an item; problem is empty if it is acceptable."""

    item: Item
    outcome: str
    said: str
    seconds: float
    megabytes: float  # growth of the largest process meanwhile
    problem: str = ""


@dataclass
class World:
    """A running server with a small model, and a folder for commands."""

    server: Server
    folder: Path
    model: Path
    picture: Image.Image
    photo: str
    elsewhere: MisbehavingServer  # a server on this machine that pictures must not be fetched from
    expected: str = ""
    styles: int = STYLES
    style_dim: int = STYLE_DIM
    _workers: list[int] = field(default_factory=list)

    def ask(
        self, method: str, path: str, body: object, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Send one request verbatim; the status (0 if the connection broke) and the answer."""
        text = body if isinstance(body, str) else json.dumps(body)
        sent = {"content-type": "application/json", **(headers or {})}
        parts = urlsplit(self.server.url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=HANG)
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # refused before it was read completely
                connection.request(method, path, text.encode(errors="surrogatepass"), sent)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            return 0, repr(error)
        finally:
            connection.close()
        try:
            return answer.status, json.loads(content)
        except ValueError:
            return answer.status, content.decode(errors="replace")

    def good(self) -> str:
        """What the result of a fixed good request shows, which must always be the same."""
        status, answer = self.server.predict(self.photo, frames=2, output_format="gif")
        assert (status, answer["status"]) == (200, "succeeded"), answer
        return shown(base64.b64decode(answer["output"].partition(",")[2]))

    def ready(self) -> None:
        wait_until(lambda: self.server.status() == "READY", HANG, "the server to be ready")

    def workers(self) -> list[int]:
        """The processes of the server, found once."""
        self._workers = self._workers or relatives(self.server)
        return self._workers

    def try_item(self, item: Item) -> Result:
        """Send an item, and judge the answer."""
        return self._call(item) if isinstance(item, Command) else self._send(item)

    def _send(self, item: Request) -> Result:
        body = item.body()
        self.ready()
        before = reset_peaks(self.workers())
        start = time.monotonic()
        status, answer = self.ask(item.method, item.path, body, item.headers)
        seconds = time.monotonic() - start
        grown = max(0, peak(self.workers()) - before) / 1e6
        outcome, said = judge(status, answer)
        problem = _problem(item, outcome, said, seconds)
        if (
            isinstance(answer, dict)
            and outcome == FAILED
            and any(h in str(answer.get("logs")) for h in _HIDDEN)
        ):
            problem = "the logs say too much"
        if outcome == REFUSED and item.method != "HEAD":
            problem = problem or _refusal(answer)
        if isinstance(answer, dict) and re.search(r"[A-Za-z0-9+/]{200}", str(answer.get("logs"))):
            problem = "the logs hold data"
        if "sprung" in names_below(self.folder):
            problem = "something was executed"
        return Result(item, outcome, said, seconds, grown, problem)

    def _call(self, item: Command) -> Result:
        with tempfile.TemporaryDirectory(dir=self.folder, prefix="call-") as name:
            folder = Path(name)
            arguments = list(item.arguments(folder))
            given = set(folder.rglob("*"))
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(PRELOADED)
            process = context.Process(target=run_command, args=(arguments, folder, item.encoding))
            start = time.monotonic()
            process.start()
            process.join(HANG)
            seconds = time.monotonic() - start
            if process.exitcode is None:
                process.kill()
                process.join()
            told = (folder / "stderr.txt").read_text(errors="replace") if process.exitcode is not None else ""
            outcome = {0: SUCCEEDED, 1: FAILED, 2: REFUSED}.get(
                process.exitcode or 0, f"exit {process.exitcode}"
            )
            said = next((line for line in told.splitlines() if line.startswith("micromotion: ")), told[-300:])
            kilobytes = (folder / "peak.txt").read_text() if (folder / "peak.txt").is_file() else "0"
            left = {path.name for path in folder.rglob("*")} - {path.name for path in given}
        said = said.removeprefix("micromotion: ").replace(name, "FOLDER")
        problem = _problem(item, outcome, said, seconds)
        if "Traceback" in told:
            problem = "a traceback"
        if left - {"stderr.txt", "stdout.txt", "peak.txt", "model"} and outcome != SUCCEEDED:
            problem = f"left behind: {sorted(left)[:3]}"
        return Result(item, outcome, said, seconds, int(kilobytes) / 1024, problem)


def judge(status: int, answer: object) -> tuple[str, str]:
    """The outcome of a request, and its error."""
    if 400 <= status < 500 or status == 501:  # an unknown method
        return REFUSED, str(answer)[:300]
    if status == 200 and isinstance(answer, dict) and answer.get("status") in (FAILED, SUCCEEDED):
        said = str(answer.get("error", ""))
        while (
            shorter := re.sub(r"^(Prediction failed|Input validation error|\w+Error): ", "", said)
        ) != said:
            said = shorter
        return str(answer["status"]), said
    return f"status {status}", str(answer)[:300]


def _refusal(answer: object) -> str:
    """What is wrong with the answer to a request that was refused."""
    if not isinstance(answer, dict) or not answer.get("detail"):
        return "no JSON with detail"
    return "the answer holds what was sent" if re.search(r"[A-Za-z0-9+/]{200}", str(answer)) else ""


def _problem(item: Item, outcome: str, said: str, seconds: float) -> str:
    if seconds >= HANG:
        return "it hangs"
    if outcome not in item.expected:
        return f"{outcome}, not {' or '.join(sorted(item.expected))}"
    if outcome != FAILED:
        return ""
    if item.says not in said:
        return f"the sentence does not say {item.says!r}"
    if "\n" in said or not said.endswith(".") or len(said) > 400:
        return "no single clear sentence"
    shown = said.replace(str(item), "")
    if any(hidden in shown for hidden in _HIDDEN):
        return "the sentence says too much"
    return ""


def run_command(arguments: list[str], folder: Path, encoding: str) -> None:
    """Call the command line in a separate process."""
    os.chdir(folder)
    for name, number in (("stdout.txt", 1), ("stderr.txt", 2)):
        file = os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(file, number)
    sys.stdout, sys.stderr = (io.TextIOWrapper(os.fdopen(number, "wb", 0), encoding) for number in (1, 2))
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.argv = ["micromotion", *arguments]
    from micromotion.cli.main import main

    try:
        main()
    finally:
        sys.stderr.flush()
        (folder / "peak.txt").write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


def names_below(folder: Path) -> set[str]:
    """The names of all files and folders below, some of which may be deleted meanwhile."""
    return {name for _, folders, files in os.walk(folder) for name in (*folders, *files)}


# --- memory and files of processes (Linux) -----------------------------------------------------------------


def reset_peaks(processes: list[int]) -> int:
    """Reset the peak measurement; the current bytes of the largest process."""
    for number in processes:
        with suppress(OSError):
            Path(f"/proc/{number}/clear_refs").write_text("5")
    return _largest(processes, "VmRSS")


def peak(processes: list[int]) -> int:
    """The peak bytes of any of the processes since `reset_peaks`."""
    return _largest(processes, "VmHWM")


def resident(processes: list[int]) -> int:
    """The current bytes of all processes."""
    return sum(_status(number, "VmRSS") for number in processes)


def open_files(processes: list[int]) -> int:
    count = 0
    for number in processes:
        with suppress(OSError):
            count += len(list(Path(f"/proc/{number}/fd").iterdir()))
    return count


def _largest(processes: list[int], field: str) -> int:
    return max((_status(number, field) for number in processes), default=0)


def _status(number: int, field: str) -> int:
    with suppress(OSError):
        found = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{number}/status").read_text(), re.MULTILINE)
        return 1024 * int(found[1]) if found else 0
    return 0


# --- the world ----------------------------------------------------------------------------------------------


@contextmanager
def running(folder: Path, *, private: bool = False) -> Iterator[World]:
    """A world in an empty folder. Sets the environment of this process, for the server and the commands.

    private: pictures may be fetched from this machine.
    """
    from skimage.data import astronaut

    model = save_learning_bundle(folder / "bundle")
    (model / "anchors").mkdir()
    for seed, motion in enumerate(MOTIONS):
        random_anchors(seed).save(model / "anchors" / f"{motion}.safetensors")
    picture = Image.fromarray(astronaut()).crop((150, 0, 330, 180))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    (folder / "photo.jpg").write_bytes(file.getvalue())
    changes = {
        "MICROMOTION_MODEL": str(model),
        "MICROMOTION_CACHE": str(folder / "cache"),
        "MICROMOTION_DATA": str(folder / "data"),
        "MICROMOTION_PRIVATE_URLS": str(int(private)),
        "PYTHONPATH": os.pathsep.join(
            str(running_server.ROOT / folder) for folder in ("", "tests", "tests/support")
        ),
        "NO_COLOR": "1",
        "COLUMNS": "1000",
    }
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    (folder / "server").mkdir()
    server = running_server.start(folder / "server")
    try:
        with MisbehavingServer() as elsewhere:
            _misbehave(elsewhere, file.getvalue())
            world = World(server, folder, model, picture, data_url(file.getvalue(), "image/jpeg"), elsewhere)
            world.expected = world.good()
            yield world
    finally:
        status = running_server.stop(server, signal.SIGINT)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
    assert (status, relatives(server), server.left()) == (0, [], set()), "the server left something behind"


def _misbehave(server: MisbehavingServer, photo: bytes) -> None:
    server.add("/picture.jpg", File(photo))
    server.add("/redirect", redirect(server.url("/picture.jpg")))
    server.add("/loop", redirect(server.url("/loop")))
    server.add("/slow", lambda exchange: exchange.pause(HANG))
    server.add("/drip", drip_headers)
    server.add("/endless", endless)
    server.add("/hang-up", hang_up)
    server.add("/to-file", redirect("file:///etc/passwd"))
    server.add("/missing", Status(404))
