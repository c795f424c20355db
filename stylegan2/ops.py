"""The generator's building blocks in plain PyTorch: up-sampling, modulated convolution, linear layers.

The formulas are those of Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN" (arXiv
1912.04958), section 2 and appendix B. Modulation is applied to the activations and demodulation to the
convolution's output: the same function as one modulated weight per sample, with one weight shared by the
batch.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAK = 0.2
GAIN = math.sqrt(2.0)  # restores the variance that leaky ReLU removes


def binomial_taps() -> Tensor:
    """The up-sampling low-pass filter [1, 3, 3, 1]/4 for one axis, as float32 [4] on the CPU.

    It sums to 2 because inserting zeros between samples halves their mean. Its values are exact in bfloat16.
    """
    return torch.tensor([1.0, 3.0, 3.0, 1.0], device="cpu") / 4


def blur(x: Tensor, taps: Tensor) -> Tensor:
    """Filter each channel of [B, C, H, W] along both axes, with one pixel of zero padding: [B, C, H-1, W-1].

    `taps` is a symmetric filter [4]. In training, two passes of four taps are a quarter faster than one of
    4×4.
    """
    along = taps.to(x.dtype).expand(x.shape[1], 1, 1, -1)
    x = F.conv2d(x, along.transpose(2, 3), padding=(1, 0), groups=x.shape[1])
    return F.conv2d(x, along, padding=(0, 1), groups=x.shape[1])


def quarter_blur(x: Tensor) -> Tensor:
    """A quarter of `blur` with `binomial_taps`, as three averages of 2×2: [1, 1]³ is [1, 3, 3, 1].

    In half precision this takes a sixtieth of the time of a depthwise convolution on a CPU; in float32 it
    takes twice as long.
    """
    x = F.avg_pool2d(x, 2, stride=1, padding=1)
    return F.avg_pool2d(F.avg_pool2d(x, 2, stride=1), 2, stride=1)


def upsample(x: Tensor) -> Tensor:
    """Double H and W of [B, C, H, W], zero-padded; each new sample is a quarter pixel from an old one.

    This is bilinear interpolation, equal to inserting zeros and filtering with `binomial_taps`. As sums, not
    a convolution, it keeps float32's precision where convolutions run in TF32 (NVIDIA's default).
    """
    return _double(_double(x, 2), 3)


def _double(x: Tensor, dim: int) -> Tensor:
    border = torch.zeros_like(x.narrow(dim, 0, 1))
    padded = torch.cat((border, x, border), dim)
    size = x.shape[dim]
    pairs = [torch.lerp(x, padded.narrow(dim, start, size), 0.25) for start in (0, 2)]
    return torch.stack(pairs, dim + 1).flatten(dim, dim + 1)


def equalised_scale(weight: Tensor) -> float:
    """The run-time factor 1/√fan_in of a convolution weight [out, in, k, k] or a linear weight [out, in]."""
    return 1.0 / math.sqrt(weight[0].numel())


def demodulation(weight: Tensor, style: Tensor) -> Tensor:
    """The factor that restores each output channel's unit variance: 1/√(Σ (style·weight/√fan_in)² + 1e-8).

    `weight` is [out, in, k, k], `style` is [B, in]; the result is [B, out], in the style's dtype.
    """
    energy = torch.linalg.vector_norm(weight, dim=(2, 3), dtype=style.dtype) * equalised_scale(weight)
    return torch.rsqrt(style.square() @ energy.square().t() + 1e-8)


def headroom(weight: Tensor, style: Tensor, demodulated: Tensor, limit: float) -> Tensor:
    """The divisor [B, 1] of a style [B, in] with which `modulated_conv` in float16 cannot overflow.

    Let x be within ±limit. By Cauchy-Schwarz no sum over an input patch exceeds limit·√fan_in times
    ‖style·weight/√fan_in‖, which is the inverse of `demodulation`. Four times this, the filter's gain when
    up-sampling, must fit; so must the modulated x itself, also in a channel whose weights are all zero.
    `demodulated` [B, out] is the result of `demodulation` for this weight and style.
    """
    longest = 1 / demodulated.amin(1, keepdim=True)
    largest = equalised_scale(weight) * style.abs().amax(1, keepdim=True)
    worst = 4 * max(limit, 1.0) * math.sqrt(weight[0].numel()) / torch.finfo(torch.float16).max
    return torch.maximum(longest, largest) * max(worst, 1.0)


def modulated_conv(x: Tensor, weight: Tensor, style: Tensor, up_taps: Tensor | None = None) -> Tensor:
    """Convolve with a weight whose input channels are scaled by the style, per sample; without demodulation.

    `x` is [B, in, H, W], `weight` [out, in, k, k] (odd k) before its 1/√fan_in, `style` [B, in]. The result
    is [B, out, H, W]; with `up_taps` it is [B, out, 2H, 2W], by a transposed convolution of stride 2 and
    `blur`.
    """
    half = x.dtype == torch.float16
    scale = style * equalised_scale(weight)
    if half and up_taps is not None:
        scale = 4 * scale
    x = x * scale.to(x.dtype)[:, :, None, None]
    if up_taps is None:
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    return quarter_blur(x) if half else blur(x, up_taps)


def narrow(x: Tensor, dtype: torch.dtype) -> Tensor:
    """x in another floating-point type; values outside float16's range saturate, not overflow to infinity."""
    if dtype == torch.float16:
        x = x.clamp(-torch.finfo(dtype).max, torch.finfo(dtype).max)
    return x.to(dtype)


class EqualLinear(nn.Module):
    """A linear layer with equalised learning rate (Karras et al. 2018, arXiv 1710.10196, section 4.1).

    The stored weight is drawn from N(0, 1)/lr_multiplier and used times lr_multiplier/√fan_in; the stored
    bias is used times lr_multiplier. Always computed in the parameters' own dtype: autocast's bfloat16
    would cost precision, and save nothing on vectors this small.
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

    def of_one(self, x: Tensor) -> Tensor:
        """[in_dim] -> [out_dim], as `forward`, but without a scaled copy of the weight."""
        alpha = equalised_scale(self.weight) * self.lr_multiplier
        return torch.addmv(self.bias, self.weight, x, beta=self.lr_multiplier, alpha=alpha)
