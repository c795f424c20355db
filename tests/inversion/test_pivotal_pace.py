"""The pace of pivotal tuning: small first steps, and weaker regularisation near the pivot."""

import copy

import numpy as np
import pytest
import torch
from draws import rng
from random_networks import random_generator
from torch import Tensor

from micromotion.inversion import pivotal_tuning
from micromotion.inversion.pivotal_tuning import tune
from stylegan2 import Generator

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("away", [0.05, 0.1])
def test_the_first_steps_do_not_increase_the_loss(
    generator: Generator, latent: Tensor, image: Tensor, away: float
) -> None:
    """With a nearly perfect picture, Adam's first step at the full rate would double the loss."""
    with torch.no_grad():
        nearly = torch.lerp(generator.synthesize(latent, fast=False), image, away)
    told: list[float] = []
    tune(generator, latent, nearly, steps=4, on_step=lambda _, loss: told.append(loss))
    assert len(told) > 3
    assert told == sorted(told, reverse=True)


def test_regularisation_is_weaker_near_the_pivot(latent: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same change of all pictures costs almost nothing at the pivot, and most far from it.

    A uniform weight would also hold back the wanted picture.
    """
    original = random_generator()
    lighter = copy.deepcopy(original)
    with torch.no_grad():
        lighter.synthesis.rgb_layers[-1].bias.add_(0.2)
    asked: list[Tensor] = []
    plain = lighter.synthesize

    def remember(latents: Tensor) -> Tensor:
        asked.append(latents)
        return plain(latents)

    monkeypatch.setattr(lighter, "synthesize", remember)
    draw = rng(3)
    with torch.no_grad():
        prices = np.array(
            [float(pivotal_tuning._locality(lighter, original, latent, draw)) for _ in range(40)]
        )
    away = np.array([float((each - latent).norm()) for each in asked])
    near, far = away < 0.15 * away.max(), away > 0.7 * away.max()
    assert near.any()
    assert far.any()
    assert prices[near].max() < 0.5 * prices[far].min()
    assert np.corrcoef(prices, away)[0, 1] > 0.8
