"""`micromotion learn track`: save what a face does in a video, to be played later on any photo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from micromotion.cli.console import Debug, cli_errors
from micromotion.cli.learn_progress import frame_counter
from micromotion.video.output_names import check_apart, default_name, typed_path

ENDING = "-track.safetensors"


def track(
    driving: Annotated[
        Path, typer.Argument(parser=typed_path, metavar="VIDEO", help="A video of a face that moves.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            parser=typed_path,
            metavar="FILE.safetensors",
            help=f"Where to save it. Default: VIDEO{ENDING} in the current folder.",
        ),
    ] = None,
    face: Annotated[int, typer.Option(help="Which face to follow: 0 is the clearest, 1 the next.")] = 0,
    rest: Annotated[
        int | None,
        typer.Option(
            metavar="FRAME",
            help="The number of a frame in which the face does nothing. Default: searched for.",
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Save how a face moves in a video, without its looks: lids, gaze, mouth, brows and pose over time.

    \b
    Examples:
      micromotion learn track me.mp4 -o wink.safetensors
      micromotion learn track interview.mp4 --face 1 --rest 40
    """
    with cli_errors(debug):
        target = default_name(driving, ENDING) if output is None else output
        check_apart([(target, "the trajectory")], [(driving, "the video itself")])
        from micromotion.drive.read import read_driving_video
        from micromotion.drive.trajectory import check_trajectory_output, save_trajectory

        check_trajectory_output(target)
        with frame_counter() as on_progress:
            read = read_driving_video(driving, face=face, rest=rest, on_progress=on_progress)
        for sentence in read.report.sentences():
            typer.echo(sentence, err=True)
        save_trajectory(target, read.trajectory, read.recipe)
        frames, fps = len(read.trajectory), read.trajectory.fps
        typer.echo(f"Track: {target}, {frames} frames at {fps:.4g} per second")
