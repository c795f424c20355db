"""The local engine: every row once, dead workers are replaced, errors are told, nothing is left running."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_workers import Noting, broken, dying, row_of

from micromotion.batch import local
from micromotion.batch.local import run_local
from micromotion.batch.rows import Row
from micromotion.errors import BundleError, MainMemoryError

pytestmark = pytest.mark.slow


def pids(folder: Path) -> set[int]:
    return {int(each.suffix[1:]) for each in folder.iterdir()}


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_every_row_is_done_once_and_the_workers_end(tmp_path: Path) -> None:
    outcomes = list(run_local(map(row_of, range(9)), Noting(tmp_path), 2))
    assert sorted(each.id for each in outcomes) == [row_of(number).id for number in range(9)]
    assert all(each.status == "done" for each in outcomes)
    assert len(list(tmp_path.iterdir())) == 9
    assert not any(map(is_running, pids(tmp_path)))


def test_the_row_of_a_worker_that_dies_is_done_again(tmp_path: Path) -> None:
    work = Noting(tmp_path, kills="photo3", times=1)
    outcomes = list(run_local(map(row_of, range(6)), work, 1))
    assert [each.status for each in outcomes] == ["done"] * 6
    assert [work.begun(f"photo{number}") for number in range(6)] == [1, 1, 1, 2, 1, 1]


def test_a_row_that_kills_every_worker_fails_alone(tmp_path: Path) -> None:
    work = Noting(tmp_path, kills="photo1")
    outcomes = {each.name: each for each in run_local(map(row_of, range(4)), work, 2)}
    assert outcomes.pop("photo1").sentence == "The worker died 3 times with this photo: run the batch again."
    assert {each.status for each in outcomes.values()} == {"done"}
    assert work.begun("photo1") == local.ATTEMPTS


def test_a_worker_that_hangs_counts_as_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "ROW_SECONDS", 0.2)
    (outcome,) = run_local([row_of(0)], Noting(tmp_path, seconds=600), 1)
    assert outcome.status == "failed"
    assert not any(map(is_running, pids(tmp_path)))


def test_a_worker_that_cannot_start_ends_the_batch() -> None:
    with pytest.raises(BundleError, match="The model is damaged"):
        list(run_local(map(row_of, range(3)), broken, 2))
    with pytest.raises(MainMemoryError, match="use fewer workers"):
        list(run_local(map(row_of, range(3)), dying, 1))


def test_rows_are_taken_as_they_are_needed(tmp_path: Path) -> None:
    taken = []

    def rows() -> Iterator[Row]:
        for number in range(100):
            taken.append(number)
            yield row_of(number)

    outcomes = run_local(rows(), Noting(tmp_path), 2)
    next(outcomes)
    outcomes.close()
    assert len(taken) <= 2 * 2 + 2
    assert not any(map(is_running, pids(tmp_path)))
