"""Pushes a model or a motion to the Hugging Face hub: checks, record, model card, one commit.

Only what `micromotion.weights.hub` would load again is pushed: bundle.json and the safetensors that it
records. New repositories are private unless told otherwise. Importing this module imports neither torch nor
the library.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from micromotion.errors import BundleError, MotionError, OptionError, OutputError
from micromotion.motion.library import find_motion, require_safetensors
from micromotion.runtime.folders import LANDMARKS, is_plain_name
from micromotion.runtime.hub import HubName, import_hub, not_safetensors, parse_model_name, parse_motion_name
from micromotion.runtime.hub_errors import hub_errors
from micromotion.weights.bundle import ANCHORS, GENERATOR, NETWORKS, BundleFiles, find_bundle, half_name
from micromotion.weights.bundle_record import ABOUT, about_text, damage, recorded_sources
from micromotion.weights.hub import recorded_parts
from micromotion.weights.manifest import load_manifest, own_manifest
from micromotion.weights.model_card import CARD, model_card, motion_card


@dataclass(frozen=True)
class Pushed:
    """A commit on the hub: its name with the commit; whether the repository is private; the files, by path.

    card: whether a model card was written; an existing one stays as it is.
    """

    name: HubName
    private: bool
    files: tuple[str, ...]
    card: bool


def push_model(address: str, model: str, *, public: bool = False, licence: str | None = None) -> Pushed:
    """Push a model to `hf://owner/name`, which is created if missing: private, unless public.

    licence: under which it is passed on; by default the one that its bundle.json states. Raises OptionError
    for a wrong address or a missing licence; BundleError if the model is damaged or may not be passed on;
    OutputError if the repository is public without `public`, or the hub refuses.
    """
    target = _without_revision(parse_model_name(address))
    if model in ("landmarks", LANDMARKS):
        raise BundleError("dlib's landmark model may not be passed on: its licence excludes commercial use.")
    bundle = find_bundle(model)
    require_shareable(bundle)
    licence = _licence(licence, bundle.about.get("licence"), f"The model {bundle.name!r}")
    parts = _parts(bundle)
    about = {**bundle.about, "licence": licence}
    if "sources" in about:  # without a user's own file names
        about["sources"] = {n: e for n, e in recorded_sources(about).items() if e.get("licence")}
    record = about_text(bundle.name, about, parts)
    recorded_parts(json.loads(record), bundle.name)  # what could not be loaded again is not pushed
    card = model_card(target.repo, bundle.name, about, bundle.motions, licence)
    return _commit(target, {ABOUT: record.encode(), **parts}, card, public, f"The model {bundle.name}")


def push_motion(
    address: str, motion: str | Path, model: str, *, public: bool = False, licence: str | None = None
) -> Pushed:
    """Push a micromotion, as `find_motion` finds it for the model, to `hf://owner/name/FILE.safetensors`.

    licence: by default the one that its file states, or for one of the model's own motions the model's.
    Raises as `push_model`, and MotionError if it is unknown, damaged or no safetensors.
    """
    target = _without_revision(parse_motion_name(address))
    bundle = find_bundle(model)
    path = find_motion(motion, bundle)
    require_safetensors(path)
    from micromotion.inversion.pivotal_tuning import KIND as TUNED_KIND
    from micromotion.motion.files import motion_file_kind
    from micromotion.motion.playable import load_motion

    if motion_file_kind(path) == TUNED_KIND:
        raise MotionError(f"{path} is tuned to one person's photo: it is not passed on.")
    provenance = load_motion(path).provenance
    own = bundle.about.get("licence") if path in bundle.motions.values() else None
    licence = _licence(licence, provenance.get("licence", own), f"The motion {path.stem!r}")
    card = motion_card(target.repo, target.path, provenance, licence)
    return _commit(target, {target.path: path}, card, public, f"The motion {Path(target.path).stem}")


def require_shareable(bundle: BundleFiles) -> None:
    """Raise BundleError for a model that may not be passed on.

    These are models made from public files whose licence excludes commercial use or is not stated, by the
    bundle's record or by the files' SHA-256; and those tuned to one person.
    """
    public = {
        file.sha256: file
        for manifest in (load_manifest(own_manifest()), load_manifest())
        for file in manifest.files
        if file.sha256 is not None
    }
    for name, entry in recorded_sources(bundle.about).items():
        file = public.get(str(entry.get("sha256")))
        licence = str(file.licence.name if file else entry.get("licence", ""))
        commercial = file.licence.commercial if file else entry.get("commercial_use")
        if licence and commercial is not True:
            raise BundleError(
                f"The model {bundle.name!r} may not be passed on: it is made from {name}, whose licence "
                f"({licence:.100}) does not allow it; others can run `micromotion weights fetch` themselves."
            )
    for part in (GENERATOR, half_name(GENERATOR)):
        if _is_tuned(bundle.folder / part):
            raise BundleError(
                f"The model {bundle.name!r} is not passed on: its generator is tuned to one person's photo."
            )


def _is_tuned(path: Path) -> bool:
    """Whether a generator's file says that it was tuned to a picture."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            config = json.loads((file.metadata() or {}).get("config", "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError):
        return False  # missing, or damaged, which is refused elsewhere
    return isinstance(config, dict) and config.get("tuned") is True


