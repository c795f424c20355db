"""Reading and writing generators.

Each public format is a line of `FORMATS` and a module of this package.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from stylegan2.checkpoints.completion import add_noises, mean_latent, noise_names, one_for_all
from stylegan2.checkpoints.layout import (
    Contents,
    FoundNetwork,
    Sought,
    average_rows,
    contents_of,
    find,
    holds,
)
from stylegan2.checkpoints.nvidia import NVIDIA, from_nvidia_state, from_pickled, pickled_network
from stylegan2.checkpoints.rosinality import ROSINALITY, from_rosinality
from stylegan2.checkpoints.storage import (
    State,
    assign_state,
    file_kind,
    is_ours,
    read_safetensors,
    skeleton,
    write_safetensors,
)
from stylegan2.checkpoints.unpickling import read_pickle
from stylegan2.errors import about
from stylegan2.fast_gpu import kernels_for
from stylegan2.generator import Generator, GeneratorConfig

KIND = "stylegan2"
TUNED = "tuned"
"""Key in a file's configuration: `Generator.tuned`, only where it is true."""
FORMATS: dict[Sought, Callable[[FoundNetwork], tuple[GeneratorConfig, State, object]]] = {
    ROSINALITY: from_rosinality,
    NVIDIA: from_nvidia_state,
}
"""How a format's network is recognised -> its reader, which returns the configuration, the state dict in our
names and the average latent as it is stored, or None. If a file matches several, the first is used."""


def load_generator(
    path: str | Path,
    *,
    device: str | torch.device = "cpu",
    half: bool = False,
    average: Tensor | None = None,
) -> Generator:
    """Read a generator in any supported format, recognised by its contents, in eval mode on `device`.

    Supported are our own safetensors files; rosinality's stylegan2-pytorch and the decoder in a checkpoint of
    e4e, pSp or ReStyle, as `.pt` or safetensors, in any wrapper that `stylegan2.checkpoints.layout`
    understands; and NVIDIA's stylegan2-ada-pytorch, as `.pkl` (`G_ema`) or its state dict. Of several
    generators the average over training is used. The weights are float32, or with `half` as
    `Generator.use_half` says; on a GPU our kernels are then compiled (`stylegan2.fast_gpu`), so that the
    first picture does not wait for them.

    What another project's file may lack is filled in, the same every time, with a warning: fixed noises are
    drawn; the average latent is `average` ([dim], [1, dim] or [styles, dim]) where that fits, or else the
    mean of the mapping's outputs. torch's global random state is not touched. Our own files are mapped (see
    `read_safetensors`), not copied; of other files only the generator is copied.

    Raises CheckpointError, in one sentence, for any other file and for a file that is missing, damaged,
    incomplete or does not fit.
    """
    path = Path(path)
    if is_ours(path):
        values, state = read_safetensors(path, KIND, device)
        with about(path, "generator"):
            tuned = values.pop(TUNED, False) is True
            config = GeneratorConfig.from_dict(values)
        generator = _build(_Read(config, state), path, device, half)
        generator.tuned = tuned
        return generator
    return _build(_read(path), path, device, half, average)


def generator_in(
    contents: Contents, path: Path, *, device: str | torch.device = "cpu", half: bool = False
) -> Generator:
    """As `load_generator`, from contents that `contents_of` has read from `path`."""
    with about(path, "generator"):
        read = _from_contents(contents)
    return _build(read, path, device, half)


def holds_generator(contents: Contents) -> bool:
    """Whether contents from `contents_of` include a generator, alone or as an encoder's decoder."""
    return any(holds(contents, sought) for sought in FORMATS)


def save_generator(generator: Generator, path: str | Path) -> None:
    """Write a generator as safetensors that `load_generator` reads: whole, or not at all (OSError)."""
    config = generator.config.to_dict() | ({TUNED: True} if generator.tuned else {})
    write_safetensors(path, KIND, config, generator.state_dict())


class _Read(NamedTuple):
    """A generator as read: state dict in our names, the entries that were filled in, and notes on these."""

    config: GeneratorConfig
    state: State
    made: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def _read(path: Path) -> _Read:
    """The generator in another project's file."""
    if file_kind(path) != "pickle":
        contents = contents_of(path, "generator in a format known here")
        with about(path, "generator"):
            return _from_contents(contents)
    pickled = read_pickle(path)
    with about(path, "generator"):
        name, network = pickled_network(pickled)
        config, state = from_pickled(name, network)
        return _completed(config, state, state.pop("latent_avg", None), name)


def _from_contents(contents: Contents) -> _Read:
    sought = next((each for each in FORMATS if holds(contents, each)), ROSINALITY)
    found = find(contents, sought)
    config, state, average = FORMATS[sought](found)
    return _completed(config, state, average, found.where)


def _completed(config: GeneratorConfig, state: State, average: object, where: str) -> _Read:
    """The state with all noises, and the average latent in our form, zero if there is none."""
    notes = []
    if where in ("g", "G"):
        notes.append(f"has no average over its training ({where}_ema): the generator {where} is taken")
    if drawn := add_noises(config, state):
        count = len(list(noise_names(config)))
        missing = (
            "no fixed noises" if len(drawn) == count else f"{len(drawn)} of {count} fixed noises missing"
        )
        notes.append(f"has {missing}: they are drawn, the same every time")
    rows = average_rows(average, config.num_styles, config.style_dim)
    if rows is None:  # computed once there is a mapping
        drawn.append("latent_avg")
        rows = torch.zeros(1, config.style_dim)
    return _Read(config, state | {"latent_avg": one_for_all(rows)}, tuple(drawn), tuple(notes))


def _build(
    read: _Read, path: Path, device: str | torch.device, half: bool, average: Tensor | None = None
) -> Generator:
    with skeleton():  # every tensor is assigned below
        generator = Generator(read.config)
    if half:
        generator.use_half()
    assign_state(generator, read.state, path, read.made)
    notes = [*read.notes]
    if "latent_avg" in read.made:
        notes.append(_give_average(generator, path, average))
    for note in notes:
        warnings.warn(f"{path} {note}.", stacklevel=3)
    generator = generator.to(device).eval()
    if half and generator.latent_avg.is_cuda:
        kernels_for(generator.latent_avg.device)
    return generator


def _give_average(generator: Generator, path: Path, average: Tensor | None) -> str:
    """Set the average latent of a generator whose file has none; returns a note that says what was used."""
    shapes = {(generator.style_dim,), (1, generator.style_dim), (generator.num_styles, generator.style_dim)}
    if average is not None and tuple(average.shape) in shapes:
        generator.latent_avg = one_for_all(average.detach().float().reshape(-1, generator.style_dim)).clone()
        return "has no average latent (latent_avg): that of the inverter is taken"
    with about(path, "generator"):
        generator.latent_avg = mean_latent(generator)
    return "has no average latent (latent_avg): it is computed, as the mean of what the mapping gives"
