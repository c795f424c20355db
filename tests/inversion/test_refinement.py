"""Refinement descends its loss by the right gradient, reproducibly, and does not change the networks."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from draws import rng
from PIL import Image
from random_networks import (
    RESOLUTION,
    STYLE_DIM,
    STYLES,
    random_code,
    random_generator,
    random_inverter,
)
from torch import Tensor

from encoder4editing.identity import IdentityNet, save_identity
from micromotion import Animator
from micromotion.errors import OptionError
from micromotion.inversion.refinement import (
    IDENTITY_WEIGHT,
    LAYER_PULL_WEIGHT,
    PULL_WEIGHT,
    SCALES,
    Loss,
    picture_loss,
    pull,
    refine,
    spread_axes,
)
from micromotion.weights.bundle import save_bundle
from stylegan2 import Generator


@pytest.fixture(scope="module")
def start(generator: Generator) -> Tensor:
    return random_code(generator)


@pytest.fixture(scope="module")
def picture(generator: Generator, start: Tensor) -> Tensor:
    """A face of this generator whose latent is not far from the start."""
    with torch.no_grad():
        other = generator.mapping(torch.randn(1, STYLE_DIM, generator=rng(2)))[:, None]
        return generator.synthesize(torch.lerp(start, other, 0.4)).clamp(-1, 1)


def slow_picture_loss(shown: np.ndarray, wanted: np.ndarray) -> float:
    """`picture_loss` in float64 with plain loops over scales and channels: [3, S, S] each."""
    error, total = shown.astype(np.float64) - wanted, 0.0
    for scale in range(SCALES):
        if scale:
            size = error.shape[-1] // 2
            error = error.reshape(3, size, 2, size, 2).mean(axis=(2, 4))
        across = error[:, :, 1:] - error[:, :, :-1]
        down = error[:, 1:] - error[:, :-1]
        total += np.abs(error).mean() + np.abs(across).mean() + np.abs(down).mean()
    return float(total / SCALES)


def test_the_picture_loss_agrees_with_a_slow_reference() -> None:
    shown, wanted = torch.rand(2, 1, 3, 32, 32, generator=rng())
    assert math.isclose(
        picture_loss(shown, wanted).item(),
        slow_picture_loss(shown[0].numpy(), wanted[0].numpy()),
        rel_tol=1e-5,
    )
    assert picture_loss(wanted, wanted) == 0


@pytest.mark.parametrize("with_identity", [False, True])
def test_the_gradient_agrees_with_finite_differences(
    generator: Generator, identity: IdentityNet, start: Tensor, picture: Tensor, with_identity: bool
) -> None:
    exact, net = random_generator().double(), IdentityNet(identity.config, rng(4)).eval().double()
    loss_of = Loss(exact, picture, net if with_identity else None)
    axes = spread_axes(exact).double()
    moved = 0.1 * torch.randn(1, STYLES, STYLE_DIM, generator=rng(3), dtype=torch.float64)
    moved.requires_grad_(True)

    def objective(at: Tensor) -> Tensor:
        return loss_of(start.double() + at @ axes) + pull(at)

    (gradient,) = torch.autograd.grad(objective(moved), moved)
    for seed in range(4):
        direction = torch.randn(moved.shape, generator=rng(10 + seed), dtype=torch.float64)
        direction /= direction.norm()
        with torch.no_grad():
            step = 1e-6
            slope = (objective(moved + step * direction) - objective(moved - step * direction)) / (2 * step)
        assert math.isclose(float((gradient * direction).sum()), float(slope), rel_tol=1e-4, abs_tol=1e-7)


def test_the_loss_is_of_picture_and_person(
    generator: Generator, identity: IdentityNet, start: Tensor, picture: Tensor
) -> None:
    with torch.no_grad():
        plain, whole = Loss(generator, picture, None)(start), Loss(generator, picture, identity)(start)
        shown = generator.synthesize(start)
        assert plain == picture_loss(shown, picture)
        assert torch.isclose(whole - plain, IDENTITY_WEIGHT * identity.loss(shown, picture))


@pytest.mark.parametrize("factor", [0.5, 1, 8])
def test_sizes_are_compared_at_the_smaller_one(generator: Generator, start: Tensor, factor: float) -> None:
    size = int(RESOLUTION * factor)
    wanted = torch.rand(1, 3, size, size, generator=rng())
    with torch.no_grad():
        shown = generator.synthesize(start)
        least = min(size, RESOLUTION)
        small = [
            F.reshape(1, 3, least, F.shape[-1] // least, least, -1).mean(dim=(3, 5)) for F in (shown, wanted)
        ]
        assert torch.isclose(Loss(generator, wanted, None)(start), picture_loss(*small), rtol=1e-4)


def test_other_sizes_are_refused(generator: Generator) -> None:
    with pytest.raises(OptionError, match="multiple"):
        Loss(generator, torch.zeros(1, 3, 48, 48), None)


@pytest.mark.slow
@pytest.mark.parametrize("with_identity", [False, True])
def test_more_steps_are_nearer_and_never_worse_than_the_start(
    generator: Generator, identity: IdentityNet, start: Tensor, picture: Tensor, with_identity: bool
) -> None:
    net = identity if with_identity else None
    loss_of = Loss(generator, picture, net)
    with torch.no_grad():
        losses = [loss_of(refine(generator, start, picture, n, identity=net)).item() for n in (0, 3, 30)]
        assert losses[0] == loss_of(start).item()
    assert losses[2] < losses[1] < losses[0]
    assert losses[2] < 0.7 * losses[0]


def test_a_latent_that_fits_is_unchanged(generator: Generator, start: Tensor) -> None:
    """The first step is a tenth of w's spread even near the optimum; a worse latent is never returned."""
    near = start + 1e-4 * torch.randn(start.shape, generator=rng(6))
    with torch.no_grad():
        perfect = generator.synthesize(near)
    told: list[float] = []
    assert torch.equal(refine(generator, start, perfect, 2, on_step=lambda _, loss: told.append(loss)), start)
    assert told[-1] > told[0]


