"""StyleGAN2's generator written out slowly in float64 NumPy: one image at a time, one kernel tap at a time.

It shares no code with the package: every sample gets its own modulated weight, up-sampling is zero insertion
followed by a direct convolution, and the layers come from a plain list that either naming can fill.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Array = np.ndarray


@dataclass
class Layer:
    """One modulated convolution; an RGB layer has no noise."""

    weight: Array  # [out, in, k, k]
    style_weight: Array  # [in, style_dim]
    style_bias: Array  # [in]
    bias: Array  # [out]
    noise: Array | None = None  # [R, R], strength already multiplied in


@dataclass
class Network:
    """All weights: the mapping's (weight, bias) pairs, constant [C, 4, 4], convolutions and RGB layers."""

    mapping: list[tuple[Array, Array]]
    constant: Array
    convs: list[Layer]
    rgbs: list[Layer]


def numbers(state: Mapping[str, Any]) -> dict[str, Array]:
    """A state dict's tensors as float64 arrays."""
    return {name: np.asarray(t.double()) for name, t in state.items() if isinstance(t, torch.Tensor)}


def from_ours(state: Mapping[str, Any]) -> Network:
    """The network under the names of this project."""
    s = numbers(state)
    count = sum(name.startswith("synthesis.noise_") for name in s)
    layers = sum(name.startswith("mapping.layers.") for name in s) // 2

    def layer(name: str, noise: Array | None = None) -> Layer:
        style = s[f"{name}.modulation.weight"], s[f"{name}.modulation.bias"]
        return Layer(s[f"{name}.weight"], *style, s[f"{name}.bias"], noise)

    convs = [
        layer(
            f"synthesis.convs.{i}",
            s[f"synthesis.convs.{i}.noise_strength"] * s[f"synthesis.noise_{i}"][0, 0],
        )
        for i in range(count)
    ]
    rgbs = [layer(f"synthesis.to_rgbs.{j}") for j in range(count // 2 + 1)]
    mapping = [(s[f"mapping.layers.{i}.weight"], s[f"mapping.layers.{i}.bias"]) for i in range(layers)]
    return Network(mapping, s["synthesis.constant"][0], convs, rgbs)


def from_rosinality(state: Mapping[str, Any]) -> Network:
    """The network under the names of rosinality's stylegan2-pytorch."""
    s = numbers(state)
    count = sum(name.startswith("noises.") for name in s)
    layers = sum(name.startswith("style.") for name in s) // 2

    def layer(name: str, bias: str, noise: Array | None = None) -> Layer:
        style = s[f"{name}.conv.modulation.weight"], s[f"{name}.conv.modulation.bias"]
        return Layer(s[f"{name}.conv.weight"][0], *style, s[f"{name}.{bias}"].reshape(-1), noise)

    names = ["conv1"] + [f"convs.{i}" for i in range(count - 1)]
    convs = [
        layer(name, "activate.bias", s[f"{name}.noise.weight"] * s[f"noises.noise_{i}"][0, 0])
        for i, name in enumerate(names)
    ]
    rgbs = [layer(n, "bias") for n in ["to_rgb1"] + [f"to_rgbs.{j}" for j in range(count // 2)]]
    mapping = [(s[f"style.{i}.weight"], s[f"style.{i}.bias"]) for i in range(1, layers + 1)]
    return Network(mapping, s["input.input"][0], convs, rgbs)


def leaky(x: Array) -> Array:
    return np.where(x > 0, x, 0.2 * x) * np.sqrt(2)


def map_z(network: Network, z: Array, lr_multiplier: float = 0.01) -> Array:
    """z [z_dim] -> w [style_dim]."""
    w = z / np.sqrt(np.mean(z**2) + 1e-8)
    for weight, bias in network.mapping:
        w = leaky(lr_multiplier * (weight @ w / np.sqrt(weight.shape[1]) + bias))
    return w


def correlate(x: Array, weight: Array, before: int, after: int) -> Array:
    """Cross-correlation of [in, H, W] with [out, in, k, k] after zero padding on all sides."""
    k = weight.shape[-1]
    x = np.pad(x, ((0, 0), (before, after), (before, after)))
    height, width = x.shape[1] - k + 1, x.shape[2] - k + 1
    out = np.zeros((weight.shape[0], height, width))
    for i in range(k):
        for j in range(k):
            out += np.einsum("oc,chw->ohw", weight[:, :, i, j], x[:, i : i + height, j : j + width])
    return out


def spread(x: Array) -> Array:
    """Insert a zero after every sample: [C, H, W] -> [C, 2H, 2W]."""
    out = np.zeros((x.shape[0], 2 * x.shape[1], 2 * x.shape[2]))
    out[:, ::2, ::2] = x
    return out


def low_pass(x: Array, before: int, after: int) -> Array:
    """Apply the 4×4 binomial filter of gain 4 to every channel."""
    kernel = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16
    return np.concatenate([correlate(c[None], kernel[None, None], before, after) for c in x])


def modulated(layer: Layer, x: Array, w: Array, *, demodulate: bool, up: bool = False) -> Array:
    """One modulated convolution of one image with a weight made for it."""
    style = layer.style_weight @ w / np.sqrt(len(w)) + layer.style_bias
    weight = layer.weight / np.sqrt(layer.weight[0].size) * style[None, :, None, None]
    if demodulate:
        weight = weight / np.sqrt((weight**2).sum((1, 2, 3), keepdims=True) + 1e-8)
    if up:
        # A transposed convolution of stride 2 is a full convolution (flipped kernel) with the spread samples.
        return low_pass(correlate(spread(x)[:, :-1, :-1], weight[:, :, ::-1, ::-1], 2, 2), 1, 1)
    pad = weight.shape[-1] // 2
    return correlate(x, weight, pad, pad)


def synthesize(network: Network, w_plus: Array, resolution: int, *, noise: bool = True) -> Array:
    """W+ [styles, style_dim] of one image -> the RGB sum at a resolution, [3, R, R]."""

    def styled(i: int, x: Array) -> Array:
        layer = network.convs[i]
        x = modulated(layer, x, w_plus[i], demodulate=True, up=i % 2 == 1)
        if noise:
            x = x + layer.noise
        return leaky(x + layer.bias[:, None, None])

    def rgb(j: int, x: Array) -> Array:
        layer = network.rgbs[j]
        return modulated(layer, x, w_plus[2 * j + 1], demodulate=False) + layer.bias[:, None, None]

    x = styled(0, network.constant)
    image = rgb(0, x)
    for j in range(1, resolution.bit_length() - 2):
        x = styled(2 * j, styled(2 * j - 1, x))
        image = low_pass(spread(image), 2, 1) + rgb(j, x)
    return image
