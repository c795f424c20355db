"""Bends (kinks) of a head's factors, and hidden units of the mapping network that bend there.

A head is not a smooth function of its code: a degree is 0 for half of all codes, one hair cut changes into
the next within a thirtieth of its range, hues are cyclic. The units of a random first layer see all factors
at once and so bend nowhere in particular: after 300,000 images they still drew the average of all hair cuts.
So some units see a single factor and have their kink where the renderer has one; training only has to mix
them.
"""

import math
from typing import cast

import torch
from torch import Tensor

from avatar.renderer.factors import FACTORS, INDEX, Factor
from avatar.renderer.hair import CUTS, HAIR_STOPS
from avatar.renderer.skin import SKIN_STOPS
from avatar.renderer.wear import COLLARS
from stylegan2.mapping import Mapping
from stylegan2.ops import GAIN, LEAK


def _inner(stops: int) -> tuple[float, ...]:
    return tuple(i / (stops - 1) for i in range(1, stops - 1))


def _between(stops: int) -> tuple[float, ...]:
    """Where ``avatar.renderer.colour.choose`` leaves one row of a table and where it reaches the next."""
    return tuple((i + edge) / (stops - 1) for i in range(stops - 1) for edge in (0.35, 0.65))


BENDS: dict[str, tuple[float, ...]] = {
    **dict.fromkeys(("smile", "anger", "eyes_closed", "age", "mouth_open"), (0.0, 1.0)),
    **dict.fromkeys(("freckles", "hair_curl"), (0.0,)),
    "baldness": (0.0, 0.3, 0.8),
    "beard": (0.0, 0.5),
    "moustache": (0.0, 0.4, 0.7),
    "glasses": (0.42, 0.46),
    "hair_cut": _between(len(CUTS)),
    "collar": _between(len(COLLARS)),
    "hair_colour": _inner(len(HAIR_STOPS)),
    "hair_red": (0.75,),
    "skin_tone": _inner(len(SKIN_STOPS)),
    "background_hue": _inner(7),
    "clothes_hue": _inner(7),
}
"""Factor → where it bends, in shares of its range."""

SLOPE = {"hair_cut": 8.0, "collar": 8.0, "glasses": 8.0}
"""Slope of a unit per standard deviation of z; 2 by default."""

STEPS = {"hair_cut": 0.3, "collar": 0.15, "glasses": 0.3}
"""Factors whose bends come in pairs, a step from one row of a table to the next: the step's height in the
second layer, where all other units together have a standard deviation of 1."""


def units() -> list[tuple[str, float]]:
    """Factor and position in z of every unit that sees a single factor."""
    return [
        (name, _position(FACTORS[INDEX[name]], share)) for name, shares in BENDS.items() for share in shares
    ]


def _position(factor: Factor, share: float) -> float:
    if factor.kind == "trait":
        return math.sqrt(2) * float(torch.erfinv(torch.tensor(2 * share - 1)))
    return 2 * share


@torch.no_grad()
def give_units(mapping: Mapping, rng: torch.Generator) -> None:
    """Make the first units of a mapping's first layer see a single factor, and mix steps into the second.

    Args:
        mapping: one with a learning-rate multiplier of 1 and at least two layers.
        rng: draws the effect of each step on w.
    """
    (weight, bias), (mixing, offset) = _parameters(mapping, 0), _parameters(mapping, 1)
    before: tuple[str, float] | None = None
    for unit, (name, position) in enumerate(units()):
        slope = SLOPE.get(name, 2.0)
        weight[unit] = 0
        weight[unit, INDEX[name]] = slope * math.sqrt(weight.shape[1])
        bias[unit] = -slope * position
        if name not in STEPS:
            continue
        if before is None:
            before = name, position
        else:
            step = STEPS[name] * torch.randn(len(mixing), generator=rng)
            width = GAIN * slope * (position - before[1])
            mixing[:, unit - 1] = step * math.sqrt(mixing.shape[1]) / (width * (1 - LEAK))
            mixing[:, unit] = -mixing[:, unit - 1]
            offset -= step * 0.5 * (1 + LEAK) / (1 - LEAK)
            before = None


def _parameters(mapping: Mapping, layer: int) -> tuple[Tensor, Tensor]:
    return cast(Tensor, mapping.layers[layer].weight), cast(Tensor, mapping.layers[layer].bias)
