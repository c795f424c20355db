"""How many rows a batch bears, without rendering: listing, resuming, and each engine's time per row.

The photos are those of a bucket, which a Parquet list names with their etags, or which is listed itself.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.batch.bucket import etag, key, running_bucket
from benchmarks.batch.stand_ins import never, nothing
from micromotion.batch import run
from micromotion.batch.outcome import Outcome
from micromotion.batch.request import Request
from micromotion.batch.results import ResultWriter
from micromotion.batch.rows import RowMaker
from micromotion.batch.runner import Engine
from micromotion.batch.sources import list_entries
from micromotion.batch.storage import Storage
from micromotion.options import AnimateOptions
from micromotion.weights.bundle import find_bundle


@dataclass(frozen=True)
class Stage:
    """A measurement in a process of its own: seconds, seconds of a core, and its peak memory in bytes."""

    rows: int
    name: str
    seconds: float
    core: float
    memory: int


def measure(rows: int, engines: tuple[str, ...]) -> list[Stage]:
    """List that many rows, go on when all are done, from a list and from a bucket; have engines do them."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_list(place / "list.parquet", rows)
        found = [_measured("list", rows, place)]
        finish(place / "list.parquet", place / "done")
        found.append(_measured("resume", rows, place))
        with running_bucket(rows, place) as variables:
            found.append(_measured("bucket", rows, place, variables))
        return found + [_measured(engine, rows, place) for engine in engines]


def write_list(path: Path, rows: int) -> None:
    """A list of photos in a bucket, with their etags."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    schema = pa.schema([("image", pa.string()), ("etag", pa.string())])
    with ParquetWriter(path, schema) as writer:
        for at in range(0, rows, 50_000):
            numbers = range(at, min(at + 50_000, rows))
            images = [f"s3://shop/{key(number)}" for number in numbers]
            writer.write_table(pa.table({"image": images, "etag": list(map(etag, numbers))}, schema))


def finish(source: Path, dest: Path) -> None:
    """Leave a video, of no bytes, and a result for each row, as after a complete run."""
    request = Request({"smile": 1.0}, None, AnimateOptions())
    maker = RowMaker(request, find_bundle("avatar"), {})
    writer = ResultWriter(Storage(str(dest)))
    (dest / "videos").mkdir(parents=True)
    for row in maker.rows(list_entries(str(source))):
        os.close(os.open(dest / row.video, os.O_CREAT | os.O_WRONLY))
        writer.add(Outcome.done(row, seconds=1.0, face=(1.0, 2.0, 3.0, 4.0)))
    writer.flush()


def _measured(name: str, rows: int, place: Path, variables: dict[str, str] | None = None) -> Stage:
    command = [sys.executable, "-m", "benchmarks.batch.rows", name, str(place)]
    environment = os.environ | (variables or {})
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    said = done.stdout.split()[-3:]
    return Stage(rows, name, float(said[0]), float(said[1]), int(said[2]))


def main(name: str, place: Path) -> None:
    """Do a stage; print its seconds, those of a core, and the peak memory in bytes."""
    began = time.perf_counter()
    source = place / "list.parquet"
    if name == "list":
        sum(1 for _ in list_entries(str(source)))
    elif name == "resume":
        _resume(str(source), str(place / "done"))
    elif name == "bucket":
        _resume("s3://shop/portraits", "s3://shop/done")
    else:
        engine: Engine = "ray" if name == "ray" else "local"
        report = run(source, place / name, engine=engine, make=nothing, workers=2)
        assert (report.done > 0, report.failed) == (True, 0)
    seconds = time.perf_counter() - began
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    core = own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime
    print(f"{seconds:.2f} {core:.2f} {_peak()}")


def _peak() -> int:
    """The most memory that this process had, in bytes; the kernel's other count begins with its parent's."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def _resume(source: str, dest: str) -> None:
    report = run(source, dest, make=never)
    assert (report.done, report.failed, report.before > 0) == (0, 0, True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
