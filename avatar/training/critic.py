"""A patch critic, which makes outlines and hair crisp once everything is in its place.

A regression that is unsure of a strand's position draws the average of all positions, a blur; a critic learns
that no render is blurred (Isola et al. 2017, arXiv 1611.07004: patches, beside a regression). Its receptive
field is 38 pixels, so it judges sharpness and not what a head looks like. Hinge loss and spectral norms are
Miyato's (2018, arXiv 1802.05957), feature matching is Wang's (2018, arXiv 1711.11585).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from avatar.training.runs import average_gradients

WIDTHS = (32, 64, 96)
LEARNING_RATE, BETAS = 4e-4, (0.0, 0.99)


class Critic(nn.Module):
    """Pictures [B, 3, S, S] in [-1, 1] → each layer's output; the last, [B, 1, S/8, S/8], is the verdict.

    The verdict is above 0 for a render and below 0 for a generated picture.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            convs = [nn.Conv2d(a, b, 4, 2, 1) for a, b in zip((3, *WIDTHS), WIDTHS, strict=False)]
            self.layers = nn.ModuleList(spectral_norm(c) for c in (*convs, nn.Conv2d(WIDTHS[-1], 1, 3, 1, 1)))

    def forward(self, pictures: Tensor) -> list[Tensor]:
        seen, x = [], pictures.contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            x = layer(x)
            seen.append(x)
            x = F.leaky_relu(x, 0.2)
        return seen

    def optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), LEARNING_RATE, BETAS)

    def dislike(self, made: Tensor, true: Tensor, matching: float = 10.0) -> Tensor:
        """The generator's loss, a scalar: how unlike renders, and unlike these, its pictures look."""
        with torch.no_grad():
            wanted = self(true)
        seen = self(made)
        apart = [(a - b).abs().float().mean() for a, b in zip(seen[:-1], wanted[:-1], strict=True)]
        return matching * torch.stack(apart).mean() - seen[-1].float().mean()

    def confusion(self, made: Tensor, true: Tensor) -> Tensor:
        """The critic's own loss, a scalar: 2 where it cannot tell the generator's pictures from renders."""
        right, wrong = self(torch.cat([true, made]))[-1].float().chunk(2)
        return F.relu(1 - right).mean() + F.relu(1 + wrong).mean()


def teach(critic: Critic, optimiser: torch.optim.Optimizer, made: Tensor, true: Tensor, world: int) -> None:
    """One step of the critic, the same on all ``world`` workers; ``made`` is detached from its generator."""
    optimiser.zero_grad()
    critic.confusion(made, true).backward()
    average_gradients(critic.parameters(), world)
    optimiser.step()
