"""A bundle: everything that belongs to one generator, in one folder.

    bundle.json                   format, name, files; and for people: origin, licence, figures
    generator.safetensors         the StyleGAN2 generator
    inverter.safetensors          the inverter that maps a face into its W+
    generator.half.safetensors    both networks for the GPU, in float16 where that is safe; optional
    inverter.half.safetensors
    identity.safetensors          ArcFace identity network, to learn motions with; optional
    clip.safetensors              CLIP, likewise
    regressor.safetensors         estimates from a frame what the face does; optional
    anchors/*.safetensors         one file per micromotion, named after it

Bundles are found by name in `weights/NAME` at the top of a checkout or inside the installed package (further
anchors in `anchors/NAME`), then in the cache folder's `models/NAME`; by the path of their folder; or on the
Hugging Face hub (see `micromotion.weights.hub`).
Importing this module does not import torch: the networks load in `load_bundle`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from micromotion.errors import BundleError, MicromotionError, OutputError
from micromotion.runtime.folders import ROOTS, is_plain_name, models_folder
from micromotion.runtime.forking import survive_forks
from micromotion.runtime.hub import is_hub_name
from micromotion.runtime.main_memory import import_torch
from micromotion.weights.bundle_record import ABOUT, file_record, read_about, recorded_files, write_about
from micromotion.weights.hub import fetch_bundle
from micromotion.weights.manifest import load_manifest

if TYPE_CHECKING:
    import torch
    from clip.model import CLIP
    from torch import nn

    from encoder4editing import IdentityNet, Inverter
    from encoder4editing.regressor import Regressor
    from stylegan2 import Generator

GENERATOR = "generator.safetensors"
INVERTER = "inverter.safetensors"
IDENTITY = "identity.safetensors"
CLIP = "clip.safetensors"
REGRESSOR = "regressor.safetensors"
ANCHORS = "anchors"
NETWORKS = (GENERATOR, INVERTER, IDENTITY, CLIP, REGRESSOR)

Net = TypeVar("Net", bound="nn.Module")


@dataclass(frozen=True)
class BundleFiles:
    """Paths of a bundle's parts: its folder, and the anchor file of each motion, by name.

    origin: its address on the hub, with the commit; "" if it is from elsewhere.
    """

    name: str
    folder: Path
    motions: Mapping[str, Path]
    about: Mapping[str, Any]
    origin: str = ""

    def generator_hash(self) -> str:
        """The SHA-256 of the float32 generator, for which micromotions are made. Raises OutputError."""
        return _generator_hash(self.folder)

    def part(self, name: str, *, half: bool = False) -> Path | None:
        """The file of a part such as GENERATOR, or its float16 version if half; None if it is missing."""
        path = self.folder / (half_name(name) if half else name)
        return path if path.is_file() else None

    @property
    def view(self) -> Literal["photo", "model"]:
        """The view that suits the model: "photo" where it cannot redraw a person well."""
        return "photo" if self.about.get("view") == "photo" else "model"

    @property
    def files(self) -> list[Path]:
        """All files that a bundle may consist of, whether or not they exist."""
        parts = (GENERATOR, INVERTER, IDENTITY, CLIP)
        names = {ABOUT, *parts, *map(half_name, parts), *recorded_files(self.about)}
        return [*(self.folder / name for name in sorted(names)), *self.motions.values()]


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle: its networks in eval mode on `device`; motions name their anchor files.

    files: what the networks were read from; seconds: how long that took. precision: float32 or float16. view:
    the recommended one, "photo" if the model cannot redraw a person well. origin: as in `BundleFiles`.
    `identity` and `clip`, for learning motions, and `regressor` are loaded on first use, always in float32.
    """

    name: str
    generator: Generator
    inverter: Inverter
    motions: Mapping[str, Path]
    device: torch.device
    precision: str = "float32"
    files: tuple[Path, ...] = ()
    seconds: float = 0.0
    view: Literal["photo", "model"] = "model"
    origin: str = ""

    @property
    def latent_shape(self) -> tuple[int, int]:
        """(styles, dim) of its latents."""
        return self.generator.num_styles, self.generator.style_dim

    def generator_hash(self) -> str:
        """As `BundleFiles.generator_hash`; "" for a model in memory."""
        return _generator_hash(self.files[0].parent) if self.files else ""

    @cached_property
    def identity(self) -> IdentityNet:
        """The identity network, on `device`. Raises BundleError if the bundle has none, or it is damaged."""
        from encoder4editing import load_identity

        return self._read(IDENTITY, "identity network", load_identity)

    @cached_property
    def clip(self) -> CLIP:
        """CLIP, on `device`. Raises BundleError if the bundle has none, or it is damaged."""
        from micromotion.weights.clip_model import load_clip

        return self._read(CLIP, "CLIP", load_clip)

    @cached_property
    def regressor(self) -> Regressor | None:
        """The network that estimates from a frame what the face does, on `device`; None if there is none.

        Raises BundleError if it is damaged.
        """
        from encoder4editing.regressor import load_regressor

        if not self.files or not self.files[0].with_name(REGRESSOR).is_file():
            return None
        return self._read(REGRESSOR, "regressor", load_regressor)

    def _read(self, part: str, what: str, load: Callable[..., Net]) -> Net:
        """Load an optional part from the bundle's folder; it supports gradients even under inference mode."""
        import torch

        from micromotion.runtime.device_memory import translate_oom
        from stylegan2 import CheckpointError

        path = self.files[0].with_name(part) if self.files else None
        if path is None or not path.is_file():
            where = path.parent if path else "its folder"
            remedy = f"put a {part} into {where}"
            if self.name in _offered():
                remedy = f"run `micromotion weights fetch {self.name} --with {Path(part).stem}`"
            raise BundleError(f"The model {self.name!r} has no {what} to learn motions with: {remedy}.")
        try:
            with translate_oom(f"the {what}", self.device), torch.inference_mode(False):
                return load(path, device=self.device).requires_grad_(False)
        except CheckpointError as error:
            raise BundleError(f"The model {self.name!r} cannot be used: {error}") from error

    def describe(self) -> str:
        """A one-line description of what was loaded."""
        parts = " and ".join(path.name for path in self.files)
        where = self.origin or (self.files[0].parent if self.files else "memory")
        return (
            f"Model {self.name}: {parts} from {where}, {self.precision} on {self.device}, "
            f"{self.generator.resolution}×{self.generator.resolution}, in {self.seconds:.1f} s."
        )


