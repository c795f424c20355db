"""Send the whole corpus, print a table, and write the figures.

python -m abuse [--only GROUP] [--figures FILE.json]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from abuse.corpus import corpus
from abuse.world import HANG, Result, running

GROUPS = ("requests", "templates", "motion files", "pictures", "bundles", "names", "videos", "driving videos")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m abuse")
    parser.add_argument("--only", choices=GROUPS, help="this group alone")
    parser.add_argument("--figures", type=Path, help="where to write the figures, as JSON")
    given = parser.parse_args()
    results: list[Result] = []
    changed = 0
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="micromotion-abuse-") as name, running(Path(name)) as world:
        items = [item for item in corpus(world) if given.only in (None, item.group)]
        for item in items:
            result = world.try_item(item)
            results.append(result)
            if item.group not in ("bundles", "names", "videos") and world.good() != world.expected:
                changed += 1
                result.problem = result.problem or "the next good prediction is another one"
            if result.problem or sys.stdout.isatty():
                print(line(result), flush=True)
            if len(results) % 50 == 0 or item is items[-1]:
                print(f"{len(results)} of {len(items)}, {time.monotonic() - start:.0f} s", file=sys.stderr)
        asked = [request.path for request in world.elsewhere.requests]
    print(table(results))
    print(
        f"{len(results)} inputs in {time.monotonic() - start:.0f} s; "
        f"asked of the server nearby: {asked or 'nothing'}"
    )
    if given.figures:
        given.figures.write_text(json.dumps(figures(results, changed, asked), indent=1))
    return int(any(result.problem for result in results) or bool(asked))


def line(result: Result) -> str:
    mark = "!!" if result.problem else "ok"
    return (
        f"{mark} {result.item.group}/{result.item.name}: {result.outcome}, {result.seconds:.1f} s, "
        f"{result.megabytes:.0f} MB. {result.said[:160]} {result.problem.upper()}"
    )


def table(results: list[Result]) -> str:
    """One row per group: inputs, outcomes, longest time, largest memory, and number of problems."""
    rows = [
        "| group | inputs | refused | failed, told why | succeeded | longest | memory | broken |",
        "|" + "---|" * 8,
    ]
    for group in GROUPS:
        mine = [result for result in results if result.item.group == group]
        if mine:
            count = Counter(result.outcome for result in mine)
            rows.append(
                f"| {group} | {len(mine)} | {count['refused']} | {count['failed']} | {count['succeeded']} | "
                f"{max(r.seconds for r in mine):.1f} s | {max(r.megabytes for r in mine):.0f} MB | "
                f"{sum(bool(r.problem) for r in mine)} |"
            )
    return "\n".join(rows)


def figures(results: list[Result], changed: int, asked: list[str]) -> dict[str, object]:
    return {
        "inputs": len(results),
        "crashes": sum(r.outcome not in ("refused", "failed", "succeeded") for r in results),
        "hangs": sum(r.seconds >= HANG for r in results),
        "results that changed": changed,
        "fetched from this machine": asked,
        "problems": [f"{r.item.group}/{r.item.name}: {r.problem}" for r in results if r.problem],
        "slowest": [line(r) for r in sorted(results, key=lambda r: -r.seconds)[:10]],
        "largest": [line(r) for r in sorted(results, key=lambda r: -r.megabytes)[:10]],
        "table": table(results),
    }


if __name__ == "__main__":
    sys.exit(main())
