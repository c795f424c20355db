"""Measure batches: the engines beside a shell loop and bare loops, and how many rows they bear.

python -m benchmarks.batch                               # ten minutes on two cores
python -m benchmarks.batch --photos 4 --rows 100         # as few as are wanted
python -m benchmarks.batch --out docs/scale.md           # write the tables there, between its marks
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.batch.race import Contest, Time, timed, ways
from benchmarks.batch.reckoning import reckoning
from benchmarks.batch.rows import Stage, measure
from benchmarks.stages.document import machine

ROOT = Path(__file__).resolve().parents[2]
FACES = ROOT / "docs/faces"
NAMES = {
    "list": "read a list",
    "resume": "resume, from a list to a folder",
    "bucket": "resume, from a bucket to a bucket",
    "local": "do, by the engine local",
    "ray": "do, by Ray (its driver)",
}
MARKS = re.compile(r"(<!-- measured: begin -->\n).*(<!-- measured: end -->)", re.DOTALL)


def main() -> None:
    """Measure what the arguments select, print the tables, and write them."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.batch", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--photos", type=int, default=12, help="how many portraits are animated")
    parser.add_argument("--frames", type=int, default=90)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--rows", type=int, nargs="*", default=[100, 1000, 1_000_000])
    parser.add_argument("--engines-up-to", type=int, default=1000, help="rows that the engines do at most")
    parser.add_argument("--out", type=Path, help="a document to write the tables into")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    faces = sorted(FACES.glob("*.jpg"))[: given.photos]
    races = []
    for workers in given.workers:
        contest = Contest(faces, given.frames, workers)
        races.append((contest, [timed(way, contest) for way in ways()]))
        print(race_table(*races[-1]), flush=True)
    stages = []
    for rows in given.rows:
        stages += measure(rows, ("local", "ray") if rows <= given.engines_up_to else ())
        print(rows_table(stages), flush=True)
    parts = [f"{machine(1)} Load before: {load:.1f}.", ""]
    parts += [race_table(*race) for race in races]
    parts += [rows_table(stages)] if stages else []
    parts += [reckoning(*races[-1], stages)] if races and stages else []
    text = "\n".join(parts)
    print(text)
    if given.out:
        before = given.out.read_text(encoding="utf-8")
        given.out.write_text(MARKS.sub(lambda m: f"{m[1]}{text}\n{m[2]}", before), encoding="utf-8")


def race_table(contest: Contest, times: Sequence[Time]) -> str:
    """Videos a minute of each way, and its core seconds beside the bare loops'."""
    count, first = len(contest.photos), times[0]
    lines = [
        f"{count} photos, {contest.frames} frames, {contest.workers} workers:\n",
        "| way | seconds | videos a minute | ÷ bare loops | core seconds a video | ÷ bare loops |",
        "|---|---|---|---|---|---|",
    ]
    for each in times:
        core = "not counted | "  # most of Ray's processes are not ours
        if not each.way.endswith("ray"):
            core = f"{each.core / count:.2f} | {each.core / first.core:.2f}"
        pace = f"{60 * count / each.seconds:.1f} | {first.seconds / each.seconds:.2f}"
        lines.append(f"| {each.way} | {each.seconds:.0f} | {pace} | {core} |")
    return "\n".join(lines) + "\n"


def rows_table(stages: Sequence[Stage]) -> str:
    """Seconds and memory by number of rows."""
    lines = ["| rows | what | seconds | core seconds | µs a row | memory |", "|---|---|---|---|---|---|"]
    for each in stages:
        memory = f"{each.memory / 1e6:.0f} MB"
        lines.append(
            f"| {each.rows:,} | {NAMES.get(each.name, each.name)} | {each.seconds:.1f} | {each.core:.1f} "
            f"| {1e6 * each.core / each.rows:.0f} | {memory} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
