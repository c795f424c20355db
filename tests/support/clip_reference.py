"""CLIP with a vision transformer in float64 NumPy, over the state dict of the `clip` package.

Written out slowly: one picture or sentence at a time, one head of attention at a time.
"""

import math
from collections.abc import Mapping

import numpy as np
from torch import Tensor

Array = np.ndarray

HEAD_WIDTH = 64


def numbers(state: Mapping[str, Tensor]) -> dict[str, Array]:
    return {name: tensor.double().numpy() for name, tensor in state.items()}


def image_features(s: dict[str, Array], image: Array) -> Array:
    """The features of one picture [3, S, S]: [D], not normalised."""
    patches = s["visual.conv1.weight"]
    width, _, side, _ = patches.shape
    count = image.shape[1] // side
    tokens = [s["visual.class_embedding"]]
    for row in range(count):
        for column in range(count):
            patch = image[:, row * side : (row + 1) * side, column * side : (column + 1) * side]
            tokens.append(patches.reshape(width, -1) @ patch.reshape(-1))
    x = layer_norm(np.stack(tokens) + s["visual.positional_embedding"], s, "visual.ln_pre")
    x = transformer(x, s, "visual.transformer", causal=False)
    return layer_norm(x[:1], s, "visual.ln_post")[0] @ s["visual.proj"]


def text_features(s: dict[str, Array], ids: list[int]) -> Array:
    """The features of one sentence's tokens, zeros after the end (the largest id): [D], not normalised."""
    rows = ids
    if "token_embedding.tokens" in s:  # a model with a small vocabulary
        known = s["token_embedding.tokens"].astype(int).tolist()
        rows = [known.index(token) for token in ids]
    x = s["token_embedding.weight"][rows] + s["positional_embedding"][: len(ids)]
    x = layer_norm(transformer(x, s, "transformer", causal=True), s, "ln_final")
    return x[int(np.argmax(ids))] @ s["text_projection"]


def transformer(x: Array, s: dict[str, Array], name: str, *, causal: bool) -> Array:
    for i in range(sum(f"{name}.resblocks.{j}.ln_1.weight" in s for j in range(100))):
        block = f"{name}.resblocks.{i}"
        x = x + attention(layer_norm(x, s, f"{block}.ln_1"), s, f"{block}.attn", causal=causal)
        hidden = linear(layer_norm(x, s, f"{block}.ln_2"), s, f"{block}.mlp.c_fc")
        x = x + linear(hidden / (1 + np.exp(-1.702 * hidden)), s, f"{block}.mlp.c_proj")
    return x


def attention(x: Array, s: dict[str, Array], name: str, *, causal: bool) -> Array:
    width = x.shape[1]
    q, k, v = np.split(x @ s[f"{name}.in_proj_weight"].T + s[f"{name}.in_proj_bias"], 3, axis=1)
    heads = []
    for start in range(0, width, HEAD_WIDTH):
        part = slice(start, start + HEAD_WIDTH)
        scores = q[:, part] @ k[:, part].T / math.sqrt(HEAD_WIDTH)
        if causal:
            scores = np.where(np.tri(len(x), dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        heads.append(weights / weights.sum(axis=1, keepdims=True) @ v[:, part])
    return linear(np.concatenate(heads, axis=1), s, f"{name}.out_proj")


def linear(x: Array, s: dict[str, Array], name: str) -> Array:
    return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]


def layer_norm(x: Array, s: dict[str, Array], name: str) -> Array:
    centred = x - x.mean(axis=1, keepdims=True)
    scale = s[f"{name}.weight"] / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
    return centred * scale + s[f"{name}.bias"]
