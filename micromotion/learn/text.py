"""Anchors out of a sentence: one sampled identity, moved in W+ until CLIP sees each degree of the motion.

The optimisation is that of wuqiuche/micromotion-styleGAN (StyleCLIP/optimization/text.py), which follows
StyleCLIP (Patashnik et al. 2021, arXiv 2103.17249), with its constants. Every degree starts from the same
code and is independent of the others, so all of them are moved at once; pictures go through the networks a
few at a time, so that memory does not grow with the number of degrees.
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
from micromotion.options import MAX_SEED, check_whole
from micromotion.runtime.device_memory import deterministic, translate_oom
from stylegan2 import Generator

if TYPE_CHECKING:
    from micromotion.motion.files import Provenance
    from micromotion.weights.bundle import Bundle

MAX_STEPS = 10_000
TRUNCATION, LEARNING_RATE, L2, IDENTITY = 0.7, 0.1, 0.008, 0.005
"""main.py of the original."""
FFHQ_SPREAD = 0.45
"""Of w at FFHQ, roughly: the root mean square of a number's distance from its mean."""
MEAN_SAMPLES = 4096
PIXELS_AT_ONCE, PICTURES_AT_ONCE = 1 << 20, 4
"""Of the pictures that go through the networks together: one of 1024², four of 256² or less.

More at once save little time, and what the networks remember of each for the gradient takes memory.
"""


