"""Pivotal tuning: fine-tunes a copy of the generator until it shows this very person at a given latent.

Not every face has a latent. Roich et al. 2021, "Pivotal Tuning for Latent-based Editing of Real Images"
(arXiv 2106.05744) fix the latent, the pivot, and tune the generator around it. Motions must still work, so
elsewhere the generator must not change: a latent between the pivot and a random one must look the same (their
locality regularisation, equation 5), here anywhere between them, weighted less the nearer it is to the pivot.
The layers' modulation by the latent and their noise strengths are not tuned.

`tuned` caches the weights in the cache folder's `tuned/`, under a hash of all that they depend on except
rounding; the oldest are evicted. Files are written atomically, and two processes that tune the same at once
write the same bytes if they have the same number of threads.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from micromotion.errors import OptionError, OutputError
from micromotion.inversion.refinement import OnStep, picture_loss, shrink
from micromotion.inversion.shapes import check_latent, common_size, is_half
from micromotion.option_checks import check_whole
from micromotion.runtime.cache import prune
from micromotion.runtime.device_memory import deterministic
from micromotion.runtime.folders import cache_folder, make_folder
from stylegan2.checkpoints.storage import read_safetensors, write_safetensors
from stylegan2.errors import CheckpointError

if TYPE_CHECKING:
    from encoder4editing.identity import IdentityNet
    from micromotion.motion.playable import Motion
    from stylegan2 import Generator

STEPS, MAX_STEPS = 200, 1000
LEARNING_RATE = 2e-3
"""Weights have about unit variance in every StyleGAN2 (equalised learning rate), so one rate fits all."""
WARM_UP = 10
"""In steps; Adam's first steps are large whatever the gradient."""
IDENTITY_WEIGHT, LOCALITY_WEIGHT = 0.1, 1.0
ENOUGH = 0.03
"""The loss below which no difference is visible: a PSNR of about 40 dB."""
FIXED = ("modulation", "noise_strength")
CHANGE_SIZE = 64
"""Pixels a side at which motions are compared, so that shifts of a pixel or two do not matter."""
KIND = "tuned"
MAX_CACHED, MAX_CACHED_BYTES = 50, 1 << 30
"""A photo's weights take 100 MB for FFHQ, 50 on a GPU."""


def tune(
    generator: Generator,
    latent: Tensor,
    image: Tensor,
    *,
    steps: int = STEPS,
    identity: IdentityNet | None = None,
    on_step: OnStep | None = None,
) -> Generator:
    """A copy of a generator, tuned to show a picture's person at this latent; deterministic, bit-exact on the
    same machine with the same PyTorch and number of threads.

    Args:
        generator: in float32, or after `use_half`, on the latent's device; not modified.
        latent: the pivot [1, num_styles, style_dim], from the inverter. Ten steps of `refine` before pay off:
            if eyes and mouth are not where the picture has them, motions miss them.
        image: [1, 3, S, S] in [-1, 1], FFHQ-aligned; S as in `micromotion.inversion.refinement.refine`. Best
            at the generator's resolution.
        steps: most steps of Adam, 0 … 1000; it stops early when the loss reaches ENOUGH.
        identity: adds an identity loss, if given.
        on_step: called with the number of steps done, from 0, and the loss of picture and identity there.

    Returns:
        A new generator in eval mode, in the input's precision and on the latent's device; an unchanged copy
        if tuning did not reduce the loss. It needs memory for a second generator and its gradients, about six
        times its weights, and for one backward pass.

    Raises:
        OptionError: steps is out of bounds, or a shape does not fit.
    """
    check_whole("steps", steps, 0, MAX_STEPS)
    likeness_loss = _LikenessLoss(generator, latent, image, identity)
    with torch.inference_mode(False), torch.enable_grad(), deterministic():
        pivot = latent.detach().float().clone()
        learner = copy.deepcopy(generator).to(pivot.device).float().requires_grad_(False)
        if not _descend(learner, generator, pivot, likeness_loss, steps, on_step):
            learner = copy.deepcopy(generator).to(pivot.device)
        learner.tuned = True
        learner.requires_grad_(False).zero_grad(set_to_none=True)
        return (learner.use_half() if is_half(generator) else learner).eval()


