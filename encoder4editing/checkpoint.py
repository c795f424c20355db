"""Reading and writing inverters: our own safetensors file, and the public checkpoints.

Every file is untrusted: `stylegan2.storage` reads it without running anything in it, and what it says is
compared with what it holds before memory is taken for a model.
"""

import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from encoder4editing.encoder import EncoderConfig
from encoder4editing.inverter import Inverter
from encoder4editing.public import encoder_type, from_public, holds_generator, says_encoder_type
from encoder4editing.restyle import ReStyle
from stylegan2 import CheckpointError, Generator
from stylegan2.checkpoint import generator_in
from stylegan2.errors import about
from stylegan2.storage import (
    State,
    assign_state,
    file_kind,
    one_line,
    read_safetensors,
    read_torch,
    skeleton,
    write_safetensors,
)

KIND = "e4e"  # in the files of all our inverters, from when there was one kind
ITERATIONS = 5  # what ReStyle's public models were trained with, and its inference uses


def load_inverter(
    path: str | Path,
    *,
    generator: Generator | None = None,
    device: str | torch.device = "cpu",
    half: bool = False,
) -> Inverter:
    """Reads an inverter, in eval mode: an `Inverter` (pSp, e4e), or a `ReStyle` if it has 6 input channels.

    Args:
        path: a file written by `save_inverter`, or a public checkpoint (`.pt`) of e4e, pSp, ReStyle-pSp or
            ReStyle-e4e, over IR-SE (not ResNet) backbones. Which it is shows in its content, not its name.
        generator: what a `ReStyle` draws its attempts with; it is moved to `device`. Without it, the one
            stored in the public checkpoint. A one-pass inverter needs none, and does not look at it.
        device: where the inverter goes.
        half: makes the convolutions float16 (see `Inverter.use_half`), also those of a generator that
            comes from the checkpoint; a given one stays as it is. Otherwise all is float32.

    Raises:
        CheckpointError: the file is missing, damaged, not an inverter, its parts do not fit together or not
            to the generator, or a `ReStyle` has no generator.
    """
    path = Path(path)
    kind = file_kind(path)
    if kind == "safetensors":
        config, iterations, state = _read_own(path, device)
        contents: dict[Any, Any] = {}
    elif kind == "torch":
        contents = read_torch(path)
        config, state = _read_public(contents, path)
        iterations = ITERATIONS
        state = {name: tensor.to(device) for name, tensor in state.items()}
    else:
        raise CheckpointError(f"{path} is a {kind} file, which holds no inverter.")
    if config.input_channels == ReStyle.INPUT_CHANNELS and generator is None:
        if not holds_generator(contents):
            raise CheckpointError(
                f"{path} holds a ReStyle encoder, which needs its generator, but not that generator: "
                "load it too, and pass it as generator=…."
            )
        generator = generator_in(contents, path, device=device, half=half)
    inverter = _lay_out(path, config, generator, iterations)
    if half:
        inverter.use_half()
    assign_state(inverter, state, path)
    return inverter.eval()


def save_inverter(inverter: Inverter, path: str | Path) -> None:
    """Writes an inverter as safetensors that `load_inverter` reads; complete or not at all.

    Of a `ReStyle` that is the encoder, the average latent and the number of iterations, not the generator.

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


def _read_public(contents: dict[Any, Any], path: Path) -> tuple[EncoderConfig, State]:
    """Configuration and state in a public checkpoint, which was read from `path`."""
    with about(path, "encoder"):
        config, state = from_public(contents)
    if not says_encoder_type(contents):
        assumed = encoder_type(config)
        warnings.warn(f"{path} does not say which encoder it holds: read as {assumed}.", stacklevel=3)
    return config, state
