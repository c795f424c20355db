"""The factors of a head, and the latent code z that carries them.

A head of the avatar world is a vector of named factors: who it is (skull, features, skin, hair), how it is
lit, and what it does (five motions and five free movements). The first ``len(FACTORS)`` entries of a latent
code z of StyleGAN2 carry one factor each; the remaining entries carry none. Factors are read from z after
PixelNorm, as the mapping network sees it, so a code and its head agree exactly and a Gaussian z samples a new
person.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Z_DIM = 256

FactorKind = Literal["trait", "degree", "signed"]


@dataclass(frozen=True)
class Factor:
    """One property of a head.

    A ``trait`` is uniform in [low, high] for Gaussian z; a ``degree`` is 0 for half of all z and rises to 1
    at two standard deviations; a ``signed`` degree runs from -1 to 1 over ±2 standard deviations.
    """

    name: str
    kind: FactorKind = "trait"
    low: float = 0.0
    high: float = 1.0


MOTIONS = ("smile", "anger", "eyes_closed", "age", "yaw")
"""The five motions by the renderer's names; ``avatar.training.collect`` maps them to the published ones."""

FACTORS: tuple[Factor, ...] = (
    Factor("smile", "degree"),
    Factor("anger", "degree"),
    Factor("eyes_closed", "degree"),
    Factor("age", "degree"),
    Factor("yaw", "signed"),
    Factor("mouth_open", "degree"),
    Factor("pitch", "signed"),
    Factor("roll", "signed"),
    Factor("gaze_x", "signed"),
    Factor("gaze_y", "signed"),
    Factor("skull_width", low=0.92, high=1.10),
    Factor("skull_height", low=0.92, high=1.10),
    Factor("face_width", low=0.88, high=1.10),
    Factor("face_length", low=0.92, high=1.10),
    Factor("jaw_width", low=0.80, high=1.18),
    Factor("chin", low=-1.0, high=1.0),
    Factor("cheeks", low=-1.0, high=1.0),
    Factor("brow_ridge", low=-1.0, high=1.0),
    Factor("eye_size", low=0.88, high=1.16),
    Factor("eye_distance", low=0.255, high=0.305),
    Factor("eye_tilt", low=-0.08, high=0.16),
    Factor("eye_openness", low=0.42, high=0.66),
    Factor("nose_length", low=-1.0, high=1.0),
    Factor("nose_width", low=0.78, high=1.3),
    Factor("nose_depth", low=-1.0, high=1.0),
    Factor("nose_tip", low=-1.0, high=1.0),
    Factor("mouth_width", low=0.18, high=0.245),
    Factor("upper_lip", low=0.020, high=0.042),
    Factor("lower_lip", low=0.028, high=0.052),
    Factor("mouth_curve", low=-0.012, high=0.030),
    Factor("ear_size", low=0.8, high=1.2),
    Factor("neck_width", low=0.85, high=1.15),
    Factor("brow_thickness", low=0.6, high=1.4),
    Factor("brow_height", low=-1.0, high=1.0),
    Factor("brow_arch", low=-1.0, high=0.6),
    Factor("skin_tone"),
    Factor("skin_warmth", low=-1.0, high=1.0),
    Factor("blush"),
    Factor("freckles", "degree"),
    Factor("lip_colour"),
    Factor("eye_colour"),
    Factor("hair_colour"),
    Factor("hair_red"),
    Factor("hair_length"),
    Factor("hair_volume"),
    Factor("hair_curl", "degree"),
    Factor("hairline", low=-1.0, high=1.0),
    Factor("hair_part", low=-1.0, high=1.0),
    Factor("baldness", "degree"),
    Factor("beard", "degree"),
    Factor("light_azimuth", low=-1.5, high=1.5),
    Factor("light_elevation", low=0.0, high=1.05),
    Factor("light_warmth", low=-1.0, high=1.0),
    Factor("fill", low=0.20, high=0.55),
    Factor("background_hue"),
    Factor("background_value", low=0.15, high=0.75),
    Factor("background_saturation", low=0.05, high=0.55),
    Factor("clothes_hue"),
    Factor("clothes_value", low=0.1, high=0.8),
    Factor("hair_cut"),
    Factor("cheekbones", low=-1.0, high=1.0),
    Factor("forehead", low=-1.0, high=1.0),
    Factor("nose_bridge", low=-1.0, high=1.0),
    Factor("lashes"),
    Factor("ear_out", low=-1.0, high=1.0),
    Factor("moustache", "degree"),
    Factor("glasses", "degree"),
    Factor("glasses_shape"),
    Factor("glasses_hue"),
    Factor("collar"),
    Factor("clothes_saturation", low=0.05, high=0.7),
)

