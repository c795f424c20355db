"""The generator's building blocks in plain PyTorch: filtered up-sampling, modulated convolution, equalised layers.

Formulas are those of Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN" (arXiv 1912.04958),
section 2 and appendix B. Modulation is applied to the activations and demodulation to the convolution's output, which is
the same function as modulating one weight per sample, with one shared weight for the whole batch.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAK = 0.2
GAIN = math.sqrt(2.0)  # restores the variance that leaky ReLU takes away


def binomial_filter() -> Tensor:
    """The up-sampling low-pass filter, outer([1, 3, 3, 1]), as float32 [4, 4] on the CPU.

    It sums to 4, because inserting zeros between samples divides the mean of an image by 4. All its values are exact
    in bfloat16.
    """
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device="cpu") / 4
    return torch.outer(taps, taps)


def _depthwise(kernel: Tensor, x: Tensor) -> Tensor:
    return kernel.to(x.dtype).expand(x.shape[1], 1, -1, -1)


def blur(x: Tensor, kernel: Tensor) -> Tensor:
    """Filter each channel of [B, C, H, W] with a symmetric [4, 4] kernel and one zero around it: [B, C, H-1, W-1]."""
    return F.conv2d(x, _depthwise(kernel, x), padding=1, groups=x.shape[1])


def upsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Double [B, C, H, W]: zeros between the samples and beyond the borders, then the symmetric [4, 4] kernel."""
    return F.conv_transpose2d(x, _depthwise(kernel, x), stride=2, padding=1, groups=x.shape[1])


def equalised_scale(weight: Tensor) -> float:
    """The run-time factor 1/√fan_in of a convolution weight [out, in, k, k] or a linear weight [out, in]."""
    return 1.0 / math.sqrt(weight[0].numel())


def demodulation(weight: Tensor, style: Tensor) -> Tensor:
    """What brings each output channel back to unit variance: 1/√(Σ (style·weight/√fan_in)² + 1e-8).

    `weight` is [out, in, k, k], `style` is [B, in]; the result is [B, out], in their dtype.
    """
    energy = (weight * equalised_scale(weight)).square().sum((2, 3))
    return torch.rsqrt(style.square() @ energy.t() + 1e-8)


def modulated_conv(x: Tensor, weight: Tensor, style: Tensor, up_kernel: Tensor | None = None) -> Tensor:
    """Convolve with a weight whose input channels are scaled by the style, per sample; without demodulation.

    `x` is [B, in, H, W], `weight` [out, in, k, k] (odd k) before its 1/√fan_in, `style` [B, in]. The result is
    [B, out, H, W], or [B, out, 2H, 2W] through a stride-2 transposed convolution and `up_kernel` where that is given.
    """
    scale = (style * equalised_scale(weight)).to(x.dtype)
    x = x * scale[:, :, None, None]
    if up_kernel is None:
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    return blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), up_kernel)


class EqualLinear(nn.Module):
    """A linear layer with equalised learning rate (Karras et al. 2018, arXiv 1710.10196, section 4.1).

    The stored weight is drawn from N(0, 1)/lr_multiplier and used times lr_multiplier/√fan_in; the stored bias is used
    times lr_multiplier. [..., in_dim] -> [..., out_dim], always computed in the parameters' own dtype: autocast's bfloat16
    would cost precision and save nothing on vectors this small.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        bias: float = 0.0,
        lr_multiplier: float = 1.0,
        rng: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_dim, in_dim, generator=rng) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_dim,), bias / lr_multiplier))
        self.lr_multiplier = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_dim] -> [..., out_dim]."""
        with torch.autocast(x.device.type, enabled=False):
            scale = equalised_scale(self.weight) * self.lr_multiplier
            return F.linear(x.to(self.weight.dtype), self.weight * scale, self.bias * self.lr_multiplier)
