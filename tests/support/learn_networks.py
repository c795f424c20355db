"""A small model to learn motions with: random weights, real files."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import identity_reference
import torch
from random_networks import random_anchors, random_generator, random_inverter

from encoder4editing import IdentityNet, load_identity
from micromotion.learn.text import collect_from_text
from micromotion.motion.anchors import Anchors
from micromotion.weights.bundle import save_bundle
from micromotion.weights.clip_model import KnownTokens

if TYPE_CHECKING:
    from clip.model import CLIP

SENTENCE = "a person with {degree} smile"
WORDS = "a person with no 0% 10% 20% 30% 40% 50% 60% 70% 80% 90% 100% smile"


DEGREES = ("no", "10%", "50%", "100%")
collect = partial(collect_from_text, SENTENCE, degrees=DEGREES, steps=5)
"""Collect the anchors of a bundle in a few steps."""


def random_identity(folder: Path) -> IdentityNet:
    """The network of `identity_reference`, loaded from its public file."""
    torch.save(identity_reference.published_state(), folder / "public.pth")
    return load_identity(folder / "public.pth")


def random_clip(words: str = WORDS) -> "CLIP":
    """A CLIP for 24×24 pixels and up to 14 tokens, of the given words; its logits are up to 50."""
    import clip
    from clip.model import CLIP

    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = CLIP(16, 24, 2, 64, 8, 14, 1, 64, 1, 2).eval()
        model.token_embedding = KnownTokens(clip.tokenize(words).unique(), 64)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    parameter.add_(0.3 * torch.randn(parameter.shape))
            model.token_embedding.weight.normal_()
            model.positional_embedding.normal_(std=0.3)
            model.logit_scale.fill_(3.912)
    return model


def save_learning_bundle(folder: Path, *, networks: bool = True) -> Path:
    """Save a bundle, with or without an identity network and CLIP; the files round the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    optional = {"identity": random_identity(folder), "clip": random_clip()} if networks else {}
    save_bundle(
        folder / "model",
        name="random",
        generator=random_generator(),
        inverter=random_inverter(),
        about={"training": "none, random weights"},
        **optional,
    )
    return folder / "model"


def save_playing_bundle(folder: Path) -> Path:
    """Save such a bundle with a motion to play as well, `smile`."""
    model = save_learning_bundle(folder)
    (model / "anchors").mkdir()
    random_anchors(0).save(model / "anchors/smile.safetensors")
    return model


def quick(template: str, bundle: Any, **given: Any) -> Anchors:
    """Collect anchors in two steps instead of forty."""
    return collect_from_text(template, bundle, **{**given, "steps": 2})
