"""`micromotion animate`: play micromotions on the face of a photo."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from micromotion.cli import options as option
from micromotion.cli.console import Debug, Device, Model
from micromotion.cli.options import takes_animate_options
from micromotion.errors import OptionError
from micromotion.face.images import load_image
from micromotion.motion.library import SUFFIX, find_motion, playable_motions
from micromotion.motion.schedule import MotionChoice, schedule, schedule_strip
from micromotion.motion.timeline import Timeline
from micromotion.motion.timeline_file import read_timeline_file
from micromotion.motion.timeline_text import TimelineError, parse_timeline
from micromotion.options import AnimateOptions
from micromotion.runtime.main_memory import import_torch
from micromotion.runtime.notices import notices_to
from micromotion.runtime.progress import frame_progress
from micromotion.video.format_limits import scaled_size
from micromotion.video.output_names import Named, check_apart, default_name, typed
from micromotion.video.picture import check_picture, write_picture
from micromotion.video.writer import check_output, fit_size
from micromotion.weights.bundle import BundleFiles, find_bundle

if TYPE_CHECKING:
    from micromotion.animator import Animator


@takes_animate_options
def animate(
    photo: option.Photo,
    *,
    motion: option.MotionNames = None,
    timeline: option.TimelineText = None,
    output: option.Output = None,
    sheet: option.Sheet = None,
    full_size: option.FullSize = False,
    strengths: option.StrengthList = None,
    options: AnimateOptions,
    model: Model = "avatar",
    device: Device = "auto",
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
      micromotion animate group.jpg --face 1 --view photo -o group.mp4
      micromotion animate me.jpg --refine 30
      micromotion animate me.jpg --model ffhq
    """
    bundle = find_bundle(model)
    played, title = _chosen(motion, timeline, bundle)
    inputs = _inputs(photo, played, timeline, bundle)
    if options.view == "auto" and not options.compare:
        options = replace(options, view=bundle.view)
    if strengths is None:
        video = default_name(photo, f"-{title}.mp4") if output is None else output
        _write_video(inputs, played, video, sheet, full_size, model, device, options)
        return
    if sheet or options.compare or options.lock_identity or options.strength != 1:
        raise OptionError(
            "--strengths writes one picture: leave out --sheet, --compare, --lock-identity and --strength."
        )
    picture = default_name(photo, f"-{title}-strengths.png") if output is None else output
    _write_strip(inputs, played, _numbers(strengths), picture, model, device, options)


def _write_strip(
    inputs: Sequence[Named],
    played: MotionChoice,
    strengths: Sequence[float],
    output: str | Path,
    model: str,
    device: str,
    options: AnimateOptions,
) -> None:
    """One picture of the face at these strengths; checked before the model is loaded.

    The first of inputs is the photo.
    """
    schedule_strip(played, strengths)
    check_apart([(check_picture(output), "the picture")], inputs)
    image = load_image(Path(inputs[0][0]))
    with loaded(model, device, options.refine) as (animator, _, on_refine):
        write_picture(animator.at_strengths(image, played, strengths, options, on_refine=on_refine), output)
    typer.echo(f"Picture: {output}")


def _write_video(
    inputs: Sequence[Named],
    played: MotionChoice,
    output: str | Path,
    sheet: Path | None,
    full_size: bool,
    model: str,
    device: str,
    options: AnimateOptions,
) -> None:
    """Write the video, and optionally a contact sheet; checks everything before the model is loaded.

    The first of inputs is the photo.
    """
    schedule(played, options)
    outputs: list[Named] = [(check_output(output), "the video")]
    if sheet is not None:
        outputs.append((check_picture(sheet), "the sheet"))
    check_apart(outputs, inputs)
    image = load_image(Path(inputs[0][0]))
    printed: set[str] = set()

    def on_scaled(sentence: str) -> None:
        if sentence not in printed:
            typer.echo(f"micromotion: {sentence} --full-size keeps the full size.", err=True)
        printed.add(sentence)

    if options.view == "photo":
        size = scaled_size(image.size, options.longest)
        fit_size(output, size, options.fps, full_size=full_size, on_scaled=on_scaled)
    with loaded(model, device, options.refine) as (animator, update, on_refine):
        from micromotion.inversion.pivotal_tuning import STEPS

        def on_lock(done: int, loss: float) -> None:
            update(description=f"Tuning, loss {loss:.3f}", total=STEPS, completed=done)

        video = animator.animate(image, played, options, on_refine=on_refine, on_lock=on_lock)
        update(description="Rendering", total=len(video), completed=0)
        video.save(
            output,
            sheet=sheet,
            on_frame=lambda done: update(completed=done),
            full_size=full_size,
            on_scaled=on_scaled,
        )
    typer.echo(f"Video: {output}")
    if sheet is not None:
        typer.echo(f"Sheet: {sheet}")
    if video.likeness is not None:
        typer.echo(f"Likeness: {video.likeness.describe()}")


