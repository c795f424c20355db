"""Photo to W+: the encoder together with the average latent its answers are relative to."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoder4editing.encoder import Encoder, EncoderConfig


class Inverter(nn.Module):
    """Finds the latent code of a face picture.

    A fresh inverter has random weights and a zero average latent: before training, copy the generator's
    average into `latent_avg`.

    Attributes:
        config: the encoder's architecture.
        encoder: images [B, 3, input_size, input_size] to offsets [B, num_styles, style_dim].
        latent_avg: buffer [num_styles, style_dim], added to every offset.
    """

    latent_avg: Tensor

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.register_buffer("latent_avg", torch.zeros(config.num_styles, config.style_dim))

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
