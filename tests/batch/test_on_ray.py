"""The engine on Ray: the rows of actors that die are done again, the others once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from batch_photos import OPTIONS, make_photos
from batch_workers import Noting, broken, row_of

if not os.environ.get("RAY_TESTS"):  # Ray ends the process that loses its cluster, here the other tests'
    pytest.skip("run by `make test-ray`", allow_module_level=True)
pytest.importorskip("ray.data", reason="Ray is not installed")

from micromotion import Animator
from micromotion.batch import read_results
from micromotion.batch import run as run_batch
from micromotion.batch.cluster import run_on_ray
from micromotion.batch.local import ATTEMPTS
from micromotion.errors import MicromotionError

pytestmark = pytest.mark.slow

SUPPORT = Path(__file__).resolve().parents[1] / "support"


@pytest.fixture(autouse=True)
def own_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of this test's own, on this machine, whose workers find the tests' modules."""
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT), prepend=os.pathsep)


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


def test_a_cluster_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(MicromotionError, match=r"no Ray cluster at RAY_ADDRESS='127\.0\.0\.1:1'"):
        list(run_on_ray([row_of(0)], broken, 1))


def test_a_batch_on_ray_is_that_on_this_machine(tmp_path: Path, random_bundle: Path) -> None:
    photos, dest = make_photos(tmp_path / "photos"), tmp_path / "out"
    (photos / "bad.jpg").write_bytes(b"no picture")
    report = run_batch(
        photos,
        dest,
        options=OPTIONS,
        model=str(random_bundle),
        device="cpu",
        engine="ray",
        workers=1,
        credentials=False,
    )
    assert (report.done, report.refused, report.failed) == (4, 1, 0)
    animator = Animator.load(random_bundle, "cpu")
    for row in read_results(str(dest)):
        if row.status == "done":
            animator.animate(row.image, options=OPTIONS).save(tmp_path / "one.mp4", credentials=False)
            assert (dest / str(row.video)).read_bytes() == (tmp_path / "one.mp4").read_bytes()