@contextmanager
def loaded(
    model: str, device: str, refine: int = 0
) -> Iterator[tuple[Animator, Callable[..., None], Callable[[int, float], None]]]:
    """The loaded model, with a progress bar: the function that updates it, and the callback for refining."""
    with (
        frame_progress() as progress,
        notices_to(lambda notice: typer.echo(f"micromotion: {notice}", err=True)),
    ):
        task = progress.add_task("Loading the model", total=None)
        import_torch()
        from micromotion.animator import Animator

        update = partial(progress.update, task)

        def on_refine(done: int, loss: float) -> None:
            update(description=f"Refining, loss {loss:.3f}", completed=done)

        animator = Animator.load(model, device)
        update(description="Reading the face", total=refine or None)
        yield animator, update, on_refine


def _chosen(motion: list[str] | None, timeline: str | None, bundle: BundleFiles) -> tuple[MotionChoice, str]:
    """The motions to play, checked to exist, and the title for the default output name."""
    if timeline is None:
        wanted = _motions(motion or ["smile"], playable_motions(bundle))
        return wanted, "-".join(find_motion(name, bundle).stem for name in wanted)
    if motion:
        raise OptionError("Give --motion or --timeline, not both: the timeline names its own motions.")
    return _timeline(timeline, bundle), "timeline"


def _motions(texts: Sequence[str], known: dict[str, Path]) -> dict[str, float]:
    """NAME, NAME=STRENGTH, … as a mapping; raises OptionError."""
    wanted: dict[str, float] = {}
    for text in texts:
        name, equals, strength = text.rpartition("=")
        if not equals or text in known or text.endswith(SUFFIX):  # a file's name may have an equals sign
            name, strength = text, "1"
        if name in wanted:
            raise OptionError(f"--motion {name} is given twice; give each motion once, with its strength.")
        try:
            wanted[name] = float(strength)
        except ValueError:
            raise OptionError(
                f"--motion {text}: the equals sign must be followed by a strength such as 0.5."
            ) from None
    return wanted


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise OptionError(f"--strengths takes numbers such as -1,0,1,2, not {text!r:.80}.") from None


def _timeline(given: str, bundle: BundleFiles) -> Timeline:
    """Parse the text, or the file after an @; prints the position of an error on stderr."""
    text = read_timeline_file(typed(given[1:])) if given.startswith("@") else given
    try:
        return parse_timeline(text, lambda name: find_motion(name, bundle))
    except TimelineError as error:
        for note in getattr(error, "__notes__", []):
            typer.echo(note, err=True)
        raise


def _inputs(photo: Path, played: MotionChoice, timeline: str | None, bundle: BundleFiles) -> list[Named]:
    """All files that will be read; the photo is first."""
    names = played.motions if isinstance(played, Timeline) else played
    read: list[Named] = [(photo, "the photo itself")]
    if timeline is not None and timeline.startswith("@"):
        read.append((typed(timeline[1:]), "the timeline's file"))
    read += [(find_motion(name, bundle), f"the file of the motion {name}") for name in names]
    read += [(file, f"a file of the model {bundle.name!r}") for file in bundle.files]
    return read
