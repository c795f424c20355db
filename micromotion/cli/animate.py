"""`micromotion animate`: play micromotions on the face of a photo."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from micromotion.cli import options as option
from micromotion.cli.console import Debug, Device, Model, fetch_hub_motion, find_model, scaled_once
from micromotion.cli.options import takes_animate_options
from micromotion.credentials.claim import Claim
from micromotion.credentials.signing import check_credentials
from micromotion.errors import OptionError
from micromotion.face.images import load_image
from micromotion.face_selection import FaceSelection
from micromotion.motion.library import find_motion, playable_motions
from micromotion.motion.motion_text import read_motions
from micromotion.motion.schedule import MotionChoice, frame_at, schedule_faces, schedule_strip
from micromotion.motion.timeline import Timeline
from micromotion.motion.timeline_file import read_timeline_file
from micromotion.motion.timeline_text import TimelineError, parse_timeline
from micromotion.options import AnimateOptions
from micromotion.runtime.hub import is_hub_name
from micromotion.runtime.main_memory import import_torch
from micromotion.runtime.notices import notices_to
from micromotion.runtime.progress import frame_progress
from micromotion.video.format_limits import scaled_size
from micromotion.video.output_names import Named, check_apart, default_name, typed
from micromotion.video.picture import check_picture, is_still, write_picture
from micromotion.video.writer import check_output, fit_size
from micromotion.weights.bundle import BundleFiles

if TYPE_CHECKING:
    from micromotion.animator import Animator


@takes_animate_options
def animate(
    photo: option.Photo,
    *,
    motion: option.MotionNames = None,
    timeline: option.TimelineText = None,
    output: option.Output = None,
    at: option.At = None,
    sheet: option.Sheet = None,
    full_size: option.FullSize = False,
    credentials: option.WithCredentials = True,
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
      micromotion animate group.jpg --faces all --timeline alive
      micromotion animate group.jpg --faces 0=smile,2=angry=0.5
      micromotion animate me.jpg --frames 45 --at 1.2s -o still.png
      micromotion animate me.jpg --refine 30
      micromotion animate me.jpg --model ffhq
    """
    bundle = find_model(model)
    played = _chosen(motion, timeline, options.selection, bundle)
    names = _names(played, options.selection)
    title = "timeline" if timeline is not None else "-".join(find_motion(name, bundle).stem for name in names)
    inputs = _inputs(photo, names, timeline, bundle)
    if options.view == "auto" and not options.compare:
        options = replace(options, view="photo" if options.selection else bundle.view)
    if strengths is None:
        video = default_name(photo, f"-{title}.mp4") if output is None else output
        moment = None if at is None else _seconds(at)
        _write_video(inputs, played, video, moment, sheet, full_size, credentials, bundle, device, options)
        return
    if sheet or at or options.selection or options.compare or options.lock_identity or options.strength != 1:
        raise OptionError(
            "--strengths writes one picture of one face: leave out --sheet, --at, --faces, --compare, "
            "--lock-identity and --strength."
        )
    picture = default_name(photo, f"-{title}-strengths.png") if output is None else output
    _write_strip(inputs, played, _numbers(strengths), picture, credentials, bundle, device, options)


def _write_strip(
    inputs: Sequence[Named],
    played: MotionChoice,
    strengths: Sequence[float],
    output: str | Path,
    credentials: bool,
    model: BundleFiles,
    device: str,
    options: AnimateOptions,
) -> None:
    """One picture of the face at these strengths; checked before the model is loaded.

    The first of inputs is the photo.
    """
    names, rows = schedule_strip(played, strengths)
    check_apart([(check_picture(output), "the picture")], inputs)
    image = load_image(Path(inputs[0][0]))
    check_signing(credentials)
    with loaded(model, device, options.refine) as (animator, _, on_refine):
        bundle = animator.bundle
        stems = [find_motion(name, bundle).stem for name in names]
        claim = Claim.of(bundle.name, stems, rows, shows_photo=options.view != "model")
        picture = animator.at_strengths(image, played, strengths, options, on_refine=on_refine)
        write_picture(picture, output, claim if credentials else None)
    typer.echo(f"Picture: {output}")


