"""The training code (latents, renderer, data set, training) and the embedded model's motions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from draws import rng
from PIL import Image
from torch import Tensor

from avatar.data import dataset
from avatar.renderer.factors import (
    FACTORS,
    INDEX,
    MOTIONS,
    factors_from_z,
    sample_training_z,
    sample_z,
)
from avatar.report.measure import codes_at_rest, dreamt, measure, read, spearman
from avatar.training.collect import PUBLISHED_NAMES, at_rest
from avatar.training.losses import GeneratorLoss, attention
from avatar.training.runs import RunProgress, Trainer
from encoder4editing.regressor import Regressor, load_regressor
from micromotion import Animator
from micromotion.weights.bundle import find_bundle
from stylegan2 import Generator

pytestmark = pytest.mark.slow

# --- data and training


def test_pairs_differ_in_the_named_factor_alone() -> None:
    z, differs = dataset.draw(rng(3), pairs=64)
    first, second = factors_from_z(z[::2]), factors_from_z(z[1::2])
    assert 0.2 < (differs == dataset.STRANGERS).float().mean() < 0.3
    for i, index in enumerate(differs.tolist()):
        if index == dataset.STRANGERS:
            continue
        others = [f.name for j, f in enumerate(FACTORS) if j != index]
        assert all(abs(first[n][i] - second[n][i]) < 1e-3 for n in others)


def small_heads(count: int = 16) -> dataset.Heads:
    z, differs = dataset.draw(rng(), pairs=count // 2)
    return dataset.Heads(
        torch.randint(0, 256, (count, 3, 128, 128), dtype=torch.uint8, generator=rng()), z, differs
    )


def test_the_loss_is_zero_at_the_target_and_weights_the_mouth_more_than_the_background() -> None:
    z = sample_training_z(4, rng())
    true = torch.rand(4, 3, 64, 64, generator=rng()) * 2 - 1
    weight = attention(z, 64)
    loss = GeneratorLoss()
    assert loss(true, true, weight) == 0
    assert weight.shape == (4, 1, 64, 64)
    assert weight.min() >= 1
    assert weight.max() <= 11.01
    at_face, at_corner = true.clone(), true.clone()
    y, x = divmod(int(weight[0, 0].argmax()), 64)
    at_face[0, :, y, x] += 0.5
    at_corner[0, :, 1, 1] += 0.5
    assert loss.picture(at_face, true, weight) > 3 * loss.picture(at_corner, true, weight)


def test_a_run_resumes_where_it_stopped(tmp_path: Path) -> None:
    def run(total: int) -> Trainer:
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 1)
        trainer = Trainer(
            "line", model, tmp_path, 0, 1, total=total, seed=1, learning_rate=0.05, half_life=50
        )

        def learn(progress: RunProgress, generator: torch.Generator) -> tuple[Tensor, int]:
            x = torch.randn(10, 3, generator=generator)
            return (model(x) - x.sum(dim=1, keepdim=True)).square().mean(), 10

        trainer.fit(learn)
        return trainer

    first = run(1000).average.state_dict()
    again = run(1000)  # already finished
    assert all(torch.equal(first[k], v) for k, v in again.average.state_dict().items())
    longer = run(6000)
    assert longer.progress.images == 6000
    torch.testing.assert_close(longer.average.weight, torch.ones(1, 3), atol=0.05, rtol=0)


def test_latents_at_rest_are_the_same_people_with_a_neutral_face() -> None:
    z = sample_z(32, rng(9))
    rest, neutral = factors_from_z(codes_at_rest(z)), at_rest(z)
    moving = [f.name for f in FACTORS[: INDEX["gaze_y"] + 1]]
    assert {*MOTIONS, "mouth_open", "pitch", "roll"} <= set(moving)
    assert all(torch.equal(rest[name], neutral[name]) for name in moving)
    for name in set(INDEX) - set(moving):  # PixelNorm scales the rest by a few per cent
        torch.testing.assert_close(rest[name], neutral[name], atol=0.05, rtol=0.05)


# --- the embedded model


@pytest.fixture(scope="module")
def avatar() -> Animator:
    return Animator.load("avatar", "cpu")


@pytest.fixture(scope="module")
def regressor() -> Regressor:
    return load_regressor(find_bundle("avatar").folder / "regressor.safetensors")


@pytest.fixture(scope="module")
def faces(avatar: Animator) -> list[Image.Image]:
    """Ten people sampled from the model, who are in no data set and in no anchors."""
    return dreamt(avatar.bundle.generator, 10)


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_motion_moves_its_own_factor_linearly_in_time(
    motion: str, avatar: Animator, regressor: Regressor, faces: list[Image.Image]
) -> None:
    movement = measure(avatar, regressor, motion, faces, frames=20)
    assert movement.steady(0.9) >= 9  # on some faces anger saturates before strength 1
    assert movement.own > 0.35
    assert all(value < 0.6 * movement.own for value in movement.leak.values())


def test_the_motions_have_the_published_names(avatar: Animator) -> None:
    assert sorted(PUBLISHED_NAMES.values()) == avatar.motions
    assert set(PUBLISHED_NAMES) == set(MOTIONS) <= set(INDEX)


def test_the_opposite_of_a_turn_is_a_turn_the_other_way(
    avatar: Animator, regressor: Regressor, faces: list[Image.Image]
) -> None:
    yaw = MOTIONS.index("yaw")
    ends = [
        next(iter(avatar.animate(faces[0], "headsTurn", strength=s, frames=1, aligned=True, view="model")))
        for s in (-1.0, 1.0)
    ]
    turned = read(regressor, ends)[:, yaw]
    assert turned[0] < -0.25
    assert turned[1] > 0.25


def test_sampled_latents_are_plausible_people(avatar: Animator) -> None:
    generator: Generator = avatar.bundle.generator
    with torch.inference_mode():
        w = generator.truncate(generator.mapping(sample_z(8, rng(5))), 0.7)
        pictures = generator.synthesize(w[:, None].expand(-1, generator.num_styles, -1))
    assert pictures.std(dim=0).mean() > 0.15  # eight people, not one
    assert pictures.abs().max() < 2.5  # values outside [-1, 1], as on the rims of glasses, are clipped


def test_rank_correlation() -> None:
    assert spearman(np.array([0.0, 1.0, 8.0, 27.0])) == pytest.approx(1.0)
    assert spearman(np.array([3.0, 2.0, 1.0])) == pytest.approx(-1.0)
    assert spearman(np.array([1.0, 3.0, 2.0])) == pytest.approx(0.5)
