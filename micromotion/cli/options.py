"""The arguments and options of `micromotion animate`: its own, and those of `AnimateOptions`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from micromotion.cli.console import cli_errors
from micromotion.options import OPTIONS, AnimateOptions, DeprecatedFrame, options_from
from micromotion.video.output_names import typed, typed_path

Photo = Annotated[
    Path,
    typer.Argument(
        parser=typed_path, metavar="PHOTO", help="A picture with a face, in any format that Pillow reads."
    ),
]
MotionNames = Annotated[
    list[str] | None,
    typer.Option(
        "--motion",
        "-m",
        metavar="NAME[=STRENGTH]",
        help="The motion to play: a name from `micromotion motions`, FILE.safetensors, or, on the hub, "
        "hf://owner/name/FILE. Repeat the option to play several motions together.",
        show_default="smile",
    ),
]
TimelineText = Annotated[
    str | None,
    typer.Option(
        "--timeline",
        "-t",
        metavar="TEXT|@FILE",
        help="Keyframes, separated by commas: time, motion=strength, linear or smooth; or hold; "
        "'repeat 3' at the end. Or @FILE with such a text.",
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        parser=typed,
        metavar="PATH",
        help="The output: .mp4, .gif, .webp, or a folder for PNGs. Default: PHOTO-MOTION.mp4 in the current "
        "folder. With --strengths: .png, .jpg, .webp.",
    ),
]
Sheet = Annotated[
    Path | None,
    typer.Option(
        parser=typed_path, metavar="PATH", help="Also write a contact sheet of the frames to this picture."
    ),
]
FullSize = Annotated[
    bool,
    typer.Option(
        "--full-size",
        help="Keep a large photo's full size in an MP4, although phones may not play it (H.264 above 5.2).",
    ),
]
WithCredentials = Annotated[
    bool,
    typer.Option(
        "--credentials/--no-credentials",
        help="Sign the output: content credentials say that a model moved this face, and how "
        "(`micromotion verify`). MICROMOTION_CREDENTIALS=CERTIFICATES.pem,KEY.pem signs with your own "
        "certificate, =off never.",
    ),
]
StrengthList = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Write a picture of the face at these strengths, such as -1,0,1,2, instead of a video.",
    ),
]


def takes_animate_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace a command's parameter `options` by an option for each field of `AnimateOptions`.

    Errors in them are printed as by `cli_errors`. `--frame`, the old name of `--view`, works but is hidden.
    """
    signature = inspect.signature(command, eval_str=True)
    parameters: list[Parameter] = []
    for parameter in signature.parameters.values():
        parameters += _animate_options() if parameter.name == "options" else [parameter]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        with cli_errors(given["debug"]):
            named = {name: given.pop(name) for name in [*OPTIONS, "frame"]}
            if named["frame"] is not None and named["view"] == OPTIONS["view"].default:
                del named["view"]
            command(**given, options=options_from(named))

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # typer reads it, mypy knows no functions with one
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _animate_options() -> list[Parameter]:
    kinds = get_type_hints(AnimateOptions)
    made = [_parameter(name, kinds[name]) for name in OPTIONS]
    deprecated = Annotated[DeprecatedFrame | None, typer.Option(hidden=True)]
    return [*made, Parameter("frame", Parameter.KEYWORD_ONLY, default=None, annotation=deprecated)]


def _parameter(name: str, kind: Any) -> Parameter:
    """A command-line option with the name, default and help text of a field of `AnimateOptions`."""
    option = OPTIONS[name]
    if "word" in option.metadata:
        return _size(name)
    flag = [f"--{name.replace('_', '-')}"] if kind is bool else []  # without a --no-… counterpart
    shown = typer.Option(
        *flag, help=option.metadata["help"], show_default=option.metadata.get("default", True)
    )
    return Parameter(name, Parameter.KEYWORD_ONLY, default=option.default, annotation=Annotated[kind, shown])


def _size(name: str) -> Parameter:
    """The same for a number of pixels that may also be a word."""
    option = OPTIONS[name]

    def parse(given: str | int) -> str | int:
        return int(given) if str(given).isdecimal() else given  # the default is a number already

    low, high = option.metadata["limits"]
    shown = typer.Option(
        parser=parse, metavar=f"{low}…{high}|{option.metadata['word']}", help=option.metadata["help"]
    )
    return Parameter(name, Parameter.KEYWORD_ONLY, default=option.default, annotation=Annotated[Any, shown])
