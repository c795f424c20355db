"""An IR-SE identity network in float64 NumPy, over a state dict in the published names.

It shares no code with the package. Names and shapes are those of ArcFace's `model_ir_se50.pth`, at any size.
"""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray

WIDTHS, DEPTHS, SIDE, FEATURES, REDUCTION = (8, 16, 32), (1, 2, 1), 24, 20, 8


def published_state(seed: int = 0) -> dict[str, Tensor]:
    """A small network without a weight of zero or one; 24² pixels become 3², flattened, then 20 features."""
    rng = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def put(name: str, *shape: int) -> None:
        fan_in = float(np.prod(shape[1:]))
        state[name] = torch.randn(shape, generator=rng) * (1.5 / fan_in) ** 0.5

    def norm(name: str, width: int) -> None:
        state[f"{name}.weight"] = torch.rand(width, generator=rng) + 0.5
        state[f"{name}.bias"] = torch.randn(width, generator=rng) * 0.3
        state[f"{name}.running_mean"] = torch.randn(width, generator=rng) * 0.3
        state[f"{name}.running_var"] = torch.rand(width, generator=rng) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(1234)

    put("input_layer.0.weight", WIDTHS[0], 3, 3, 3)
    norm("input_layer.1", WIDTHS[0])
    state["input_layer.2.weight"] = torch.rand(WIDTHS[0], generator=rng)
    widths = [WIDTHS[0]] + [width for width, depth in zip(WIDTHS, DEPTHS, strict=True) for _ in range(depth)]
    for i, (width, out) in enumerate(pairwise(widths)):
        unit = f"body.{i}"
        if width != out:
            put(f"{unit}.shortcut_layer.0.weight", out, width, 1, 1)
            norm(f"{unit}.shortcut_layer.1", out)
        norm(f"{unit}.res_layer.0", width)
        put(f"{unit}.res_layer.1.weight", out, width, 3, 3)
        state[f"{unit}.res_layer.2.weight"] = torch.rand(out, generator=rng)
        put(f"{unit}.res_layer.3.weight", out, out, 3, 3)
        norm(f"{unit}.res_layer.4", out)
        put(f"{unit}.res_layer.5.fc1.weight", out // REDUCTION, out, 1, 1)
        put(f"{unit}.res_layer.5.fc2.weight", out, out // REDUCTION, 1, 1)
    side = SIDE >> len(WIDTHS)
    norm("output_layer.0", WIDTHS[-1])
    put("output_layer.3.weight", FEATURES, WIDTHS[-1] * side * side)
    put("output_layer.3.bias", FEATURES)
    norm("output_layer.4", FEATURES)
    return state


def features(state: dict[str, Tensor], image: Array, strides: tuple[int, ...] = (2, 2, 1, 2)) -> Array:
    """The features of one picture [3, S, S], of unit length: [FEATURES]; `strides` are those of the units."""
    s = {name: tensor.double().numpy() for name, tensor in state.items()}
    if image.shape[-1] != 256:
        image = pool(image, 256)
    x = pool(image[:, 35:223, 32:220], SIDE)
    x = prelu(norm(conv(x, s["input_layer.0.weight"], 1), s, "input_layer.1"), s["input_layer.2.weight"])
    for i, stride in enumerate(strides):
        x = unit(x, s, f"body.{i}", stride)
    flat = norm(x, s, "output_layer.0").reshape(-1)
    raw = s["output_layer.3.weight"] @ flat + s["output_layer.3.bias"]
    out = norm(raw[:, None, None], s, "output_layer.4")[:, 0, 0]
    return out / np.sqrt((out**2).sum())


def unit(x: Array, s: dict[str, Array], name: str, stride: int) -> Array:
    shortcut = x[:, ::stride, ::stride]
    if f"{name}.shortcut_layer.0.weight" in s:
        projection = s[f"{name}.shortcut_layer.0.weight"][:, :, 0, 0]
        shortcut = norm(np.einsum("oc,chw->ohw", projection, shortcut), s, f"{name}.shortcut_layer.1")
    y = conv(norm(x, s, f"{name}.res_layer.0"), s[f"{name}.res_layer.1.weight"], 1)
    y = conv(prelu(y, s[f"{name}.res_layer.2.weight"]), s[f"{name}.res_layer.3.weight"], stride)
    y = norm(y, s, f"{name}.res_layer.4")
    hidden = np.maximum(s[f"{name}.res_layer.5.fc1.weight"][:, :, 0, 0] @ y.mean(axis=(1, 2)), 0)
    gate = 1 / (1 + np.exp(-s[f"{name}.res_layer.5.fc2.weight"][:, :, 0, 0] @ hidden))
    return y * gate[:, None, None] + shortcut


def conv(x: Array, weight: Array, stride: int) -> Array:
    """A 3×3 convolution with a padding of one zero."""
    x = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    rows, columns = x.shape[1] - 2, x.shape[2] - 2
    taps = [
        np.einsum("oc,chw->ohw", weight[:, :, i, j], x[:, i : i + rows, j : j + columns])
        for i in range(3)
        for j in range(3)
    ]
    return np.sum(taps, axis=0)[:, ::stride, ::stride]


def norm(x: Array, s: dict[str, Array], name: str) -> Array:
    mean, var = s[f"{name}.running_mean"], s[f"{name}.running_var"]
    scale = s[f"{name}.weight"] / np.sqrt(var + 1e-5)
    return (x - mean[:, None, None]) * scale[:, None, None] + s[f"{name}.bias"][:, None, None]


def prelu(x: Array, slope: Array) -> Array:
    return np.where(x >= 0, x, slope[:, None, None] * x)


def pool(x: Array, side: int) -> Array:
    """Adaptive average pooling of [C, H, H]: pixel i is the mean from ⌊iH/side⌋ to ⌈(i+1)H/side⌉."""
    size = x.shape[-1]
    matrix = np.zeros((side, size))
    for i in range(side):
        start, end = i * size // side, -(-(i + 1) * size // side)
        matrix[i, start:end] = 1 / (end - start)
    return matrix @ x @ matrix.T
