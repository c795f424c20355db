"""Reading and writing inverters: our own safetensors file, and the public checkpoints.

Every file is untrusted: `stylegan2.checkpoints.storage` reads it without running anything in it, and its
claims are checked against its contents before memory is allocated for a model.
"""

import warnings
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from encoder4editing.encoder import EncoderConfig
from encoder4editing.inverter import Inverter
from encoder4editing.public import ENCODER, encoder_type, from_public, public_average, says_encoder_type
from encoder4editing.restyle import ReStyle
from stylegan2 import CheckpointError, Generator
from stylegan2.checkpoints.files import generator_in, holds_generator
from stylegan2.checkpoints.layout import Contents, contents_of, find
from stylegan2.checkpoints.storage import (
    State,
    assign_state,
    is_ours,
    one_line,
    read_safetensors,
    skeleton,
    write_safetensors,
)
from stylegan2.errors import about

KIND = "e4e"  # in the files of all our inverters; dates from when e4e was the only one
ITERATIONS = 5  # as ReStyle's public models were trained, and as its inference uses them


def load_inverter(
    path: str | Path,
    *,
    generator: Generator | None = None,
    device: str | torch.device = "cpu",
    half: bool = False,
) -> Inverter:
    """Reads an inverter, in eval mode: an `Inverter` (pSp, e4e), or a `ReStyle` if it has 6 input channels.

    Args:
        path: a file written by `save_inverter`, or a public checkpoint (`.pt` or safetensors) of e4e, pSp,
            ReStyle-pSp or ReStyle-e4e, with IR-SE (not ResNet) backbones, in any wrapper that
            `stylegan2.checkpoints.layout` understands. Its contents, not its name, decide which it is.
        generator: the generator that a `ReStyle` draws its attempts with; it is moved to `device`. By default
            the one stored in the public checkpoint. A one-pass inverter needs none. An inverter whose file
            has no average latent uses that of the generator in the file, or else of this one, with a warning.
        device: the inverter's device.
        half: makes the convolutions float16 (see `Inverter.use_half`), also those of a generator from the
            checkpoint; a generator that is passed in is unchanged. Otherwise all is float32.

    Raises:
        CheckpointError: the file is missing, damaged or not an inverter, its parts do not fit each other or
            the generator, a `ReStyle` has no generator, or there is no average latent.
    """
    path = Path(path)
    contents: Contents = {}
    if is_ours(path):
        config, iterations, state = _read_own(path, device)
    else:
        contents = contents_of(path, "inverter")
        config, state = _read_public(contents, path)
        iterations = ITERATIONS
        state = {name: tensor.to(device) for name, tensor in state.items()}
    if config.input_channels == ReStyle.INPUT_CHANNELS and generator is None:
        if not holds_generator(contents):
            raise CheckpointError(
                f"{path} holds a ReStyle encoder, which needs its generator, but not that generator: "
                "load it too, and pass it as generator=…."
            )
        generator = generator_in(contents, path, device=device, half=half)
    if "latent_avg" not in state and not is_ours(path):
        average = _average_of_generator(contents, path, config, generator)
        state["latent_avg"] = average.to(device).expand(config.num_styles, -1)
    inverter = _lay_out(path, config, generator, iterations)
    if half:
        inverter.use_half()
    assign_state(inverter, state, path, made={"latent_avg"})
    return inverter.eval()


def stored_average(path: str | Path) -> Tensor | None:
    """The average latent in an inverter's file, [1 or styles, dim]; None if there is none, or it is zero.

    Raises CheckpointError if the file is not an inverter's, or is damaged.
    """
    path = Path(path)
    average: Tensor | None
    if is_ours(path):
        average = _read_own(path, "cpu")[2].get("latent_avg")
    else:
        with about(path, "encoder"):
            found = find(contents_of(path, "inverter"), ENCODER)
            average = public_average(found, from_public(found)[0])
    return average if average is not None and bool(average.any()) else None


def save_inverter(inverter: Inverter, path: str | Path) -> None:
    """Writes an inverter as safetensors that `load_inverter` reads; complete or not at all.

    For a `ReStyle` this is the encoder, the average latent and the number of iterations, not the generator.

    Raises:
        OSError: the file cannot be written.
    """
    config: dict[str, Any] = asdict(inverter.config)
    if isinstance(inverter, ReStyle):
        config["iterations"] = inverter.iterations
    write_safetensors(path, KIND, config, inverter.state_dict())


def _lay_out(path: Path, config: EncoderConfig, generator: Generator | None, iterations: int) -> Inverter:
    """An inverter that takes no memory until names and shapes are checked."""
    try:
        with skeleton():
            if config.input_channels == Inverter.INPUT_CHANNELS or generator is None:
                return Inverter(config)
            return ReStyle(config, generator, iterations)
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be used: {one_line(error)}.") from error


def _read_own(path: Path, device: str | torch.device) -> tuple[EncoderConfig, int, State]:
    """Our own format: configuration, iterations (of a `ReStyle`), state."""
    values, state = read_safetensors(path, KIND, device)
    iterates = values.get("input_channels") == ReStyle.INPUT_CHANNELS
    iterations = values.pop("iterations", ITERATIONS) if iterates else ITERATIONS
    try:
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return EncoderConfig(**(values | lists)), iterations, state
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} describes an impossible encoder: {one_line(error)}.") from error


def _read_public(contents: Contents, path: Path) -> tuple[EncoderConfig, State]:
    """Configuration and state of the public checkpoint that was read from `path`."""
    with about(path, "encoder"):
        found = find(contents, ENCODER)
        config, state = from_public(found)
    if not says_encoder_type(found):
        assumed = encoder_type(config)
        warnings.warn(f"{path} does not say which encoder it holds: read as {assumed}.", stacklevel=3)
    return config, state


def _average_of_generator(
    contents: Contents, path: Path, config: EncoderConfig, generator: Generator | None
) -> Tensor:
    """The average latent [dim] for an encoder whose file has none: that of the generator in the file, or else
    of the given one. Raises CheckpointError if there is neither."""
    whose = "the generator beside it"
    with suppress(CheckpointError):  # the file holds none, or only a part
        generator, whose = generator_in(contents, path), "its own generator"
    if generator is None:
        raise CheckpointError(
            f"{path} lacks latent_avg, the average latent that its encoder's output is relative to, and a "
            "generator that has it: give its generator too."
        )
    if generator.style_dim != config.style_dim:
        raise CheckpointError(
            f"{path} lacks latent_avg, and that of {whose} has {generator.style_dim} numbers, "
            f"not {config.style_dim}."
        )
    warnings.warn(f"{path} has no average latent (latent_avg): that of {whose} is taken.", stacklevel=3)
    return generator.latent_avg.detach().float()
