"""Ray on this machine: nodes that are started, killed, and leave nothing running. Does not import Ray."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

import pytest

SUPPORT = Path(__file__).resolve().parent
START = 180.0  # seconds that a node may take to start

Node = subprocess.Popen[bytes]


@contextmanager
def ray_environment() -> Iterator[None]:
    """The environment's variables for a Ray of the block's own; all of its processes are killed at the end.

    RAY_ADDRESS is "local": a cluster that the driver starts and ends. Its files are in a folder with a short
    name, as the path of a socket may have 107 characters.
    """
    mark = secrets.token_hex(8)
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MICROMOTION_TEST_MARK", mark)
        patch.setenv("RAY_ADDRESS", "local")
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # others' memory is no reason to end ours
        patch.setenv("RAY_prestart_worker_first_driver", "0")
        patch.setenv("PYTHONPATH", str(SUPPORT), prepend=os.pathsep)
        try:
            yield
        finally:
            _kill_marked(f"MICROMOTION_TEST_MARK={mark}")
            shutil.rmtree(folder, ignore_errors=True)


def _kill_marked(variable: str) -> None:
    """Kill the processes with a variable in their environment, whoever is their parent now."""
    for _ in range(3):  # what they may have started meanwhile
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if folder.name != str(os.getpid()) and variable.encode() in (
                    folder / "environ"
                ).read_bytes().split(b"\0"):
                    os.kill(int(folder.name), signal.SIGKILL)


@contextmanager
def two_nodes() -> Iterator[list[Node]]:
    """A head and a second node, of one core each, to which RAY_ADDRESS leads; in a `ray_environment`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    logs = [Path(os.environ["RAY_TMPDIR"]) / name for name in ("head.log", "second.log")]
    running = [start_node(logs[0], "--head", f"--port={port}", "--include-dashboard=false")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        try:
            _wait_for(running[0], logs[0])
            running.append(start_node(logs[1], f"--address=127.0.0.1:{port}"))
            _wait_for(running[1], logs[1])
            yield running
        finally:
            for each in running:
                if each.poll() is None:
                    end(each)


def start_node(log: Path, *arguments: str) -> Node:
    """A node of one core, which says in its log when it has started; its processes are one process group."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"]
    with log.open("wb") as file:
        return subprocess.Popen(
            [*command, "--object-store-memory=100000000", *arguments],
            start_new_session=True,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def end(node: Node) -> None:
    """Kill a node as a power cut would: its processes, and those that they began."""
    for pid in [*children(node.pid), node.pid]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    node.wait()


def children(pid: int) -> list[int]:
    """The processes that a process began, and those that these began."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *children(child)]
    return found


def actors(*nodes: Node) -> list[int]:
    """The processes of the nodes' actors that do rows."""
    found = []
    for pid in chain.from_iterable(children(node.pid) for node in nodes):
        with suppress(OSError):
            if b"MapWorker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def _wait_for(node: Node, log: Path) -> None:
    """Wait until a node has started and, if it is the second, joined."""
    deadline = time.monotonic() + START
    while "Ray runtime started" not in (said := log.read_text(errors="replace")):
        assert node.poll() is None, said
        assert time.monotonic() < deadline, said
        time.sleep(0.2)
