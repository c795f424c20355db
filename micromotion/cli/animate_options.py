"""What `micromotion animate` may be asked for: its argument and its options, with their help."""

from pathlib import Path
from typing import Annotated

import typer

from micromotion import options
from micromotion.options import MAX_FPS, MAX_FRAMES, MAX_REFINE, MAX_STRENGTH
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
        help="What to play: a name, `micromotion motions` lists them; or FILE.safetensors. May be given "
        "several times: they play together.",
        show_default="smile",
    ),
]
TimelineText = Annotated[
    str | None,
    typer.Option(
        "--timeline",
        "-t",
        metavar="TEXT|@FILE",
        help="Motions that follow each other: when, which, how strong, linear or smooth; hold; "
        "'repeat 3' at the end. Or @ and a file of such a text.",
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        parser=typed,
        metavar="PATH",
        help="Where to write: .mp4, .gif, .webp, or a folder for PNGs. Default: PHOTO-MOTION.mp4 here. "
        "With --strengths: .png, .jpg, .webp.",
    ),
]
Sheet = Annotated[
    Path | None,
    typer.Option(
        parser=typed_path, metavar="PATH", help="Also write a contact sheet of the frames to this picture."
    ),
]
Frame = Annotated[
    options.View,
    typer.Option(help="What is shown: the crop of the face, or the whole photo with the face moving."),
]
FullSize = Annotated[
    bool,
    typer.Option(
        "--full-size",
        help="Keep all pixels of a large photo in an MP4, although phones may not play it (H.264 above 5.2).",
    ),
]
Compare = Annotated[
    bool, typer.Option("--compare", help="Show the photo, its inversion and the animation side by side.")
]
Strengths = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Write no video, but one picture of the face at these strengths, such as -1,0,1,2.",
    ),
]
Strength = Annotated[
    float,
    typer.Option(
        help=f"How far to go, up to ±{MAX_STRENGTH:g}; negative plays the opposite. It multiplies the "
        "strengths of several motions and of a timeline."
    ),
]
Frames = Annotated[
    int, typer.Option(help=f"How many frames, 1 to {MAX_FRAMES}; a timeline has its own length.")
]
Fps = Annotated[int, typer.Option(help=f"Frames per second, 1 to {MAX_FPS}.")]
Loop = Annotated[
    options.Loop,
    typer.Option(help="once; pingpong: backwards as well; hold: stay at the end for as long again."),
]
Easing = Annotated[options.Easing, typer.Option(help="smooth starts and ends gently.")]
Face = Annotated[int, typer.Option(help="Which of several faces: 0 is the clearest one.")]
Aligned = Annotated[
    bool, typer.Option("--aligned", help="Take the picture as it is, already cropped to the face.")
]
Seed = Annotated[
    int | None,
    typer.Option(
        help="A number that draws other noise for fine texture (skin, hair), the same each time, in a model "
        "that has noise; the avatar has none.",
        show_default="the model's own",
    ),
]
Refine = Annotated[
    int,
    typer.Option(help=f"Improve the likeness by so many steps, 0 to {MAX_REFINE}; 30 is a good number."),
]
LockIdentity = Annotated[
    bool,
    typer.Option(
        "--lock-identity",
        help="Tune the model to this very person first: minutes on a CPU, once for each photo.",
    ),
]