@pytest.mark.slow
def test_the_latent_stays_near_its_start(generator: Generator, start: Tensor) -> None:
    """Even towards a picture that no latent gives, no style moves by more than the spread of w."""
    noise = torch.rand(1, 3, RESOLUTION, RESOLUTION, generator=rng()) * 2 - 1
    latent = refine(generator, start, noise, 60)
    moved = torch.linalg.solve(spread_axes(generator).T.double(), (latent - start)[0].T.double()).T
    assert 0.05 < moved.square().mean().sqrt() < 1


def test_a_change_common_to_all_styles_costs_less() -> None:
    shared = torch.randn(1, 1, STYLE_DIM, generator=rng()).expand(1, STYLES, -1)
    apart = shared * torch.tensor([1.0, -1.0]).repeat(STYLES // 2)[:, None]
    assert pull(torch.zeros(1, STYLES, STYLE_DIM)) == 0
    assert torch.isclose(pull(shared), PULL_WEIGHT * shared.square().mean())
    assert torch.isclose(pull(apart), (PULL_WEIGHT + LAYER_PULL_WEIGHT) * apart.square().mean())


def test_the_axes_are_the_spread_of_w(generator: Generator) -> None:
    """A white step along them has w's covariance."""
    axes = spread_axes(generator)
    assert torch.equal(axes, spread_axes(generator))
    with torch.no_grad():
        w = generator.mapping(torch.randn(20_000, STYLE_DIM, generator=rng(9)))
    covariance = torch.cov(w.T)
    assert (axes.T @ axes - covariance).norm() < 0.1 * covariance.norm()


def test_refinement_is_reproducible_and_without_side_effects(
    generator: Generator, start: Tensor, picture: Tensor
) -> None:
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    learning = [each.requires_grad for each in generator.parameters()]
    with torch.inference_mode():  # as a caller may be in it, and the inverter's output is created there
        first = refine(generator, start.clone(), picture.clone(), 4)
    again = refine(generator, start, picture, 4)
    assert torch.equal(first, again)
    assert first.dtype == torch.float32
    assert not first.requires_grad
    assert not first.is_inference()
    assert all(torch.equal(before[name], value) for name, value in generator.state_dict().items())
    assert [each.requires_grad for each in generator.parameters()] == learning
    assert all(each.grad is None for each in generator.parameters())


def test_progress_of_refinement_is_reported(generator: Generator, start: Tensor, picture: Tensor) -> None:
    told: list[tuple[int, float]] = []
    refine(generator, start, picture, 6, on_step=lambda done, loss: told.append((done, loss)))
    assert [done for done, _ in told] == list(range(7))
    assert told[-1][1] < told[0][1]


@pytest.mark.parametrize("steps", [-1, 201, 1.5, "3", None])
def test_wrong_steps_are_refused(generator: Generator, start: Tensor, picture: Tensor, steps: object) -> None:
    with pytest.raises(OptionError, match="refine must be a whole number from 0 to 200"):
        refine(generator, start, picture, steps)  # type: ignore[arg-type]  # wrong on purpose


def test_gradients_survive_float16(generator: Generator, start: Tensor, picture: Tensor) -> None:
    """They are scaled, since a pixel's share of the loss would underflow."""
    gradients = []
    for each in (generator, random_generator().use_half()):
        loss_of, latent = Loss(each, picture, None), start.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss_of.gradient_scale * loss_of(latent), latent)
        gradients.append(gradient / loss_of.gradient_scale)
    exact, narrow = gradients
    assert (narrow - exact).norm() < 0.02 * exact.norm()


