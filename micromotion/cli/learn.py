"""The commands under `micromotion learn`."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from micromotion.cli.console import Debug, Device, cli_errors, find_model
from micromotion.cli.learn_progress import frame_counter, step_progress
from micromotion.cli.learn_track import track
from micromotion.errors import MotionError, OptionError
from micromotion.learn.provenance import with_provenance
from micromotion.learn.template import DEFAULT_DEGREES, fill, number_degrees
from micromotion.motion.library import place_for
from micromotion.option_checks import check_whole
from micromotion.options import MAX_SEED
from micromotion.video.output_names import Named, check_apart, typed, typed_path
from micromotion.video.picture import check_picture, write_picture
from micromotion.weights.bundle import BundleFiles, load_bundle

if TYPE_CHECKING:
    from micromotion.learn.video import Collected
    from micromotion.motion.anchors import Anchors
    from micromotion.weights.bundle import Bundle

SHOWN = 4  # left-out frames listed per reason

app = typer.Typer(
    name="learn",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Learn a new micromotion from text, from a video, or from pictures.",
)
app.command()(track)

Name = Annotated[str, typer.Option("--name", "-n", help="The name of the new micromotion.")]
TargetModel = Annotated[
    str, typer.Option(parser=typed, metavar="NAME|FOLDER|hf://…", help="The model to learn it for.")
]
PathOption = Annotated[
    Literal["line", "curve"],
    typer.Option("--path", help="Play it along a straight line, or along a curve through its anchors."),
]
Preview = Annotated[
    Path | None,
    typer.Option(
        parser=typed_path,
        metavar="FILE.png",
        help="Where to save a picture of each degree. Default: beside the micromotion.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace a learned micromotion of this name.")]


@app.command()
def text(
    template: Annotated[
        str, typer.Argument(metavar="TEMPLATE", help="A sentence with {degree} where the degree goes.")
    ],
    name: Name,
    model: TargetModel = "avatar",
    seed: Annotated[int, typer.Option(help="Seed of the sampled face that performs the motion.")] = 0,
    degrees: Annotated[
        str,
        typer.Option(metavar="WORDS,…", help="The words for {degree}, from none to full."),
    ] = ",".join(words for words, _ in DEFAULT_DEGREES),
    steps: Annotated[int, typer.Option(help="Steps of the optimisation for each degree.")] = 40,
    compatible: Annotated[
        bool, typer.Option("--compatible", help="Reproduce the original code, including its defects.")
    ] = False,
    path: PathOption = "line",
    preview: Preview = None,
    force: Force = False,
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Learn a micromotion from a sentence: one sampled face is changed until it shows each degree.

    To resume an interrupted run, give the same command again.

    \b
    Examples:
      micromotion learn text "a person with {degree} smile" --name grin
      micromotion learn text "a {degree} sad face" -n sad --degrees no,50%,100% --path curve
      micromotion animate me.jpg --motion grin
    """
    with cli_errors(debug):
        words = [each.strip() for each in degrees.split(",")]
        numbered = number_degrees(words)
        fill(template, numbered)
        if numbered[-1][1] <= 0 and not compatible:  # compatible adds one degree beyond the last
            raise OptionError("The last degree is the full motion, and must be above 0%.")
        check_whole("seed", seed, 0, MAX_SEED)
        found = find_model(model)
        target, picture = _output_paths(name, found, preview, force, [])
        wanted = [template, words, seed, steps, compatible]
        progress = target.with_name(f".{name}-{hashlib.sha256(json.dumps(wanted).encode()).hexdigest()[:8]}")
        with step_progress() as on_step, _resume_hint(progress), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "pkg_resources is deprecated")  # in clip
            bundle = load_bundle(found, device)
            from micromotion.learn.text import collect_from_text

            anchors = collect_from_text(
                template,
                bundle,
                degrees=words,
                seed=seed,
                steps=steps,
                compatible=compatible,
                resume=progress,
                on_step=on_step,
            )
        try:
            anchors = with_provenance(anchors, name, bundle, path)
        except MotionError:  # no motion was learned; resuming would not help
            shutil.rmtree(progress, ignore_errors=True)
            raise
        _save(anchors, bundle, target, picture, model)
        shutil.rmtree(progress, ignore_errors=True)


