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
    running = [start_node("--head", f"--port={port}", "--include-dashboard=false")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        try:
            _wait_for_head(running[0], port)
            running.append(start_node(f"--address=127.0.0.1:{port}"))
            yield running
        finally:
            for each in running:
                if each.poll() is None:
                    end(each)


def start_node(*arguments: str) -> Node:
    """A node with one core; its processes are one process group."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"]
    return subprocess.Popen(
        [*command, "--object-store-memory=100000000", *arguments],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
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


def actors(node: Node) -> list[int]:
    """The processes of a node's actors that do rows."""
    found = []
    for pid in children(node.pid):
        with suppress(OSError):
            if b"MapWorker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def _wait_for_head(head: Node, port: int) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        assert head.poll() is None, "Ray's head ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("Ray's head did not start")
