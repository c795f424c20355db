"""Pivotal tuning improves the picture and leaves everything else unchanged."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from draws import rng
from random_networks import RESOLUTION, STYLE_DIM, STYLES, random_anchors, random_generator, same
from torch import Tensor

from encoder4editing.identity import IdentityNet
from micromotion import Animator, align
from micromotion.errors import OptionError
from micromotion.face.images import load_image
from micromotion.inversion import pivotal_tuning
from micromotion.inversion.pivotal_tuning import ENOUGH, MAX_STEPS, likeness, tune, tuned
from micromotion.inversion.refinement import picture_loss
from micromotion.motion.library import load_fitting
from micromotion.motion.playable import Motion
from stylegan2 import Generator

pytestmark = pytest.mark.slow

FACES = Path(__file__).resolve().parents[2] / "docs/faces"


def copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


# Tuning.


@pytest.mark.parametrize("with_identity", [False, True])
def test_the_picture_improves_and_the_model_is_unchanged(
    generator: Generator, identity: IdentityNet, latent: Tensor, image: Tensor, with_identity: bool
) -> None:
    before, learning = copied(generator.state_dict()), [p.requires_grad for p in generator.parameters()]
    net = identity if with_identity else None
    told: list[tuple[int, float]] = []
    result = tune(
        generator, latent, image, steps=25, identity=net, on_step=lambda n, loss: told.append((n, loss))
    )
    with torch.no_grad():
        losses = [picture_loss(each.synthesize(latent), image).item() for each in (generator, result)]
    assert losses[1] < 0.8 * losses[0]
    assert [done for done, _ in told] == list(range(26))
    assert told[-1][1] < told[0][1]
    assert all(torch.equal(before[name], value) for name, value in generator.state_dict().items())
    assert [p.requires_grad for p in generator.parameters()] == learning
    assert all(p.grad is None for each in (generator, result) for p in each.parameters())
    assert not any(p.requires_grad for p in result.parameters())
    assert not result.training


def test_mapping_styles_and_noise_are_not_tuned(generator: Generator, latent: Tensor, image: Tensor) -> None:
    result = tune(generator, latent, image, steps=2).state_dict()
    for name, value in generator.state_dict().items():
        fixed = any(part in name for part in ("mapping", "modulation", "noise", "latent_avg"))
        assert torch.equal(value, result[name]) == fixed, name


def test_the_same_call_gives_the_same_generator(generator: Generator, latent: Tensor, image: Tensor) -> None:
    with torch.inference_mode():  # as a caller may be in it, and the inverter's output is created there
        first = tune(generator, latent.clone(), image.clone(), steps=4)
    torch.manual_seed(7)
    torch.rand(3)
    again = tune(generator, latent, image, steps=4)
    assert same(first, again)
    assert not any(p.is_inference() for p in first.parameters())


def test_the_loss_combines_picture_and_identity(
    generator: Generator, identity: IdentityNet, latent: Tensor, image: Tensor
) -> None:
    told: list[float] = []
    for net in (None, identity):
        tune(generator, latent, image, steps=0, identity=net, on_step=lambda _, loss: told.append(loss))
    with torch.no_grad():
        shown = generator.synthesize(latent)
        plain = picture_loss(shown, image) + (shown - image).square().mean()
        person = 0.1 * identity.loss(shown, image)
    assert math.isclose(told[0], plain.item(), rel_tol=1e-5)
    assert math.isclose(told[1] - told[0], person.item(), rel_tol=1e-3)


def test_tuning_stops_when_near_enough(generator: Generator, latent: Tensor, image: Tensor) -> None:
    with torch.no_grad():
        own = generator.synthesize(latent, fast=False)  # as rendered by tuning, with gradients
    told: list[float] = []
    assert same(tune(generator, latent, own, steps=9, on_step=lambda _, loss: told.append(loss)), generator)
    assert told == [0.0]
    told.clear()
    near = torch.lerp(own, image, 0.1)
    tune(generator, latent, near, steps=200, on_step=lambda _, loss: told.append(loss))
    assert told[0] > ENOUGH
    assert told[-1] <= ENOUGH < told[-2]
    assert len(told) < 201


def test_a_failure_restores_the_generator(generator: Generator, latent: Tensor, image: Tensor) -> None:
    told: list[float] = []
    nowhere = torch.full_like(image, math.nan)
    assert same(tune(generator, latent, nowhere, steps=9, on_step=lambda _, x: told.append(x)), generator)
    assert len(told) == 1


def test_a_worse_result_is_not_returned(
    generator: Generator, latent: Tensor, image: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pivotal_tuning, "LEARNING_RATE", 1e3)
    told: list[float] = []
    assert same(tune(generator, latent, image, steps=1, on_step=lambda _, x: told.append(x)), generator)
    assert not told[-1] < told[0]


def test_other_latents_pictures_are_preserved(
    generator: Generator, latent: Tensor, image: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without locality the pictures of other latents change more, for the same steps."""
    with torch.no_grad():
        others = generator.mapping(torch.randn(16, STYLE_DIM, generator=rng(9)))[:, None].repeat(1, STYLES, 1)
        kept = generator.synthesize(others)
        held = tune(generator, latent, image, steps=30).synthesize(others)
        monkeypatch.setattr(pivotal_tuning, "LOCALITY_WEIGHT", 0.0)
        loose = tune(generator, latent, image, steps=30).synthesize(others)
    assert picture_loss(held, kept) < 0.7 * picture_loss(loose, kept)


