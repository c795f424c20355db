"""`micromotion batch`: animate many photos, resumably."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from micromotion.batch import Report
from micromotion.batch import run as run_batch
from micromotion.cli import options as option
from micromotion.cli.animate import read_timeline_option
from micromotion.cli.console import Debug, Device, Model, fetch_hub_motion, find_model
from micromotion.cli.options import takes_animate_options
from micromotion.errors import OptionError
from micromotion.motion.library import playable_motions
from micromotion.motion.motion_text import read_motions
from micromotion.options import AnimateOptions
from micromotion.runtime.progress import row_progress
from micromotion.video.output_names import typed

WIDE = 130  # width of the table if it is written to a file or a pipe
MOST_SHOWN = 20

Source = Annotated[
    str,
    typer.Argument(
        parser=typed,
        metavar="SOURCE",
        help="A folder, a glob, a URL such as s3://bucket/photos, or a list (.jsonl, .csv, .parquet) with "
        "the column image and columns for what differs by row: name, motion, timeline, strength, face, …",
    ),
]
Destination = Annotated[
    str,
    typer.Option(
        "--out",
        "-o",
        parser=typed,
        metavar="DEST",
        help="A folder or URL, for videos/NAME-ID.mp4 and results/*.parquet.",
    ),
]
Engine = Annotated[
    Literal["local", "ray"],
    typer.Option(help="Processes on this machine, or actors on a Ray cluster (RAY_ADDRESS)."),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="How many.", show_default="one per GPU, or core if there is none")
]
ShardText = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Only the share I of N, as 3/100; auto/100 takes I from a Slurm array (1-100), a Kubernetes "
        "Indexed Job or an AWS Batch array.",
    ),
]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first photo that fails.")]
Retry = Annotated[bool, typer.Option("--retry", help="Try photos again that were refused before.")]


@takes_animate_options
def batch(
    source: Source,
    *,
    out: Destination,
    motion: option.MotionNames = None,
    timeline: option.TimelineText = None,
    full_size: option.FullSize = False,
    credentials: option.WithCredentials = True,
    options: AnimateOptions,
    engine: Engine = "local",
    workers: Workers = None,
    shard: ShardText = None,
    fail_fast: FailFast = False,
    retry: Retry = False,
    model: Model = "avatar",
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Animate many photos: run it again, and only what is missing is done.

    A photo without a face, or a damaged one, is a row of the results and stops nothing. Exit code 0 if every
    photo has its video, 1 if some have none.

    \b
    Examples:
      micromotion batch photos --out videos
      micromotion batch photos --out videos --timeline alive --size 720
      micromotion batch s3://shop/portraits --out s3://shop/alive --engine ray
      micromotion batch list.csv --out videos --shard 3/100
    """
    if motion and timeline is not None:
        raise OptionError("Give --motion or --timeline, not both: the timeline names its own motions.")
    known = playable_motions(find_model(model))
    motions = read_motions(motion or ["smile"], known, fetch_hub_motion)
    try:
        with row_progress() as on_row:
            report = run_batch(
                source,
                out,
                motions,
                options,
                timeline=None if timeline is None else read_timeline_option(timeline),
                full_size=full_size,
                credentials=credentials,
                model=model,
                device=device,
                engine=engine,
                workers=workers,
                shard=shard,
                fail_fast=fail_fast,
                retry=retry,
                on_row=on_row,
            )
    except KeyboardInterrupt:
        typer.echo("micromotion: stopped; the same command goes on from here.", err=True)
        raise
    console = Console()
    if not console.is_terminal:
        console.width = WIDE
    for table in tables(report):
        console.print(table)
    typer.echo(f"Videos and results: {out}")
    if not report.is_complete:
        raise typer.Exit(1)


def tables(report: Report) -> list[Table]:
    """The counts of a batch, and its failures by their sentence, the most frequent first."""
    counts = Table("photos", "", box=None)
    for name, count in (
        ("done", report.done),
        ("done before", report.before),
        ("repeated in the source", report.repeated),
        ("refused", report.refused),
        ("failed", report.failed),
    ):
        if count or name == "done":
            counts.add_row(name, str(count))
    if not report.sentences:
        return [counts]
    failures = Table("photos", "why they have no video", "the first", box=None)
    most_first = sorted(report.sentences.items(), key=lambda each: -each[1][0])
    for sentence, (count, image) in most_first[:MOST_SHOWN]:
        failures.add_row(str(count), Text(sentence), Text(image))
    if len(most_first) > MOST_SHOWN:
        failures.add_row("", f"{len(most_first) - MOST_SHOWN} more sentences are in the results", "")
    return [counts, failures]