def half_name(part: str) -> str:
    """The name of a part's float16 file: generator.safetensors -> generator.half.safetensors."""
    return part.replace(".safetensors", ".half.safetensors")


def find_bundle(name: str | Path) -> BundleFiles:
    """Find a bundle by its name ("avatar"), in a folder by its path, or on the hub; nothing is loaded.

    A name wins over a folder of that name (write ./avatar for the folder). Raises BundleError if there is
    none, or if its bundle.json is missing or cannot be read; for `hf://owner/name[@revision]`, which is
    downloaded if it is not cached, also as `fetch_bundle` does.
    """
    origin = ""
    if is_hub_name(name):
        folder, pinned = fetch_bundle(str(name))
        origin = str(pinned)
    else:
        folder = _locate(name)
    about = read_about(folder)
    missing = [part for part in (GENERATOR, INVERTER) if not (folder / part).is_file()]
    if missing:
        raise BundleError(
            f"The model in {origin or folder} is incomplete, {' and '.join(missing)} missing: fetch or add "
            "it again."
        )
    motions = _motions(folder)
    if origin:
        motions = _recorded_motions(motions, folder, about, origin)
    return BundleFiles(about["name"], folder, motions, about, origin)


def named_folder(name: str) -> Path | None:
    """The folder of the bundle of that name, embedded or in the cache; None if there is none."""
    if not is_plain_name(name):
        return None
    folders = [root / "weights" / name for root in ROOTS]
    with suppress(OutputError):  # no home folder, so no cache
        folders.append(models_folder() / name)
    return next((folder for folder in folders if (folder / ABOUT).is_file()), None)


def bundle_names() -> list[str]:
    """The names of all bundles that `find_bundle` finds by name, sorted."""
    folders = [root / "weights" for root in ROOTS]
    with suppress(OutputError):
        folders.append(models_folder())
    found = {path.parent.name for folder in folders for path in folder.glob(f"*/{ABOUT}")}
    return sorted(filter(is_plain_name, found))


def load_bundle(name: str | Path | BundleFiles = "avatar", device: str | torch.device = "auto") -> Bundle:
    """Load a bundle's generator and inverter onto a device: in half precision on a GPU, float32 on the CPU.

    name is as in `find_bundle`, or what that returned; device is "auto" (CUDA where there is one, else the
    CPU), "cpu", "cuda" or "cuda:N". Half precision comes from the `.half` files where the bundle has them,
    else it is converted. Raises as `find_bundle`, and BundleError if a part is damaged or the parts do not
    fit together; OptionError if there is no such device; DeviceMemoryError if it is too small.
    """
    start = time.perf_counter()
    files = name if isinstance(name, BundleFiles) else find_bundle(name)
    import_torch()
    from micromotion.runtime.devices import pick_device

    target = pick_device(device)
    half = target.type == "cuda"
    paths = tuple(
        (half and files.part(part, half=True)) or files.folder / part for part in (GENERATOR, INVERTER)
    )
    from encoder4editing import load_inverter
    from micromotion.runtime.device_memory import translate_oom
    from stylegan2 import CheckpointError, load_generator

    survive_forks()
    try:
        with translate_oom("the model", target):
            generator = load_generator(paths[0], device=target, half=half)
            inverter = load_inverter(paths[1], generator=generator, device=target, half=half)
    except CheckpointError as error:
        raise BundleError(f"The model {files.name!r} cannot be used: {error}") from error
    if half:
        for network in (inverter, generator):  # tensor cores want channels last; files are channels first
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in stubs
    check_fit(files.name, generator, inverter)
    return Bundle(
        files.name,
        generator,
        inverter,
        files.motions,
        target,
        "float16" if half else "float32",
        paths,
        time.perf_counter() - start,
        files.view,
        files.origin,
    )