@app.command()
def video(
    driving: Annotated[
        Path,
        typer.Argument(parser=typed_path, metavar="VIDEO", help="A video of one face that makes the motion."),
    ],
    name: Name,
    model: TargetModel = "avatar",
    count: Annotated[int, typer.Option(help="Number of anchors along the motion.")] = 11,
    face: Annotated[int, typer.Option(help="Which face to follow: 0 is the clearest, 1 the next.")] = 0,
    path: PathOption = "line",
    preview: Preview = None,
    force: Force = False,
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Learn a micromotion from a video in which one face goes from the rest pose to the full motion.

    \b
    Examples:
      micromotion learn video nod.mp4 --name nod
      micromotion learn video interview.mp4 --name frown --face 1
      micromotion animate me.jpg --motion nod
    """
    with cli_errors(debug):
        found = find_model(model)
        target, picture = _output_paths(name, found, preview, force, [(driving, "the video itself")])
        with frame_counter() as on_progress:
            bundle = load_bundle(found, device)
            from micromotion.learn.video import collect_from_video, describe_faces

            collected = collect_from_video(driving, bundle, count=count, face=face, on_progress=on_progress)
        if collected.followed and collected.others:
            typer.echo(f"Several faces: {describe_faces(collected.followed, collected.others)}.", err=True)
        _print_frames(collected, "frames")
        _save(with_provenance(collected.anchors, name, bundle, path), bundle, target, picture, model)


@app.command()
def images(
    pictures: Annotated[
        list[Path],
        typer.Argument(
            parser=typed_path,
            metavar="PICTURE…",
            help="Pictures of one face, from the rest pose to the full motion.",
        ),
    ],
    name: Name,
    model: TargetModel = "avatar",
    path: PathOption = "line",
    preview: Preview = None,
    force: Force = False,
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Learn a micromotion from pictures of one face, in order from the rest pose to the full motion.

    \b
    Examples:
      micromotion learn images rest.png half.png full.png --name wink
    """
    with cli_errors(debug):
        inputs = [(each, "one of the pictures themselves") for each in pictures]
        found = find_model(model)
        target, picture = _output_paths(name, found, preview, force, inputs)
        with frame_counter() as on_progress:
            bundle = load_bundle(found, device)
            from micromotion.learn.video import collect_from_images

            collected = collect_from_images(pictures, bundle, on_progress=on_progress)
        _print_frames(collected, "pictures")
        _save(with_provenance(collected.anchors, name, bundle, path), bundle, target, picture, model)


def _output_paths(
    name: str, bundle: BundleFiles, preview: Path | None, force: bool, inputs: Sequence[Named]
) -> tuple[Path, Path]:
    """The paths of the micromotion and its preview; raises, before any work, if they cannot be written."""
    target = place_for(name, bundle, force=force)
    picture = check_picture(target.with_suffix(".png") if preview is None else preview)
    model_files = [(file, f"a file of the model {bundle.name!r}") for file in bundle.files]
    check_apart([(target, "the micromotion"), (picture, "the preview")], [*inputs, *model_files])
    return target, picture


@contextmanager
def _resume_hint(progress: Path) -> Iterator[None]:
    """If the collection is interrupted, say that it can be resumed."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if progress.exists():
            typer.echo("micromotion: interrupted; give the same command again to resume.", err=True)
        raise


def _save(anchors: Anchors, bundle: Bundle, target: Path, picture: Path, model: str) -> None:
    """Write the micromotion and its preview, and print a summary."""
    from micromotion.credentials.claim import Claim
    from micromotion.inspection import anchor_sheet
    from micromotion.motion.anchor_analysis import analyse

    found = analyse(anchors, target.stem)
    sheet = anchor_sheet(anchors, bundle)
    anchors.save(target)
    degrees = anchors.degrees.numpy()[:, None]
    write_picture(sheet, picture, Claim.of(bundle.name, [target.stem], degrees, shows_photo=False))
    typer.echo(f"Learned: {target.stem}, {len(anchors.degrees)} anchors, in {target}")
    typer.echo(
        f"Rank {found.subspace.coordinates.shape[1]}; a line explains {100 * found.straightness:.1f}% of the "
        f"motion, and it is played along a {anchors.provenance['path']}."
    )
    typer.echo(f"Preview: {picture}")
    option = "" if model == "avatar" else f" --model {model}"
    typer.echo(f"Play it: micromotion animate PHOTO --motion {target.stem}{option}")


def _print_frames(collected: Collected, what: str) -> None:
    """Print on stderr how many frames were used, and which were left out and why."""
    typer.echo(f"Used: {len(collected.kept)} {what}.", err=True)
    left_out: dict[str, list[str]] = {}
    for frame in collected.left_out:
        where = f"{frame.seconds:.2f} s" if frame.seconds else f"number {frame.number + 1}"
        left_out.setdefault(frame.reason, []).append(where)
    for reason, positions in left_out.items():
        more = ", …" if len(positions) > SHOWN else ""
        shown = ", ".join(positions[:SHOWN])
        typer.echo(f"Left out, {reason}: {len(positions)}, at {shown}{more}", err=True)
