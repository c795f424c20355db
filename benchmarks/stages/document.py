"""The tables of the stages, for the terminal and for docs/performance.md."""

import math
import os
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.stages.race import Result
from benchmarks.stages.table import StageRow

HEADER = (
    "| stage | ours | floor | ours ÷ floor | target | | memory | compared with (times ours; memory) |\n"
    "|---|---|---|---|---|---|---|---|\n"
)


def machine(threads: int, device: str = "") -> str:
    """The machine, the versions and the time of a measurement; `device` is a GPU in words."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text().splitlines()
        cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), cpu)
        flags = next((line for line in lines if line.startswith("flags")), "").split()
        cpu += "".join(f", {flag}" for flag in ("avx512f", "avx512_bf16", "amx_bf16") if flag in flags)
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "av", "numpy"))
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {device}{cpu}; {os.cpu_count()} cores, {threads} threads; "
        f"{platform.system()}, Python {platform.python_version()}, {versions}."
    )


def line(row: StageRow) -> str:
    """A stage as a line of the table."""
    ours, *rivals = row.results
    floor = seconds(row.floor) if row.floor else ""
    share = f"{row.share:.2f}" if row.share is not None else ""
    limit = row.stage.limit
    wanted = "" if limit is None else f"{limit:g} × floor" if row.floor else f"{time(limit)}"
    verdict = {None: "", True: "met", False: "missed"}[row.met]
    beside = "; ".join(rival(each, ours) for each in rivals) or parts(ours)
    cells = [row.stage.name, seconds(ours), floor, share, wanted, verdict, gigabytes(ours.peak), beside]
    return f"| {' | '.join(cells)} |"


def rival(result: Result, ours: Result) -> str:
    if result.failed:
        return f"{result.name} does not run ({result.failed.partition(':')[0]})"
    times = f"{result.median / ours.median:.2f}"
    return f"{result.name} {seconds(result)} ({times}×; {gigabytes(result.peak)})"


def parts(result: Result) -> str:
    """The seconds of a work's parts, if it reports them."""
    said = result.said if isinstance(result.said, dict) else {}
    return ", ".join(f"{name} {time(value)}" for name, value in said.items())


def seconds(result: Result) -> str:
    """A median, and the spread of the rounds."""
    if result.failed:
        return f"failed: {result.failed}"
    if len(result.seconds) == 1:
        return time(result.median)
    return f"{time(result.median)} ± {100 * result.spread:.0f}%" if result.seconds else ""


def time(value: float) -> str:
    if math.isnan(value):
        return ""
    return f"{1000 * value:.3g} ms" if value < 1 else f"{value:.2f} s"


def gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"


def growth(tables: Mapping[str, Iterable[StageRow]]) -> str:
    """How cost grows: a small table for each thing that it grows with."""
    text = ""
    for title, rows in tables.items():
        what, _, of = title.partition(": ")
        text += f"\n{what.capitalize()} ({of}):\n\n| {what} | seconds | memory | |\n|---|---|---|---|\n"
        for row in rows:
            ours = row.results[0]
            text += f"| {row.stage.name} | {seconds(ours)} | {gigabytes(ours.peak)} | {parts(ours)} |\n"
    return text


def write(path: Path, measured: str, block: str = "measured") -> None:
    """Put a text between the two markers of a block in a document; a document without them gets them."""
    begin, end = f"<!-- {block}: begin -->", f"<!-- {block}: end -->"
    text = path.read_text(encoding="utf-8") if path.exists() else "# Performance\n"
    if begin not in text or end not in text:
        text += f"\n{begin}\n{end}\n"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n{measured}\n{end}{after}", encoding="utf-8")