@dataclass(frozen=True)
class Step:
    """What a step found, before it moved the codes.

    Attributes:
        done, total: steps.
        degrees: the words of each degree, n of them.
        clip, l2, identity: float32 [n] on the CPU, each degree's losses before their weights; l2 in units².
        loss: float32 [n], their weighted sum, which is made small.
        images: float32 [n, 3, S, S] on the CPU, nominally in [-1, 1]: each degree's picture as CLIP saw it.
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
    """Collect a micromotion's anchors out of a sentence, the same ones every time on the same machine
    with the same PyTorch and number of threads.

    Args:
        template: a sentence with {degree} where the degree goes; nothing in it is evaluated.
        bundle: the model, with a CLIP and an identity net.
        degrees: words such as "no", "10%", or pairs of words and a number (see `number_degrees`).
        seed: draws the identity.
        steps: of Adam, 1 to 10,000.
        compatible: as the original, defects included. Its first anchor is the face as it was sampled, which
            pushes every other one degree up: "no" is labelled 10%, and "100%" lies beyond the full motion.
            The mean face is that of 4,096 samples rather than the model's own. What the original draws
            itself depends on its GPU and cannot be drawn again; from the same start, all else is the same.
        resume: a folder that keeps the progress; what lies there is gone on with, to the same bits
            with as many threads.
        on_step: called after every step. What it raises ends the collection, whose progress is kept.
        time_limit: seconds for all of it; None for no limit.
        truncation: of the identity towards the mean face, 0 (the mean face) to 1.
        learning_rate: of Adam at its highest.
        l2: weight of the squared distance from the start. Like the rate it is meant for a W as wide as that
            of FFHQ, and lengths in a wider one are measured in its own `unit_of` (not if `compatible`).
        identity: weight of the identity loss.

    Returns:
        One anchor per degree, labelled with its number; with `compatible` one more.

    Raises:
        OptionError: a bad template, degrees, seed or steps; a sentence that this model's CLIP cannot read.
        BundleError: the bundle has no CLIP or no identity net.
        MotionError: the progress in `resume` is damaged or another's; the optimisation left finite numbers.
        TimeLimitError: the time is over. OutputError: the progress cannot be written.
        DeviceMemoryError: the GPU is too small.
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
    """Move a copy of `start` [styles, dim] for each of the judge's sentences; see `collect_from_text`.

    unit is the length in W that learning_rate and l2 are about, and that distances are reported in.
    at_once is how many pictures go through the networks together, by default as many as make up one of
    1024², and four at most. It changes time and memory, and the result by no more than rounding. deadline is
    in the seconds of `time.monotonic`.
    """
    at_once = at_once or max(1, min(PICTURES_AT_ONCE, PIXELS_AT_ONCE // generator.resolution**2))
    state = descent.Descent.begin(start, len(words))
    if folder is not None:
        state = descent.resume(state, folder, recipe or {}, steps)
    weights = torch.tensor([1.0, l2, identity])
    with frozen(generator, judge.clip, judge.identity):
        while state.done < steps:
            gradient = torch.empty_like(state.codes)
            images = []
            for first in range(0, len(words), at_once):
                _check_time(deadline, state.done, steps, folder)
                part = slice(first, first + at_once)
                losses, gradient[part], seen = loss_and_gradient(
                    generator, judge, state.codes[part], start, part, l2=l2 / unit**2, identity=identity
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
    codes: Tensor,
    start: Tensor,
    which: slice = slice(None),
    *,
    l2: float = L2,
    identity: float = IDENTITY,
) -> tuple[Tensor, Tensor, Tensor]:
    """The losses of codes [b, styles, dim] against the sentences of `which`, and their gradient.

    Returns:
        (CLIP, squared distance from `start` and identity loss before their weights, float32 [3, b] on the
        CPU; gradient of CLIP + l2·distance + identity·identity, shaped as the codes; the pictures that CLIP
        saw, float32 [b, 3, S, S] on the CPU).
    """
    codes = codes.detach().requires_grad_()
    with torch.enable_grad():
        scores = judge(generator.synthesize(codes), which)
        distance = (codes - start).square().sum(dim=(1, 2))
        total = scores.clip + l2 * distance + identity * scores.identity
        (gradient,) = torch.autograd.grad(total.sum(), codes)
    losses = torch.stack([scores.clip, distance, scores.identity]).detach()
    return losses.float().cpu(), gradient, scores.seen.detach().float().cpu()


@torch.no_grad()
def sample_identity(
    generator: Generator, seed: int, truncation: float = TRUNCATION, *, compatible: bool = False
) -> Tensor:
    """The W+ code [styles, dim] of an identity, the same for a seed on every device but for rounding.

    It is pulled towards the model's mean face or, if that is not known or with `compatible`, towards the mean
    of 4,096 samples, which are drawn first then, as in the original.
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
    """The root mean square of a number's distance from its mean, over the latents of a generator."""
    z = torch.randn(MEAN_SAMPLES, generator.config.z_dim, generator=torch.Generator().manual_seed(0))
    w = generator.mapping(z.to(generator.latent_avg))
    return float((w - w.mean(dim=0)).square().mean().sqrt())


def unit_of(generator: Generator) -> float:
    """How many times wider a generator's W is than that of FFHQ, to the nearest power of two.

    Networks trained alike differ by less, and so have the unit 1; a W of another normalisation has not.
    """
    spread = latent_spread(generator)
    return 2.0 ** round(math.log2(spread / FFHQ_SPREAD)) if spread > 0 else 1.0


def in_full_precision(generator: Generator) -> Generator:
    """The generator, or a float32 copy if it is in half precision, where gradients would vanish."""
    half = any(parameter.dtype == torch.float16 for parameter in generator.parameters())
    return copy.deepcopy(generator).float() if half else generator


def network_fingerprint(*nets: nn.Module) -> str:
    """A short name for networks: of the same shapes and first numbers, which no other training would give."""
    digest = hashlib.sha256()
    for net in nets:
        for name, tensor in net.state_dict().items():
            first = tensor.detach().flatten()[:64].double().cpu()
            digest.update(f"{name} {list(tensor.shape)} ".encode() + first.numpy().tobytes())
    return digest.hexdigest()[:16]


def _step(state: descent.Descent, steps: int, words: Sequence[str], loss: Tensor, images: Tensor) -> Step:
    clip, distance, identity = state.losses.clone()
    return Step(state.done, steps, tuple(words), clip, distance, identity, loss, images)


def _check_time(deadline: float | None, done: int, steps: int, folder: Path | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        kept = "nothing of it was kept" if folder is None else f"what was done is kept in {folder}"
        raise TimeLimitError(
            f"The time for collecting anchors was over after {done} of {steps} steps, and {kept}: "
            "allow more time, or ask for fewer degrees or steps."
        )


def _require_finite(state: descent.Descent) -> None:
    if not bool(torch.isfinite(state.codes).all()):
        raise MotionError(
            f"The collection left all bounds at step {state.done}: the numbers are no longer finite. "
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
    """Anchors with their degrees and where they come from."""
    codes = state.codes
    if compatible:  # the original's list begins with the start, and its labels do not know
        codes = torch.cat([start[None], codes])
        numbers = [*numbers, 2 * numbers[-1] - numbers[-2]]
    about: Provenance = {"source": "a sentence", "model": model, **recipe}
    for name, losses in zip(("CLIP", "distance", "identity"), state.losses, strict=True):
        about[f"final {name} loss, mean"] = round(float(losses.mean()), 6)
    return Anchors(codes, torch.tensor(numbers), about)
