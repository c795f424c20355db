"""Photo to W+ in one pass: the encoder together with the average latent that its output is relative to."""

import math
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoder4editing.backbone import halve_convolutions
from encoder4editing.encoder import Encoder, EncoderConfig, HeadLinear


class Inverter(nn.Module):
    """Finds the latent of a face picture in one pass (pSp, e4e); `ReStyle` refines it in several.

    A fresh inverter has random weights and a zero average latent: before training, copy the generator's
    average into `latent_avg`.

    Args:
        config: the encoder's architecture, of `INPUT_CHANNELS` input channels.
        rng: the random generator for the weights, on the CPU; torch's global generator by default.

    Attributes:
        config: the encoder's architecture.
        encoder: images [B, 3, input_size, input_size] to offsets [B, num_styles, style_dim].
        latent_avg: buffer [num_styles, style_dim], added to every offset.

    Raises:
        ValueError: the encoder takes another number of channels.
    """

    INPUT_CHANNELS = 3
    latent_avg: Tensor

    def __init__(self, config: EncoderConfig, rng: torch.Generator | None = None) -> None:
        super().__init__()
        if config.input_channels != self.INPUT_CHANNELS:
            name, wanted, given = type(self).__name__, self.INPUT_CHANNELS, config.input_channels
            raise ValueError(f"{name} needs an encoder of {wanted} input channels, not of {given}")
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
        """Side in pixels of the encoder's own input."""
        return self.config.input_size

    def invert(self, images: Tensor) -> Tensor:
        """Latents of pictures, differentiably.

        Args:
            images: [B, 3, S, S], floating point, in [-1, 1], FFHQ-aligned; S is at least `input_size`,
                usually 256. Larger pictures are averaged down to `input_size` by area.

        Returns:
            [B, num_styles, style_dim], in the dtype of `latent_avg` (float32), also under autocast, after
            `use_half` and for images of another dtype.

        Raises:
            ValueError: the images have another shape or dtype.
        """
        return self.encoder(self._prepared(images)) + self.latent_avg

    def forward(self, images: Tensor) -> Tensor:
        """`invert`."""
        return self.invert(images)

    def use_half(self) -> Self:
        """Makes the convolutions compute in float16, in place, and returns the inverter; for inference.

        Their weights become float16 (half the memory); biases, normalisation, activations, gates, sums, the
        heads' linear layers, `latent_avg` and the result stay float32. Works on the meta device. It is for
        GPUs: a CPU without float16 arithmetic takes minutes for a full-size encoder.
        """
        halve_convolutions(self.encoder)
        return self

    def _prepared(self, images: Tensor) -> Tensor:
        """The images, checked: [B, 3, input_size, input_size] in the dtype of `latent_avg`, channels-last.

        All later layers keep that layout, which is faster for convolutions on a CPU and on tensor cores.
        """
        size = self.input_size
        if not images.is_floating_point() or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(
                f"images must be floating point [B, 3, S, S], not {images.dtype} {list(images.shape)}"
            )
        height, width = images.shape[2:]
        if height != width or height < size:
            raise ValueError(f"images must be square and at least {size}×{size}, not {height}×{width}")
        images = fit_area(images.to(self.latent_avg.dtype), size)
        return images.contiguous(memory_format=torch.channels_last)


def fit_area(images: Tensor, size: int) -> Tensor:
    """[B, C, S, S] to [B, C, size, size]: each pixel is the mean of the area it covers (adaptive pooling)."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, size=(size, size), mode="area")


@torch.no_grad()
def _draw_weights(module: nn.Module, rng: torch.Generator) -> None:
    """Draws a new model's random weights again, from `rng` and the same distributions."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            for parameter in layer.parameters():
                parameter.uniform_(-bound, bound, generator=rng)
        elif isinstance(layer, HeadLinear):
            layer.weight.normal_(generator=rng)
