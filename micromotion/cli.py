"""The `micromotion` command."""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from micromotion import __version__
from micromotion.bundle import find_bundle
from micromotion.console import Debug, errors_for_people, frame_progress
from micromotion.errors import OutputError
from micromotion.images import load_image
from micromotion.learn.cli import app as learn_app
from micromotion.learn.store import find_motion, playable_motions
from micromotion.options import MAX_FPS, MAX_FRAMES, MAX_REFINE, MAX_STRENGTH, check_play
from micromotion.picture import check_picture, write_picture
from micromotion.video import check_output
from micromotion.weights.cli import app as weights_app

app = typer.Typer(
    name="micromotion",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(learn_app)
app.add_typer(weights_app)

WIDE = 130  # columns of a table that goes into a file or a pipe

Model = Annotated[
    str,
    typer.Option(
        metavar="NAME|FOLDER",
        help="The model: avatar; ffhq, photo-real, after `micromotion weights fetch ffhq`; one of your own; "
        "or a bundle folder.",
    ),
]


def main() -> None:
    """Run the command; exits with 0 done, 1 an error, told in one sentence, 2 wrong usage, 130 Ctrl-C."""
    # torch's idle threads spin by default: where other programs want the cores too, that is 20 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that nothing is left behind
    app(prog_name="micromotion")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"micromotion {__version__}")
        raise typer.Exit


@app.callback()
def micromotion(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Bring a still face to life: a photo goes in, a short video comes out in which the face smiles, gets
    angry, ages, closes its eyes or turns its head."""


@app.command()
def animate(
    photo: Annotated[
        Path, typer.Argument(metavar="PHOTO", help="A picture with a face, in any format that Pillow reads.")
    ],
    motion: Annotated[
        str,
        typer.Option(
            "--motion",
            "-m",
            help="What to play: a name, `micromotion motions` lists them; or FILE.safetensors.",
        ),
    ] = "smile",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Where to write: .mp4, .gif, .webp, or a folder for PNGs. Default: PHOTO-MOTION.mp4 here.",
        ),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Also write a contact sheet of the frames to this picture.")
    ] = None,
    model: Model = "avatar",
    strength: Annotated[
        float, typer.Option(help=f"How far to go, up to ±{MAX_STRENGTH:g}; negative plays the opposite.")
    ] = 1.0,
    frames: Annotated[int, typer.Option(help=f"How many frames, 1 to {MAX_FRAMES}.")] = 90,
    fps: Annotated[int, typer.Option(help=f"Frames per second, 1 to {MAX_FPS}.")] = 30,
    face: Annotated[int, typer.Option(help="Which of several faces: 0 is the clearest one.")] = 0,
    aligned: Annotated[
        bool, typer.Option("--aligned", help="Take the picture as it is, already cropped to the face.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option(help="Draw other fine texture, repeatably.", show_default="the model's own")
    ] = None,
    refine: Annotated[
        int,
        typer.Option(help=f"Improve the likeness by so many steps, 0 to {MAX_REFINE}; 30 is a good number."),
    ] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    debug: Debug = False,
) -> None:
    """Play a micromotion on the face of a photo and write it as a video.

    \b
    Examples:
      micromotion animate me.jpg
      micromotion animate me.jpg --motion angry --strength 1.5 -o angry.gif
      micromotion animate me.jpg --strength -0.5 --sheet frames.png
      micromotion animate group.jpg --face 1 --motion aging -o older.mp4
      micromotion animate me.jpg --refine 30
      micromotion animate me.jpg --model ffhq
    """
    with errors_for_people(debug):
        check_play(strength=strength, frames=frames, fps=fps, face=face, seed=seed, refine=refine)
        played = find_motion(motion, find_bundle(model))
        output = output or Path(f"{photo.stem}-{played.stem}.mp4")
        _check_outputs(photo, output, sheet)
        image = load_image(photo)
        with frame_progress() as progress:
            task = progress.add_task("Loading the model", total=None)
            from micromotion.animator import Animator

            animator = Animator.load(model, device)
            progress.update(task, description="Reading the face", total=refine or None)
            clip = animator.animate(
                image,
                motion,
                strength=strength,
                frames=frames,
                fps=fps,
                face=face,
                aligned=aligned,
                seed=seed,
                refine=refine,
                on_refine=lambda done, loss: progress.update(
                    task, description=f"Refining, loss {loss:.3f}", completed=done
                ),
            )
            progress.update(task, description="Rendering", total=frames, completed=0)
            clip.save(output, sheet=sheet, on_frame=lambda done: progress.update(task, completed=done))
        typer.echo(f"Video: {output}")
        if sheet is not None:
            typer.echo(f"Sheet: {sheet}")


@app.command()
def motions(model: Model = "avatar", debug: Debug = False) -> None:
    """List the micromotions that a model can play, one per line; those that were learned are marked."""
    with errors_for_people(debug):
        found = find_bundle(model)
        for name in playable_motions(found):
            typer.echo(name if name in found.motions else f"{name} (learned)")


@app.command()
def inspect(
    motion: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="A micromotion: a name, or FILE.safetensors.")
    ],
    model: Model = "avatar",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Also draw a picture: the anchors, and the motion on other faces."
        ),
    ] = None,
    path: Annotated[
        Literal["line", "curve"] | None,
        typer.Option("--path", help="Look at it along this path.", show_default="as it was learned"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    debug: Debug = False,
) -> None:
    """Show what a micromotion is made of: rank, noise, straightness, calibration, and where it comes from.

    \b
    Examples:
      micromotion inspect smile
      micromotion inspect grin -o grin.png
      micromotion inspect shared.safetensors --model ffhq
    """
    with errors_for_people(debug):
        if output is not None:
            check_picture(output)
        file = find_motion(motion, find_bundle(model))
        from rich.console import Console

        from micromotion.bundle import load_bundle
        from micromotion.inspection import inspect_motion, picture, report

        bundle = load_bundle(model, device)
        inspection = inspect_motion(file, bundle, path)
        console = Console()
        if not console.is_terminal:
            console.width = WIDE
        console.print(report(inspection, bundle.generator.resolution))
        if output is not None:
            write_picture(picture(inspection, bundle), output)
            typer.echo(f"Picture: {output}")


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 5000,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    debug: Debug = False,
) -> None:
    """Run the HTTP prediction service, the one of the container, without Docker."""
    with errors_for_people(debug):
        from micromotion.serve import serve as run_server

        run_server(port=port, host=host)


def _check_outputs(photo: Path, output: Path, sheet: Path | None) -> None:
    """Raise OutputError if a result cannot be written, or would replace the photo or the other result."""
    check_output(output)
    if sheet is not None:
        check_picture(sheet)
    taken = {photo.resolve(): "the photo itself"}
    for path in (output, sheet):
        if path is None:
            continue
        if path.resolve() in taken:
            raise OutputError(f"{path} is {taken[path.resolve()]}; name another file.")
        taken[path.resolve()] = "the video already"
