"""`micromotion drive`: move the face of a photo as the face in a video moves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from micromotion.cli import options as option
from micromotion.cli.animate import check_signing, loaded
from micromotion.cli.console import Debug, Device, Model, find_model, scaled_once, stop_told
from micromotion.cli.options import takes_drive_options
from micromotion.drive.options import DriveOptions
from micromotion.face.images import load_image
from micromotion.video.output_names import Named, check_apart, default_name, typed, typed_path
from micromotion.video.picture import check_picture
from micromotion.video.writer import check_output

Clip = Annotated[
    Path,
    typer.Argument(
        parser=typed_path,
        metavar="CLIP",
        help="A video of a face, or what `micromotion learn track` read from one (.safetensors).",
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        parser=typed,
        metavar="PATH",
        help="The output: .mp4, which alone has sound, .gif, .webp, or a folder for PNGs. Default: "
        "PHOTO-CLIP.mp4 in the current folder.",
    ),
]


@takes_drive_options
def drive(
    photo: option.Photo,
    clip: Clip,
    *,
    output: Output = None,
    sheet: option.Sheet = None,
    full_size: option.FullSize = False,
    credentials: option.WithCredentials = True,
    options: DriveOptions,
    model: Model = "avatar",
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Move the face of a photo as the face in a video moves, and write it as a video.

    The clip's length, frame rate and sound are kept. Its face need not begin at rest.

    \b
    Examples:
      micromotion drive me.jpg speech.mp4
      micromotion drive me.jpg speech.mp4 --parts eyes,mouth -o me.mp4
      micromotion drive me.jpg webcam.webm --mirror --strength 0.8 --no-audio
      micromotion drive group.jpg interview.mp4 --face 1 --clip-face 1 --view face
      micromotion drive group.jpg speech.mp4 --faces all
      micromotion learn track speech.mp4 -o speech.safetensors
      micromotion drive me.jpg speech.safetensors
    """
    target = check_output(default_name(photo, f"-{clip.stem}.mp4") if output is None else output)
    outputs: list[Named] = [(target, "the video")]
    if sheet is not None:
        outputs.append((check_picture(sheet), "the sheet"))
    bundle = find_model(model)
    model_files = [(file, f"a file of the model {bundle.name!r}") for file in bundle.files]
    check_apart(outputs, [(photo, "the photo itself"), (clip, "the clip itself"), *model_files])
    image = load_image(photo)
    check_signing(credentials)

    with stop_told(), loaded(bundle, device) as (animator, update, _):

        def on_read(done: int, total: int) -> None:
            update(description="Reading the clip", total=total, completed=done)

        video = animator.drive(image, clip, options, on_read=on_read)
        update(description="Rendering", total=len(video), completed=0)
        video.save(
            target,
            sheet=sheet,
            on_frame=lambda done: update(completed=done),
            full_size=full_size,
            on_scaled=scaled_once(),
            credentials=credentials,
        )
    for note in video.notes:
        typer.echo(f"micromotion: {note.replace('clip_face', '--clip-face')}", err=True)
    if video.sound is not None and target.suffix.lower() != ".mp4":
        typer.echo("micromotion: Only an MP4 can have sound: the clip's is left out.", err=True)
    if options.selection is not None:
        typer.echo(video.describe_faces())
    typer.echo(f"Video: {target}")
    if sheet is not None:
        typer.echo(f"Sheet: {sheet}")