def _without_revision(target: HubName) -> HubName:
    """The same name; raises OptionError if it has a revision."""
    if target.revision is not None:
        raise OptionError(f"{target} names a revision, but a push goes to main: leave it out.")
    return target


def _licence(given: str | None, recorded: object, what: str) -> str:
    """One line that states the licence; raises OptionError."""
    licence = given or recorded
    if not isinstance(licence, str) or not licence.strip():
        raise OptionError(f"{what} does not say under which licence it may be used: name one with --licence.")
    if not licence.isprintable():
        raise OptionError("--licence takes a line of text, such as mit or cc-by-nc-4.0.")
    return licence


def _parts(bundle: BundleFiles) -> dict[str, Path]:
    """The bundle's networks and motions, by their path in the repository; raises BundleError for damage."""
    for name, what in damage(bundle.folder, bundle.about, hashes=True):
        raise BundleError(f"{name} of the model {bundle.name!r} {what}: fetch or add the model again.")
    parts = {part: bundle.folder / part for part in (*NETWORKS, *map(half_name, NETWORKS))}
    parts = {part: path for part, path in parts.items() if path.is_file()}
    parts |= {f"{ANCHORS}/{path.name}": path for path in bundle.motions.values()}
    for part, path in parts.items():
        if not is_plain_name(path.name):
            raise BundleError(f"{path} cannot be pushed: rename it with letters, digits and . _ - only.")
        if why := not_safetensors(path):
            raise BundleError(f"{part} of the model {bundle.name!r} {why}: it is not pushed.")
    return parts


def _commit(
    target: HubName, files: Mapping[str, Path | bytes], card: str, public: bool, message: str
) -> Pushed:
    """Create the repository if it is missing, and add the files to it in one commit."""
    library = import_hub()
    with hub_errors(f"Nothing was pushed to {target.repo} on", OutputError):
        api = library.HfApi()
        api.create_repo(target.repo, private=not public, exist_ok=True)
        private = bool(api.model_info(target.repo, expand=["private"]).private)
        if not private and not public:
            raise OutputError(
                f"{target.repo} is public: push with --public, or to a new repository, which will be private."
            )
        written = not api.file_exists(target.repo, CARD)
        added = {**files, CARD: card.encode()} if written else dict(files)
        operations = [library.CommitOperationAdd(path, content) for path, content in added.items()]
        commit = api.create_commit(target.repo, operations, commit_message=message)
    return Pushed(HubName(target.repo, commit.oid, target.path), private, tuple(added), written)
