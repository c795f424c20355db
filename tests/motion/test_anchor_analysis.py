from collections.abc import Callable

import pytest
import torch
from draws import normal, rng
from torch import Tensor

from micromotion.errors import MotionError
from micromotion.motion.anchors import MAX_ANCHORS, Anchors
from micromotion.motion.playable import Motion

STYLES, DIM = 4, 64
DEGREES = torch.linspace(0, 1, 11)


def heavy_tailed(*shape: int, seed: int = 0) -> Tensor:
    """Laplace-distributed: some entries of the direction stand out, as in real ones."""
    return (
        normal(*shape, seed=seed).sign() * torch.empty(shape).exponential_(generator=rng(seed + 1)) / 2**0.5
    )


def line(direction: Tensor, degrees: Tensor = DEGREES, seed: int = 7) -> Tensor:
    """Latents [n, styles, dim] of an identity ten times the motion's size, on a straight line."""
    return 10 * normal(*direction.shape, seed=seed) + degrees[:, None, None] * direction


def gross_errors(shape: torch.Size, share: float, size: float = 5.0, seed: int = 11) -> Tensor:
    hit = torch.rand(shape, generator=rng(seed)) < share
    return torch.where(hit, size * normal(*shape, seed=seed + 1), torch.tensor(0.0))


def learned(w_plus: Tensor, degrees: Tensor = DEGREES) -> Tensor:
    return Motion.from_anchors(Anchors(w_plus, degrees), "smile").direction


def error(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


@pytest.mark.parametrize(
    "degrees",
    [DEGREES, torch.tensor([0.0, 1.0]), torch.linspace(0.2, 0.7, 6), torch.linspace(-1, 1, 10)],
    ids=["eleven", "two", "half of the motion", "both ways"],
)
def test_a_clean_line_gives_its_change_per_degree(degrees: Tensor) -> None:
    truth = heavy_tailed(STYLES, DIM)
    assert error(learned(line(truth, degrees), degrees), truth) < 1e-3


@pytest.mark.parametrize("degrees", [DEGREES**2, torch.rand(20, generator=rng(5)).sort().values])
def test_uneven_degrees_are_weighted_correctly(degrees: Tensor) -> None:
    truth = heavy_tailed(STYLES, DIM)
    assert error(learned(line(truth, degrees), degrees), truth) < 0.04


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("make", [normal, heavy_tailed])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_gross_errors_hardly_change_the_direction(
    make: Callable[..., Tensor], share: float, noise: float
) -> None:
    """Errors of five times the motion in 5 to 20% of the entries, with and without small noise."""
    truth = make(STYLES, 256)
    clean = line(truth)
    spoilt = clean + gross_errors(clean.shape, share) + noise * normal(*clean.shape, seed=20)
    direction = learned(spoilt)
    fitted = torch.einsum("n,nsd->sd", (DEGREES - 0.5) / (DEGREES - 0.5).square().sum(), spoilt)
    assert error(direction, truth) < 0.35 * error(spoilt[-1] - spoilt[0], truth)
    assert error(direction, truth) < 0.5 * error(fitted, truth)
    assert error(direction, truth) < {0.05: 0.2, 0.1: 0.3, 0.2: 0.6}[share]


def test_few_gross_errors_in_a_clean_line_are_removed() -> None:
    truth = heavy_tailed(STYLES, 256)
    clean = line(truth)
    assert error(learned(clean + gross_errors(clean.shape, 0.02)), truth) < 1e-3


def test_large_entries_of_the_direction_keep_their_size() -> None:
    """The pursuit alone would count the excess of a large entry as sparse noise, in every anchor."""
    truth = 0.5 + normal(STYLES, DIM).abs()
    truth[:, 5] = 30.0
    assert error(learned(line(truth) + 0.01 * normal(11, STYLES, DIM, seed=3)), truth) < 0.01


def test_noise_is_averaged_over_the_anchors() -> None:
    truth = normal(STYLES, 256)
    noisy = line(truth) + 0.1 * normal(11, STYLES, 256, seed=4)
    assert error(learned(noisy), truth) < 0.85 * error(noisy[-1] - noisy[0], truth)


def test_the_identity_does_not_matter() -> None:
    """An identity of a thousand times the motion's size, in numbers that float32 adds exactly."""
    moved = line(normal(STYLES, DIM)) + gross_errors(torch.Size((11, STYLES, DIM)), 0.05)
    moved = (moved * 2**10).round() / 2**10
    identity = (normal(STYLES, DIM, seed=9) * 1000).round()
    torch.testing.assert_close(learned(moved + identity), learned(moved), rtol=1e-4, atol=1e-4)


def test_the_direction_scales_and_reverses_with_the_anchors() -> None:
    anchors = line(normal(STYLES, DIM)) + gross_errors(torch.Size((11, STYLES, DIM)), 0.05)
    direction = learned(anchors)
    torch.testing.assert_close(learned(8 * anchors), 8 * direction, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(learned(-anchors), -direction, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(learned(anchors, DEGREES / 2), 2 * direction, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        learned(anchors.flip(0), 1 - DEGREES.flip(0)), -direction, rtol=1e-4, atol=1e-5
    )


def test_styles_are_independent() -> None:
    """A style whose anchors do not move has a direction of exactly zero, whatever the others do."""
    anchors = line(normal(STYLES, DIM)) + gross_errors(torch.Size((11, STYLES, DIM)), 0.1)
    direction = learned(anchors)
    still = anchors.clone()
    still[:, 1] = anchors[0, 1]
    spoilt = learned(still)
    assert torch.equal(spoilt[1], torch.zeros(DIM))
    for style in (0, 2, 3):
        torch.testing.assert_close(spoilt[style], direction[style], rtol=1e-6, atol=1e-7)


def test_a_motion_learned_on_one_face_is_the_same_on_another() -> None:
    truth = normal(STYLES, DIM)
    first, second = line(truth, seed=1), line(truth, seed=2)
    assert error(first[0] + learned(second), first[-1]) < 1e-6


def test_the_report_contains_rank_and_noise() -> None:
    flat = normal(STYLES, 256).sign()
    clean = Motion.from_anchors(Anchors(line(flat), DEGREES), "smile")
    assert clean.name == "smile"
    assert clean.rank == (1,) * STYLES
    assert max(clean.noise) < 1e-5
    anchors = line(flat)
    anchors[:, 0] += gross_errors(torch.Size((11, 256)), 0.05)
    anchors[:, 1] = anchors[0, 1]
    spoilt = Motion.from_anchors(Anchors(anchors, DEGREES), "smile")
    assert spoilt.noise[0] > 0.5
    assert (spoilt.rank[1], spoilt.noise[1]) == (0, 0.0)


def test_many_anchors_are_accepted() -> None:
    degrees = torch.linspace(0, 1, MAX_ANCHORS)
    truth = heavy_tailed(2, 32)
    anchors = line(truth, degrees)
    assert error(learned(anchors + gross_errors(anchors.shape, 0.1), degrees), truth) < 0.02


def test_anchors_too_far_apart_are_refused() -> None:
    far = torch.zeros(3, 2, 4)
    far[1], far[2] = 1e38, 3e38
    with pytest.raises(MotionError, match="'smile' give no finite direction"):
        learned(far, torch.tensor([0.0, 1e-30, 2e-30]))
