"""The `micromotion` command."""

import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from micromotion import __version__
from micromotion.cli.animate import animate
from micromotion.cli.batch import batch
from micromotion.cli.console import Debug, Device, Model, cli_errors, fetch_hub_motion, find_model
from micromotion.cli.drive import drive
from micromotion.cli.learn import app as learn_app
from micromotion.cli.page import page
from micromotion.cli.verify import verify
from micromotion.cli.weights import app as weights_app
from micromotion.motion.library import find_motion, playable_motions
from micromotion.runtime.main_memory import import_torch
from micromotion.runtime.process import configure_process
from micromotion.runtime.streams import make_printing_safe
from micromotion.video.output_names import check_apart, typed_path
from micromotion.video.picture import check_picture, write_picture

app = typer.Typer(
    name="micromotion",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(animate)
app.command()(drive)
app.command()(batch)
app.command()(verify)
app.command()(page)
app.add_typer(learn_app)
app.add_typer(weights_app)

WIDE = 130  # width of a table written to a file or a pipe


def main() -> None:
    """Run the command. Exit codes: 0 success, 1 error (one sentence on stderr), 2 wrong usage, 130 Ctrl-C."""
    make_printing_safe()
    configure_process()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
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
    """Bring a still face to life: turn a photo into a short video in which the face smiles, gets angry, ages,
    closes its eyes or turns its head."""


@app.command()
def motions(model: Model = "avatar", debug: Debug = False) -> None:
    """List a model's micromotions, one per line; learned ones are marked."""
    with cli_errors(debug):
        found = find_model(model)
        for name in playable_motions(found):
            typer.echo(name if name in found.motions else f"{name} (learned)")


@app.command()
def inspect(
    motion: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE", help="A micromotion: a name, FILE.safetensors, or hf://owner/name/FILE."
        ),
    ],
    model: Model = "avatar",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            parser=typed_path,
            metavar="PATH",
            help="Also write a picture of the anchors, and of the motion on other faces.",
        ),
    ] = None,
    path: Annotated[
        Literal["line", "curve"] | None,
        typer.Option("--path", help="Show the motion along this path.", show_default="as learned"),
    ] = None,
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Show a micromotion's rank, noise, straightness, calibration and origin.

    \b
    Examples:
      micromotion inspect smile
      micromotion inspect grin -o grin.png
      micromotion inspect shared.safetensors --model ffhq
    """
    with cli_errors(debug):
        files = find_model(model)
        file = find_motion(fetch_hub_motion(motion), files)
        if output is not None:
            model_files = [(each, f"a file of the model {files.name!r}") for each in files.files]
            outputs = [(check_picture(output), "the picture")]
            check_apart(outputs, [(file, "the micromotion's own file"), *model_files])
        import_torch()
        from rich.console import Console

        from micromotion.inspection import claim, inspect_motion, picture, report
        from micromotion.weights.bundle import load_bundle

        bundle = load_bundle(files, device)
        inspection = inspect_motion(file, bundle, path)
        console = Console()
        if not console.is_terminal:
            console.width = WIDE
        console.print(report(inspection, bundle.generator.resolution))
        if output is not None:
            write_picture(picture(inspection, bundle), output, claim(inspection, bundle))
            typer.echo(f"Picture: {output}")


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 5000,
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 opens the service to the whole network.")
    ] = "127.0.0.1",
    debug: Debug = False,
) -> None:
    """Run the container's HTTP prediction service without Docker.

    The environment variable MICROMOTION_MODEL selects a model other than avatar, also hf://owner/name.

    \b
    Examples:
      micromotion serve --port 8000
      MICROMOTION_MODEL=ffhq micromotion serve
    """
    with cli_errors(debug):
        from micromotion.service.server import serve as run_server

        run_server(port=port, host=host)
