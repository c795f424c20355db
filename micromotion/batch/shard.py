"""A share of a batch: every row belongs to exactly one of n shards, whatever else is in the list."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from micromotion.batch.sources import Entry
from micromotion.errors import OptionError

MAX_SHARDS = 100_000
_INDICES = (("JOB_COMPLETION_INDEX", 0), ("SLURM_ARRAY_TASK_ID", 1), ("AWS_BATCH_JOB_ARRAY_INDEX", 0))
"""Variables that hold the index of a job, and the index of the first."""


@dataclass(frozen=True)
class Shard:
    """The share `number` of `count`, 1…count."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count <= MAX_SHARDS:
            raise OptionError(
                f"shard must be i/n, with i from 1 to n and n up to {MAX_SHARDS}, "
                f"not {self.number}/{self.count}."
            )

    def has(self, entry: Entry) -> bool:
        """Whether a photo is in this share: by its path or URL, so that no other photo changes it."""
        return zlib.crc32(entry.image.encode(errors="surrogateescape")) % self.count == self.number - 1


def parse_shard(text: str, environment: Mapping[str, str] = os.environ) -> Shard:
    """The shard of "3/100"; "auto/100" takes the number from the job's environment.

    Kubernetes' Indexed Jobs and AWS Batch count from 0; a Slurm array has to count from 1 (--array=1-100).
    Raises OptionError if the text is no shard, or the environment has no index or a wrong one.
    """
    found = re.fullmatch(r"([0-9]{1,9}|auto)/([0-9]{1,9})", text)
    if found is None:
        raise OptionError(f"shard must be i/n, such as 3/100, or auto/100, not {text!r:.60}.")
    if found[1] != "auto":
        return Shard(int(found[1]), int(found[2]))
    for name, first in _INDICES:
        if name in environment:
            index = environment[name]
            if not index.isdecimal():
                raise OptionError(f"{name} must be a whole number, not {index!r:.60}.")
            return Shard(int(index) - first + 1, int(found[2]))
    names = ", ".join(name for name, _ in _INDICES)
    raise OptionError(f"shard is auto/n, but there is no job index in the environment ({names}): give i/n.")
