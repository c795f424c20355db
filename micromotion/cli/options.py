"""The arguments and options of `animate` and `drive`: their own, and those of their dataclasses."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import Field, fields
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from micromotion.cli.console import cli_errors
from micromotion.drive.options import DRIVE_OPTIONS, DriveOptions, drive_options_from
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
        help="The output: .mp4, .gif, .webp, or a folder for PNGs; .png or .jpg for a still. Default: "
        "PHOTO-MOTION.mp4 in the current folder. With --strengths: .png, .jpg, .webp.",
    ),
]
At = Annotated[
    str | None,
    typer.Option(
        metavar="SECONDS",
        help="The moment that a still shows, such as 1.2s, instead of the last frame; with -o still.png.",
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

    def options(given: dict[str, Any]) -> AnimateOptions:
        named = {name: given.pop(name) for name in [*OPTIONS, "frame"]}
        if named["frame"] is not None and named["view"] == OPTIONS["view"].default:
            del named["view"]
        return options_from(named)

    deprecated = Annotated[DeprecatedFrame | None, typer.Option(hidden=True)]
    frame = Parameter("frame", Parameter.KEYWORD_ONLY, default=None, annotation=deprecated)
    return _takes_options(command, [*_parameters(AnimateOptions), frame], options)


def takes_drive_options(command: Callable[..., None]) -> Callable[..., None]:
    """The same for the fields of `DriveOptions`."""

    def options(given: dict[str, Any]) -> DriveOptions:
        return drive_options_from({name: given.pop(name) for name in DRIVE_OPTIONS})

    return _takes_options(command, _parameters(DriveOptions), options)


def _takes_options(
    command: Callable[..., None], made: list[Parameter], options: Callable[[dict[str, Any]], object]
) -> Callable[..., None]:
    """Replace a command's parameter `options` by these parameters.

    options: takes their values from all that were given, and makes the options of them.
    """
    signature = inspect.signature(command, eval_str=True)
    parameters: list[Parameter] = []
    for parameter in signature.parameters.values():
        parameters += made if parameter.name == "options" else [parameter]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        with cli_errors(given["debug"]):
            chosen = options(given)
            command(**given, options=chosen)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # typer reads it, mypy knows no functions with one
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _parameters(options: type[AnimateOptions | DriveOptions]) -> list[Parameter]:
    """A command-line option for each field, with its name, default and help text."""
    kinds = get_type_hints(options)
    return [_parameter(each, kinds[each.name]) for each in fields(options)]


def _parameter(option: Field[Any], kind: Any) -> Parameter:
    if "word" in option.metadata:
        return _size(option)
    default, name = option.default, option.name.replace("_", "-")
    if "metavar" in option.metadata:  # a text, parsed by the options themselves
        text = typer.Option(metavar=option.metadata["metavar"], help=option.metadata["help"])
        return Parameter(
            option.name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[str | None, text]
        )
    flag = []
    if kind is bool:
        flag = [f"--{name}/--no-{name}" if default else f"--{name}"]
    elif isinstance(default, tuple):
        kind, default = str, ",".join(default)
    shown = typer.Option(
        *flag, help=option.metadata["help"], show_default=option.metadata.get("default", True)
    )
    return Parameter(option.name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, shown])


def _size(option: Field[Any]) -> Parameter:
    """The same for a number of pixels that may also be a word."""

    def parse(given: str | int) -> str | int:
        return int(given) if str(given).isdecimal() else given  # the default is a number already

    low, high = option.metadata["limits"]
    shown = typer.Option(
        parser=parse, metavar=f"{low}…{high}|{option.metadata['word']}", help=option.metadata["help"]
    )
    return Parameter(
        option.name, Parameter.KEYWORD_ONLY, default=option.default, annotation=Annotated[Any, shown]
    )
