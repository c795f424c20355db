"""Photo to W+: the encoder together with the average latent its answers are relative to."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoder4editing.encoder import Encoder, EncoderConfig, EqualLinear


class Inverter(nn.Module):
    """Finds the latent code of a face picture.

    A fresh inverter has random weights and a zero average latent: before training, copy the generator's
    average into `latent_avg`.

    Args:
        config: the encoder's architecture.
        rng: what the weights are drawn from, on the CPU; torch's global generator if none is given.

    Attributes:
        config: the encoder's architecture.
        encoder: images [B, 3, input_size, input_size] to offsets [B, num_styles, style_dim].
        latent_avg: buffer [num_styles, style_dim], added to every offset.
    """

    latent_avg: Tensor

    def __init__(self, config: EncoderConfig, rng: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.register_buffer("latent_avg", torch.zeros(config.num_styles, config.style_dim))
        if rng is not None:
            _draw_weights(self, rng)

    @property
    def num_styles(self) -> int:
        """Latent vectors per picture."""
        return self.config.num_styles

    @property
    def style_dim(self) -> int:
        """Length of one latent vector."""
        return self.config.style_dim

    @property
    def input_size(self) -> int:
        """Side in pixels of what the encoder itself looks at."""
        return self.config.input_size

    def invert(self, images: Tensor) -> Tensor:
        """Latent codes of pictures, differentiably.

        Args:
            images: [B, 3, S, S], floating point, in [-1, 1], FFHQ-aligned; S is at least `input_size`,
                usually 256. Larger pictures are averaged down to `input_size` by area.

        Returns:
            [B, num_styles, style_dim], in the dtype of the weights, also under autocast.

        Raises:
            ValueError: the images have another shape or dtype.
        """
        size = self.input_size
        if not images.is_floating_point() or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(
                f"images must be floating point [B, 3, S, S], not {images.dtype} {list(images.shape)}"
            )
        height, width = images.shape[2:]
        if height != width or height < size:
            raise ValueError(f"images must be square and at least {size}×{size}, not {height}×{width}")
        if height > size:
            images = F.interpolate(images, size=(size, size), mode="area")
        return self.encoder(images) + self.latent_avg

    forward = invert


@torch.no_grad()
def _draw_weights(module: nn.Module, rng: torch.Generator) -> None:
    """Draws again what is random in a fresh model, from the same distributions."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            for parameter in layer.parameters():
                parameter.uniform_(-bound, bound, generator=rng)
        elif isinstance(layer, EqualLinear):
            layer.weight.normal_(generator=rng)
