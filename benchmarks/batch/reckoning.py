"""What a million photos would need on a thousand machines, reckoned from what was measured."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.batch.race import Contest, Time
from benchmarks.batch.rows import Stage

PHOTOS = 1_000_000
MACHINES, CORES = 1000, 8
CORE_HOUR = 0.04
"""Dollars for an hour of a core, about what clouds ask."""

LIST, GET, STORED = 0.005 / 1000, 0.0004 / 1000, 0.023e-9
"""Dollars for a listing or a PUT, for a GET or a HEAD, and for a byte in a month: S3's list prices."""


def reckoning(contest: Contest, times: Sequence[Time], stages: Sequence[Stage]) -> str:
    """A table of core hours, memory, requests and dollars; "" if something that it needs was not measured."""
    batch = next((each for each in times if each.way == "micromotion batch"), None)
    largest = {each.name: each for each in stages if each.rows == max(stage.rows for stage in stages)}
    known = largest.get("bucket")
    if batch is None or known is None:
        return ""
    hours = PHOTOS * batch.core / len(contest.photos) / 3600
    share = PHOTOS * known.core / known.rows
    pages = 2 * PHOTOS / 1000
    requests = PHOTOS * (2 * GET + LIST)
    size = PHOTOS * batch.size
    spent = MACHINES * share / 3600  # core hours of all shares
    listing = MACHINES * pages * LIST + CORE_HOUR * spent
    each = f"{share:.0f} core seconds and {known.memory / 1e6:.0f} MB each, {spent:.0f} core hours in all"
    minutes = 60 * hours / MACHINES / CORES
    rows = [
        ("rendering", f"{hours:,.0f} core hours, {minutes:.0f} minutes", CORE_HOUR * hours),
        (f"listing all, and the results, in each of {MACHINES:,} shares", each, CORE_HOUR * spent),
        ("requests for that", f"{MACHINES * pages:,.0f} pages of listings", MACHINES * pages * LIST),
        ("both, in 100 shares of 80 cores", "a tenth", listing / 10),
        ("requests for photos and videos", f"{PHOTOS:,} each of GET, HEAD and PUT", requests),
        ("storing the videos for a month", f"{size / 1e9:,.0f} GB", size * STORED),
    ]
    lines = [f"| {PHOTOS:,} photos on {MACHINES:,} machines of {CORES} cores | | dollars |", "|---|---|---|"]
    lines += [f"| {what} | {how} | {dollars:.2f} |" for what, how, dollars in rows]
    return "\n".join(lines) + "\n" + _driver(stages, hours)


def _driver(stages: Sequence[Stage], hours: float) -> str:
    """How many rows a second Ray's driver can give out, and how many that many cores want; "" if unknown."""
    measured = sorted((each.rows, each.core) for each in stages if each.name == "ray")
    if len(measured) < 2:
        return ""
    (few, first), (many, last) = measured[0], measured[-1]
    slope = max(last - first, 1e-9) / (many - few)
    wanted = PHOTOS / (hours * 3600 / MACHINES / CORES)
    return (
        f"\nOn Ray one driver lists, once. It needs {1e3 * slope:.1f} ms of its core for each further row, "
        f"so it can give out {1 / slope:,.0f} a second; {MACHINES * CORES:,} cores do {wanted:,.0f}.\n"
    )
