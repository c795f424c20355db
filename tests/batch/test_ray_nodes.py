"""Two Ray nodes on this machine, of which one is killed: its rows are done on the other."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from batch_workers import Noting, row_of

if not os.environ.get("RAY_TESTS"):  # Ray ends the process that loses its cluster, here the other tests'
    pytest.skip("run by `make test-ray`", allow_module_level=True)
pytest.importorskip("ray.data", reason="Ray is not installed")

import ray

from micromotion.batch.cluster import run_on_ray

pytestmark = pytest.mark.slow

SUPPORT = Path(__file__).resolve().parents[1] / "support"
START = 120.0  # seconds that a node may take to start
ROWS = 60


def start_node(*arguments: str) -> subprocess.Popen[bytes]:
    """A node with one core; its processes are one process group."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"]
    return subprocess.Popen(
        [*command, "--object-store-memory=100000000", *arguments],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def end(node: subprocess.Popen[bytes]) -> None:
    """Kill a node as a power cut would: its processes, and those that they began."""
    for pid in [*children(node.pid), node.pid]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    node.wait()


def children(pid: int) -> list[int]:
    """The processes that a process began, and those that these began."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *children(child)]
    return found


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """A head, and a second node that joined it."""
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT), prepend=os.pathsep)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    port = address.rpartition(":")[2]
    running = [start_node("--head", f"--port={port}", "--include-dashboard=false")]
    try:
        wait_for_head(address)
        running.append(start_node(f"--address={address}"))
        yield running
    finally:
        for each in running:
            if each.poll() is None:
                end(each)


def wait_for_head(address: str) -> None:
    host, _, port = address.partition(":")
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("Ray's head did not start")


def wait_for_nodes(count: int) -> None:
    deadline = time.monotonic() + START
    while sum(each["Alive"] for each in ray.nodes()) < count:
        assert time.monotonic() < deadline, "the second node did not join"
        time.sleep(0.2)


def test_the_rows_of_a_node_that_dies_are_done_elsewhere(
    nodes: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    ray.init(log_to_driver=False)
    try:
        wait_for_nodes(2)
        outcomes = []
        for outcome in run_on_ray(map(row_of, range(ROWS)), Noting(tmp_path, seconds=0.3), None):
            outcomes.append(outcome)
            if len(outcomes) == 12:
                end(nodes[1])
    finally:
        ray.shutdown()
    assert sorted(each.id for each in outcomes) == [row_of(number).id for number in range(ROWS)]
    assert {each.status for each in outcomes} == {"done"}
    workers = {int(each.suffix[1:]) for each in tmp_path.iterdir()}
    assert len(workers) >= 2  # both nodes had begun
