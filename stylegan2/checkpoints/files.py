"""Reading and writing generators.

Each public format is a line of `FORMATS`, and a module beside this one.
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
FORMATS: dict[Sought, Callable[[FoundNetwork], tuple[GeneratorConfig, State, object]]] = {
    ROSINALITY: from_rosinality,
    NVIDIA: from_nvidia_state,
}
"""What a format's network is recognised by -> what reads it: configuration, state dict in our names, average
latent as it is stored, or None. Of several in a file the first counts."""


def load_generator(
    path: str | Path,
    *,
    device: str | torch.device = "cpu",
    half: bool = False,
    average: Tensor | None = None,
) -> Generator:
    """Read a generator in any supported format, recognised by its contents, in eval mode on `device`.

    Supported are our own safetensors files; rosinality's stylegan2-pytorch and the decoder in a checkpoint of
    e4e, pSp or ReStyle, as `.pt` or safetensors, wrapped in whatever `stylegan2.checkpoints.layout` sees
    through; and NVIDIA's stylegan2-ada-pytorch, as `.pkl` (`G_ema`) or its state dict. Of several the average
    over training is taken. The weights are float32, or with `half` as `Generator.use_half` says; on a GPU our
    kernels are compiled then (`stylegan2.fast_gpu`), so that the first picture does not wait for them.

    What another project's file may lack is made up, the same every time, and a warning says so: fixed noises
    are drawn; the average latent is `average` ([dim], [1, dim] or [styles, dim]) where that fits, or else the
    mean of what the mapping gives. torch's global random numbers are left alone. Of our own files, which are
    mapped (see `read_safetensors`), and of other files' other parts no copy is made.

    Raises CheckpointError, in one sentence, for anything else and for what is missing, damaged or does not
    fit.
    """
    path = Path(path)
    if is_ours(path):
        values, state = read_safetensors(path, KIND, device)
        with about(path, "generator"):
            config = GeneratorConfig.from_dict(values)
        return _build(_Read(config, state), path, device, half)
    return _build(_read(path), path, device, half, average)


def generator_in(
    contents: Contents, path: Path, *, device: str | torch.device = "cpu", half: bool = False
) -> Generator:
    """As `load_generator`, from what `contents_of` has read from `path` already."""
    with about(path, "generator"):
        read = _from_contents(contents)
    return _build(read, path, device, half)


def holds_generator(contents: Contents) -> bool:
    """Whether a generator lies in what `contents_of` has read, alone or as an encoder's decoder."""
    return any(holds(contents, sought) for sought in FORMATS)


def save_generator(generator: Generator, path: str | Path) -> None:
    """Write a generator as safetensors that `load_generator` reads: whole, or not at all (OSError)."""
    write_safetensors(path, KIND, generator.config.to_dict(), generator.state_dict())


class _Read(NamedTuple):
    """What was read of a generator: a state dict in our names, which of it was made up, and that in words."""

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
    """With the average latent in our form, zero where there is none, and all noises."""
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
    if rows is None:  # its place is filled when there is a mapping
        drawn.append("latent_avg")
        rows = torch.zeros(1, config.style_dim)
    return _Read(config, state | {"latent_avg": one_for_all(rows)}, tuple(drawn), tuple(notes))


def _build(
    read: _Read, path: Path, device: str | torch.device, half: bool, average: Tensor | None = None
) -> Generator:
    with skeleton():  # every tensor is put in
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
    """Set the average latent of a generator whose file has none; what was taken, in words."""
    shapes = {(generator.style_dim,), (1, generator.style_dim), (generator.num_styles, generator.style_dim)}
    if average is not None and tuple(average.shape) in shapes:
        generator.latent_avg = one_for_all(average.detach().float().reshape(-1, generator.style_dim)).clone()
        return "has no average latent (latent_avg): that of the inverter is taken"
    with about(path, "generator"):
        generator.latent_avg = mean_latent(generator)
    return "has no average latent (latent_avg): it is computed, as the mean of what the mapping gives"