@pytest.mark.slow
def test_half_precision_gives_nearly_the_same_result(
    generator: Generator, start: Tensor, picture: Tensor
) -> None:
    """Gradients pass through float16 scaled, or small ones would underflow."""
    half = random_generator().use_half()
    loss_of = Loss(generator, picture, None)
    with torch.no_grad():
        full, narrow = (loss_of(refine(each, start, picture, 20)).item() for each in (generator, half))
    assert narrow < 1.05 * full


# Through the animator.


@pytest.mark.slow
def test_a_photo_is_refined_before_it_moves(animator: Animator, astronaut: Image.Image) -> None:
    told: list[int] = []
    plain, better = animator.encode(astronaut), animator.encode(astronaut, refine=8)
    video = animator.animate(astronaut, frames=3, refine=8, on_refine=lambda done, loss: told.append(done))
    assert not torch.equal(plain, better)
    assert torch.equal(next(iter(video.latents())), better)
    assert told == list(range(9))
    assert video.timings["refine"] > 0
    assert "refine" not in animator.animate(astronaut, frames=3).timings
    frames = list(video)
    assert np.abs(frames[2].astype(int) - frames[0]).max() > 8, "nothing moves"


@pytest.mark.slow
def test_nothing_is_refined_by_default(animator: Animator, astronaut: Image.Image) -> None:
    assert torch.equal(animator.encode(astronaut), animator.encode(astronaut, refine=0))


def test_a_latent_cannot_be_refined(animator: Animator, astronaut: Image.Image) -> None:
    latent = animator.encode(astronaut)
    with pytest.raises(OptionError, match="encode"):
        animator.animate(latent, refine=3)


def test_wrong_steps_are_refused_before_the_photo_is_opened(animator: Animator) -> None:
    for call in (animator.encode, animator.animate):
        with pytest.raises(OptionError, match="refine"):
            call("no such file.jpg", refine=201)


@pytest.mark.slow
def test_the_bundles_identity_network_is_used(
    tmp_path: Path, animator: Animator, identity: IdentityNet, astronaut: Image.Image
) -> None:
    save_bundle(tmp_path, name="two", generator=random_generator(), inverter=random_inverter(), about={})
    save_identity(identity, tmp_path / "identity.safetensors")
    other = Animator.load(tmp_path, "cpu")
    assert torch.equal(other.encode(astronaut), animator.encode(astronaut))
    assert not torch.equal(other.encode(astronaut, refine=5), animator.encode(astronaut, refine=5))