INDEX = {factor.name: i for i, factor in enumerate(FACTORS)}

Factors = dict[str, Tensor]
"""Name → values [B, 1] in the factor's own units."""


def factors_from_z(z: Tensor) -> Factors:
    """Read the factors from latent codes.

    Args:
        z: [B, Z_DIM] Gaussian codes; normalised to length √Z_DIM first, as PixelNorm does.
    """
    normed = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
    return {f.name: _value(f, normed[:, i : i + 1]) for i, f in enumerate(FACTORS)}


def _value(factor: Factor, z: Tensor) -> Tensor:
    if factor.kind == "degree":
        return (z / 2).clamp(0, 1)
    if factor.kind == "signed":
        return (z / 2).clamp(-1, 1)
    return factor.low + (factor.high - factor.low) * 0.5 * (1 + torch.erf(z / math.sqrt(2)))


def sample_z(count: int, generator: torch.Generator) -> Tensor:
    """Gaussian codes [count, Z_DIM]."""
    return torch.randn(count, Z_DIM, generator=generator)


def sample_training_z(count: int, generator: torch.Generator) -> Tensor:
    """Codes [count, Z_DIM] whose motions favour the extremes, normalised to length √Z_DIM.

    Identities are Gaussian. Degrees are drawn by ``sample_motion_z``, which favours neutral faces and full
    motions, so that a network sees both often enough to learn the difference between them.
    """
    z = torch.randn(count, Z_DIM, generator=generator)
    for name in (*MOTIONS, "mouth_open"):
        z[:, INDEX[name]] = sample_motion_z(name, count, generator)
    return fill_to_norm(z)


def sample_motion_z(name: str, count: int, generator: torch.Generator) -> Tensor:
    """Entries [count] of z for one motion.

    The degree is 0 with probability 0.45 and otherwise follows Beta(0.4, 0.4). Yaw has no such peak at 0: it
    follows Beta(0.4, 0.4) from one side to the other.
    """
    degree = _beta(0.4, count, generator)
    if name == "yaw":
        return 2 * (2 * degree - 1)
    neutral = torch.rand(count, generator=generator) < 0.45
    return torch.where(neutral, -torch.randn(count, generator=generator).abs(), 2 * degree)


def fill_to_norm(z: Tensor) -> Tensor:
    """Scale the entries that carry no factor so that every code [B, Z_DIM] has length √Z_DIM.

    PixelNorm then changes neither the code nor its factors.
    """
    carried, rest = z[:, : len(FACTORS)], z[:, len(FACTORS) :]
    room = (Z_DIM - carried.square().sum(dim=1, keepdim=True)).clamp(min=1.0)
    return torch.cat([carried, rest * (room / rest.square().sum(dim=1, keepdim=True)).sqrt()], dim=1)


def _beta(concentration: float, count: int, generator: torch.Generator) -> Tensor:
    # Jöhnk's method: exact for small concentrations, and, unlike torch.distributions, it takes a generator.
    result = torch.empty(0)
    while result.numel() < count:
        u = torch.rand(2, 4 * count + 16, generator=generator).pow(1 / concentration)
        total = u.sum(dim=0)
        accepted = (total <= 1) & (total > 0)
        result = torch.cat([result, (u[0] / total)[accepted]])
    return result[:count]
