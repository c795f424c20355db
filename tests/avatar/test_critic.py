"""The patch critic: it learns what is sharp, and its loss says so."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from avatar.training.critic import Critic, teach
from avatar.training.runs import Trainer


def stripes(rng: torch.Generator, count: int = 8) -> Tensor:
    """Sharp pictures [count, 3, 32, 32]: stripes of random colours."""
    colours = torch.rand(count, 3, 2, generator=rng) * 2 - 1
    pattern = (torch.rand(count, 1, 1, 32, generator=rng) > 0.5).float()
    stripes = colours[:, :, :1, None] * pattern + colours[:, :, 1:, None] * (1 - pattern)
    return stripes.expand(-1, -1, 32, -1).contiguous()


def blurred(pictures: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(pictures, (2, 2, 2, 2), mode="replicate"), 5, stride=1)


@pytest.mark.slow
def test_the_critic_learns_blur_and_its_loss_falls_with_sharpness() -> None:
    rng = torch.Generator().manual_seed(0)
    critic = Critic(seed=1)
    optimiser = critic.optimiser()
    held_out = stripes(rng)
    before = critic.confusion(blurred(held_out), held_out).item()
    for _ in range(120):
        true = stripes(rng)
        teach(critic, optimiser, blurred(true), true, world=1)
    critic.eval()
    assert critic.confusion(blurred(held_out), held_out).item() < 0.6 * before
    with torch.no_grad():
        blur, half, none = (
            critic.dislike(torch.lerp(blurred(held_out), held_out, share), held_out).item()
            for share in (0.0, 0.5, 1.0)
        )
    assert blur > half > none


def test_the_critics_gradient_reaches_the_pictures_and_not_the_renders() -> None:
    made, true = (stripes(torch.Generator().manual_seed(seed)).requires_grad_() for seed in (1, 2))
    Critic(seed=1).dislike(made, true).backward()
    assert made.grad is not None
    assert made.grad.abs().sum() > 0
    assert true.grad is None


def test_a_run_saves_its_critic_and_may_add_one_on_resuming(tmp_path: Path) -> None:
    def trainer(critic: Critic | None) -> Trainer:
        torch.manual_seed(0)
        companions = {} if critic is None else {"critic": critic}
        model = torch.nn.Linear(1, 1)
        return Trainer("a", model, tmp_path, 0, 1, total=9, seed=0, learning_rate=0.1, companions=companions)

    first, second = Critic(seed=1), Critic(seed=2)
    trainer(None)._save()
    trainer(first)._save()  # resumes a run without a critic
    trainer(second)
    for ours, theirs in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
