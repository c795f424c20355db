"""Anchors from a sentence: losses, gradients and steps are correct; wrong values are refused."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import clip_reference
import identity_reference
import numpy as np
import pytest
import stylegan2_reference
import torch
from learn_networks import DEGREES, SENTENCE, collect, random_clip, random_identity, save_learning_bundle
from random_networks import RESOLUTION, random_generator
from torch import Tensor, nn

from micromotion.errors import BundleError, MotionError, OptionError
from micromotion.learn import descent, text
from micromotion.learn.losses import TextLoss, text_features, tokenize
from micromotion.learn.text import Step, collect_from_text, loss_and_gradient, optimise
from micromotion.motion.anchors import Anchors
from micromotion.motion.playable import Motion
from micromotion.weights.bundle import Bundle, load_bundle

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:pkg_resources")]
SENTENCES = [SENTENCE.replace("{degree}", word) for word in DEGREES]


class Networks:
    """Generator, CLIP, identity network, a start latent and a TextLoss of four sentences, in one dtype."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        self.generator = random_generator().to(dtype)
        self.clip = random_clip().to(dtype)
        self.identity = random_identity(folder).to(dtype)
        self.start = text.sample_identity(self.generator, 3).to(dtype)
        with torch.no_grad():
            self.person = self.generator.synthesize(self.start[None])
        self.judge = TextLoss(self.clip, self.identity, SENTENCES, self.person)

    def near(self, count: int = len(DEGREES)) -> Tensor:
        """Latents near the start, so that no loss is at its minimum."""
        rng = torch.Generator().manual_seed(5)
        return self.start + 0.2 * torch.randn(count, *self.start.shape, generator=rng).to(self.start)


@pytest.fixture
def networks(tmp_path: Path) -> Networks:
    return Networks(tmp_path)


@pytest.fixture
def exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Networks:
    """The networks in float64, in which the package's CLIP computes except for its layer norms."""
    from clip.model import LayerNorm

    monkeypatch.setattr(LayerNorm, "forward", nn.LayerNorm.forward)
    return Networks(tmp_path, torch.float64)


class Reference:
    """The three losses of one latent, in NumPy, from the state dicts alone."""

    def __init__(self, networks: Networks) -> None:
        self.network = stylegan2_reference.from_ours(networks.generator.state_dict())
        self.clip = clip_reference.numbers(networks.clip.state_dict())
        self.start = networks.start.double().numpy()
        self.person = self.features(self.picture(self.start))

    def picture(self, latent: np.ndarray) -> np.ndarray:
        return stylegan2_reference.synthesize(self.network, latent, RESOLUTION)

    def features(self, image: np.ndarray) -> np.ndarray:
        return identity_reference.features(identity_reference.published_state(), image)

    def losses(self, latent: np.ndarray, ids: list[int]) -> list[float]:
        image = self.picture(latent)
        # 32 pixels to 24 as the original resizes 1024 to 224: repeated, then averaged
        small = image.repeat(3, 1).repeat(3, 2).reshape(3, 24, 4, 24, 4).mean((2, 4))
        seen = clip_reference.image_features(self.clip, small)
        said = clip_reference.text_features(self.clip, ids)
        cosine = seen @ said / np.linalg.norm(seen) / np.linalg.norm(said)
        logit = np.exp(self.clip["logit_scale"]) * cosine
        return [1 - logit / 100, ((latent - self.start) ** 2).sum(), 1 - self.features(image) @ self.person]

    def total(self, latent: np.ndarray, ids: list[int]) -> float:
        clip, distance, identity = self.losses(latent, ids)
        return clip + 0.008 * distance + 0.005 * identity


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(save_learning_bundle(tmp_path_factory.mktemp("learning")), "cpu")


# --- losses ------------------------------------------------------------------------------------


