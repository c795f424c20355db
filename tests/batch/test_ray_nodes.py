"""Two Ray nodes on this machine, of which one is killed: its rows are done on the other."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_workers import Noting, row_of
from ray_nodes import START, Node, end, ray_environment, two_nodes

if not os.environ.get("RAY_TESTS"):  # Ray ends the process that loses its cluster, here the other tests'
    pytest.skip("run by `make test-ray`", allow_module_level=True)
pytest.importorskip("ray.data", reason="Ray is not installed")

import ray

from micromotion.batch.cluster import run_on_ray

pytestmark = pytest.mark.slow

ROWS = 60


@pytest.fixture
def nodes() -> Iterator[list[Node]]:
    with ray_environment(), two_nodes() as running:
        yield running


def wait_for_nodes(count: int) -> None:
    deadline = time.monotonic() + START
    while sum(each["Alive"] for each in ray.nodes()) < count:
        assert time.monotonic() < deadline, "the second node did not join"
        time.sleep(0.2)


def test_the_rows_of_a_node_that_dies_are_done_elsewhere(nodes: list[Node], tmp_path: Path) -> None:
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