class _LikenessLoss:
    """The loss of a picture [1, 3, R, R] against the target picture: a scalar."""

    def __init__(
        self, generator: Generator, latent: Tensor, image: Tensor, identity: IdentityNet | None
    ) -> None:
        check_shapes(generator, latent, image)
        with torch.inference_mode(False), torch.no_grad():
            self.wanted = wanted(generator, latent, image)
            self.identity = identity
            self.person = identity.features(self.wanted) if identity is not None else None

    def __call__(self, picture: Tensor) -> Tensor:
        shown = shrink(picture, self.wanted.shape[-1])
        loss = picture_loss(shown, self.wanted) + F.mse_loss(shown, self.wanted)
        if self.identity is not None and self.person is not None:
            loss = loss + IDENTITY_WEIGHT * self.identity.loss(shown, self.person)
        return loss


def _descend(
    learner: Generator,
    original: Generator,
    pivot: Tensor,
    likeness_loss: _LikenessLoss,
    steps: int,
    on_step: OnStep | None,
) -> bool:
    """Tune the learner in place; whether its loss fell. Each loss has its own backward pass: less memory."""
    learning = list(_learning(learner).values())
    for parameter in learning:
        parameter.requires_grad_(True)
    optimiser = torch.optim.Adam(learning, LEARNING_RATE, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda done: _pace(done, steps))
    rng = torch.Generator().manual_seed(0)
    first = value = math.inf
    for done in range(steps + 1):
        loss = likeness_loss(learner.synthesize(pivot))
        value = loss.item()
        first = value if done == 0 else first
        if on_step is not None:
            on_step(done, value)
        if done == steps or not value > ENOUGH:  # NaN stops it too
            break
        loss.backward()
        _locality(learner, original, pivot, rng).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        schedule.step()
    return value < first


def _learning(generator: Generator) -> dict[str, Tensor]:
    """The parameters that are tuned, by name."""
    return {
        name: parameter
        for name, parameter in generator.synthesis.named_parameters()
        if not any(part in FIXED for part in name.split("."))
    }


def _pace(done: int, steps: int) -> float:
    """The learning rate's factor: a short warm-up, then half a cosine down to 0."""
    return min(1.0, (done + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * min(1.0, done / max(1, steps))))


def _locality(learner: Generator, original: Generator, pivot: Tensor, rng: torch.Generator) -> Tensor:
    """The locality loss at a latent between the pivot and a random one: a scalar."""
    far = torch.rand((), generator=rng).item()
    z = torch.randn(1, original.config.z_dim, generator=rng).to(pivot.device)
    with torch.no_grad():
        latent = torch.lerp(pivot, original.mapping(z)[:, None].float(), far)
        before = original.synthesize(latent)
    return LOCALITY_WEIGHT * far * picture_loss(learner.synthesize(latent), before)


def tuned(
    generator: Generator,
    latent: Tensor,
    image: Tensor,
    *,
    steps: int = STEPS,
    identity: IdentityNet | None = None,
    on_step: OnStep | None = None,
) -> Generator:
    """As `tune`, but cached by picture, latent, generator, identity network and steps.

    on_step is not called on a cache hit. A damaged entry is tuned again. If the cache folder cannot be
    written to, or the disk is full, results are not cached, and nothing else changes. Raises as `tune` does.
    """
    check_whole("steps", steps, 0, MAX_STEPS)
    check_shapes(generator, latent, image)
    path: Path | None = None
    with suppress(OutputError):
        path = cache_folder() / "tuned" / f"{_key(generator, latent, image, steps, identity)}.safetensors"
    cached = _read(path, generator, latent.device) if path else None
    if cached is not None:
        return cached
    if path:
        try:  # after the look-up, which a read-only cache allows, and before minutes of tuning
            make_folder(path.parent)
        except OutputError:
            path = None
    result = tune(generator, latent, image, steps=steps, identity=identity, on_step=on_step)
    if path:
        _store(path, result)
    return result


def _key(
    generator: Generator, latent: Tensor, image: Tensor, steps: int, identity: IdentityNet | None
) -> str:
    """A hash of all that the tuned weights depend on: numbers, networks, pivot and picture."""
    from micromotion import __version__

    numbers = [steps, LEARNING_RATE, WARM_UP, IDENTITY_WEIGHT, LOCALITY_WEIGHT, ENOUGH]
    networks = [digest(each.state_dict()) if each is not None else "" for each in (generator, identity)]
    about = [__version__, FIXED, numbers, networks, digest({"code": latent, "image": image})]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]


