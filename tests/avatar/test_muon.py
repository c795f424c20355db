"""Muon's orthogonalised steps: equal singular values, whatever the size of the gradient; and they learn."""

import copy

import pytest
import torch
from torch import nn

from avatar.training.muon import Muon, orthogonal, root_mean_square


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [(24, 60), (60, 24), (1, 30), (32, 32)])
def test_singular_values_become_nearly_one_and_directions_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(*shape, generator=rng())
    u, values, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    turned = u.T @ orthogonal(matrix).double() @ v.T
    kept = values > 0.05 * values.max()  # five rounds do not raise smaller ones
    assert (turned.diagonal()[kept] - 1).abs().max() < 0.4
    assert (turned - turned.diagonal().diag()).abs().max() < 0.1


def test_weights_with_a_zero_gradient_stay() -> None:
    matrix = torch.randn(16, 40, generator=rng())
    matrix[:, 5:20] = 0
    assert not orthogonal(matrix)[:, 5:20].any()
    assert not orthogonal(torch.zeros(4, 6)).any()


def test_the_step_size_is_the_rate_whatever_the_gradient() -> None:
    for scale in (1e-4, 1.0, 1e4):
        weight = nn.Parameter(3 * torch.randn(8, 4, 3, 3, generator=rng()))
        before = weight.detach().clone()
        weight.grad = scale * torch.randn(8, 4, 3, 3, generator=rng(1))
        Muon([weight], lr=0.01).step()
        step = before - weight.detach()
        assert float(root_mean_square(step) / root_mean_square(before)) == pytest.approx(0.01, rel=1e-3)
        assert (step * weight.grad).sum() > 0


def test_weights_without_a_gradient_are_left_alone() -> None:
    weight = nn.Parameter(torch.ones(3, 3))
    Muon([weight], lr=0.1).step()
    assert (weight == 1).all()


def test_unused_weights_are_unchanged_despite_their_momentum() -> None:
    """As for the later styles of an encoder, when a run is extended and they are tied to the first again."""
    weight = nn.Parameter(torch.randn(6, 9, generator=rng()))
    optimiser = Muon([weight], lr=0.1)
    weight.grad = torch.randn(6, 9, generator=rng(1))
    optimiser.step()
    used = weight.detach().clone()
    weight.grad = torch.zeros(6, 9)
    for _ in range(50):
        optimiser.step()
    assert torch.equal(weight, used)


def test_rare_directions_are_learned_too() -> None:
    """Half of the directions are ten times smaller than the others; both optimisers get 150 steps."""
    truth = torch.randn(16, 16, generator=rng(2))
    size = torch.ones(16)
    size[8:] = 0.1

    def error(turned: bool) -> float:
        weight = nn.Parameter(torch.randn(16, 16, generator=rng(3)))
        optimiser = Muon([weight], 0.05) if turned else torch.optim.SGD([weight], 0.1)
        for step in range(150):
            x = torch.randn(64, 16, generator=rng(step)) * size
            optimiser.zero_grad()
            (x @ (weight - truth).T).square().mean().backward()
            optimiser.step()
        return float((weight.detach() - truth)[:, 8:].square().mean())

    assert error(turned=True) < 0.3 * error(turned=False)


def test_the_optimiser_resumes_from_its_saved_state() -> None:
    def steps(weight: nn.Parameter, optimiser: Muon, seeds: range) -> None:
        for seed in seeds:
            weight.grad = torch.randn(6, 9, generator=rng(seed))
            optimiser.step()

    whole = nn.Parameter(torch.randn(6, 9, generator=rng()))
    optimiser = Muon([whole], 0.1)
    steps(whole, optimiser, range(3))
    resumed = nn.Parameter(whole.detach().clone())
    again = Muon([resumed], 0.1)
    again.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    steps(whole, optimiser, range(3, 6))
    steps(resumed, again, range(3, 6))
    assert torch.equal(whole, resumed)
