"""The term that holds a refined latent near the inverter's output."""

import pytest
import torch
from draws import rng
from random_networks import RESOLUTION
from torch import Tensor

from micromotion.inversion import refinement as refinement
from micromotion.inversion.refinement import refine, spread_axes
from stylegan2 import Generator


@pytest.mark.slow
def test_the_pull_limits_movement_towards_an_unreachable_picture(
    generator: Generator, latent: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the latent would move further for a picture of noise, beyond where motions work."""
    noise = torch.rand(1, 3, RESOLUTION, RESOLUTION, generator=rng()) * 2 - 1
    axes = spread_axes(generator).T.double()

    def moved() -> float:
        away = (refine(generator, latent, noise, 40) - latent)[0].T.double()
        return float(torch.linalg.solve(axes, away).square().mean().sqrt())

    held = moved()
    for name in ("PULL_WEIGHT", "LAYER_PULL_WEIGHT"):
        monkeypatch.setattr(refinement, name, 0.0)
    assert held < 0.8 * moved()


def test_the_last_steps_are_small(
    generator: Generator, latent: Tensor, image: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it converges rather than ends in the middle of an oscillation."""
    seen: list[Tensor] = []
    plain = generator.synthesize

    def remember(latents: Tensor) -> Tensor:
        seen.append(latents.detach())
        return plain(latents)

    monkeypatch.setattr(generator, "synthesize", remember)
    refine(generator, latent, image, 12)
    steps = torch.stack(seen).diff(dim=0).flatten(1).norm(dim=1)
    assert len(steps) == 12
    assert steps[-1] < 0.15 * steps.max()


def test_a_non_finite_gradient_is_skipped(
    generator: Generator, latent: Tensor, image: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from an overflow in float16; Adam's state would keep it for ever and stop all progress."""
    told: list[float] = []
    plain = refinement.pull

    def once_broken(moved: Tensor) -> Tensor:
        return plain(moved) + (0 * moved.sum()).sqrt() if not told else plain(moved)

    monkeypatch.setattr(refinement, "pull", once_broken)
    refine(generator, latent, image, 10, on_step=lambda _, loss: told.append(loss))
    assert told[-1] < 0.95 * told[0]
