"""A bundle: everything that belongs to one generator, in one folder.

    bundle.json             format, name, and for the reader: architecture, training, figures, files
    generator.safetensors   the StyleGAN2 generator
    inverter.safetensors    the e4e inverter that maps a face into its W+
    anchors/*.safetensors   one file of anchors per micromotion, named after it

The embedded bundles lie in `weights/NAME`, with their anchors in `anchors/NAME`, at the top of a checkout or
inside the installed package. Importing this module does not import torch: the nets load in `load_bundle`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micromotion.errors import BundleError, OptionError

if TYPE_CHECKING:
    import torch

    from encoder4editing import Inverter
    from stylegan2 import Generator

FORMAT = "micromotion-bundle/1"
GENERATOR = "generator.safetensors"
INVERTER = "inverter.safetensors"
ABOUT = "bundle.json"
MAX_ABOUT_BYTES = 1 << 20

_PACKAGE = Path(__file__).resolve().parent
_ROOTS = (_PACKAGE / "data", _PACKAGE.parent)  # in an installed wheel, in a checkout


@dataclass(frozen=True)
class BundleFiles:
    """Where a bundle's parts lie: its folder, and the anchor file of each motion, by name."""

    name: str
    folder: Path
    motions: Mapping[str, Path]
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle: its nets in eval mode, float32, on `device`; motions name their anchor files."""

    name: str
    generator: Generator
    inverter: Inverter
    motions: Mapping[str, Path]
    device: torch.device


def find_bundle(name: str | Path) -> BundleFiles:
    """Find an embedded bundle by its name ("avatar"), or a bundle in a folder by its path; nothing is loaded.

    An embedded name wins over a folder of that name (write ./avatar for the folder). Raises BundleError if
    there is none, or if its bundle.json is missing or cannot be read.
    """
    folder, anchors = _locate(name)
    about = _read_about(folder / ABOUT)
    missing = [part for part in (GENERATOR, INVERTER) if not (folder / part).is_file()]
    if missing:
        raise BundleError(f"The model in {folder} is incomplete: {' and '.join(missing)} missing.")
    motions = {path.stem: path for path in sorted(anchors.glob("*.safetensors"))}
    return BundleFiles(about["name"], folder, motions, about)


def load_bundle(name: str | Path = "avatar", device: str | torch.device = "auto") -> Bundle:
    """Load a bundle's generator and inverter onto a device.

    name is as in `find_bundle`; device is "auto" (CUDA where there is one, else the CPU), "cpu", "cuda" or
    "cuda:N". Raises BundleError if the bundle is unknown or incomplete, a part is damaged, or the parts do
    not fit together; OptionError if there is no such device.
    """
    files = find_bundle(name)
    target = pick_device(device)
    from encoder4editing import load_inverter
    from stylegan2 import CheckpointError, load_generator

    try:
        generator = load_generator(files.folder / GENERATOR)
        inverter = load_inverter(files.folder / INVERTER)
    except CheckpointError as error:
        raise BundleError(f"The model {files.name!r} cannot be used: {error}") from error
    _check_fit(files.name, generator, inverter)
    return Bundle(files.name, generator.to(target), inverter.to(target), files.motions, target)


def save_bundle(
    folder: str | Path, *, name: str, generator: Generator, inverter: Inverter, about: Mapping[str, Any]
) -> None:
    """Write a bundle into a folder, which is made where missing; its anchors are saved beside it, separately.

    about is for the reader and must fit into JSON: architecture, training, figures. bundle.json comes last,
    with the size and SHA-256 of each file, so that a folder with one is complete.
    Raises BundleError if the parts do not fit together.
    """
    from encoder4editing import save_inverter
    from stylegan2 import save_generator

    _check_fit(name, generator, inverter)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_generator(generator, folder / GENERATOR)
    save_inverter(inverter, folder / INVERTER)
    files = {part: _fingerprint(folder / part) for part in (GENERATOR, INVERTER)}
    text = json.dumps({"format": FORMAT, "name": name, **about, "files": files}, indent=2, ensure_ascii=False)
    (folder / ABOUT).write_text(text + "\n", encoding="utf-8")


def pick_device(device: str | torch.device) -> torch.device:
    """The device meant by "auto", "cpu", "cuda" or "cuda:N"; OptionError if it is unknown or not there."""
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError):
        wanted = None
    if wanted is None or wanted.type not in ("cpu", "cuda"):
        raise OptionError(f"device must be auto, cpu, cuda or cuda:N, not {str(device)!r}.")
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise OptionError(f"There is no device {str(wanted)!r} on this machine; use auto or cpu.")
    return wanted


def _locate(name: str | Path) -> tuple[Path, Path]:
    """The folders of a bundle's nets and of its anchors."""
    for root in _ROOTS:
        folder = root / "weights" / name
        if Path(name).name == str(name) and (folder / ABOUT).is_file():
            return folder, root / "anchors" / name
    folder = Path(name)
    if folder.is_dir():
        return folder, folder / "anchors"
    if str(name) == "ffhq":
        raise BundleError(
            "The model 'ffhq' comes with the public checkpoints, which this version cannot fetch yet."
        )
    raise BundleError(f"There is no model {str(name)!r}: give 'avatar', or the path of a bundle folder.")


def _read_about(path: Path) -> dict[str, Any]:
    """The checked contents of a bundle.json."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_ABOUT_BYTES + 1)
    except FileNotFoundError:
        raise BundleError(f"{path.parent} is not a model bundle: it holds no {ABOUT}.") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}.") from error
    if len(text) > MAX_ABOUT_BYTES:
        raise BundleError(f"{path} is larger than {MAX_ABOUT_BYTES} bytes and was not read.")
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise BundleError(f"{path} is not of the format {FORMAT!r}, the only one this version reads.")
    if not isinstance(about.get("name"), str):
        raise BundleError(f"{path} does not say the model's name.")
    return about


def _check_fit(name: str, generator: Generator, inverter: Inverter) -> None:
    """Raise BundleError unless the inverter's codes are of the generator's shape."""
    theirs, ours = (inverter.num_styles, inverter.style_dim), (generator.num_styles, generator.style_dim)
    if theirs != ours:
        raise BundleError(
            f"The parts of the model {name!r} do not fit together: its inverter gives "
            f"{theirs[0]} styles of {theirs[1]}, its generator takes {ours[0]} of {ours[1]}."
        )


def _fingerprint(path: Path) -> dict[str, int | str]:
    """Size and SHA-256 of a file."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
