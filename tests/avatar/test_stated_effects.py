"""The stated effects of the embedded motions agree with the model's sampled people."""

import pytest
import torch

from avatar.training.collect import PUBLISHED_NAMES
from avatar.training.effects import EFFECTS, STRENGTHS, stated
from encoder4editing.regressor import READ
from micromotion import Animator
from micromotion.motion.library import find_motion, load_fitting
from micromotion.photo.effects import NAMES

PEOPLE = 12
SAME = {"left_eye": "eyes_closed", "right_eye": "eyes_closed"}


@pytest.fixture(scope="module")
def animator() -> Animator:
    """The embedded model."""
    return Animator.load("avatar", "cpu")


@pytest.fixture(scope="module")
@torch.inference_mode()
def people(animator: Animator) -> torch.Tensor:
    """W+ latents [PEOPLE, styles, dim] of sampled people, halfway to the mean face."""
    generator = animator.bundle.generator
    rng = torch.Generator().manual_seed(11)
    w = generator.mapping(torch.randn(200, generator.style_dim, generator=rng))
    mean = w.mean(dim=0)
    return (mean + 0.5 * (w[:PEOPLE] - mean))[:, None].expand(-1, generator.num_styles, -1)


@pytest.mark.parametrize(("motion", "name"), PUBLISHED_NAMES.items())
def test_the_files_state_the_declared_effects(animator: Animator, motion: str, name: str) -> None:
    provenance = load_fitting(find_motion(name, animator.bundle), animator.bundle).provenance
    assert {key: value for key, value in provenance.items() if key.startswith("effects.")} == stated(motion)


@pytest.mark.slow
@pytest.mark.parametrize(("motion", "name"), PUBLISHED_NAMES.items())
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_stated_effects_agree_with_sampled_people(
    animator: Animator, people: torch.Tensor, motion: str, name: str, strength: float
) -> None:
    bundle = animator.bundle
    assert bundle.regressor is not None
    offset = load_fitting(find_motion(name, bundle), bundle).offset(strength)
    with torch.inference_mode():
        before, after = (
            bundle.regressor(torch.cat([bundle.generator.synthesize(w[None]) for w in latents]))
            for latents in (people, people + offset)
        )
    read = dict(zip(READ, (after - before).median(dim=0).values.tolist(), strict=True))
    column = STRENGTHS.index(strength)
    for effect in NAMES:
        told = EFFECTS[motion].get(effect, (0.0,) * len(STRENGTHS))[column]
        factor = SAME.get(effect, effect)
        if effect == "yaw":
            assert told == pytest.approx(35 * read["yaw"], abs=8)
        elif factor not in ("pitch", "roll"):  # which are read badly
            assert told == pytest.approx(read[factor], abs=0.2), effect