def test_losses_and_gradient_are_those_of_an_independent_implementation(exact: Networks) -> None:
    reference, latents = Reference(exact), exact.near()
    losses, gradient, _ = loss_and_gradient(exact.generator, exact.judge, latents, exact.start)
    rng = np.random.default_rng(0)
    for i, ids in enumerate(tokenize(SENTENCES, exact.clip).tolist()):
        latent = latents[i].numpy()
        expected = reference.losses(latent, ids)
        assert losses[:, i].tolist() == pytest.approx(expected, rel=1e-6)
        ahead = rng.standard_normal(latent.shape)
        step = 1e-6 / np.linalg.norm(ahead)
        rise = reference.total(latent + step * ahead, ids) - reference.total(latent - step * ahead, ids)
        slope = float((gradient[i] * torch.from_numpy(ahead)).sum())
        assert slope == pytest.approx(rise / (2 * step), rel=1e-5)


def test_all_losses_affect_the_gradient(exact: Networks) -> None:
    """Each loss alone changes the gradient, in proportion to its weight."""
    latents = exact.near()

    def gradient(l2: float, identity: float) -> Tensor:
        return loss_and_gradient(
            exact.generator, exact.judge, latents, exact.start, l2=l2, identity=identity
        )[1]

    plain = gradient(0, 0)
    assert torch.allclose(gradient(0.5, 0) - plain, latents - exact.start)
    one, two = gradient(0, 1) - plain, gradient(0, 2) - plain
    assert one.norm() > 0.01
    assert torch.allclose(two, 2 * one, atol=1e-9)


def test_float32_is_as_good(networks: Networks, exact: Networks) -> None:
    latents = exact.near()
    ours = loss_and_gradient(networks.generator, networks.judge, latents.float(), networks.start)
    theirs = loss_and_gradient(exact.generator, exact.judge, latents, exact.start)
    assert torch.allclose(ours[0], theirs[0], rtol=1e-4, atol=1e-6)
    assert (ours[1] - theirs[1]).norm() <= 1e-4 * theirs[1].norm()
    assert ours[2].shape == (4, 3, 24, 24)
    assert {tensor.dtype for tensor in ours} == {torch.float32}


def test_large_pictures_are_pooled_as_by_the_identity_network(networks: Networks) -> None:
    images = torch.rand(2, 3, 512, 512, generator=torch.Generator().manual_seed(0)) * 2 - 1
    judge = TextLoss(networks.clip, networks.identity, SENTENCES[:2], images[:1])
    with torch.no_grad():
        found = judge(images).identity
        assert float(networks.identity.loss(images, images[:1])) == pytest.approx(
            float(found.mean()), abs=1e-5
        )
    assert abs(found[0]) < 1e-5 < 1e-3 < found[1]


# --- sentences ---------------------------------------------------------------------------------


def test_sentences_are_tokenized_as_by_the_clip_package(networks: Networks) -> None:
    import clip

    assert torch.equal(tokenize(SENTENCES, networks.clip), clip.tokenize(SENTENCES, 14))
    with torch.no_grad():
        features = text_features(networks.clip, SENTENCES)
        raw = networks.clip.encode_text(clip.tokenize(SENTENCES, 14))
    assert torch.allclose(features, raw / raw.norm(dim=1, keepdim=True))


def test_a_sentence_too_long_for_clip_is_refused(networks: Networks) -> None:
    with pytest.raises(OptionError, match=r"too long for this model's CLIP, which reads 12 tokens") as caught:
        tokenize([SENTENCES[0], "a " * 13], networks.clip)
    assert "{degree}" in str(caught.value)


def test_words_that_a_small_clip_does_not_know_are_named(networks: Networks) -> None:
    with pytest.raises(OptionError, match=r"vocabulary without 'grin': .*smile"):
        tokenize(["a person with 10% grin"], networks.clip)


def sequential(networks: Networks, steps: int) -> Tensor:
    """As in the original: one sentence at a time, with PyTorch's Adam and explicit learning rates."""
    found = []
    for i in range(len(SENTENCES)):
        latent = networks.start.clone().requires_grad_()
        adam = torch.optim.Adam([latent], lr=0.1)
        for step in range(steps):
            t = step / steps
            ramp = 0.5 - 0.5 * math.cos(min(1, (1 - t) / 0.25) * math.pi)
            adam.param_groups[0]["lr"] = 0.1 * ramp * min(1, t / 0.05)
            scores = networks.judge(networks.generator.synthesize(latent[None]), slice(i, i + 1))
            distance = (latent - networks.start).square().sum()
            loss = scores.clip[0] + 0.008 * distance + 0.005 * scores.identity[0]
            adam.zero_grad()
            loss.backward()
            adam.step()
        found.append(latent.detach())
    return torch.stack(found)


