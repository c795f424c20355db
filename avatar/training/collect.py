"""Anchors of the five motions: a rendered video of one person, inverted into W+ frame by frame."""

import torch
from torch import Tensor

from avatar.renderer.factors import FACTORS, INDEX, MOTIONS, Z_DIM, Factors, factors_from_z, sample_z
from avatar.renderer.render import render
from avatar.training.effects import stated
from encoder4editing import Inverter
from encoder4editing.regressor import Regressor
from micromotion.motion.anchors import Anchors
from micromotion.motion.playable import Motion
from stylegan2 import Generator

PUBLISHED_NAMES = dict(zip(MOTIONS, ("smile", "angry", "eyesClose", "aging", "headsTurn"), strict=True))
"""The renderer's names → the names of the published model."""

DEGREES = 11
MAX_STRETCH = 2
"""The largest strength that calibration tries, in units of the renderer's full motion."""

FAINT = 0.1
IDENTITY_SEED = 5
PLAIN = ("baldness", "beard", "moustache", "freckles", "glasses", "hair_curl")


def at_rest(z: Tensor) -> Factors:
    """The factors of codes [B, Z_DIM] with a neutral face, looking straight ahead."""
    f = factors_from_z(z)
    for factor in FACTORS[: INDEX["gaze_y"] + 1]:
        f[factor.name] = torch.zeros_like(f[factor.name])
    return f


def model_person() -> Factors:
    """The one person who performs all motions: halfway from a sampled one to the middle of every trait."""
    person = at_rest(sample_z(1, torch.Generator().manual_seed(IDENTITY_SEED)))
    middle = at_rest(torch.zeros(1, Z_DIM))
    mixed = {name: (value + middle[name]) / 2 for name, value in person.items()}
    return mixed | {name: torch.zeros(1, 1) for name in PLAIN}


def clip(person: Factors, motion: str, degrees: Tensor, size: int) -> Tensor:
    """Pictures [n, 3, size, size] of a person [1] at growing degrees [n] of one motion."""
    return torch.cat([render(person | {motion: degree.view(1, 1)}, size) for degree in degrees])


def collect(inverter: Inverter, motion: str, size: int) -> Anchors:
    """Anchors of one motion at even degrees from 0 to 1, from pictures of ``size`` pixels a side."""
    degrees = torch.linspace(0, 1, DEGREES)
    with torch.inference_mode():
        latents = inverter.invert(clip(model_person(), motion, degrees, size))
    provenance: dict[str, str | int | float] = {
        "source": "frames of the avatar renderer's own clip, inverted by the bundle's e4e",
        "motion": motion,
        "identity": f"avatar.training.collect.model_person, seed {IDENTITY_SEED}",
        **stated(motion),
    }
    return Anchors(latents, degrees, provenance)


def calibrate(anchors: Anchors, generator: Generator, regressor: Regressor, motion: str) -> Anchors:
    """Rescale the anchors' degrees so that strength 1 is the full motion as the generator shows it.

    A small generator shows a motion more faintly than the renderer, and saturates at some strength. Both are
    read off its pictures of the first latent moved along the direction: strength 1 is where the motion reads
    as 1, or else where it has reached nine tenths of its largest rise. A motion that hardly shows is left
    unchanged; the report will show it.
    """
    offset = Motion.from_anchors(anchors, motion).offset
    strengths = torch.linspace(0, MAX_STRETCH, 20 * MAX_STRETCH + 1)
    latents = anchors.w_plus[:1] + torch.stack([offset(float(strength)) for strength in strengths])
    with torch.inference_mode():
        shown = regressor(generator.synthesize(latents, noise=None))[:, MOTIONS.index(motion)]
    rise = float(shown.max() - shown[0])
    if rise < FAINT:
        return anchors
    enough = min(1.0, float(shown[0]) + 0.9 * rise)
    full = float(strengths[(shown >= enough).nonzero()[0, 0]])
    return Anchors(anchors.w_plus, anchors.degrees / full, anchors.provenance | {"full_at": round(full, 2)})
