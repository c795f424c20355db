"""The synthesis network: from one style vector per layer (W+) to an image, doubling the resolution from 4×4.

The skip architecture of Karras et al. 2020 (arXiv 1912.04958, figure 7b): every resolution adds its own RGB
image to the up-sampled sum so far. Convolution i takes style i and noise i, RGB layer j takes style 1 + 2j.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from typing import Literal, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylegan2.ops import (
    GAIN,
    LEAK,
    EqualLinear,
    binomial_taps,
    demodulation,
    headroom,
    modulated_conv,
    narrow,
    upsample,
)

Noise = Literal["fixed"] | torch.Generator | Sequence[Tensor] | None

HALF_LIMIT = 4096.0
"""Where float16 activations are clamped if the model has no `conv_clamp`.

Demodulation keeps them near unit variance: for models trained with a clamp, Karras et al. 2020 (arXiv
2006.06676, appendix D) call ±256 an order of magnitude more than is needed. A model trained without one gets
16 times that, which the scaling of the styles by `headroom` allows.
"""


@dataclass(frozen=True, eq=False)
class Ready:
    """A layer's weight prepared for `fast_cpu` and `fast_gpu`: the same for every picture, and as large.

    Attributes:
        source: the layer's weight from which this was made, not copied.
        version: autograd's count of in-place changes of `source`; changes through `weight.data` are not
            counted, and go unnoticed.
        weight: channels-last, as convolutions read it, [out, in, k, k]; for a transposed convolution
            [in, out, k, k].
        energy: float32 [out, in], the sum of squares over the k×k, for demodulation.
    """

    source: Tensor
    version: int
    weight: Tensor
    energy: Tensor

    def __deepcopy__(self, memo: object) -> None:
        """None: a copied layer prepares its own when it is used."""


def prepare_weight(layer: "StyledConv | ToRGB") -> Ready:
    """The layer's cached `Ready`, rebuilt if its weight has changed since."""
    weight, ready = layer.weight, layer.ready
    if ready is None or not ready.source.is_set_to(weight) or ready.version != weight._version:
        transposed = weight.transpose(0, 1) if layer.up else weight
        energy = torch.linalg.vector_norm(weight, dim=(2, 3), dtype=torch.float32).square_()
        channels_last = transposed.contiguous(memory_format=torch.channels_last)
        layer.ready = ready = Ready(weight.detach(), weight._version, channels_last, energy)
    return ready


class _Layer(nn.Module):
    """A layer that caches its prepared weight."""

    weight: nn.Parameter
    ready: Ready | None = None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Drop the cache when a model is moved or converted: it would keep the old weight in memory."""
        self.ready = None
        return super()._apply(fn, recurse)


class StyledConv(_Layer):
    """A demodulated 3×3 convolution, noise, bias and leaky ReLU; doubles the resolution if `up` is set."""

    def __init__(
        self,
        in_width: int,
        out_width: int,
        style_dim: int,
        *,
        up: bool,
        clamp: float | None = None,
        rng: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.up = up
        self.clamp = clamp
        self.modulation = EqualLinear(style_dim, in_width, bias=1.0, rng=rng)
        self.weight = nn.Parameter(torch.randn(out_width, in_width, 3, 3, generator=rng))
        self.noise_strength = nn.Parameter(torch.zeros(1))
        self.bias = nn.Parameter(torch.zeros(out_width))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None, taps: Tensor) -> Tensor:
        """x [B, in, H, W], w [B, style_dim], noise [1 or B, 1, R, R] or None -> [B, out, R, R]; R is H or 2H.

        Leaky ReLU's gain is positive, so it can be multiplied into factor, bias and noise beforehand.
        """
        limit = self.clamp
        with torch.autocast(x.device.type, enabled=False):
            style = self.modulation(w)
            demodulated = demodulation(self.weight, style)
            factor = GAIN * demodulated
            if x.dtype == torch.float16:
                limit = half_limit(self.clamp)
                shrink = headroom(self.weight, style, demodulated, limit)
                style, factor = style / shrink, factor * shrink
        x = modulated_conv(x, self.weight, style, taps if self.up else None)
        bias = narrow(GAIN * self.bias, x.dtype)[:, None, None]
        x = torch.addcmul(bias, x, narrow(factor, x.dtype)[:, :, None, None])
        if noise is not None:
            x += narrow(GAIN * self.noise_strength * noise, x.dtype)
        x = F.leaky_relu(x, LEAK, inplace=True)
        return x if limit is None else x.clamp(-limit, limit)


class ToRGB(_Layer):
    """A modulated 1×1 convolution to three channels, not demodulated, with a bias."""

    up = False

    def __init__(
        self,
        in_width: int,
        style_dim: int,
        *,
        clamp: float | None = None,
        rng: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.clamp = clamp
        self.modulation = EqualLinear(style_dim, in_width, bias=1.0, rng=rng)
        self.weight = nn.Parameter(torch.randn(3, in_width, 1, 1, generator=rng))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x [B, in, R, R], w [B, style_dim] -> [B, 3, R, R] in the bias's dtype, also under autocast."""
        style = self.modulation(w)
        shrink = style.new_ones(style.shape[0], 1)
        if x.dtype == torch.float16:
            demodulated = demodulation(self.weight, style)
            shrink = headroom(self.weight, style, demodulated, half_limit(self.clamp))
            style = style / shrink
        rgb = modulated_conv(x, self.weight, style).to(self.bias.dtype)
        rgb = torch.addcmul(self.bias[:, None, None], rgb, shrink[:, :, None, None])
        return rgb if self.clamp is None else rgb.clamp(-self.clamp, self.clamp)


