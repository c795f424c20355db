"""Shards: each photo belongs to one, whichever others there are, and the number comes from the job."""

import pytest

from micromotion.batch.shard import Shard, parse_shard
from micromotion.batch.sources import Entry
from micromotion.errors import OptionError


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_every_photo_is_in_one_shard(count: int) -> None:
    shards = [Shard(number, count) for number in range(1, count + 1)]
    for number in range(300):
        entry = Entry(f"s3://shop/portraits/{number}.jpg")
        assert sum(each.has(entry) for each in shards) == 1


def test_shards_are_about_equal() -> None:
    entries = [Entry(f"photos/{number:06d}.jpg") for number in range(20_000)]
    sizes = [sum(map(Shard(number, 10).has, entries)) for number in range(1, 11)]
    assert min(sizes) > 1800
    assert max(sizes) < 2200


@pytest.mark.parametrize(
    ("environment", "number"),
    [
        ({"JOB_COMPLETION_INDEX": "0"}, 1),
        ({"JOB_COMPLETION_INDEX": "99"}, 100),
        ({"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "2"}, 1),
        ({"SLURM_ARRAY_TASK_ID": "100"}, 100),
        ({"AWS_BATCH_JOB_ARRAY_INDEX": "7"}, 8),
    ],
)
def test_the_number_comes_from_the_job(environment: dict[str, str], number: int) -> None:
    assert parse_shard("auto/100", environment) == Shard(number, 100)
    assert parse_shard("3/100", environment) == Shard(3, 100)


@pytest.mark.parametrize(
    ("text", "environment", "sentence"),
    [
        ("0/4", {}, "shard must be i/n, with i from 1 to n"),
        ("5/4", {}, "not 5/4"),
        ("1/100001", {}, "n up to 100000"),
        ("1", {}, "such as 3/100"),
        ("-1/4", {}, "such as 3/100"),
        ("auto/4", {}, "no job index"),
        ("auto/4", {"SLURM_ARRAY_TASK_ID": "0"}, "not 0/4"),
        ("auto/4", {"JOB_COMPLETION_INDEX": "4"}, "not 5/4"),
        ("auto/4", {"JOB_COMPLETION_INDEX": "x"}, "JOB_COMPLETION_INDEX must be a whole number"),
    ],
)
def test_a_wrong_shard_is_refused(text: str, environment: dict[str, str], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        parse_shard(text, environment)
