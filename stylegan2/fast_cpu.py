"""Synthesis on a CPU for looking only: the function of `stylegan2.synthesis`, in half of its time.

That module is the reference, and what gradients and other number formats go through. Here one picture is made
at a time, without gradients, so that

* modulation scales the activations or the weight, whichever holds fewer numbers;
* demodulation, gain and bias are carried by a convolution: the layer's own or, where it doubles the
  resolution, the low-pass filter after it;
* noise and leaky ReLU work in place: at 1024² every pass over memory, and every fresh tensor, counts;
* what depends on the weights alone is kept until they change (`Ready`).
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from stylegan2.ops import GAIN, LEAK, equalised_scale, upsample
from stylegan2.synthesis import StyledConv, Synthesis, ToRGB, can_look, made_ready

STRIP = 2 << 20  # bytes; four cores' second-level caches hold twice that


def can_draw(net: Synthesis, w_plus: Tensor) -> bool:
    """Whether `draw` may stand in for the reference here."""
    return (
        can_look(net, "cpu")
        and net.constant.dtype in (torch.float32, torch.bfloat16)
        and w_plus.dtype == torch.float32
        and w_plus.device.type == "cpu"
        and len(w_plus) > 0
    )


def draw(net: Synthesis, w_plus: Tensor, noises: Sequence[Tensor | None]) -> Tensor:
    """As `Synthesis.forward`, one picture after another; in float32 within 1e-5 of its largest value."""
    pictures = []
    for index, styles in enumerate(w_plus):
        own = [each if each is None or len(each) == 1 else each[index : index + 1] for each in noises]
        pictures.append(_picture(net, styles, own))
    return torch.cat(pictures) if len(pictures) > 1 else pictures[0]


def _picture(net: Synthesis, styles: Tensor, noises: list[Tensor | None]) -> Tensor:
    """Styles [len(noises) + 1 or more, style_dim], noises [1, 1, R, R] -> [1, 3, R, R]."""
    convs, to_rgbs = cast("Sequence[StyledConv]", net.convs), cast("Sequence[ToRGB]", net.to_rgbs)
    kernel = torch.outer(net.taps, net.taps)
    x = net.constant.contiguous(memory_format=torch.channels_last)
    x = _styled(convs[0], x, styles[0], noises[0], kernel)
    rgb = _to_rgb(to_rgbs[0], x, styles[1])
    for j in range(1, (len(noises) + 1) // 2):
        for i in (2 * j - 1, 2 * j):
            x = _styled(convs[i], x, styles[i], noises[i], kernel)
        rgb = upsample(rgb) + _to_rgb(to_rgbs[j], x, styles[2 * j + 1])
    return rgb.contiguous()


def _styled(layer: StyledConv, x: Tensor, w: Tensor, noise: Tensor | None, kernel: Tensor) -> Tensor:
    """x [1, in, H, W] -> [1, out, R, R], as `StyledConv.forward`."""
    ready = made_ready(layer)
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

    Strip by strip: what follows finds in the cache what came before.
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


def _to_rgb(layer: ToRGB, x: Tensor, w: Tensor) -> Tensor:
    """x [1, in, R, R] -> [1, 3, R, R], as `ToRGB.forward`."""
    scale = layer.modulation.of_one(w) * equalised_scale(layer.weight)
    rgb = F.conv2d(x, (layer.weight * scale[:, None, None]).to(x.dtype)).to(layer.bias.dtype)
    rgb += layer.bias[:, None, None]
    return rgb if layer.clamp is None else rgb.clamp_(-layer.clamp, layer.clamp)
