"""Inference-only synthesis on a CPU: the function of `stylegan2.synthesis` in half of its time.

That module is the reference, and serves gradients and other number formats. Here one picture is computed at
a time, without gradients, so that

* modulation scales the activations or the weight, whichever holds fewer numbers;
* demodulation, gain and bias are carried by a convolution: the layer's own or, where it doubles the
  resolution, the low-pass filter after it;
* noise and leaky ReLU work in place: at 1024² every pass over memory, and every fresh tensor, counts;
* what depends on the weights alone is cached until they change (`Ready`).
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from stylegan2.ops import GAIN, LEAK, equalised_scale, upsample
from stylegan2.synthesis import StyledConv, Synthesis, ToRGB, prepare_weight

STRIP = 2 << 20  # bytes; four cores' second-level caches hold twice that


def can_draw(network: Synthesis, w_plus: Tensor) -> bool:
    """Whether `draw` may replace the reference here."""
    return (
        network.constant.device.type == "cpu"
        and network.constant.dtype in (torch.float32, torch.bfloat16)
        and network.is_inference_only(w_plus)
    )


def draw(network: Synthesis, w_plus: Tensor, noises: Sequence[Tensor | None]) -> Tensor:
    """As `Synthesis.forward`, one picture after another.

    In float32 it is within 1e-5 of the largest value of the float64 result; the float32 reference is within
    1.5e-5.
    """
    styled = partial(_styled, kernel=torch.outer(network.taps, network.taps))
    return network.one_by_one(w_plus, noises, styled, _add_rgb).contiguous()


def _styled(layer: StyledConv, x: Tensor, w: Tensor, noise: Tensor | None, kernel: Tensor) -> Tensor:
    """x [1, in, H, W] -> [1, out, R, R], as `StyledConv.forward`."""
    ready = prepare_weight(layer)
    scale = layer.modulation.of_one(w) * equalised_scale(layer.weight)
    factor = GAIN * torch.rsqrt(torch.mv(ready.energy, scale.square()) + 1e-8)  # with GAIN, `demodulation`
    weight, bias = ready.weight, (GAIN * layer.bias).to(x.dtype)
    folded = x.numel() > weight.numel()
    if not folded:
        x = x * scale.to(x.dtype)[:, None, None]
    elif layer.up:
        weight = (weight * scale[:, None, None, None]).to(x.dtype)
    else:
        weight = (weight * (factor[:, None] * scale)[:, :, None, None]).to(x.dtype)
    if layer.up:
        x = F.conv_transpose2d(x, weight, stride=2)
        filters = (factor[:, None, None, None] * kernel).to(x.dtype)
        x = F.conv2d(x, filters, bias, padding=1, groups=len(filters))
    elif folded:
        x = F.conv2d(x, weight, bias, padding=1)
    else:
        x = F.conv2d(x, weight, padding=1)
        torch.addcmul(bias[:, None, None], x, factor.to(x.dtype)[:, None, None], out=x)
    _finish(layer, x, noise)
    return x


def _finish(layer: StyledConv, x: Tensor, noise: Tensor | None) -> None:
    """Noise, leaky ReLU and the clamp on x [1, out, R, R], in place.

    Strip by strip, so that each operation finds the output of the one before in the CPU's cache.
    """
    strength = 0.0 if noise is None else (GAIN * layer.noise_strength).item()  # in float32: inf, not too much
    rows = max(1, STRIP // x[:, :, :1].nbytes)
    for top in range(0, x.shape[2], rows):
        part = x[:, :, top : top + rows]
        if noise is not None:
            part.add_(noise[:, :, top : top + rows].to(x.dtype), alpha=strength)
        F.leaky_relu_(part, LEAK)
        if layer.clamp is not None:
            part.clamp_(-layer.clamp, layer.clamp)


def _add_rgb(layer: ToRGB, x: Tensor, w: Tensor, below: Tensor | None) -> Tensor:
    """x [1, in, R, R], RGB sum so far [1, 3, R/2, R/2] or None -> sum with `ToRGB.forward`, [1, 3, R, R]."""
    scale = layer.modulation.of_one(w) * equalised_scale(layer.weight)
    rgb = F.conv2d(x, (layer.weight * scale[:, None, None]).to(x.dtype)).to(layer.bias.dtype)
    rgb += layer.bias[:, None, None]
    if layer.clamp is not None:
        rgb.clamp_(-layer.clamp, layer.clamp)
    return rgb if below is None else upsample(below) + rgb
