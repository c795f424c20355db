"""A generator's configuration from the shapes of its tensors, and the check of its filter."""

import re
from typing import Any

import torch
from torch import Tensor

from stylegan2.checkpoints.storage import State
from stylegan2.errors import CheckpointError
from stylegan2.generator import GeneratorConfig
from stylegan2.ops import binomial_taps


def config_of(state: State, where: str, **known: Any) -> GeneratorConfig:
    """The configuration of a state dict in our names; `known` are the values that no shape determines.

    Raises CheckpointError, lacking the file's name, if an entry is missing (`where` names the part of the
    file), or ValueError for sizes that no generator can have.
    """

    def size(name: str, dim: int) -> int:
        if name not in state:
            raise CheckpointError(f"lacks {name} in {where}")
        if state[name].ndim <= dim:
            raise CheckpointError(f"has too few dimensions in {name} in {where}")
        return state[name].shape[dim]

    channels = {4: size("synthesis.constant", 1)}
    while (name := f"synthesis.convs.{2 * len(channels)}.weight") in state:
        channels[2 * max(channels)] = size(name, 0)
    layers = sum(bool(re.fullmatch(r"mapping\.layers\.\d+\.weight", name)) for name in state)
    first = "mapping.layers.0.weight"
    return GeneratorConfig(
        max(channels), size(first, 0), size(first, 1), mapping_layers=layers, channels=channels, **known
    )


def check_filter(name: str, kernel: Tensor, total: float) -> None:
    """Raise CheckpointError, lacking the file's name, unless a filter is [1, 3, 3, 1]² with sum `total`."""
    taps = binomial_taps() / 2  # sums to 1
    if kernel.shape != (4, 4) or not torch.allclose(kernel.float(), total * torch.outer(taps, taps)):
        raise CheckpointError(f"has another up-sampling filter ({name!r:.80}) than [1, 3, 3, 1]")
