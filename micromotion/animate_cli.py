"""`micromotion animate`: play micromotions on the face of a photo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from micromotion.bundle import BundleFiles, find_bundle
from micromotion.console import Debug, errors_for_people, frame_progress
from micromotion.errors import OptionError, OutputError
from micromotion.images import load_image
from micromotion.learn.store import SUFFIX, find_motion, playable_motions
from micromotion.options import (
    MAX_FPS,
    MAX_FRAMES,
    MAX_REFINE,
    MAX_STRENGTH,
    Easing,
    Loop,
    View,
    check_play,
    check_view,
)
from micromotion.picture import check_picture, write_picture
from micromotion.plan import Motions, plan, plan_strip
from micromotion.timeline import MAX_TEXT, Timeline, TimelineError, parse_timeline
from micromotion.video import check_output

Model = Annotated[
    str,
    typer.Option(
        metavar="NAME|FOLDER",
        help="The model: avatar; ffhq, photo-real, after `micromotion weights fetch ffhq`; one of your own; "
        "or a bundle folder.",
    ),
]


def animate(
    photo: Annotated[
        Path, typer.Argument(metavar="PHOTO", help="A picture with a face, in any format that Pillow reads.")
    ],
    motion: Annotated[
        list[str] | None,
        typer.Option(
            "--motion",
            "-m",
            metavar="NAME[=STRENGTH]",
            help="What to play: a name, `micromotion motions` lists them; or FILE.safetensors. May be given "
            "several times: they play together.",
            show_default="smile",
        ),
    ] = None,
    timeline: Annotated[
        str | None,
        typer.Option(
            "--timeline",
            "-t",
            metavar="TEXT|@FILE",
            help="Motions that follow each other: when, which, how strong, linear or smooth; hold; "
            "'repeat 3' at the end. Or @ and a file of such a text.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Where to write: .mp4, .gif, .webp, or a folder for PNGs. Default: PHOTO-MOTION.mp4 here. "
            "With --strengths: .png, .jpg, .webp.",
        ),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Also write a contact sheet of the frames to this picture.")
    ] = None,
    frame: Annotated[
        View,
        typer.Option(help="What is shown: the crop of the face, or the whole photo with the face moving."),
    ] = "crop",
    compare: Annotated[
        bool, typer.Option("--compare", help="Show the photo, its inversion and the animation side by side.")
    ] = False,
    strengths: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Write no video, but one picture of the face at these strengths, such as -1,0,1,2.",
        ),
    ] = None,
    model: Model = "avatar",
    strength: Annotated[
        float,
        typer.Option(
            help=f"How far to go, up to ±{MAX_STRENGTH:g}; negative plays the opposite. It multiplies the "
            "strengths of several motions and of a timeline."
        ),
    ] = 1.0,
    frames: Annotated[
        int, typer.Option(help=f"How many frames, 1 to {MAX_FRAMES}; a timeline has its own length.")
    ] = 90,
    fps: Annotated[int, typer.Option(help=f"Frames per second, 1 to {MAX_FPS}.")] = 30,
    loop: Annotated[
        Loop,
        typer.Option(help="once; pingpong: backwards as well; hold: stay at the end for as long again."),
    ] = "once",
    easing: Annotated[Easing, typer.Option(help="smooth starts and ends gently.")] = "linear",
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
    lock_identity: Annotated[
        bool,
        typer.Option(
            "--lock-identity",
            help="Tune the model to this very person first: minutes on a CPU, once for each photo.",
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    debug: Debug = False,
) -> None:
    """Play micromotions on the face of a photo and write it as a video.

    \b
    Examples:
      micromotion animate me.jpg
      micromotion animate me.jpg --motion angry --strength 1.5 -o angry.gif
      micromotion animate me.jpg --motion smile --motion eyesClose=0.5 --loop pingpong
      micromotion animate me.jpg --timeline "1s smile smooth, 2s hold, 2.2s eyesClose, 2.4s eyesClose=0"
      micromotion animate me.jpg --strength -0.5 --sheet frames.png --compare
      micromotion animate me.jpg --strengths -1,0,1,2 -o strip.png
      micromotion animate group.jpg --face 1 --frame photo -o group.mp4
      micromotion animate me.jpg --refine 30
      micromotion animate me.jpg --model ffhq
    """
    with errors_for_people(debug):
        check_play(strength=strength, frames=frames, fps=fps, face=face, seed=seed, refine=refine)
        played, title = _asked_for(motion, timeline, find_bundle(model))
        playing: dict[str, Any] = {
            "strength": strength,
            "frames": frames,
            "fps": fps,
            "loop": loop,
            "easing": easing,
        }
        check_view(frame, compare=compare)
        shown = _numbers(strengths) if strengths is not None else None
        if shown is None:
            plan(played, **playing)
        elif sheet or compare or lock_identity or frame == "photo" or strength != 1:
            raise OptionError(
                "--strengths writes one picture: leave out --sheet, --compare, --frame, --lock-identity and "
                "--strength."
            )
        else:
            plan_strip(played, shown)
        output = output or Path(f"{photo.stem}-{title}{'-strengths.png' if shown else '.mp4'}")
        _check_outputs(photo, output, sheet, picture=bool(shown))
        image = load_image(photo)
        likeness = None
        with frame_progress() as progress:
            task = progress.add_task("Loading the model", total=None)
            from micromotion.animator import Animator
            from micromotion.pivotal import STEPS

            animator = Animator.load(model, device)
            progress.update(task, description="Reading the face", total=refine or None)
            reading: dict[str, Any] = {"face": face, "aligned": aligned, "seed": seed, "refine": refine}
            reading["on_refine"] = lambda done, loss: progress.update(
                task, description=f"Refining, loss {loss:.3f}", completed=done
            )
            if shown:
                write_picture(animator.at_strengths(image, played, shown, **reading), output)
            else:
                clip = animator.animate(
                    image,
                    played,
                    frame=frame,
                    compare=compare,
                    lock_identity=lock_identity,
                    on_lock=lambda done, loss: progress.update(
                        task, description=f"Tuning, loss {loss:.3f}", total=STEPS, completed=done
                    ),
                    **playing,
                    **reading,
                )
                likeness = clip.likeness
                progress.update(task, description="Rendering", total=len(clip), completed=0)
                clip.save(output, sheet=sheet, on_frame=lambda done: progress.update(task, completed=done))
        typer.echo(f"{'Picture' if shown else 'Video'}: {output}")
        if sheet is not None:
            typer.echo(f"Sheet: {sheet}")
        if likeness is not None:
            typer.echo(f"Likeness: {likeness.describe()}")


def _asked_for(motion: list[str] | None, timeline: str | None, bundle: BundleFiles) -> tuple[Motions, str]:
    """What is to be played, each motion found to be there, and what the video is called by default."""
    if timeline is None:
        wanted = _motions(motion or ["smile"], playable_motions(bundle))
        return wanted, "-".join(find_motion(name, bundle).stem for name in wanted)
    if motion:
        raise OptionError("Give --motion or --timeline, not both: the timeline names its own motions.")
    return _timeline(timeline, bundle), "timeline"


def _motions(asked: Sequence[str], known: dict[str, Path]) -> dict[str, float]:
    """NAME, NAME=STRENGTH, … as a mapping; raises OptionError."""
    wanted: dict[str, float] = {}
    for text in asked:
        name, equals, strength = text.rpartition("=")
        if not equals or text in known or text.endswith(SUFFIX):  # a file's name may have an equals sign
            name, strength = text, "1"
        if name in wanted:
            raise OptionError(f"--motion {name} is there twice; give each motion once, with its strength.")
        try:
            wanted[name] = float(strength)
        except ValueError:
            raise OptionError(
                f"--motion {text}: behind the equals sign stands a strength such as 0.5."
            ) from None
    return wanted


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise OptionError(f"--strengths takes numbers such as -1,0,1,2, not {text!r:.80}.") from None


def _timeline(given: str, bundle: BundleFiles) -> Timeline:
    """Read the text, or the file behind an @; where it is wrong is shown on stderr."""
    text = given
    if given.startswith("@"):
        try:
            with Path(given[1:]).open(encoding="utf-8-sig") as file:
                text = file.read(MAX_TEXT + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise OptionError(f"The timeline's file {given[1:]!r} cannot be read: {reason}.") from error
    try:
        return parse_timeline(text, lambda name: find_motion(name, bundle))
    except TimelineError as error:
        for note in getattr(error, "__notes__", []):
            typer.echo(note, err=True)
        raise


def _check_outputs(photo: Path, output: Path, sheet: Path | None, *, picture: bool) -> None:
    """Raise OutputError if a result cannot be written, or would replace the photo or the other result."""
    check_picture(output) if picture else check_output(output)
    if sheet is not None:
        check_picture(sheet)
    taken = {photo.resolve(): "the photo itself"}
    for path in (output, sheet):
        if path is None:
            continue
        if path.resolve() in taken:
            raise OutputError(f"{path} is {taken[path.resolve()]}; name another file.")
        taken[path.resolve()] = "the video already"
