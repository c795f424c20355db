"""Pivotal tuning: bend a copy of the generator until it shows this very person at the latent that it was
given.

No latent shows everybody. Roich et al. 2021, "Pivotal Tuning for Latent-based Editing of Real Images" (arXiv
2106.05744) leave the latent where it is, the pivot, and tune the generator around it. Motions must go on as
before, so elsewhere it is held to what it was: a latent on the way from the pivot to a random one must look
the same (their locality regularisation, equation 5), here anywhere on that way, and the less the nearer it
is. What a latent means to a layer, its modulation, and how much noise it takes, are not tuned at all.

`tuned` keeps the weights in the cache folder's `tuned/`, under a name drawn from all that they depend on but
for rounding; the oldest go when there are too many. Files appear there whole or not at all, and two that tune
the same at once write the same bytes if they have as many threads.
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
from micromotion.options import check_whole
from micromotion.runtime.cache import prune
from micromotion.runtime.device_memory import deterministic
from micromotion.runtime.folders import cache_folder, make_folder
from stylegan2.checkpoints.storage import read_safetensors, write_safetensors
from stylegan2.errors import CheckpointError

if TYPE_CHECKING:
    from encoder4editing.identity import IdentityNet
    from micromotion.motion.micromotion import Motion
    from stylegan2 import Generator

STEPS, MAX_STEPS = 200, 1000
LEARNING_RATE = 2e-3
"""Weights have about unit variance in every StyleGAN2 (equalised learning rate), so one rate fits all."""
WARM_UP = 10
"""In steps; Adam's first ones are large whatever the gradient."""
IDENTITY_WEIGHT, LOCALITY_WEIGHT = 0.1, 1.0
ENOUGH = 0.03
"""The loss at which nothing more can be seen to change: a PSNR of about 40 dB."""
FIXED = ("modulation", "noise_strength")
CHANGE_SIZE = 64
"""Motions are compared at so many pixels a side: what is shifted by a pixel or two still counts."""
KIND = "tuned"
MAX_CACHED, MAX_CACHED_BYTES = 50, 1 << 30
"""At FFHQ a photo's weights have 100 MB, 50 on a GPU."""


def tune(
    generator: Generator,
    latent: Tensor,
    image: Tensor,
    *,
    steps: int = STEPS,
    identity: IdentityNet | None = None,
    on_step: OnStep | None = None,
) -> Generator:
    """A copy of a generator that shows a picture's person at this latent; the same call gives the same one,
    to the bit with the same machine, PyTorch and number of threads.

    Args:
        generator: in float32, or after `use_half`, on the latent's device; it stays as it is.
        latent: the pivot [1, num_styles, style_dim], from the inverter. Ten steps of `refine` before are well
            spent: where eyes and mouth lie in other places than in the picture, motions play beside them.
        image: [1, 3, S, S] in [-1, 1], FFHQ-aligned; S as in `micromotion.inversion.refinement.refine`. Best
            at the generator's resolution.
        steps: how many steps of Adam at most, 0 … 1000; fewer are taken where the loss comes to ENOUGH.
        identity: also keeps the person, where given.
        on_step: called with the number of steps done, from 0 on, and the loss of picture and person there.

    Returns:
        A new generator in eval mode, in the first one's precision and on the latent's device. It is an
        unchanged copy where tuning did not bring the picture nearer. Memory for a second generator and its
        gradients is needed, about six times its weights, and for one backward pass.

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
        learner.requires_grad_(False).zero_grad(set_to_none=True)
        return (learner.use_half() if is_half(generator) else learner).eval()


class _LikenessLoss:
    """How far a picture [1, 3, R, R] is from the one that is wanted: a scalar."""

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
    """Tune the learner in place; whether it came nearer. The losses go backward in turn, to save memory."""
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
        if done == steps or not value > ENOUGH:  # NaN ends it too
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
    """The learning rate's factor: a short warm-up, then half a cosine down to nothing."""
    return min(1.0, (done + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * min(1.0, done / max(1, steps))))


def _locality(learner: Generator, original: Generator, pivot: Tensor, rng: torch.Generator) -> Tensor:
    """How much a picture somewhere between the pivot and a random latent has changed: a scalar."""
    far = torch.rand((), generator=rng).item()
    z = torch.randn(1, original.config.z_dim, generator=rng).to(pivot.device)
    with torch.no_grad():
        latent = torch.lerp(pivot, original.mapping(z)[:, None].float(), far)
        kept = original.synthesize(latent)
    return LOCALITY_WEIGHT * far * picture_loss(learner.synthesize(latent), kept)


