"""The benchmark of batches measures what it says, on few rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.batch.__main__ import MARKS, race_table, rows_table
from benchmarks.batch.race import Contest, Time, ways
from benchmarks.batch.reckoning import reckoning
from benchmarks.batch.rows import Stage, measure

ROOT = Path(__file__).resolve().parents[2]


def test_the_tables_have_a_line_for_each_way_and_stage() -> None:
    contest = Contest([Path("a.jpg")] * 4, 90, 2)
    table = race_table(contest, [Time(way, 10.0, 20.0) for way in ways()])
    assert "| bare Animator loops | 10 | 24.0 | 1.00 | 5.00 | 1.00 |" in table
    assert len(table.splitlines()) == 4 + len(ways())
    stages = rows_table([Stage(1000, "resume", 1.0, 0.5, 100_000_000)])
    assert "| 1,000 | resume, from a list to a folder | 1.0 | 0.5 | 500 | 100 MB |" in stages


def test_a_thousand_machines_are_reckoned_from_the_tables() -> None:
    contest = Contest([Path("a.jpg")] * 4, 90, 2)
    times = [Time(way, 10.0, 14.4, 250_000.0) for way in ways()]
    stages = [Stage(1_000_000, "bucket", 90.0, 72.0, 500_000_000)]
    stages += [Stage(100, "ray", 9.0, 5.0, 1), Stage(1100, "ray", 9.0, 5.5, 1)]
    text = reckoning(contest, times, stages)
    assert "| rendering | 1,000 core hours, 8 minutes | 40.00 |" in text
    assert "| 72 core seconds and 500 MB each, 20 core hours in all | 0.80 |" in text
    assert "| 2,000,000 pages of listings | 10.00 |" in text
    assert "| 250 GB | 5.75 |" in text
    assert "0.5 ms of its core for each further row" in text
    assert "2,000 a second; 8,000 cores do 2,222" in text
    assert reckoning(contest, times, stages[1:]) == ""


def test_the_document_has_the_place_for_the_tables() -> None:
    assert MARKS.search((ROOT / "docs/scale.md").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_rows_are_measured() -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    stages = measure(30, ("local",))
    assert [each.name for each in stages] == ["list", "resume", "bucket", "local"]
    assert all(each.core > 0 and each.memory > 10_000_000 for each in stages)
