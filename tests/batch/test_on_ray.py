"""The engine on Ray: the rows of actors that die are done again, the others once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_workers import Noting, broken, row_of
from ray_nodes import ray_environment

if not os.environ.get("RAY_TESTS"):  # Ray ends the process that loses its cluster, here the other tests'
    pytest.skip("run by `make test-ray`", allow_module_level=True)
pytest.importorskip("ray.data", reason="Ray is not installed")

from micromotion.batch.cluster import run_on_ray
from micromotion.batch.local import ATTEMPTS
from micromotion.errors import MicromotionError

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def own_cluster() -> Iterator[None]:
    """A cluster of this test's own, on this machine, whose workers find the tests' modules."""
    with ray_environment():
        yield


def test_rows_survive_the_death_of_their_actors(tmp_path: Path) -> None:
    work = Noting(tmp_path, kills="photo5", times=1, seconds=0.01)
    outcomes = list(run_on_ray(map(row_of, range(40)), work, 2))
    assert sorted(each.id for each in outcomes) == [row_of(number).id for number in range(40)]
    assert {each.status for each in outcomes} == {"done"}
    assert work.begun("photo5") == 2
    begun = [work.begun(f"photo{number}") for number in range(40)]
    assert begun.count(1) > 30


def test_a_row_that_kills_every_actor_fails_alone(tmp_path: Path) -> None:
    work = Noting(tmp_path, kills="photo3")
    outcomes = {each.name: each for each in run_on_ray(map(row_of, range(8)), work, 1)}
    assert outcomes.pop("photo3").sentence.startswith(f"The worker died {ATTEMPTS} times")
    assert {each.status for each in outcomes.values()} == {"done"}
    assert len(outcomes) == 7
    assert work.begun("photo3") == ATTEMPTS


def test_a_worker_that_cannot_start_ends_the_batch() -> None:
    with pytest.raises(MicromotionError, match="A worker cannot start: The model is damaged"):
        list(run_on_ray(map(row_of, range(3)), broken, 1))


def test_a_ray_that_cannot_start_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of a socket has at most 107 characters, and Ray puts its own into the temporary folder."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("long" * 25)))
    with pytest.raises(MicromotionError, match=r"Ray cannot start: .*Set RAY_TMPDIR to a folder"):
        list(run_on_ray([row_of(0)], broken, 1))


def test_a_cluster_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(MicromotionError, match=r"no Ray cluster at RAY_ADDRESS='127\.0\.0\.1:1'"):
        list(run_on_ray([row_of(0)], broken, 1))