# --- optimisation ------------------------------------------------------------------------------


def test_degrees_optimised_together_give_the_results_of_each_alone(exact: Networks) -> None:
    """Through all ramps, for any batch size."""
    expected = sequential(exact, 20)
    assert (expected - exact.start).abs().max() > 0.1  # it moved
    assert (expected[0] - expected[3]).abs().max() > 0.01  # and differently
    for at_once in (3, None):
        state = optimise(exact.generator, exact.judge, exact.start, DEGREES, steps=20, at_once=at_once)
        assert state.done == 20
        assert (state.latents - expected).abs().max() <= 1e-9


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.0), (1, 0.05), (2, 0.1), (29, 0.1), (30, 0.1), (35, 0.05), (40, 0.0)]
)
def test_the_rate_ramps_up_stays_and_ramps_down(step: int, expected: float) -> None:
    assert descent.rate(step, 40, 0.1) == pytest.approx(expected)


def test_without_ramps_the_rate_is_constant() -> None:
    assert {descent.rate(i, 10, 0.3, ramp_up=0, ramp_down=0) for i in range(10)} == {0.3}


def widen(networks: Networks, factor: float) -> None:
    """Make the generator give the same pictures from a W that is `factor` times as wide."""
    with torch.no_grad():
        for parameter in networks.generator.mapping.layers[-1].parameters():
            parameter.mul_(factor)
        for layer in (*networks.generator.synthesis.convs, *networks.generator.synthesis.to_rgbs):
            layer.modulation.weight.div_(factor)
    networks.start = networks.start * factor


def test_steps_scale_with_the_width_of_w(networks: Networks) -> None:
    """The unit and all steps are larger by the same factor, so the pictures are the same."""
    run = partial(optimise, networks.generator, networks.judge, words=DEGREES, steps=6)
    unit, narrow = text.unit_of(networks.generator), run(start=networks.start, unit=0.5)
    widen(networks, 8)
    assert text.unit_of(networks.generator) == 8 * unit
    wide = run(start=networks.start, unit=4)
    assert (narrow.latents - networks.start / 8).abs().max() > 0.01
    assert torch.equal(wide.latents, 8 * narrow.latents)
    assert torch.equal(wide.losses, narrow.losses)


def test_steps_report_losses_and_pictures(bundle: Bundle) -> None:
    steps: list[Step] = []
    anchors = collect(bundle, steps=20, on_step=steps.append)
    assert [step.done for step in steps] == list(range(1, 21))
    assert {(step.total, step.degrees) for step in steps} == {(20, DEGREES)}
    first, last = steps[0], steps[-1]
    assert torch.equal(first.l2, torch.zeros(4))  # found before the latents move
    assert torch.allclose(last.loss, last.clip + 0.008 * last.l2 + 0.005 * last.identity)
    assert (last.loss < first.loss).all()
    assert last.images.shape == (4, 3, 24, 24)
    with torch.no_grad():
        pictures = bundle.generator.synthesize(anchors.w_plus)
    small = nn.functional.avg_pool2d(nn.functional.interpolate(pictures, scale_factor=3), 4)
    assert (last.images - small).abs().mean() < 0.02 < (first.images - small).abs().mean()


def test_the_anchors_have_their_provenance(bundle: Bundle, tmp_path: Path) -> None:
    anchors = collect(bundle, seed=7)
    assert anchors.degrees.tolist() == pytest.approx([0, 0.1, 0.5, 1])
    assert anchors.w_plus.shape == (4, bundle.generator.num_styles, bundle.generator.style_dim)
    about = anchors.provenance
    assert (about["template"], about["degrees"]) == (SENTENCE, "no, 10%, 50%, 100%")
    assert (about["seed"], about["steps"], about["truncation"], about["model"]) == (7, 5, 0.7, "random")
    assert (about["learning_rate"], about["l2"], about["identity"]) == (0.1, 0.008, 0.005)
    anchors.save(tmp_path / "grin.safetensors")
    motion = Motion.from_anchors(Anchors.load(tmp_path / "grin.safetensors"), "grin")
    assert motion.direction.norm() > 0


