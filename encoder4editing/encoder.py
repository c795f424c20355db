"""The encoders of pSp, e4e and ReStyle: an IR-SE backbone, perhaps a feature pyramid, and one head per style.

Richardson et al. 2021, "Encoding in Style" (pSp, arXiv 2008.00951): pyramid, each head gives its own style.
Tov et al. 2021, "Designing an Encoder for StyleGAN Image Manipulation" (e4e, arXiv 2102.02766): pyramid, the
heads give differences from the first. Alaluf et al. 2021, "ReStyle" (arXiv 2104.02699): both, with six input
channels, and mostly without the pyramid. Each fits the public code's encoder parameter by parameter.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoder4editing.backbone import Backbone, Conv2d, check_sizes, check_stages

COARSE_STYLES = 3
"""Styles read off the deepest features (pose, shape of the head)."""
MIDDLE_STYLES = 7
"""The styles from the coarse ones up to this one are read off the middle level, the rest off the fine one."""


@dataclass(frozen=True)
class EncoderConfig:
    """Architecture of an `Encoder`; the defaults are public e4e for FFHQ at 1024².

    Attributes:
        input_size: side of the square input in pixels, a power of two.
        num_styles: latent vectors in the output, 2·log2(R) − 2 for a generator of R² pixels.
        style_dim: length of one latent vector.
        widths: channels of the four backbone stages.
        depths: residual units of the four backbone stages.
        fpn_width: channels that the heads read: of the pyramid, or of the deepest stage without one.
        head_width: channels inside the style heads.
        se_reduction: channels per hidden channel in the squeeze-and-excitation gates.
        stem_stride: stride of the first convolution, 1 or 2.
        input_channels: 3 (a picture), or 6 for ReStyle (a picture, and the generator's attempt so far).
        pyramid: whether later styles are read off finer levels; without it all are read off the deepest.
        deltas: whether every head but the first gives its style's difference from the first, as in e4e, or
            the style itself, as in pSp.

    Raises:
        ValueError: a value is outside its bounds.
    """

    input_size: int = 256
    num_styles: int = 18
    style_dim: int = 512
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    depths: tuple[int, int, int, int] = (3, 4, 14, 3)
    fpn_width: int = 512
    head_width: int = 512
    se_reduction: int = 16
    stem_stride: int = 1
    input_channels: int = 3
    pyramid: bool = True
    deltas: bool = True

    def __post_init__(self) -> None:
        if len(self.widths) != 4 or len(self.depths) != 4:
            raise ValueError("the encoder has four stages: give four widths and four depths")
        limits = {"num_styles": 64, "style_dim": 8192, "fpn_width": 8192, "head_width": 8192}
        limits |= {"se_reduction": 8192, "stem_stride": 2, "input_size": 2048}
        check_sizes({name: (getattr(self, name), limit) for name, limit in limits.items()})
        check_stages(self.widths, self.depths)
        if self.input_size & (self.input_size - 1) or self.coarse_size < 2:
            least = 32 * self.stem_stride
            raise ValueError(f"input_size must be a power of two from {least}, not {self.input_size}")

        if type(self.input_channels) is not int or self.input_channels not in (3, 6):
            raise ValueError(f"input_channels must be 3 or 6, not {self.input_channels!r}")
        for name in ("pyramid", "deltas"):
            if type(getattr(self, name)) is not bool:
                raise ValueError(f"{name} must be true or false, not {getattr(self, name)!r}")

    @property
    def coarse_size(self) -> int:
        """Side in pixels of the deepest feature map; the others are twice and four times as large."""
        return self.input_size // (16 * self.stem_stride)


class HeadLinear(nn.Module):
    """Linear layer with the equalised learning rate of Karras et al. 2018 (arXiv 1710.10196)."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.scale = 1 / math.sqrt(in_features)

    def forward(self, x: Tensor) -> Tensor:
        # Under autocast the product is bfloat16; latents are summed in the weights' own precision.
        return F.linear(x, self.weight * self.scale, self.bias).to(self.weight.dtype)


class StyleHead(nn.Module):
    """Strided convolutions down to one pixel, then a linear layer: [B, in, size, size] to [B, style_dim]."""

    def __init__(self, in_width: int, width: int, style_dim: int, size: int) -> None:
        super().__init__()
        widths = [in_width] + [width] * int(math.log2(size))
        self.convs = nn.ModuleList(Conv2d(a, b, 3, 2, 1) for a, b in pairwise(widths))
        self.linear = HeadLinear(width, style_dim)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.01)
        return self.linear(x.flatten(1))


class Encoder(nn.Module):
    """Images to latent offsets, to be added to the average latent or to ReStyle's previous latent.

    With a pyramid styles 0–2 are read off the deepest features, 3–6 off its middle level, the others off its
    fine level.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(
            config.widths, config.depths, config.se_reduction, config.stem_stride, config.input_channels
        )
        _, fine, middle, coarse = config.widths
        self.lateral_coarse: nn.Module = nn.Identity()  # the public deepest stage has the heads' width
        if coarse != config.fpn_width:
            self.lateral_coarse = Conv2d(coarse, config.fpn_width, 1)
        if config.pyramid:
            self.lateral_middle = Conv2d(middle, config.fpn_width, 1)
            self.lateral_fine = Conv2d(fine, config.fpn_width, 1)
        self.heads = nn.ModuleList(
            StyleHead(config.fpn_width, config.head_width, config.style_dim, config.coarse_size << level)
            for level in map(self._level, range(config.num_styles))
        )

    def forward(self, images: Tensor) -> Tensor:
        """[B, input_channels, input_size, input_size] in [-1, 1] to offsets [B, num_styles, style_dim]."""
        levels = self._levels(images)
        offsets = [head(levels[self._level(style)]) for style, head in enumerate(self.heads)]
        if self.config.deltas:
            offsets[1:] = [offsets[0] + delta for delta in offsets[1:]]
        return torch.stack(offsets, dim=1)

    def _levels(self, images: Tensor) -> list[Tensor]:
        """The features that heads read, coarse to fine: a pyramid (Lin et al. 2017, arXiv 1612.03144)."""
        _, fine, middle, coarse = self.backbone(images)
        levels = [self.lateral_coarse(coarse)]
        if self.config.pyramid:
            levels.append(_upsample(levels[0]) + self.lateral_middle(middle))
            levels.append(_upsample(levels[1]) + self.lateral_fine(fine))
        return levels

    def _level(self, style: int) -> int:
        """Which of the levels a style is read off: 0 coarse, 1 middle, 2 fine."""
        if not self.config.pyramid or style < COARSE_STYLES:
            return 0
        return 1 if style < MIDDLE_STYLES else 2


def _upsample(x: Tensor) -> Tensor:
    # Aligned corners are unusual for a pyramid, but the public weights were trained with them.
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