def tuned(
    generator: Generator,
    latent: Tensor,
    image: Tensor,
    *,
    steps: int = STEPS,
    identity: IdentityNet | None = None,
    on_step: OnStep | None = None,
) -> Generator:
    """As `tune`, and kept: the same picture, latent, generator, identity network and steps are tuned once.

    on_step is not called where it was kept. What is damaged there is tuned again. Where the cache folder
    cannot be written to, or the disk is full, nothing more is kept, and all else is the same. Raises as
    `tune` does.
    """
    check_whole("steps", steps, 0, MAX_STEPS)
    check_shapes(generator, latent, image)
    path: Path | None = None
    with suppress(OutputError):
        path = cache_folder() / "tuned" / f"{_key(generator, latent, image, steps, identity)}.safetensors"
    kept = _read(path, generator, latent.device) if path else None
    if kept is not None:
        return kept
    if path:
        try:  # before the minutes that tuning takes: a folder that may only be read is read
            make_folder(path.parent)
        except OutputError:
            path = None
    result = tune(generator, latent, image, steps=steps, identity=identity, on_step=on_step)
    if path:
        _keep(path, result)
    return result


def _key(
    generator: Generator, latent: Tensor, image: Tensor, steps: int, identity: IdentityNet | None
) -> str:
    """A name for all that the tuned weights depend on: numbers, networks, pivot and picture."""
    from micromotion import __version__

    numbers = [steps, LEARNING_RATE, WARM_UP, IDENTITY_WEIGHT, LOCALITY_WEIGHT, ENOUGH]
    nets = [digest(net.state_dict()) if net is not None else "" for net in (generator, identity)]
    about = [__version__, FIXED, numbers, nets, digest({"code": latent, "image": image})]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]


def digest(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of named tensors: of names, types, shapes and every number."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        found.update(flat.view(torch.uint8).numpy().data)
    return found.hexdigest()


def _read(path: Path, generator: Generator, device: torch.device) -> Generator | None:
    """A kept generator, which counts as new again; None if there is none, or it is damaged."""
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
    return result.eval()


def _keep(path: Path, generator: Generator) -> None:
    """Write what was tuned, in the place of what is too old; a full disk is no error."""
    prune(path.parent, MAX_CACHED - 1, MAX_CACHED_BYTES)
    state = {name: parameter.detach() for name, parameter in _learning(generator).items()}
    with suppress(OSError):
        write_safetensors(path, KIND, {"weights": digest(state)}, state)


@dataclass(frozen=True)
class Likeness:
    """What tuning did: figures before and after, and of each motion how well it is kept.

    psnr in dB, with the picture, at the size both have. identity: cosine of the identity network's features,
    1 for the same person; None without a net. motions: by name, the correlation of the change from the still
    face to strength 1 with that of the generator as it was, and the ratio of their sizes; (1, 1) as it was.
    """

    psnr: tuple[float, float]
    identity: tuple[float, float] | None
    motions: Mapping[str, tuple[float, float]]

    def describe(self) -> str:
        """One line for people."""
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
    """Compare a generator with its tuned copy at the pivot; all but motions is as in `tune`.

    motions: those to play on both, by name. Raises OptionError where a shape does not fit.
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
        kept = {}
        for name, motion in (motions or {}).items():
            moved = latent + motion.offset(1.0).to(latent.device)
            kept[name] = _kept(generator.synthesize(moved) - still[0], after.synthesize(moved) - still[1])
    return Likeness((before, now), person, kept)


def psnr(shown: Tensor, target: Tensor) -> float:
    """In dB, of pictures in [-1, 1]; infinite for equal ones."""
    error = (shown.clamp(-1, 1) - target).square().mean().item()
    return 10 * math.log10(4 / error) if error else math.inf


def _kept(before: Tensor, after: Tensor) -> tuple[float, float]:
    """Of two changes of a picture, their cosine and the ratio of their sizes; (0, 0) where one is none."""
    size = min(CHANGE_SIZE, before.shape[-1])
    was, now = (shrink(change, size).flatten().double() for change in (before, after))
    lengths = was.norm().item() * now.norm().item()
    if not lengths:
        return 0.0, 0.0
    return (was @ now).item() / lengths, (now.norm() / was.norm()).item()


def check_shapes(generator: Generator, latent: Tensor, image: Tensor) -> None:
    """Raise OptionError unless this is a latent of the generator, and a picture that its own compare with."""
    check_latent(generator, latent)
    side = image.shape[-1] if image.ndim == 4 else 0
    if list(image.shape) != [1, 3, side, side] or side == 0 or not image.is_floating_point():
        raise OptionError(f"A picture must be floating point [1, 3, S, S], not {list(image.shape)}.")
    common_size(generator, image)


def wanted(generator: Generator, latent: Tensor, image: Tensor) -> Tensor:
    """The picture as the generator's is compared with it: float32, no larger, on the latent's device."""
    pixels = image.detach().to(latent.device, torch.float32, copy=True)
    return shrink(pixels, common_size(generator, image))
