"""Runs the real Cog prediction server, with input validation, on this machine, without Docker.

Cog's server expects the layout of `cog build`: predict.py and .cog/openapi_schema.json in the working
directory, and this very Python as `python` on the PATH, because it starts its worker by that name. All this
goes into a temporary folder, which also holds the server's own temporary files, so nothing of a prediction
outlives it. Callers reach Cog's server only through the gateway in this process (see
`micromotion.service.gateway`).
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from micromotion.errors import MicromotionError, OptionError
from micromotion.option_checks import check_whole
from micromotion.service.gateway import open_gateway
from micromotion.weights.bundle import find_bundle
from micromotion.weights.install import ensure

MODEL = "MICROMOTION_MODEL"  # environment variable that predict.py reads: the model's name or folder
FETCH = "MICROMOTION_FETCH"  # likewise: "1" to fetch that model if it is missing
PREDICTOR = "predict.py"
SCHEMA = "openapi.json"
GLANCE = 0.2  # seconds between checks for a signal
GRACE = 3.0  # seconds that a prediction in progress gets after a signal
LOOK = 1.0  # seconds between checks that the worker still runs
LOST = "The worker was killed, perhaps for lack of memory; restarting it."

TIED = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""

_PACKAGE = Path(__file__).resolve().parents[1]
_SOURCES = (_PACKAGE / "data" / "service", _PACKAGE.parent)  # in an installed wheel, in a checkout


def serve(host: str = "127.0.0.1", port: int = 5000) -> None:
    """Run the Cog HTTP server until SIGINT, SIGTERM, SIGHUP or a POST to /shutdown; its worker ends with it.

    host is a name or an address of this machine; the default accepts calls from this machine only. Call it in
    the main thread, whose handlers of these signals it replaces meanwhile. The environment variable
    MICROMOTION_MODEL names another model than avatar; with MICROMOTION_FETCH=1 it is fetched if missing.
    Raises OptionError if it cannot listen on the address, BundleError if there is no such model,
    MicromotionError if Cog is not installed or the server ends by itself.
    """
    _check_cog()
    address = _check_address(host, port)
    model = _model(os.environ.get(MODEL, "avatar"), fetch=os.environ.get(FETCH) == "1")
    with tempfile.TemporaryDirectory(prefix="micromotion-serve-") as name:
        folder = Path(name)
        _lay_out(folder)
        inner = _free_port()
        with open_gateway((address, port), inner, _inputs(folder)):
            shown = f"[{address}]" if ":" in address else address
            print(f"Listening on http://{shown}:{port} (stop with Ctrl-C).", file=sys.stderr, flush=True)
            status = _run(
                [sys.executable, "-m", "cog.server.http", "--host", "127.0.0.1"],
                cwd=folder,
                env=_environment(os.environ, folder, inner, model),
                port=inner,
            )
    if status != 0:
        raise MicromotionError(f"The Cog server ended with status {status}; its log above says why.")


def _check_cog() -> None:
    """Raise MicromotionError, with the command to install it, unless Cog is installed."""
    if importlib.util.find_spec("cog") is None or importlib.util.find_spec("coglet") is None:
        raise MicromotionError('Cog is not installed; run: pip install "micromotion[service]"')


def _check_address(host: str, port: int) -> str:
    """The numeric address of host. Raises OptionError unless one can listen there."""
    check_whole("port", port, 1, 65535)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, _, _, address = min(found, key=lambda each: each[0])  # IPv4 first
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        reason = f"{host}, port {port}, cannot be listened on: {error.strerror}; choose another."
        raise OptionError(reason) from error
    return str(address[0])


def _free_port() -> int:
    """A free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _lay_out(folder: Path) -> None:
    """Put the predictor, its schema, and a `python` that runs this Python into a folder."""
    source = next((each for each in _SOURCES if (each / PREDICTOR).is_file()), None)
    if source is None:
        raise MicromotionError(f"{PREDICTOR} is not where it was installed; install micromotion again.")
    for part in (".cog", "bin", "tmp"):
        (folder / part).mkdir()
    shutil.copyfile(source / PREDICTOR, folder / PREDICTOR)
    shutil.copyfile(source / SCHEMA, folder / ".cog" / "openapi_schema.json")
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)