Styled = Callable[[StyledConv, Tensor, Tensor, Tensor | None], Tensor]
"""(layer, x [1, in, H, W], w [style_dim], noise [1, 1, R, R] or None) -> [1, out, R, R]."""
AddRGB = Callable[[ToRGB, Tensor, Tensor, Tensor | None], Tensor]
"""(layer, x [1, in, R, R], w [style_dim], RGB sum so far [1, 3, R/2, R/2], None at 4×4) -> [1, 3, R, R]."""


def half_limit(clamp: float | None) -> float:
    """The largest magnitude that float16 activations may have in a model with this `conv_clamp`."""
    return HALF_LIMIT if clamp is None else min(clamp, HALF_LIMIT)


class Synthesis(nn.Module):
    """Constant input, styled convolutions, and the running sum of RGB images.

    `widths` are the channels at 4, 8, 16 … up to the full resolution. Parameters are drawn from `rng`, or
    from torch's global generator. Activations are channels-last: a third faster on a CPU, and the layout that
    a GPU's tensor cores need.

    After `use_half` the activations are float16 (or bfloat16). Modulation, demodulation, the noises and their
    strengths, the biases and the sum of the RGB images stay float32. In float16 styles are scaled so that no
    convolution overflows (`headroom`), and each layer's output is clamped.
    """

    def __init__(
        self,
        widths: list[int],
        style_dim: int,
        rng: torch.Generator | None = None,
        *,
        conv_clamp: float | None = None,
    ) -> None:
        super().__init__()
        styled = partial(StyledConv, style_dim=style_dim, clamp=conv_clamp, rng=rng)
        to_rgb = partial(ToRGB, style_dim=style_dim, clamp=conv_clamp, rng=rng)
        self.constant = nn.Parameter(torch.randn(1, widths[0], 4, 4, generator=rng))
        self.convs = nn.ModuleList([styled(widths[0], widths[0], up=False)])
        self.to_rgbs = nn.ModuleList([to_rgb(widths[0])])
        for below, here in pairwise(widths):
            self.convs.append(styled(below, here, up=True))
            self.convs.append(styled(here, here, up=False))
            self.to_rgbs.append(to_rgb(here))
        for i in range(len(self.convs)):
            size = self.noise_size(i)
            self.register_buffer(f"noise_{i}", torch.randn(1, 1, size, size, generator=rng))
        self.taps: Tensor
        self.register_buffer("taps", binomial_taps(), persistent=False)

    @property
    def styled_convs(self) -> Sequence[StyledConv]:
        """`convs`, typed."""
        return cast("Sequence[StyledConv]", self.convs)

    @property
    def rgb_layers(self) -> Sequence[ToRGB]:
        """`to_rgbs`, typed."""
        return cast("Sequence[ToRGB]", self.to_rgbs)

    @staticmethod
    def noise_size(i: int) -> int:
        """The side in pixels of noise i, which is that of convolution i's output: 4, 8, 8, 16, 16 …"""
        return 4 << (i + 1) // 2

    def use_half(self, dtype: torch.dtype = torch.float16) -> None:
        """Turn the constant and the convolution weights into float16 or bfloat16, in place."""
        self.constant = _half(self.constant, dtype)
        for layer in (*self.styled_convs, *self.rgb_layers):
            layer.weight = _half(layer.weight, dtype)

    def forward(self, w_plus: Tensor, noises: Sequence[Tensor | None]) -> Tensor:
        """W+ [B, len(noises) + 1 or more, style_dim] -> the RGB sum [B, 3, R, R], as far as the noises go.

        Noises are [1 or B, 1, R, R], or None for none: one at 4×4, then two for each resolution. This is the
        reference for `fast_cpu` and `fast_gpu`.
        """
        batch = w_plus.shape[0]
        x = self.constant.expand(batch, -1, -1, -1).contiguous(memory_format=torch.channels_last)
        x = self.convs[0](x, w_plus[:, 0], noises[0], self.taps)
        rgb = self.to_rgbs[0](x, w_plus[:, 1])
        for j in range(1, (len(noises) + 1) // 2):
            for i in (2 * j - 1, 2 * j):
                x = self.convs[i](x, w_plus[:, i], noises[i], self.taps)
            with torch.autocast(x.device.type, enabled=False):
                rgb = upsample(rgb)
            rgb = rgb + self.to_rgbs[j](x, w_plus[:, 2 * j + 1])
        return rgb.contiguous()

    def is_inference_only(self, w_plus: Tensor) -> bool:
        """Whether synthesis of W+ is inference only, so that `fast_cpu` or `fast_gpu` may do it."""
        return (
            w_plus.device == self.constant.device
            and w_plus.dtype
            == self.taps.dtype
            == torch.float32  # also with `use_half`, not with `bfloat16()`
            and len(w_plus) > 0
            and not torch.is_grad_enabled()
            and not torch.is_autocast_enabled(w_plus.device.type)
            and not any(
                weight.is_inference() for weight in self.parameters()
            )  # autograd does not count their changes
        )

    def one_by_one(
        self, w_plus: Tensor, noises: Sequence[Tensor | None], styled: Styled, add_rgb: AddRGB
    ) -> Tensor:
        """As `forward`, one picture at a time, with the given functions as layers."""
        convs, to_rgbs = self.styled_convs, self.rgb_layers
        pictures = []
        for index, styles in enumerate(w_plus):
            x = self.constant.contiguous(memory_format=torch.channels_last)
            rgb = None
            for i, noise in enumerate(noises):
                own = noise if noise is None or len(noise) == 1 else noise[index : index + 1]
                x = styled(convs[i], x, styles[i], own)
                if i % 2 == 0:
                    rgb = add_rgb(to_rgbs[i // 2], x, styles[i + 1], rgb)
            assert rgb is not None
            pictures.append(rgb)
        return torch.cat(pictures) if len(pictures) > 1 else pictures[0]

    def draw_noises(self, rng: torch.Generator, batch: int) -> Iterator[Tensor]:
        """Fresh noise [batch, 1, R, R] per convolution, smallest first, so an early stop draws the same."""
        for i in range(len(self.convs)):
            size = self.noise_size(i)
            drawn = torch.randn(batch, 1, size, size, generator=rng, device=rng.device)
            yield drawn.to(self.get_buffer(f"noise_{i}"))

    def noises(self, noise: Noise, batch: int, count: int) -> list[Tensor | None]:
        """The noises of the first `count` convolutions, smallest first, each [1 or batch, 1, R, R]."""
        if noise is None:
            return [None] * count
        if isinstance(noise, torch.Generator):
            return list(islice(self.draw_noises(noise, batch), count))
        if isinstance(noise, str):
            return [self.get_buffer(f"noise_{i}") for i in range(count)]
        return list(noise[:count])


def _half(parameter: nn.Parameter, dtype: torch.dtype) -> nn.Parameter:
    """The parameter in half precision; float16 channels-last, which is what tensor cores read."""
    layout = torch.channels_last if dtype == torch.float16 else torch.contiguous_format
    return nn.Parameter(parameter.detach().to(dtype, memory_format=layout), parameter.requires_grad)
