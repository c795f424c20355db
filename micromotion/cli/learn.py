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

from micromotion.cli.console import Debug, Device, cli_errors
from micromotion.cli.learn_progress import frame_counter, step_progress
from micromotion.errors import MotionError, OptionError
from micromotion.learn.keeping import with_recipe
from micromotion.learn.template import DEFAULT_DEGREES, fill, number_degrees
from micromotion.motion.library import place_for
from micromotion.options import MAX_SEED, check_whole
from micromotion.video.output_names import Named, check_apart, typed, typed_path
from micromotion.video.picture import check_picture, write_picture
from micromotion.weights.bundle import find_bundle, load_bundle

if TYPE_CHECKING:
    from micromotion.learn.video import Collected
    from micromotion.motion.anchors import Anchors
    from micromotion.weights.bundle import Bundle

SHOWN = 4  # frames that are left out for one reason, and named

app = typer.Typer(
    name="learn",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Learn a new micromotion: from words, from a video, or from pictures.",
)

Name = Annotated[str, typer.Option("--name", "-n", help="What to call the micromotion.")]
TargetModel = Annotated[
    str, typer.Option(parser=typed, metavar="NAME|FOLDER", help="The model to learn it for.")
]
PathOption = Annotated[
    Literal["line", "curve"],
    typer.Option("--path", help="Play it along a straight line, or along a curve where its anchors bend."),
]
Preview = Annotated[
    Path | None,
    typer.Option(
        parser=typed_path,
        metavar="FILE.png",
        help="Where to draw each degree. Default: beside the micromotion.",
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
    seed: Annotated[int, typer.Option(help="Draws the face that performs the motion.")] = 0,
    degrees: Annotated[
        str,
        typer.Option(metavar="WORDS,…", help="What takes the place of {degree}, from none to full."),
    ] = ",".join(words for words, _ in DEFAULT_DEGREES),
    steps: Annotated[int, typer.Option(help="Steps of the optimisation for each degree.")] = 40,
    compatible: Annotated[
        bool, typer.Option("--compatible", help="Step for step as the original code, its defects included.")
    ] = False,
    path: PathOption = "line",
    preview: Preview = None,
    force: Force = False,
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Learn a micromotion out of a sentence: one sampled face is changed until it shows each degree.

    An interrupted run goes on where it was when the same command is given again.

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
        if numbered[-1][1] <= 0 and not compatible:  # compatible adds one beyond
            raise OptionError("The last of the degrees is the full motion, and must lie above 0%.")
        check_whole("seed", seed, 0, MAX_SEED)
        target, picture = _places(name, model, preview, force, [])
        wanted = [template, words, seed, steps, compatible]
        kept = target.with_name(f".{name}-{hashlib.sha256(json.dumps(wanted).encode()).hexdigest()[:8]}")
        with step_progress() as on_step, _told_how_to_resume(kept), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "pkg_resources is deprecated")  # in clip
            bundle = load_bundle(model, device)
            from micromotion.learn.text import collect_from_text

            anchors = collect_from_text(
                template,
                bundle,
                degrees=words,
                seed=seed,
                steps=steps,
                compatible=compatible,
                resume=kept,
                on_step=on_step,
            )
        try:
            anchors = with_recipe(anchors, name, bundle, path)
        except MotionError:  # nothing moved, nor would it by going on
            shutil.rmtree(kept, ignore_errors=True)
            raise
        _keep(anchors, bundle, target, picture, model)
        shutil.rmtree(kept, ignore_errors=True)


@app.command()
def video(
    clip: Annotated[
        Path,
        typer.Argument(parser=typed_path, metavar="CLIP", help="A video of one face making the motion."),
    ],
    name: Name,
    model: TargetModel = "avatar",
    count: Annotated[int, typer.Option(help="How many anchors to take along the motion.")] = 11,
    face: Annotated[
        int, typer.Option(help="Which of several faces to follow: 0 is the clearest one, 1 the next.")
    ] = 0,
    path: PathOption = "line",
    preview: Preview = None,
    force: Force = False,
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Learn a micromotion from a video in which one face goes from rest to the full motion.

    \b
    Examples:
      micromotion learn video nod.mp4 --name nod
      micromotion learn video interview.mp4 --name frown --face 1
      micromotion animate me.jpg --motion nod
    """
    with cli_errors(debug):
        target, picture = _places(name, model, preview, force, [(clip, "the clip itself")])
        with frame_counter() as on_progress:
            bundle = load_bundle(model, device)
            from micromotion.learn.video import collect_from_video, tell_faces

            collected = collect_from_video(clip, bundle, count=count, face=face, on_progress=on_progress)
        if collected.followed and collected.others:
            typer.echo(f"Several faces: {tell_faces(collected.followed, collected.others)}.", err=True)
        _tell_frames(collected, "frames")
        _keep(with_recipe(collected.anchors, name, bundle, path), bundle, target, picture, model)


@app.command()
def images(
    pictures: Annotated[
        list[Path],
        typer.Argument(
            parser=typed_path, metavar="PICTURE…", help="Pictures of one face, from rest to full motion."
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
    """Learn a micromotion from pictures of one face, from rest to the full motion, in this order.

    \b
    Examples:
      micromotion learn images rest.png half.png full.png --name wink
    """
    with cli_errors(debug):
        inputs = [(each, "one of the pictures themselves") for each in pictures]
        target, picture = _places(name, model, preview, force, inputs)
        with frame_counter() as on_progress:
            bundle = load_bundle(model, device)
            from micromotion.learn.video import collect_from_images

            collected = collect_from_images(pictures, bundle, on_progress=on_progress)
        _tell_frames(collected, "pictures")
        _keep(with_recipe(collected.anchors, name, bundle, path), bundle, target, picture, model)


def _places(
    name: str, model: str, preview: Path | None, force: bool, inputs: Sequence[Named]
) -> tuple[Path, Path]:
    """Where the micromotion and its preview will be written; raises before any work where they cannot be."""
    bundle = find_bundle(model)
    target = place_for(name, bundle, force=force)
    picture = check_picture(target.with_suffix(".png") if preview is None else preview)
    model_files = [(file, f"a file of the model {bundle.name!r}") for file in bundle.files]
    check_apart([(target, "the micromotion"), (picture, "the preview")], [*inputs, *model_files])
    return target, picture


@contextmanager
def _told_how_to_resume(kept: Path) -> Iterator[None]:
    """Say, when a collection is interrupted, that it can go on."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if kept.exists():
            typer.echo("micromotion: interrupted; the same command goes on where it was.", err=True)
        raise


def _keep(anchors: Anchors, bundle: Bundle, target: Path, picture: Path, model: str) -> None:
    """Write the micromotion and its preview, and say what was learned."""
    from micromotion.inspection import anchor_sheet
    from micromotion.motion.micromotion import analyse

    found = analyse(anchors, target.stem)
    sheet = anchor_sheet(anchors, bundle)
    anchors.save(target)
    write_picture(sheet, picture)
    typer.echo(f"Learned: {target.stem}, {len(anchors.degrees)} anchors, in {target}")
    typer.echo(
        f"Rank {found.subspace.coordinates.shape[1]}; a line explains {100 * found.straightness:.1f}% of the "
        f"movement, and it is played along a {anchors.provenance['path']}."
    )
    typer.echo(f"Preview: {picture}")
    option = "" if model == "avatar" else f" --model {model}"
    typer.echo(f"Play it: micromotion animate PHOTO --motion {target.stem}{option}")


def _tell_frames(collected: Collected, what: str) -> None:
    """What was taken, and what was left out and why, on stderr."""
    typer.echo(f"Taken: {len(collected.kept)} {what}.", err=True)
    left_out: dict[str, list[str]] = {}
    for frame in collected.left_out:
        where = f"{frame.seconds:.2f} s" if frame.seconds else f"number {frame.number + 1}"
        left_out.setdefault(frame.reason, []).append(where)
    for reason, places in left_out.items():
        more = ", …" if len(places) > SHOWN else ""
        typer.echo(f"Left out, {reason}: {len(places)}, at {', '.join(places[:SHOWN])}{more}", err=True)
