"""The command `micromotion page`."""

from __future__ import annotations

import os
import sys
import webbrowser
from typing import Annotated

import typer

from micromotion.cli.console import Debug, Device, Model, cli_errors, find_model
from micromotion.credentials.signing import check_credentials
from micromotion.runtime.main_memory import import_torch


def page(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port to listen on; 0 takes a free one.")
    ] = 7860,
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 opens the page to the whole network.")
    ] = "127.0.0.1",
    model: Model = "avatar",
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Open a page in the browser: choose a face, move sliders, watch the preview, make a video.

    Needs Gradio: pip install "micromotion\\[page]". Only this machine can reach the page unless --host says
    otherwise; nothing is sent elsewhere.

    \b
    Examples:
      micromotion page
      micromotion page --port 0 --no-browser
      micromotion page --model ffhq
    """
    with cli_errors(debug):
        from micromotion.page.server import check_gradio, listen, serve_page

        check_gradio()
        with listen(host, port) as listener:
            import_torch()
            check_credentials()
            from micromotion.animator import Animator

            typer.echo("Loading the model…", err=True)
            animator = Animator.load(find_model(model), device)
            serve_page(animator, listener, lambda address: _announce(address, browser))


def _announce(address: str, browser: bool) -> None:
    """Print the page's address, and open it if there is a screen."""
    typer.echo(f"The page is at {address} (stop with Ctrl-C).")
    sys.stdout.flush()
    has_screen = sys.platform in ("darwin", "win32") or any(
        os.environ.get(each) for each in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if browser and has_screen:
        webbrowser.open(address.replace("0.0.0.0", "127.0.0.1"))
