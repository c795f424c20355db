"""Freezes networks while latents are optimised through them."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Within the block, no parameter of the networks requires a gradient."""
    trainable = [each for network in networks for each in network.parameters() if each.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
