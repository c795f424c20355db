"""The service and the command line under abuse: a part of the corpus in `abuse`, and a short soak.

`make test-abuse` sends all of it, `make test-soak` runs long; docs/reliability.md has their figures.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from abuse.corpus import corpus, sample
from abuse.soak import at_once, cancelled_anywhere, in_a_row
from abuse.world import World, running

SAMPLE = {
    "requests": 40,
    "templates": 8,
    "motion files": 16,
    "pictures": 40,
    "bundles": 5,
    "names": 8,
    "videos": 6,
    "driving videos": 10,
}
NEVER_LEFT_OUT = ("identifier", "fetched", "JPEG of 49")  # what once broke the service
MEGABYTES = 1500  # a process may grow by this for one input; the largest picture takes a third of it


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.mark.slow
def test_hostile_inputs_are_refused_and_change_nothing(world: World) -> None:
    items = corpus(world)
    assert len(items) > 500
    chosen = sample(items, SAMPLE, seed=7)
    chosen += [each for each in items if each.name.startswith(NEVER_LEFT_OUT) and each not in chosen]
    broken = []
    for number, item in enumerate(chosen):
        result = world.try_item(item)
        if result.problem or result.megabytes > MEGABYTES:
            broken.append(
                (item.group, item.name, result.outcome, result.said, result.problem, result.megabytes)
            )
        if number % 10 == 9:
            assert world.good() == world.expected, f"after {item.name}"
    assert broken == []
    assert world.good() == world.expected
    assert world.elsewhere.requests == [], "it fetched from this machine"


@pytest.mark.slow
def test_predictions_in_a_row_at_once_and_cancelled(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running(tmp_path_factory.mktemp("soak"), private=True) as world:
        row = in_a_row(world, 30, seed=3)
        assert row.problems == []
        assert row.left[-1] == 0
        assert row.files[-1] <= row.files[0] + 2
        crowd = at_once(world, callers=6, each=2)
        assert set(crowd) <= {"succeeded", "refused, busy"}
        assert crowd["succeeded"] >= 1
        assert len(cancelled_anywhere(world, 7, seed=4)) == 7
        assert world.good() == world.expected
