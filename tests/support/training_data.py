"""People, heads and pictures to train small networks on."""

import pytest
import torch
from draws import rng
from torch import Tensor

from avatar.data import dataset
from avatar.renderer.factors import sample_z
from avatar.training import clip as train_clip
from avatar.training.collect import at_rest


def person(seed: int = 4, **degrees: float) -> dict[str, Tensor]:
    """The factors [1, 1] of a random person, neutral but for the given ones."""
    return at_rest(sample_z(1, rng(seed))) | {k: torch.full((1, 1), v) for k, v in degrees.items()}


def smooth_pictures(count: int, seed: int = 0) -> Tensor:
    """Pictures of coarse random blobs, uint8 [count, 3, 64, 64]."""
    coarse = torch.rand(count, 3, 5, 5, generator=rng(seed))
    return (torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bicubic").clamp(0, 1) * 255).byte()


def few_heads(pairs: int = 6) -> dataset.Heads:
    z, differs = dataset.draw(rng(), pairs)
    return dataset.Heads(smooth_pictures(2 * pairs), z, differs)


def shrink_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the CLIP to be trained a thin one for 96² pixels, in batches of four."""
    small = {"RESOLUTION": 96, "VISION_WIDTH": 4, "TEXT_WIDTH": 64, "TEXT_LAYERS": 1, "BATCH": 4}
    for name, value in small.items():
        monkeypatch.setattr(train_clip, name, value)


def unit(count: int, seed: int) -> Tensor:
    """Random vectors of length 1, float64 [count, 6]."""
    return torch.nn.functional.normalize(
        torch.randn(count, 6, generator=rng(seed), dtype=torch.float64), dim=1
    )
