"""The benchmark of the stages: order, failures and output; no timings."""

import os
from pathlib import Path

import pytest
import torch

from benchmarks.stages import document, networks
from benchmarks.stages.ours import process_of
from benchmarks.stages.race import Contender, Result, Spent, Work, peak_memory, race
from benchmarks.stages.table import Stage, StageRow, measure, stages

pytestmark = pytest.mark.slow


def writing(log: Path, letter: str) -> Work:
    """A contender that leaves a trace of each round."""

    def work() -> str:
        with log.open("a") as file:
            file.write(letter)
        return os.environ["OMP_NUM_THREADS"]

    return work


def failing(when: str) -> Work:
    if when == "made":
        raise ValueError("no such network")

    def work() -> None:
        if when == "working":
            raise ValueError("no such picture")
        os._exit(1)

    return work


def test_contenders_alternate_in_separate_processes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    before = dict(os.environ)
    first, second = race(
        [Contender("a", writing, (log, "a"), threads=2), Contender("b", writing, (log, "b"), 1, rounds=1)],
        rounds=3,
    )
    assert log.read_text() == "abab" + "aa"  # once to warm up
    assert (len(first.seconds), len(second.seconds)) == (3, 1)
    assert (first.said, second.said) == ("2", "1")
    assert first.peak > 10 << 20
    assert dict(os.environ) == before


@pytest.mark.parametrize("when", ["made", "working", "dying"])
def test_a_failed_contender_is_dropped_and_the_others_continue(when: str, tmp_path: Path) -> None:
    good, bad = race(
        [Contender("good", writing, (tmp_path / "log", "a")), Contender("bad", failing, (when,))]
    )
    assert len(good.seconds) == 3
    assert bad.failed
    assert not bad.seconds


def knowing(log: Path) -> Work:
    """A contender that reports its own time and memory."""
    with log.open("a") as file:
        file.write("made ")

    def work() -> Spent:
        with log.open("a") as file:
            file.write("worked ")
        return Spent(7.0, 5, {"part": 3.0})

    return work


def test_a_contender_may_report_its_own_usage(tmp_path: Path) -> None:
    (found,) = race([Contender("a", knowing, (tmp_path / "log",))], rounds=2)
    assert (found.seconds, found.peak, found.said) == ([7.0, 7.0], 5, {"part": 3.0})
    assert "part 3.00 s" in document.line(StageRow(Stage("a", Contender("a", knowing)), [found], None))


def test_contenders_run_one_by_one_if_memory_is_short(tmp_path: Path) -> None:
    log = tmp_path / "log"
    one = Contender("one", knowing, (log,))
    row = measure(Stage("both", one, (), one, rounds=1, together=False))
    assert log.read_text() == 2 * "made worked worked "  # the first ends before the second is made
    assert row.share == 1.0
    assert [each.name for each in row.results] == ["one"]


def test_a_separate_process_reports_its_memory() -> None:
    spent = process_of(f"block = b'x' * {200 << 20}")
    assert spent.seconds > 0
    assert 200 << 20 < spent.memory < 300 << 20


def result(name: str, *seconds: float) -> Result:
    return Result(name, list(seconds), 2_000_000_000)


def test_a_line_contains_the_measurements() -> None:
    stage = Stage("synthesis", Contender("ours", writing), limit=1.35)
    row = StageRow(stage, [result("ours", 0.1, 0.12, 0.14), result("theirs", 0.36)], result("floor", 0.1))
    assert row.share == pytest.approx(1.2)
    assert row.met is True
    line = document.line(row)
    assert "120 ms ± 17%" in line
    assert "| 1.20 | 1.35 × floor | met | 2.00 GB | theirs 360 ms (3.00×; 2.00 GB) |" in line
    failed = Result("theirs", failed="AssertionError: no")
    assert "theirs does not run (AssertionError)" in document.line(
        StageRow(stage, [row.results[0], failed], None)
    )
    assert StageRow(Stage("start", stage.ours, limit=0.1), row.results, None).met is False


def test_handwritten_text_is_preserved(tmp_path: Path) -> None:
    path = tmp_path / "performance.md"
    document.write(path, "| one |")
    path.write_text(f"# By hand\n\n{path.read_text()}\nAlso by hand.\n", encoding="utf-8")
    document.write(path, "| two |")
    text = path.read_text(encoding="utf-8")
    assert "| one |" not in text
    assert "| two |" in text
    assert text.startswith("# By hand")
    assert text.endswith("Also by hand.\n")
    document.write(path, "| three |", "gpu")
    text = path.read_text(encoding="utf-8")
    assert "| two |" in text
    document.write(path, "| four |", "gpu")
    assert path.read_text(encoding="utf-8") == text.replace("| three |", "| four |")


def test_every_stage_of_ours_runs() -> None:
    """At the smallest size, without stages that start processes or need the embedded model."""
    rows = {stage.name: stage for stage in stages("tiny", None, 1)}
    assert len(rows) == 11
    for name, stage in rows.items():
        assert stage.ours.threads == 1
        if name.startswith(("synthesis", "e4e", "robust", "signing")):
            for contender in (stage.ours, *stage.rivals, *([stage.floor] if stage.floor else [])):
                contender.make(*contender.args)()


def test_the_floor_runs_exactly_the_convolutions() -> None:
    """Counts the multiplications of the floor and of the network."""
    from torch.utils.flop_counter import FlopCounterMode

    generator = networks.generator("tiny")
    code = torch.zeros(1, generator.num_styles, generator.style_dim)
    counts = []
    for work in (
        networks.synthesis_convolutions(generator, torch.float32),
        lambda: generator.synthesize(code),
    ):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            work()
        counts.append(sum(counter.get_flop_counts()["Global"].values()))
    assert 0 < counts[0] <= counts[1]


def test_peak_memory_includes_freed_memory() -> None:
    block = b"x" * (300 << 20)
    size = len(block)
    del block
    assert peak_memory() > size
