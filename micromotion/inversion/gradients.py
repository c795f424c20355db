"""What descents on latents have in common: the networks they look through stay as they are."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen(*nets: nn.Module) -> Iterator[None]:
    """Within the block, no parameter of the networks requires a gradient."""
    asking = [parameter for net in nets for parameter in net.parameters() if parameter.requires_grad]
    for parameter in asking:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)
