"""Synthesis on a CPU for looking only: the function of `stylegan2.synthesis`, in half of its time.

That module is the reference, and what gradients, GPUs and other number formats go through. Here one picture
is made at a time, without gradients, so that

* modulation scales the activations or the weight, whichever holds fewer numbers;
* demodulation, gain and bias are carried by a convolution: the layer's own or, where it doubles the
  resolution, the low-pass filter after it;
* noise and leaky ReLU work in place: at 1024² every pass over memory, and every fresh tensor, counts.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from stylegan2.ops import GAIN, LEAK, EqualLinear, demodulation, equalised_scale, upsample
from stylegan2.synthesis import Noise, StyledConv, Synthesis, ToRGB

DTYPES = (torch.float32, torch.bfloat16)


def applies(net: Synthesis, w_plus: Tensor) -> bool:
    """Whether `synthesize` may stand in for the reference here."""
    return (
        net.constant.dtype in DTYPES
        and w_plus.dtype == torch.float32
        and net.constant.device.type == w_plus.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


def synthesize(net: Synthesis, w_plus: Tensor, noise: Noise, steps: int) -> Tensor:
    """As `Synthesis.forward`: W+ [B, 2·steps or more, style_dim] -> [B, 3, R, R], one picture after another.

    Equal to it within 1e-5 of the largest value in float32; see `applies` for where it may be called.
    """
    noises = list(net.noises(noise, w_plus.shape[0], 2 * steps - 1))
    pictures = []
    for index, styles in enumerate(w_plus):
        own = [each if each is None or len(each) == 1 else each[index : index + 1] for each in noises]
        pictures.append(_picture(net, styles, own, steps))
    return torch.cat(pictures) if len(pictures) != 1 else pictures[0]


def _picture(net: Synthesis, styles: Tensor, noises: list[Tensor | None], steps: int) -> Tensor:
    """Styles [2·steps or more, style_dim], noises [1, 1, R, R] -> [1, 3, R, R]."""
    kernel = torch.outer(net.taps, net.taps)
    x = net.constant.contiguous(memory_format=torch.channels_last)
    x = _styled(net.convs[0], x, styles[0], noises[0], kernel)
    rgb = _to_rgb(net.to_rgbs[0], x, styles[1])
    for j in range(1, steps):
        for i in (2 * j - 1, 2 * j):
            x = _styled(net.convs[i], x, styles[i], noises[i], kernel)
        rgb = upsample(rgb) + _to_rgb(net.to_rgbs[j], x, styles[2 * j + 1])
    return rgb.contiguous()


def _styled(layer: StyledConv, x: Tensor, w: Tensor, noise: Tensor | None, kernel: Tensor) -> Tensor:
    """x [1, in, H, W] -> [1, out, R, R], as `StyledConv.forward`."""
    style = _style(layer.modulation, w)
    factor = GAIN * demodulation(layer.weight, style[None])[0]
    scale = style * equalised_scale(layer.weight)
    weight, bias = layer.weight, (GAIN * layer.bias).to(x.dtype)
    many = x.numel() > weight.numel()
    if not many:
        x = x * scale.to(x.dtype)[:, None, None]
    elif layer.up:
        weight = (weight * scale[:, None, None]).to(x.dtype)
    else:
        weight = (weight * (factor[:, None] * scale)[:, :, None, None]).to(x.dtype)
    if layer.up:
        x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        filters = (factor[:, None, None, None] * kernel).to(x.dtype)
        x = F.conv2d(x, filters, bias, padding=1, groups=len(filters))
    elif many:
        x = F.conv2d(x, weight, bias, padding=1)
    else:
        x = F.conv2d(x, weight, padding=1)
        torch.addcmul(bias[:, None, None], x, factor.to(x.dtype)[:, None, None], out=x)
    if noise is not None:
        x.add_(noise.to(x.dtype), alpha=GAIN * layer.noise_strength.item())
    F.leaky_relu_(x, LEAK)
    return x if layer.clamp is None else x.clamp_(-layer.clamp, layer.clamp)


def _to_rgb(layer: ToRGB, x: Tensor, w: Tensor) -> Tensor:
    """x [1, in, R, R] -> [1, 3, R, R], as `ToRGB.forward`."""
    scale = _style(layer.modulation, w) * equalised_scale(layer.weight)
    rgb = F.conv2d(x, (layer.weight * scale[:, None, None]).to(x.dtype)).to(layer.bias.dtype)
    rgb += layer.bias[:, None, None]
    return rgb if layer.clamp is None else rgb.clamp_(-layer.clamp, layer.clamp)


def _style(layer: EqualLinear, w: Tensor) -> Tensor:
    """`EqualLinear.forward` for one vector, without a scaled copy of the weight."""
    alpha = equalised_scale(layer.weight) * layer.lr_multiplier
    return torch.addmv(layer.bias, layer.weight, w, beta=layer.lr_multiplier, alpha=alpha)