def digest(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of named tensors: of names, dtypes, shapes and all values."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        found.update(flat.view(torch.uint8).numpy().data)
    return found.hexdigest()


def _read(path: Path, generator: Generator, device: torch.device) -> Generator | None:
    """A cached generator, marked as recently used; None if there is none, or it is damaged."""
    try:
        config, state = read_safetensors(path, KIND)
    except CheckpointError:
        return None
    if config.get("weights") != digest(state):
        return None
    with suppress(OSError):
        os.utime(path)
    with torch.inference_mode(False), torch.no_grad():
        result = copy.deepcopy(generator).to(device).requires_grad_(False)
        learnt = _learning(result)
        if {name: each.shape for name, each in learnt.items()} != {n: s.shape for n, s in state.items()}:
            return None
        for name, parameter in learnt.items():
            parameter.copy_(state[name])
    result.tuned = True
    return result.eval()


def _store(path: Path, generator: Generator) -> None:
    """Cache the tuned weights after evicting the oldest entries; a full disk is no error."""
    prune(path.parent, MAX_CACHED - 1, MAX_CACHED_BYTES)
    state = {name: parameter.detach() for name, parameter in _learning(generator).items()}
    with suppress(OSError):
        write_safetensors(path, KIND, {"weights": digest(state)}, state)


@dataclass(frozen=True)
class Likeness:
    """Figures before and after tuning, and how well each motion is preserved.

    psnr in dB against the picture, at their common size. identity: cosine of the identity network's features,
    1 for the same person; None without a network. motions: by name, the correlation of the change from the
    still face to strength 1 with that of the original generator, and the ratio of their sizes; (1, 1) if
    unchanged.
    """

    psnr: tuple[float, float]
    identity: tuple[float, float] | None
    motions: Mapping[str, tuple[float, float]]

    def describe(self) -> str:
        """A one-line summary."""
        parts = [f"PSNR {self.psnr[0]:.1f} → {self.psnr[1]:.1f} dB"]
        if self.identity is not None:
            parts.append(f"identity {self.identity[0]:.2f} → {self.identity[1]:.2f}")
        parts += [f"{name} kept {kept:.0%}" for name, (kept, _) in self.motions.items()]
        return ", ".join(parts)


def likeness(
    generator: Generator,
    after: Generator,
    latent: Tensor,
    image: Tensor,
    *,
    identity: IdentityNet | None = None,
    motions: Mapping[str, Motion] | None = None,
) -> Likeness:
    """Compare a generator with its tuned copy `after` at the pivot; other arguments are as in `tune`.

    motions: those to play on both, by name. Raises OptionError if a shape does not fit.
    """
    check_shapes(generator, latent, image)
    with torch.inference_mode(), deterministic():
        target = wanted(generator, latent, image)
        still = [each.synthesize(latent) for each in (generator, after)]
        shown = [shrink(picture, target.shape[-1]) for picture in still]
        before, now = (psnr(picture, target) for picture in shown)
        person = None
        if identity is not None:
            person = (1 - identity.loss(shown[0], target).item(), 1 - identity.loss(shown[1], target).item())
        agreement = {}
        for name, motion in (motions or {}).items():
            moved = latent + motion.offset(1.0).to(latent.device)
            agreement[name] = _agreement(
                generator.synthesize(moved) - still[0], after.synthesize(moved) - still[1]
            )
    return Likeness((before, now), person, agreement)


def psnr(shown: Tensor, target: Tensor) -> float:
    """The PSNR in dB of pictures in [-1, 1]; infinite for equal ones."""
    error = (shown.clamp(-1, 1) - target).square().mean().item()
    return 10 * math.log10(4 / error) if error else math.inf


def _agreement(before: Tensor, after: Tensor) -> tuple[float, float]:
    """The cosine of two changes of a picture and the ratio of their sizes; (0, 0) if one is zero."""
    size = min(CHANGE_SIZE, before.shape[-1])
    was, now = (shrink(change, size).flatten().double() for change in (before, after))
    lengths = was.norm().item() * now.norm().item()
    if not lengths:
        return 0.0, 0.0
    return (was @ now).item() / lengths, (now.norm() / was.norm()).item()


def check_shapes(generator: Generator, latent: Tensor, image: Tensor) -> None:
    """Raise OptionError unless this is a latent of the generator and a picture comparable with its output."""
    check_latent(generator, latent)
    side = image.shape[-1] if image.ndim == 4 else 0
    if list(image.shape) != [1, 3, side, side] or side == 0 or not image.is_floating_point():
        raise OptionError(f"A picture must be floating point [1, 3, S, S], not {list(image.shape)}.")
    common_size(generator, image)


def wanted(generator: Generator, latent: Tensor, image: Tensor) -> Tensor:
    """The target picture at the common size: float32, on the latent's device."""
    pixels = image.detach().to(latent.device, torch.float32, copy=True)
    return shrink(pixels, common_size(generator, image))