def test_a_seed_is_reproducible_and_another_seed_differs(bundle: Bundle) -> None:
    first, again, other = (collect(bundle, seed=seed).w_plus for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 0.1


def test_compatible_labels_lag_by_one_as_in_the_original(bundle: Bundle) -> None:
    anchors = collect(bundle, compatible=True)
    start = text.sample_identity(bundle.generator, 0, compatible=True)
    assert torch.equal(anchors.w_plus[0], start)  # labelled "no"
    assert anchors.degrees.tolist() == pytest.approx([0, 0.1, 0.5, 1, 1.5])
    with torch.no_grad():
        shown = bundle.generator.synthesize(start[None])
    loss = TextLoss(bundle.clip, bundle.identity, SENTENCES, shown)
    latents = optimise(bundle.generator, loss, start, DEGREES, steps=5).latents
    assert torch.equal(anchors.w_plus[1:], latents)


def test_the_identity_is_truncated_towards_the_mean(networks: Networks) -> None:
    sample = partial(text.sample_identity, networks.generator, 5)
    z = torch.randn(1, networks.generator.config.z_dim, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        w = networks.generator.mapping(z)[0]
        networks.generator.latent_avg.normal_(generator=torch.Generator().manual_seed(0))
    assert torch.allclose(sample(1.0), w.expand(8, -1))
    assert torch.allclose(sample(0.0), networks.generator.latent_avg.expand(8, -1))
    assert torch.allclose(sample(), (0.3 * networks.generator.latent_avg + 0.7 * w).expand(8, -1), atol=1e-6)
    rng = torch.Generator().manual_seed(5)  # as in the original: the mean of samples drawn first
    with torch.no_grad():
        mean, w = (
            networks.generator.mapping(torch.randn(count, networks.generator.config.z_dim, generator=rng))
            for count in (4096, 1)
        )
    expected = 0.3 * mean.mean(0) + 0.7 * w[0]
    assert torch.allclose(sample(compatible=True), expected.expand(8, -1), atol=1e-6)
    networks.generator.latent_avg.zero_()  # not known
    assert torch.allclose(sample(), expected.expand(8, -1), atol=1e-6)


def test_the_networks_are_left_unchanged(networks: Networks) -> None:
    asking = [parameter for net in (networks.generator, networks.clip) for parameter in net.parameters()]
    asking[0].requires_grad_(False)
    before = [parameter.requires_grad for parameter in asking]
    within: list[bool] = []

    def stop(step: Step) -> None:
        within.extend(parameter.requires_grad for parameter in asking)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimise(networks.generator, networks.judge, networks.start, DEGREES, steps=2, on_step=stop)
    assert not any(within)
    assert [parameter.requires_grad for parameter in asking] == before
    assert all(parameter.grad is None for parameter in asking)


def test_a_half_precision_generator_is_copied_to_float32(networks: Networks) -> None:
    assert text.in_full_precision(networks.generator) is networks.generator
    half = random_generator().use_half()
    full = text.in_full_precision(half)
    assert {parameter.dtype for parameter in full.parameters()} == {torch.float32}
    assert half.synthesis.constant.dtype == torch.float16


def test_non_finite_latents_are_an_error(bundle: Bundle) -> None:
    with pytest.raises(MotionError, match=r"no longer finite\. Try another seed"):
        collect(bundle, learning_rate=1e30)


# --- what is refused before anything is done -----------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"seed": 0.5}, "seed"),
        ({"steps": 0}, "steps"),
        ({"steps": 10_001}, "steps"),
        ({"degrees": ["no"]}, "2 to 100 degrees"),
    ],
    ids=str,
)
def test_bad_values_are_refused(bundle: Bundle, change: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        collect(bundle, **change)


def test_bad_templates_are_refused_before_networks_are_read(tmp_path: Path) -> None:
    bare = load_bundle(save_learning_bundle(tmp_path, networks=False), "cpu")
    with pytest.raises(OptionError, match=r"lacks \{degree\}"):
        collect_from_text("a smile", bare)
    with pytest.raises(BundleError, match="has no CLIP to learn motions with"):
        collect_from_text(SENTENCE, bare)
