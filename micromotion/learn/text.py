"""Collect anchors from text: optimise the W+ latent of one sampled identity until CLIP sees each degree.

The optimisation, with its constants, is that of wuqiuche/micromotion-styleGAN
(StyleCLIP/optimization/text.py), which follows StyleCLIP (Patashnik et al. 2021, arXiv 2103.17249). All
degrees start from the same latent and are independent, so they are optimised together; pictures go through
the networks in small batches, so that memory does not grow with the number of degrees.
"""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from micromotion.errors import MotionError, TimeLimitError
from micromotion.inversion.gradients import frozen
from micromotion.learn import descent
from micromotion.learn.losses import TextLoss
from micromotion.learn.template import DEFAULT_DEGREES, fill, number_degrees
from micromotion.motion.anchors import Anchors
from micromotion.option_checks import check_whole
from micromotion.options import MAX_SEED
from micromotion.runtime.device_memory import deterministic, translate_oom
from stylegan2 import Generator

if TYPE_CHECKING:
    from micromotion.motion.files import Provenance
    from micromotion.weights.bundle import Bundle

MAX_STEPS = 10_000
TRUNCATION, LEARNING_RATE, L2, IDENTITY = 0.7, 0.1, 0.008, 0.005
"""main.py of the original."""
FFHQ_SPREAD = 0.45
"""Approximate standard deviation of w in FFHQ's generator."""
MEAN_SAMPLES = 4096
PIXELS_AT_ONCE, PICTURES_AT_ONCE = 1 << 20, 4
"""Largest batch through the networks: one picture of 1024², or four of 256² or less.

Larger batches save little time, and the activations saved for the gradient take memory.
"""


@dataclass(frozen=True)
class Step:
    """The losses and pictures of a step, before it updates the latents.

    Attributes:
        done, total: steps.
        degrees: the words of the n degrees.
        clip, l2, identity: float32 [n] on the CPU, each degree's losses before weighting; l2 in units².
        loss: float32 [n], their weighted sum, which is minimised.
        images: float32 [n, 3, S, S] on the CPU, nominally in [-1, 1]: each degree's picture as given to CLIP.
    """

    done: int
    total: int
    degrees: tuple[str, ...]
    clip: Tensor
    l2: Tensor
    identity: Tensor
    loss: Tensor
    images: Tensor


def collect_from_text(
    template: str,
    bundle: Bundle,
    *,
    degrees: Iterable[str | tuple[str, float]] = DEFAULT_DEGREES,
    seed: int = 0,
    steps: int = 40,
    compatible: bool = False,
    resume: Path | None = None,
    on_step: Callable[[Step], object] | None = None,
    time_limit: float | None = None,
    truncation: float = TRUNCATION,
    learning_rate: float = LEARNING_RATE,
    l2: float = L2,
    identity: float = IDENTITY,
) -> Anchors:
    """Collect a micromotion's anchors from a sentence.

    Deterministic on the same machine with the same PyTorch and number of threads.

    Args:
        template: a sentence with {degree} where the degree goes; nothing in it is evaluated.
        bundle: the model, with CLIP and an identity network.
        degrees: words such as "no", "10%", or pairs of words and a number (see `number_degrees`).
        seed: of the sampled identity.
        steps: of Adam, 1 to 10,000.
        compatible: reproduce the original, including its defects. Its first anchor is the sampled face
            itself, which shifts all others by one degree: "no" is labelled 10%, and "100%" lies beyond the
            full motion. The mean face is that of 4,096 samples rather than the model's own. The original's
            random samples depend on its GPU and cannot be reproduced; from the same start, the result is the
            same.
        resume: a folder for the progress; resumes bit-exactly from a checkpoint there, with the same number
            of threads.
        on_step: called after every step. An exception from it ends the collection and keeps the progress.
        time_limit: seconds in total; None for no limit.
        truncation: of the identity towards the mean face, 0 (the mean face) to 1.
        learning_rate: the maximum of Adam's learning rate.
        l2: weight of the squared distance from the start. Like the learning rate, it assumes the spread of
            FFHQ's W; for a wider W, lengths are divided by `unit_of` (not if `compatible`).
        identity: weight of the identity loss.

    Returns:
        One anchor per degree, labelled with its number; with `compatible` one more.

    Raises:
        OptionError: a bad template, degrees, seed or steps; a sentence that this model's CLIP cannot read.
        BundleError: the bundle has no CLIP or no identity network.
        MotionError: the progress in `resume` is damaged or of another collection; the latents became
        non-finite.
        TimeLimitError: the time limit has passed. OutputError: the progress cannot be written.
        DeviceMemoryError: the GPU has too little memory.
    """
    deadline = None if time_limit is None else time.monotonic() + time_limit
    pairs = number_degrees(degrees)
    sentences = fill(template, pairs)
    check_whole("seed", seed, 0, MAX_SEED)
    check_whole("steps", steps, 1, MAX_STEPS)
    words = tuple(word for word, _ in pairs)
    clip, likeness = bundle.clip, bundle.identity
    with translate_oom("collecting anchors", bundle.device), deterministic():
        generator = in_full_precision(bundle.generator)
        start = sample_identity(generator, seed, truncation, compatible=compatible)
        with torch.no_grad():
            person = generator.synthesize(start[None])
        judge = TextLoss(clip, likeness, sentences, person)
        recipe: Provenance = {
            "template": template.strip(),
            "degrees": ", ".join(words),
            "seed": seed,
            "steps": steps,
            "truncation": truncation,
            "learning_rate": learning_rate,
            "l2": l2,
            "identity": identity,
            "compatible": int(compatible),
            "unit": 1.0 if compatible else unit_of(generator),
        }
        state = optimise(
            generator,
            judge,
            start,
            words,
            steps=steps,
            learning_rate=learning_rate,
            l2=l2,
            identity=identity,
            unit=float(recipe["unit"]),
            recipe=recipe | {"model": network_fingerprint(generator, clip, likeness)},
            folder=resume,
            on_step=on_step,
            deadline=deadline,
        )
    return _label(state, start, [number for _, number in pairs], recipe, bundle.name, compatible)


