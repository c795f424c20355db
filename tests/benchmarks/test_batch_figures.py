"""The benchmark of batches measures what it says, on few rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.batch.__main__ import MARKS, race_table, rows_table
from benchmarks.batch.race import Contest, Time, ways
from benchmarks.batch.rows import Stage, measure

ROOT = Path(__file__).resolve().parents[2]


def test_the_tables_have_a_line_for_each_way_and_stage() -> None:
    contest = Contest([Path("a.jpg")] * 4, 90, 2)
    table = race_table(contest, [Time(way, 10.0, 20.0) for way in ways()])
    assert "| bare Animator loops | 10 | 24.0 | 5.00 | 1.00 |" in table
    assert len(table.splitlines()) == 4 + len(ways())
    stages = rows_table([Stage(1000, "resume", 1.0, 0.5, 100_000_000)])
    assert "| 1,000 | resume | 1.0 | 0.5 | 500 | 100 MB |" in stages


def test_the_document_has_the_place_for_the_tables() -> None:
    assert MARKS.search((ROOT / "docs/batch.md").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_rows_are_measured() -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    stages = measure(30, ("local",))
    assert [each.name for each in stages] == ["list", "resume", "local"]
    assert all(each.core > 0 and each.memory > 10_000_000 for each in stages)