def _inputs(folder: Path) -> dict[str, dict[str, Any]]:
    """The schema of each input of a prediction, by its name."""
    document = json.loads((folder / ".cog" / "openapi_schema.json").read_text(encoding="utf-8"))
    inputs: dict[str, dict[str, Any]] = document["components"]["schemas"]["Input"]["properties"]
    return inputs


def _model(name: str, *, fetch: bool) -> str:
    """A bundle's name, or its absolute path if name is a folder: the server runs in another directory.

    For one on the hub, its address with the commit, so that every worker loads the same, without a network.
    """
    if fetch:
        ensure(name)
    found = find_bundle(name)
    return str(found.folder.resolve()) if found.folder == Path(name) else found.origin or name


def _environment(base: Mapping[str, str], folder: Path, port: int, model: str) -> dict[str, str]:
    """The server's environment variables; the caller's settings for Cog's log stay."""
    beside = str(Path(sys.executable).parent)  # in case folder is on a noexec file system
    path = os.pathsep.join([str(folder / "bin"), beside, base.get("PATH", os.defpath)])
    modules = os.pathsep.join(filter(None, [str(_PACKAGE.parent), base.get("PYTHONPATH", "")]))
    return {
        "LOG_FORMAT": "console",
        **({} if sys.stderr.isatty() else {"NO_COLOR": "1"}),
        **base,
        "COG_PREDICT_TYPE_STUB": f"{PREDICTOR}:Predictor",
        "PORT": str(port),
        MODEL: model,
        "PATH": path,
        "PYTHONIOENCODING": "utf-8:backslashreplace",  # the output becomes JSON in the responses
        "PYTHONPATH": modules,  # the worker uses this package, also from a checkout
        "TMPDIR": str(folder / "tmp"),
    }


def _empty(folder: Path) -> None:
    """Remove everything that a killed worker left in the folder."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


class _Lost:
    """Detects that Cog's server has lost its worker, without which it refuses everything (Linux).

    A worker that ended because its setup failed is not lost: the health check says why.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._seen = False
        self._next = 0.0

    def look(self, server: int) -> bool:
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + LOOK
        if _has_child(server):
            self._seen = True
        elif self._seen:
            return self._was_set_up()
        return False

    def _was_set_up(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=LOOK)  # uses no proxy
        with (
            closing(connection),
            suppress(OSError, http.client.HTTPException, ValueError, KeyError, TypeError),
        ):
            connection.request("GET", "/health-check")
            answer = json.loads(connection.getresponse().read())
            return bool(answer["setup"]["status"] == "succeeded")
        return False


def _has_child(process: int) -> bool:
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            for child in task.read_text().split():
                if ") Z " not in Path(f"/proc/{child}/stat").read_text():
                    return True
    return False


def _tied(command: list[str]) -> list[str]:
    """The command, wrapped to end with this process even if that is killed (Linux)."""
    return [sys.executable, "-c", TIED, str(os.getpid()), *command] if sys.platform == "linux" else command


def _run(command: list[str], *, cwd: Path, env: Mapping[str, str], port: int = 0) -> int:
    """Run a command until it ends (returns its status) or a signal asks to stop (returns 0).

    Its children end with it. port: where it listens; if its worker was killed, it is restarted.
    """
    with _noting_signals() as noted:
        while (status := _run_once(command, cwd, env, noted, _Lost(port))) is None:
            print(LOST, file=sys.stderr, flush=True)
            _empty(cwd / "tmp")
        return status


def _run_once(
    command: list[str], cwd: Path, env: Mapping[str, str], noted: list[int], lost: _Lost
) -> int | None:
    """As `_run`, but returns None if the worker is lost."""
    server = subprocess.Popen(_tied(command), cwd=cwd, env=env, start_new_session=True)
    try:
        while not noted:
            with suppress(subprocess.TimeoutExpired):
                return server.wait(GLANCE)
            if lost.look(server.pid):
                return None
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(GRACE)
        return 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)  # its worker too
        server.wait()


@contextmanager
def _noting_signals() -> Iterator[list[int]]:
    """Within the block, only record signals that ask to stop, so that none interrupts at a bad moment."""
    stops = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    noted: list[int] = []
    previous = [(stop, signal.signal(stop, lambda number, _: noted.append(number))) for stop in stops]
    try:
        yield noted
    finally:
        for stop, handler in previous:
            signal.signal(stop, handler)