def optimise(
    generator: Generator,
    judge: TextLoss,
    start: Tensor,
    words: Sequence[str],
    *,
    steps: int,
    learning_rate: float = LEARNING_RATE,
    l2: float = L2,
    identity: float = IDENTITY,
    unit: float = 1.0,
    at_once: int | None = None,
    recipe: dict[str, Any] | None = None,
    folder: Path | None = None,
    on_step: Callable[[Step], object] | None = None,
    deadline: float | None = None,
) -> descent.Descent:
    """Optimise a copy of `start` [styles, dim] for each of the judge's sentences; see `collect_from_text`.

    unit: the length in W to which learning_rate and l2 refer, and in which distances are reported. at_once:
    the batch size; by default as many pictures as have the pixels of one of 1024², four at most. It affects
    time and memory, and the result only by rounding. deadline: in seconds of `time.monotonic`.
    """
    at_once = at_once or max(1, min(PICTURES_AT_ONCE, PIXELS_AT_ONCE // generator.resolution**2))
    state = descent.Descent.begin(start, len(words))
    if folder is not None:
        state = descent.resume(state, folder, recipe or {}, steps)
    weights = torch.tensor([1.0, l2, identity])
    with frozen(generator, judge.clip, judge.identity):
        while state.done < steps:
            gradient = torch.empty_like(state.latents)
            images = []
            for first in range(0, len(words), at_once):
                _check_time(deadline, state.done, steps, folder)
                part = slice(first, first + at_once)
                losses, gradient[part], seen = loss_and_gradient(
                    generator, judge, state.latents[part], start, part, l2=l2 / unit**2, identity=identity
                )
                losses[1] /= unit**2
                state.losses[:, part] = losses
                images.append(seen)
            state.step(unit * gradient, unit * descent.rate(state.done, steps, learning_rate))
            _require_finite(state)
            if folder is not None:
                descent.save(state, folder, recipe or {})
            if on_step is not None:
                on_step(_step(state, steps, words, weights @ state.losses, torch.cat(images)))
    return state


def loss_and_gradient(
    generator: Generator,
    judge: TextLoss,
    latents: Tensor,
    start: Tensor,
    which: slice = slice(None),
    *,
    l2: float = L2,
    identity: float = IDENTITY,
) -> tuple[Tensor, Tensor, Tensor]:
    """The losses of latents [b, styles, dim] against the sentences of `which`, and their gradient.

    Returns:
        (CLIP loss, squared distance from `start` and identity loss before weighting, float32 [3, b] on the
        CPU; gradient of CLIP + l2·distance + identity·identity, shaped as the latents; the pictures as given
        to CLIP, float32 [b, 3, S, S] on the CPU).
    """
    latents = latents.detach().requires_grad_()
    with torch.enable_grad():
        scores = judge(generator.synthesize(latents), which)
        distance = (latents - start).square().sum(dim=(1, 2))
        total = scores.clip + l2 * distance + identity * scores.identity
        (gradient,) = torch.autograd.grad(total.sum(), latents)
    losses = torch.stack([scores.clip, distance, scores.identity]).detach()
    return losses.float().cpu(), gradient, scores.seen.detach().float().cpu()


@torch.no_grad()
def sample_identity(
    generator: Generator, seed: int, truncation: float = TRUNCATION, *, compatible: bool = False
) -> Tensor:
    """The W+ latent [styles, dim] of a sampled identity; a seed gives the same on all devices, up to
    rounding.

    Truncated towards the model's mean face; if that is unknown, or with `compatible`, towards the mean of
    4,096 samples, drawn first as in the original.
    """
    centre = generator.latent_avg
    rng = torch.Generator().manual_seed(seed)

    def draw(count: int) -> Tensor:
        z = torch.randn(count, generator.config.z_dim, generator=rng)
        return generator.mapping(z.to(centre))

    if compatible or not bool(centre.any()):
        centre = draw(MEAN_SAMPLES).mean(dim=0)
    w = torch.lerp(centre, draw(1)[0], truncation)
    return w.expand(generator.num_styles, -1).contiguous()


@torch.no_grad()
def latent_spread(generator: Generator) -> float:
    """The standard deviation of w, over all dimensions, of a generator."""
    z = torch.randn(MEAN_SAMPLES, generator.config.z_dim, generator=torch.Generator().manual_seed(0))
    w = generator.mapping(z.to(generator.latent_avg))
    return float((w - w.mean(dim=0)).square().mean().sqrt())


def unit_of(generator: Generator) -> float:
    """How many times wider a generator's W is than FFHQ's, rounded to a power of two.

    It is 1 for networks trained like FFHQ's, and differs only for a W of another normalisation.
    """
    spread = latent_spread(generator)
    return 2.0 ** round(math.log2(spread / FFHQ_SPREAD)) if spread > 0 else 1.0


def in_full_precision(generator: Generator) -> Generator:
    """The generator, or a float32 copy of one in half precision, whose gradients would vanish."""
    half = any(parameter.dtype == torch.float16 for parameter in generator.parameters())
    return copy.deepcopy(generator).float() if half else generator


def network_fingerprint(*networks: nn.Module) -> str:
    """A short hash of networks' shapes and first weights, which identify a training run."""
    digest = hashlib.sha256()
    for network in networks:
        for name, tensor in network.state_dict().items():
            first = tensor.detach().flatten()[:64].double().cpu()
            digest.update(f"{name} {list(tensor.shape)} ".encode() + first.numpy().tobytes())
    return digest.hexdigest()[:16]


def _step(state: descent.Descent, steps: int, words: Sequence[str], loss: Tensor, images: Tensor) -> Step:
    clip, distance, identity = state.losses.clone()
    return Step(state.done, steps, tuple(words), clip, distance, identity, loss, images)


def _check_time(deadline: float | None, done: int, steps: int, folder: Path | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        saved = "nothing was saved" if folder is None else f"the progress is saved in {folder}"
        raise TimeLimitError(
            f"The time limit for collecting anchors was reached after {done} of {steps} steps; {saved}: "
            "allow more time, or ask for fewer degrees or steps."
        )


def _require_finite(state: descent.Descent) -> None:
    if not bool(torch.isfinite(state.latents).all()):
        raise MotionError(
            f"The collection diverged at step {state.done}: the latents are no longer finite. "
            "Try another seed or a smaller learning rate."
        )


def _label(
    state: descent.Descent,
    start: Tensor,
    numbers: list[float],
    recipe: Provenance,
    model: str,
    compatible: bool,
) -> Anchors:
    """Anchors with their degrees and provenance."""
    latents = state.latents
    if compatible:  # the original's list begins with the start, but its labels do not
        latents = torch.cat([start[None], latents])
        numbers = [*numbers, 2 * numbers[-1] - numbers[-2]]
    about: Provenance = {"source": "a sentence", "model": model, **recipe}
    for name, losses in zip(("CLIP", "distance", "identity"), state.losses, strict=True):
        about[f"final {name} loss, mean"] = round(float(losses.mean()), 6)
    return Anchors(latents, torch.tensor(numbers), about)