@pytest.mark.parametrize("factor", [0.5, 4])
def test_other_sizes_are_compared_at_the_smaller(generator: Generator, latent: Tensor, factor: float) -> None:
    size = int(RESOLUTION * factor)
    wanted = torch.rand(1, 3, size, size, generator=rng()) * 2 - 1
    told: list[float] = []
    tune(generator, latent, wanted, steps=0, on_step=lambda _, loss: told.append(loss))
    least = min(size, RESOLUTION)
    with torch.no_grad():
        shown, small = (
            each.reshape(1, 3, least, each.shape[-1] // least, least, -1).mean(dim=(3, 5))
            for each in (generator.synthesize(latent), wanted)
        )
    assert math.isclose(told[0], (picture_loss(shown, small) + (shown - small).square().mean()), rel_tol=1e-4)


def test_half_precision_is_restored(generator: Generator, latent: Tensor, image: Tensor) -> None:
    half = random_generator().use_half()
    result = tune(half, latent, image, steps=30)
    theirs = result.state_dict()
    assert all(theirs[name].dtype == value.dtype for name, value in half.state_dict().items())
    with torch.no_grad():
        losses = [picture_loss(each.synthesize(latent), image).item() for each in (half, result)]
    assert losses[1] < 0.8 * losses[0]


@pytest.mark.parametrize("steps", [-1, MAX_STEPS + 1, 1.5, "3", None])
@pytest.mark.parametrize("call", [tune, tuned])
def test_wrong_steps_are_refused(
    generator: Generator, latent: Tensor, image: Tensor, steps: object, call: Callable[..., Generator]
) -> None:
    with pytest.raises(OptionError, match="steps must be a whole number from 0 to 1000"):
        call(generator, latent, image, steps=steps)


@pytest.mark.parametrize("call", [tune, tuned])
def test_wrong_shapes_are_refused(
    generator: Generator, latent: Tensor, image: Tensor, call: Callable[..., Generator]
) -> None:
    for wrong in (latent[:, 1:], latent[0], latent.repeat(2, 1, 1)):
        with pytest.raises(OptionError, match="latent has the shape"):
            call(generator, wrong, image)
    for picture in (image[0], image[:, :2], image[..., 1:], image.repeat(2, 1, 1, 1), (image * 127).byte()):
        with pytest.raises(OptionError, match="picture must be"):
            call(generator, latent, picture)
    with pytest.raises(OptionError, match="multiple"):
        call(generator, latent, torch.zeros(1, 3, 48, 48))


# The improvement.


def test_likeness_agrees_with_a_slow_reference(
    generator: Generator, identity: IdentityNet, latent: Tensor, image: Tensor
) -> None:
    other = tune(generator, latent, image, steps=10)
    anchors = random_anchors(1)
    motion = Motion.from_anchors(anchors, "nod")
    found = likeness(generator, other, latent, image, identity=identity, motions={"nod": motion})
    with torch.no_grad():
        moved = latent + motion.offset(1.0)
        (was, then), (now, later) = (
            [each.synthesize(at).double() for at in (latent, moved)] for each in (generator, other)
        )
        cosines = [float(identity.features(p.float())[0] @ identity.features(image)[0]) for p in (was, now)]
    for value, shown in zip(found.psnr, (was, now), strict=True):
        error = np.mean((np.clip(shown.numpy(), -1, 1) - image.numpy()) ** 2)
        assert math.isclose(value, 20 * math.log10(2 / math.sqrt(error)), rel_tol=1e-5)
    assert found.identity is not None
    assert np.allclose(found.identity, cosines, atol=1e-5)
    before, after = (then - was).numpy().ravel(), (later - now).numpy().ravel()
    cosine = before @ after / math.sqrt(before @ before * (after @ after))
    assert np.allclose(
        found.motions["nod"], (cosine, math.sqrt(after @ after / (before @ before))), rtol=1e-4
    )
    assert found.psnr[1] > found.psnr[0]
    for part in ("PSNR", "identity", f"nod kept {found.motions['nod'][0]:.0%}"):
        assert part in found.describe()


def test_an_untuned_generator_has_full_likeness(generator: Generator, latent: Tensor, image: Tensor) -> None:
    motion = Motion.from_anchors(random_anchors(1), "nod")
    still = replace(motion, direction=torch.zeros_like(motion.direction))
    found = likeness(generator, generator, latent, image, motions={"nod": motion, "none": still})
    assert found.psnr[0] == found.psnr[1]
    assert found.identity is None
    assert "identity" not in found.describe()
    assert found.motions["nod"] == pytest.approx((1, 1))
    assert found.motions["none"] == (0, 0)
    with pytest.raises(OptionError):
        likeness(generator, generator, latent[:, 1:], image)


# On the real model.


def test_a_real_face_on_the_embedded_model() -> None:
    animator = Animator.load("avatar", "cpu")
    bundle = animator.bundle
    crop = align(load_image(FACES / "benjamin-franklin.jpg"), 256).image
    picture = torch.tensor(np.asarray(crop)).permute(2, 0, 1)[None] / 127.5 - 1
    latent = animator.encode(crop, aligned=True)
    result = tuned(bundle.generator, latent, picture, steps=16, identity=animator.identity)
    motion = load_fitting(bundle.motions["smile"], bundle)
    found = likeness(bundle.generator, result, latent, picture, motions={"smile": motion})
    assert found.psnr[1] > found.psnr[0] + 1
    assert found.motions["smile"][0] > 0.5
    first, last = Animator(replace(bundle, generator=result)).animate(latent, "smile", frames=2)
    assert np.abs(last.astype(int) - first).max() > 8, "nothing moves"
    shown = torch.tensor(first).permute(2, 0, 1)[None] / 127.5 - 1
    assert pivotal_tuning.psnr(shown, pivotal_tuning.wanted(result, latent, picture)) == pytest.approx(
        found.psnr[1], abs=0.1
    )
