"""Inference-only synthesis on a GPU in float16: the function of `stylegan2.synthesis` with our kernels.

In `stylegan2.synthesis` a layer is a dozen operations, each a pass over memory that stalls the tensor cores.
Here it is a convolution and one pass after it (`stylegan2/kernels.cu`), one picture at a time: the weight is
modulated and demodulated beforehand, as it holds few numbers where pictures are large. Its rows then have
norm 1, which also keeps float16 from overflowing: by Cauchy-Schwarz no sum over an input patch exceeds
limit·√fan_in times that norm.
"""

import math
import warnings
from collections.abc import Sequence
from functools import cache, partial
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from stylegan2.kernels import LANES, RUN, Kernel, Kernels, load
from stylegan2.ops import GAIN, equalised_scale
from stylegan2.synthesis import StyledConv, Synthesis, ToRGB, half_limit, prepare_weight

_TRIAL_TOLERANCE = 0.01
"""The largest error of the trial picture, as a share of its largest value; float16's own is a tenth of it."""


def kernels_to_draw(network: Synthesis, w_plus: Tensor) -> Kernels | None:
    """The kernels for `draw`, if it may replace the reference here; else None."""
    usable = (
        network.constant.is_cuda
        and network.constant.dtype == torch.float16
        and network.is_inference_only(w_plus)
    )
    return kernels_for(w_plus.device) if usable else None


@cache
def kernels_for(device: torch.device) -> Kernels | None:
    """The kernels for a GPU, compiled at the first call, if they agree there with the reference.

    Otherwise None, and a warning says why: the reference, which is slower, is used then.
    """
    try:
        kernels = load(device)
        with torch.inference_mode(False), torch.no_grad():
            error = _trial(device, kernels)
        if error < _TRIAL_TOLERANCE:
            return kernels
        problem = f"a picture drawn with them was off by {error:.2g} of its largest value"
    except (ImportError, RuntimeError) as raised:
        problem = str(raised)
    warnings.warn(f"The GPU {device} draws without our kernels, more slowly: {problem}.", stacklevel=2)
    return None


def _trial(device: torch.device, kernels: Kernels) -> float:
    """The kernels' error on a small picture against the reference, as a share of its largest value."""
    rng = torch.Generator().manual_seed(0)
    network = Synthesis([16, 8, 5, 8], 8, rng)
    for layer in cast("Sequence[StyledConv]", network.convs):
        layer.noise_strength.add_(0.5)
        layer.bias.add_(torch.randn(layer.bias.shape, generator=rng))
    w_plus = torch.randn(1, 8, 8, generator=rng).to(device)
    network.use_half()
    network.to(device)
    noises = network.noises("fixed", 1, len(network.convs))
    reference = network(w_plus, noises)
    return float((draw(network, w_plus, noises, kernels) - reference).abs().max() / reference.abs().max())


def draw(network: Synthesis, w_plus: Tensor, noises: Sequence[Tensor | None], kernels: Kernels) -> Tensor:
    """As `Synthesis.forward` in float16, one picture after another, and as close to float32 as that is."""
    styled = partial(_styled, taps=network.taps, kernels=kernels)
    with torch.cuda.device_of(w_plus):
        return network.one_by_one(w_plus, noises, styled, partial(_add_rgb, kernels=kernels))


def _styled(
    layer: StyledConv, x: Tensor, w: Tensor, noise: Tensor | None, taps: Tensor, kernels: Kernels
) -> Tensor:
    """x [1, in, H, W] -> [1, out, R, R], as `StyledConv.forward`."""
    weight, _, shrink = _modulated(layer, w, kernels)
    gain, limit = GAIN / shrink, half_limit(layer.clamp)
    noise = None if noise is None else noise.contiguous()
    if not layer.up:
        x = _channels_last(F.conv2d(x, weight, padding=1))
        channels = x.shape[1]
        run, lanes = _widest(kernels, "finish", channels)
        run(x.numel() // lanes, x, layer.bias, noise, layer.noise_strength, channels, gain, limit)
        return x
    x = _channels_last(F.conv_transpose2d(x, weight, stride=2))
    channels, side = x.shape[1], x.shape[2] - 1
    shape, layout = (1, channels, side, side), torch.channels_last
    out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)
    run, lanes = _widest(kernels, "blur_finish", channels)
    threads = out.numel() // (RUN * lanes)
    run(threads, x, taps, layer.bias, noise, layer.noise_strength, out, side, channels, gain, limit)
    return out


def _add_rgb(layer: ToRGB, x: Tensor, w: Tensor, below: Tensor | None, kernels: Kernels) -> Tensor:
    """x [1, in, R, R], RGB sum so far [1, 3, R/2, R/2] or None -> sum with `ToRGB.forward`, [1, 3, R, R]."""
    weight, energy, shrink = _modulated(layer, w, kernels)
    rgb = _channels_last(F.conv2d(x, weight))
    out = torch.empty(rgb.shape, device=rgb.device)
    scale, limit = equalised_scale(layer.weight), math.inf if layer.clamp is None else layer.clamp
    run = kernels["add_rgb", 1]
    run(out.numel(), rgb, energy, layer.bias, below, out, rgb.shape[2], scale, shrink, limit)
    return out


def _modulated(layer: StyledConv | ToRGB, w: Tensor, kernels: Kernels) -> tuple[Tensor, Tensor, float]:
    """The weight modulated by a style, its rows' original squared norms [out], unscaled, and their new norm.

    The new norm is the largest, up to 1, at which the layer's sums fit into float16.
    """
    ready, style = prepare_weight(layer), layer.modulation.of_one(w)
    energy = torch.mv(ready.energy, style.square())
    limit = max(half_limit(layer.clamp), 1.0)
    shrink = min(torch.finfo(torch.float16).max / (limit * math.sqrt(layer.weight[0].numel())), 1.0)
    rows, columns, area = *ready.energy.shape, layer.weight[0, 0].numel()
    weight = torch.empty_like(ready.weight)
    run, lanes = _widest(kernels, "modulate", rows if layer.up else columns)
    scale = equalised_scale(layer.weight)
    threads = weight.numel() // lanes
    run(threads, ready.weight, style, energy, weight, rows, columns, area, int(layer.up), scale, shrink)
    return weight, energy, shrink


def _widest(kernels: Kernels, name: str, channels: int) -> tuple[Kernel, int]:
    """The variant of a kernel with the most channels per thread that divides `channels`, and that number."""
    lanes = next(each for each in LANES if channels % each == 0)
    return kernels[name, lanes], lanes


def _channels_last(x: Tensor) -> Tensor:
    """x channels-last, as the kernels read it; a convolution's output mostly is already."""
    return x.contiguous(memory_format=torch.channels_last)