def _write_video(
    inputs: Sequence[Named],
    played: MotionChoice,
    output: str | Path,
    at: float | None,
    sheet: Path | None,
    full_size: bool,
    credentials: bool,
    model: BundleFiles,
    device: str,
    options: AnimateOptions,
) -> None:
    """Write the video, or its still at a moment, and optionally a contact sheet; checks everything before the
    model is loaded.

    The first of inputs is the photo.
    """
    still = is_still(output)
    if at is not None and not still:
        raise OptionError("--at is the moment of a still: let the output's name end in .png or .jpg.")
    faces = options.selection
    strengths = schedule_faces(played, options, (faces and faces.numbers) or (0,)).strengths
    frame_at(at, len(strengths), options.fps)
    outputs: list[Named] = [
        (check_picture(output), "the picture") if still else (check_output(output), "the video")
    ]
    if sheet is not None:
        outputs.append((check_picture(sheet), "the sheet"))
    check_apart(outputs, inputs)
    image = load_image(Path(inputs[0][0]))
    check_signing(credentials)
    on_scaled = scaled_once()
    if options.view == "photo" and not still:
        size = scaled_size(image.size, options.longest)
        fit_size(output, size, options.fps, full_size=full_size, on_scaled=on_scaled)
    with loaded(model, device, options.refine) as (animator, update, on_refine):
        from micromotion.inversion.pivotal_tuning import STEPS

        def on_lock(done: int, loss: float) -> None:
            update(description=f"Tuning, loss {loss:.3f}", total=STEPS, completed=done)

        video = animator.animate(image, played, options, on_refine=on_refine, on_lock=on_lock)
        update(description="Rendering", total=1 if still else len(video), completed=0)
        claim = video.claim if credentials else None
        if still:
            write_picture(video.still(at), output, claim)
            if sheet is not None:
                write_picture(video.sheet(), sheet, claim)
        else:
            video.save(
                output,
                sheet=sheet,
                on_frame=lambda done: update(completed=done),
                full_size=full_size,
                on_scaled=on_scaled,
                credentials=credentials,
            )
    if video.faces is not None:
        typer.echo(video.describe_faces())
    typer.echo(f"{'Picture' if still else 'Video'}: {output}")
    if sheet is not None:
        typer.echo(f"Sheet: {sheet}")
    if video.likeness is not None:
        typer.echo(f"Likeness: {video.likeness.describe()}")


def check_signing(credentials: bool) -> None:
    """Raise CredentialsError if the output is to be signed and cannot be.

    PyTorch is imported first: with too little memory it raises an error, where c2pa ends the process.
    """
    if credentials:
        import_torch()
        check_credentials()


@contextmanager
def loaded(
    model: BundleFiles, device: str, refine: int = 0
) -> Iterator[tuple[Animator, Callable[..., None], Callable[[int, float], None]]]:
    """The loaded model, with a progress bar: the function that updates it, and the callback for refining.

    A stage's first update has completed=0: its time left is reckoned from there.
    """
    with (
        frame_progress() as progress,
        notices_to(lambda notice: typer.echo(f"micromotion: {notice}", err=True)),
    ):
        task = progress.add_task("Loading the model", total=None)
        import_torch()
        from micromotion.animator import Animator

        def update(*, completed: float | None = None, **shown: Any) -> None:
            if completed == 0:
                progress.reset(task)
            progress.update(task, completed=completed, **shown)

        def on_refine(done: int, loss: float) -> None:
            update(description=f"Refining, loss {loss:.3f}", completed=done)

        animator = Animator.load(model, device)
        update(description="Reading the face", total=refine or None)
        yield animator, update, on_refine


def _chosen(
    motion: list[str] | None, timeline: str | None, faces: FaceSelection | None, bundle: BundleFiles
) -> MotionChoice:
    """The motions to play, checked to exist."""
    if timeline is None:
        if motion and faces and faces.all_have_own:
            raise OptionError("Each of the faces has motions of its own in --faces: leave out --motion.")
        return read_motions(motion or ["smile"], playable_motions(bundle), fetch_hub_motion)
    if motion:
        raise OptionError("Give --motion or --timeline, not both: the timeline names its own motions.")
    return _timeline(timeline, bundle)


def _names(played: MotionChoice, faces: FaceSelection | None) -> list[str | Path]:
    """The names of all motions that are played, also by single faces."""
    common = played.motions if isinstance(played, Timeline) else played
    names: Iterable[str | Path] = [] if faces and faces.all_have_own else common
    return list(dict.fromkeys([*names, *(faces.names if faces else [])]))


def _seconds(text: str) -> float:
    try:
        return float(text.removesuffix("s"))
    except ValueError:
        raise OptionError(f"--at takes a moment in seconds, such as 1.2s, not {text!r:.80}.") from None


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise OptionError(f"--strengths takes numbers such as -1,0,1,2, not {text!r:.80}.") from None


def _timeline(given: str, bundle: BundleFiles) -> Timeline:
    """Parse the text, or the file after an @; prints the position of an error on stderr."""
    text = read_timeline_option(given)
    files: dict[str, Path] = {}

    def check(name: str) -> None:
        if is_hub_name(name):
            files[name] = files.get(name) or Path(fetch_hub_motion(name))
        else:
            find_motion(name, bundle)

    try:
        timeline = parse_timeline(text, check)
        return timeline.with_files(files) if files else timeline
    except TimelineError as error:
        for note in getattr(error, "__notes__", []):
            typer.echo(note, err=True)
        raise


def read_timeline_option(given: str) -> str:
    """The text of --timeline: itself, or the file after an @. Raises OptionError."""
    return read_timeline_file(typed(given[1:])) if given.startswith("@") else given


def _inputs(
    photo: Path, names: Sequence[str | Path], timeline: str | None, bundle: BundleFiles
) -> list[Named]:
    """All files that will be read; the photo is first."""
    read: list[Named] = [(photo, "the photo itself")]
    if timeline is not None and timeline.startswith("@"):
        read.append((typed(timeline[1:]), "the timeline's file"))
    read += [(find_motion(name, bundle), f"the file of the motion {name}") for name in names]
    read += [(file, f"a file of the model {bundle.name!r}") for file in bundle.files]
    return read
