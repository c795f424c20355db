"""Makes what a generator's file may lack: its average latent and its fixed noises.

rosinality's training stores no average, and its oldest files no noises. The average is computed as the mean
of the mapping's outputs; any noise is as good as another. Both are drawn from seeded generators, so that the
same file gives the same model every time.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from stylegan2.checkpoints.storage import State
from stylegan2.errors import CheckpointError
from stylegan2.generator import Generator, GeneratorConfig
from stylegan2.synthesis import Synthesis

SAMPLES, AT_ONCE = 16_384, 1024
"""How many latents the mean is of (its error is then below 1% of their spread), and the batch size."""
NOISE_SEED, AVERAGE_SEED = 0, 0


def add_noises(config: GeneratorConfig, state: State) -> list[str]:
    """Add the fixed noises that a state dict in our names lacks; returns their names.

    A noise does not depend on which others are present.
    """
    rng = torch.Generator().manual_seed(NOISE_SEED)
    made = []
    for index, name in enumerate(noise_names(config)):
        size = Synthesis.noise_size(index)
        drawn = torch.randn(1, 1, size, size, generator=rng)
        if name not in state:
            state[name] = drawn
            made.append(name)
    return made


def noise_names(config: GeneratorConfig) -> Iterator[str]:
    """Our names of a generator's fixed noises, smallest first."""
    return (f"synthesis.noise_{index}" for index in range(config.num_styles - 1))


@torch.no_grad()
def mean_latent(generator: Generator) -> Tensor:
    """The mean [style_dim] of the latents that a generator's mapping gives, the same every time.

    Raises CheckpointError, lacking the file's name, if it is not finite.
    """
    rng = torch.Generator().manual_seed(AVERAGE_SEED)
    total = torch.zeros(generator.style_dim, dtype=torch.float64)
    for _ in range(SAMPLES // AT_ONCE):
        z = torch.randn(AT_ONCE, generator.config.z_dim, generator=rng)
        total += generator.mapping(z.to(generator.latent_avg)).double().sum(dim=0).cpu()
    if not bool(torch.isfinite(total).all()):
        raise CheckpointError("lacks latent_avg, and its mapping gives no finite numbers to compute it from")
    return (total / SAMPLES).float()


def one_for_all(rows: Tensor) -> Tensor:
    """The average [dim] of rows [1 or styles, dim]: the first if all are equal, else their mean."""
    return rows[0] if bool((rows == rows[0]).all()) else rows.mean(dim=0)