def save_bundle(
    folder: str | Path,
    *,
    name: str,
    generator: Generator,
    inverter: Inverter,
    identity: IdentityNet | None = None,
    clip: CLIP | None = None,
    about: Mapping[str, Any],
) -> None:
    """Write a bundle into a folder, created if missing; its anchors are saved separately.

    identity and clip are stored with their large weights in half precision, which suffices for their scores;
    where one is None, the folder's existing file stays. about is for people and must be JSON-serialisable:
    architecture, training, figures. bundle.json is written last, with the size and SHA-256 of each file, so
    a folder that has one is complete. Equal contents give equal bytes. Raises BundleError if the parts do not
    fit together.
    """
    from encoder4editing import save_identity, save_inverter
    from stylegan2 import save_generator

    check_fit(name, generator, inverter)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_generator(generator, folder / GENERATOR)
    save_inverter(inverter, folder / INVERTER)
    if identity is not None:
        save_identity(identity, folder / IDENTITY, half=True)
    if clip is not None:
        from micromotion.weights.clip_model import save_clip

        save_clip(clip, folder / CLIP, half=True)
    optional = [part for part in (IDENTITY, CLIP) if (folder / part).is_file()]
    write_about(folder, name, about, (GENERATOR, INVERTER, *optional))


def _generator_hash(folder: Path) -> str:
    """The hash that bundle.json records, or else the file's. Raises OutputError if it cannot be read."""
    with suppress(MicromotionError):
        recorded = recorded_files(read_about(folder)).get(GENERATOR, {}).get("sha256")
        if isinstance(recorded, str):
            return recorded
    try:
        return str(file_record(folder / GENERATOR)["sha256"])
    except OSError as error:
        raise OutputError(f"{folder / GENERATOR} cannot be read: {error.strerror}.") from error


def check_fit(name: str, generator: Generator, inverter: Inverter) -> None:
    """Raise BundleError unless the inverter's latents are of the generator's shape."""
    theirs, ours = (inverter.num_styles, inverter.style_dim), (generator.num_styles, generator.style_dim)
    if theirs != ours:
        raise BundleError(
            f"The parts of the model {name!r} do not fit together: its inverter gives "
            f"{theirs[0]} styles of {theirs[1]}, its generator takes {ours[0]} of {ours[1]}."
        )


def _locate(name: str | Path) -> Path:
    """The folder of a bundle's networks."""
    folder = named_folder(str(name)) or Path(name)
    with suppress(OSError):  # too long for a path
        if folder.is_dir():
            return folder
    if str(name) in _offered():
        raise BundleError(f"The model {str(name)!r} is not here yet: run `micromotion weights fetch {name}`.")
    raise BundleError(
        f"There is no model {str(name)!r}: give 'avatar', the path of a bundle folder, or hf://owner/name."
    )


def _offered() -> Iterable[str]:
    """The models that can be fetched; none if the manifest cannot be read."""
    try:
        return load_manifest().models.keys()
    except MicromotionError:
        return ()


def _motions(folder: Path) -> dict[str, Path]:
    """The anchor files by motion: the folder's own, and those in `anchors/NAME` of a checkout."""
    folders = [folder / ANCHORS]
    if folder.parent.parent in ROOTS and folder.parent.name == "weights":
        folders.insert(0, folder.parent.parent / ANCHORS / folder.name)
    found = {path.stem: path for anchors in folders for path in anchors.glob("*.safetensors")}
    return dict(sorted(found.items()))


def _recorded_motions(
    motions: Mapping[str, Path], folder: Path, about: Mapping[str, Any], origin: str
) -> dict[str, Path]:
    """Those of a hub model's motions that its bundle.json records, and so were checked.

    Its folder in the cache may hold more, which other programs downloaded. Raises BundleError for a network.
    """
    recorded = recorded_files(about)
    for part in (*NETWORKS, *map(half_name, NETWORKS)):
        if part not in recorded and (folder / part).is_file():
            raise BundleError(f"The {ABOUT} of {origin} does not record its {part}: push the model again.")
    return {name: path for name, path in motions.items() if f"{ANCHORS}/{path.name}" in recorded}
