"""Where a head's factors bend, and hidden units of the mapping that bend there.

A head is no smooth function of its code: a degree rests for half of all codes, one hair cut passes into the
next within a thirtieth of its range, hues go round. The units of a random first layer see all factors at once
and so bend nowhere in particular: after 300,000 images they still drew the average of all hair cuts. So some
units see one factor alone and have their kink where the renderer has one; training only has to mix them.
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
"""Rise of a unit per standard deviation of z; 2 where none is given."""

STEPS = {"hair_cut": 0.3, "collar": 0.15, "glasses": 0.3}
"""Where two bends in a row are a step from one row of a table to the next: its height in the second layer,
beside a standard deviation of 1 from all other units together."""


def units() -> list[tuple[str, float]]:
    """Factor and place in z of every unit that sees one factor alone."""
    return [(name, _place(FACTORS[INDEX[name]], share)) for name, shares in BENDS.items() for share in shares]


def _place(factor: Factor, share: float) -> float:
    if factor.kind == "trait":
        return math.sqrt(2) * float(torch.erfinv(torch.tensor(2 * share - 1)))
    return 2 * share


@torch.no_grad()
def give_units(mapping: Mapping, rng: torch.Generator) -> None:
    """Turn the first units of a mapping's first layer into units that see one factor alone, and mix steps in.

    Args:
        mapping: one with a learning-rate multiplier of 1 and at least two layers.
        rng: draws what a step does to w.
    """
    (weight, bias), (mixing, offset) = _parameters(mapping, 0), _parameters(mapping, 1)
    before: tuple[str, float] | None = None
    for unit, (name, place) in enumerate(units()):
        slope = SLOPE.get(name, 2.0)
        weight[unit] = 0
        weight[unit, INDEX[name]] = slope * math.sqrt(weight.shape[1])
        bias[unit] = -slope * place
        if name not in STEPS:
            continue
        if before is None:
            before = name, place
        else:
            step = STEPS[name] * torch.randn(len(mixing), generator=rng)
            width = GAIN * slope * (place - before[1])
            mixing[:, unit - 1] = step * math.sqrt(mixing.shape[1]) / (width * (1 - LEAK))
            mixing[:, unit] = -mixing[:, unit - 1]
            offset -= step * 0.5 * (1 + LEAK) / (1 - LEAK)
            before = None


def _parameters(mapping: Mapping, layer: int) -> tuple[Tensor, Tensor]:
    return cast(Tensor, mapping.layers[layer].weight), cast(Tensor, mapping.layers[layer].bias)
