"""Colours: linear RGB as three tensors [B, N] or [B, 1], and tables that a factor interpolates."""

from typing import NamedTuple

import torch
from torch import Tensor

from avatar.renderer.sdf import Scalar, smoothstep

Colour = tuple[Tensor, Tensor, Tensor]
Stops = tuple[tuple[float, ...], ...]


class Material(NamedTuple):
    """What a surface does with light.

    colour: linear RGB; shine: strength of the highlight, 0 … 1; soft: 1 where light seeps through (skin);
    hair: 1 where highlights run along strands.
    """

    colour: Colour
    shine: Tensor
    soft: Tensor
    hair: Tensor


def mix(a: Colour, b: Colour, t: Scalar) -> Colour:
    return a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t


def times(a: Colour, t: Scalar) -> Colour:
    return a[0] * t, a[1] * t, a[2] * t


def tinted(a: Colour, r: Scalar, g: Scalar, b: Scalar) -> Colour:
    return a[0] * r, a[1] * g, a[2] * b


def constant(like: Tensor, r: float, g: float, b: float) -> Colour:
    """An sRGB colour as linear tensors shaped like another."""
    one = torch.ones_like(like)
    return one * r**2.2, one * g**2.2, one * b**2.2


def blend(stops: Stops, t: Tensor) -> list[Tensor]:
    """Each column of a table, interpolated along t in [0, 1]."""
    position = t * (len(stops) - 1)
    weights = [(1 - (position - i).abs()).clamp(min=0) for i in range(len(stops))]
    return [
        sum((w * s for w, s in zip(weights, column, strict=True)), 0 * t)
        for column in zip(*stops, strict=True)
    ]


def choose(stops: Stops, t: Tensor) -> list[Tensor]:
    """Each column of a table, like ``blend``, but staying near the rows and passing quickly between them."""
    position = t * (len(stops) - 1)
    whole = position.floor()
    return blend(stops, (whole + smoothstep(0.35, 0.65, position - whole)) / (len(stops) - 1))


def gradient(stops: Stops, t: Tensor) -> Colour:
    """Piecewise linear colour along t in [0, 1], from sRGB stops."""
    red, green, blue = blend(tuple(tuple(c**2.2 for c in stop) for stop in stops), t)
    return red, green, blue


def from_hue(hue: Tensor, saturation: Scalar, value: Tensor) -> Colour:
    """HSV with a cyclic hue in [0, 1], to linear RGB."""

    def channel(offset: float) -> Tensor:
        wave = ((hue * 6 + offset).remainder(6.0) - 3).abs() - 1
        return (value * (1 - saturation + saturation * wave.clamp(0, 1))).pow(2.2)

    return channel(0.0), channel(4.0), channel(2.0)
