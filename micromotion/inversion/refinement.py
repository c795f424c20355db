"""Refinement: a few steps of gradient descent on the inverter's latent, towards the picture itself.

An inverter is fast but inexact: colours drift, the likeness suffers. Its latent is the start of an
optimisation in W+ (Abdal et al. 2019, "Image2StyleGAN", arXiv 1904.03189) of a picture and an identity loss.
Far from the latents that the mapping network gives, motions no longer work (Tov et al. 2021, arXiv
2102.02766), so the latent moves along the principal axes of w, each in units of its standard deviation (the
P_N space of Zhu et al. 2020, arXiv 2012.09036), and a penalty keeps it near its start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from micromotion.inversion.gradients import frozen
from micromotion.inversion.shapes import common_size, is_half
from micromotion.options import check_refine
from micromotion.runtime.device_memory import deterministic

if TYPE_CHECKING:
    from encoder4editing.identity import IdentityNet
    from stylegan2 import Generator

SCALES = 4
LEARNING_RATE = 0.1
"""In units of w's standard deviation; falls to 0 along half a cosine."""
IDENTITY_WEIGHT, PULL_WEIGHT, LAYER_PULL_WEIGHT = 0.3, 0.4, 0.4
SAMPLES = 4096
HALF_GRADIENT = 2.0**-6
"""The size to which one pixel's share of the loss's gradient is scaled for float16, whose range is 2⁻²⁴ to
2¹⁶: the sum over all pixels in a coarse layer must fit as well."""

OnStep = Callable[[int, float], None]


def refine(
    generator: Generator,
    latent: Tensor,
    picture: Tensor,
    steps: int,
    *,
    identity: IdentityNet | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Improve the latent of a face picture; deterministic, bit-exact on the same machine with the same
    PyTorch and number of threads.

    Args:
        generator: in float32, or after `use_half`; the optimised latent stays float32.
        latent: the inverter's output [1, num_styles, style_dim].
        picture: [1, 3, S, S] in [-1, 1], FFHQ-aligned; S a power of two times the generator's resolution, or
            the other way round. They are compared at the smaller of the two sizes.
        steps: the number of steps of Adam, 0 … 200; 0 returns the latent unchanged.
        identity: adds an identity loss, if given.
        on_step: called with the number of steps done, from 0, and the loss there.

    Returns:
        The latent of least loss (picture, identity and pull) of all steps, the start included;
        [1, num_styles, style_dim], float32, on the latent's device.

    Raises:
        OptionError: steps is out of bounds, or the sizes do not fit.
    """
    check_refine(steps)
    # The latent and the call may be in inference mode: gradients need a copy outside it.
    with torch.inference_mode(False), torch.enable_grad(), deterministic(), frozen(generator):
        latent = latent.detach().float().clone()
        if steps == 0:
            return latent
        loss_of = Loss(generator, picture.detach().to(latent.device, copy=True), identity)
        return _descend(loss_of, latent, spread_axes(generator).to(latent.device), steps, on_step)


def _descend(loss_of: Loss, latent: Tensor, axes: Tensor, steps: int, on_step: OnStep | None) -> Tensor:
    """Run Adam on the offsets along the axes, in units of their lengths."""
    moved = torch.zeros_like(latent, requires_grad=True)
    optimiser = torch.optim.Adam([moved], LEARNING_RATE, betas=(0.9, 0.99))
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    best, least = latent, torch.inf
    for done in range(steps + 1):
        w_plus = latent + moved @ axes
        loss = loss_of(w_plus) + pull(moved)
        value = loss.item()
        if value < least:
            best, least = w_plus.detach(), value
        if on_step is not None:
            on_step(done, value)
        if done < steps:
            (gradient,) = torch.autograd.grad(loss_of.gradient_scale * loss, moved)
            moved.grad = (gradient / loss_of.gradient_scale).nan_to_num(0.0, 0.0, 0.0)
            optimiser.step()
            falling.step()
    return best


class Loss:
    """The loss of a latent's picture and identity against the target picture."""

    def __init__(self, generator: Generator, picture: Tensor, identity: IdentityNet | None) -> None:
        """picture is [1, 3, S, S] in [-1, 1]. Raises OptionError if its size does not fit."""
        self.generator, self.identity = generator, identity
        self.size = common_size(generator, picture)
        self.wanted = shrink(picture.to(generator.latent_avg.dtype), self.size)
        with torch.no_grad():
            self.person = identity.features(self.wanted) if identity is not None else None

    def __call__(self, w_plus: Tensor) -> Tensor:
        """The loss of a latent [1, num_styles, style_dim]: a scalar."""
        shown = shrink(self.generator.synthesize(w_plus), self.size)
        loss = picture_loss(shown, self.wanted)
        if self.identity is not None and self.person is not None:
            loss = loss + IDENTITY_WEIGHT * self.identity.loss(shown, self.person)
        return loss

    @property
    def gradient_scale(self) -> float:
        """The loss scale with which gradients survive float16; 1 in float32."""
        if not is_half(self.generator):
            return 1.0
        return HALF_GRADIENT * 3 * self.generator.resolution**2


def picture_loss(shown: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute error of colours and of differences between neighbours, at up to four scales: a scalar.

    Coarse scales capture light and pose, for which single pixels give no direction; differences capture
    lines, which plain L1 blurs. Both pictures are [B, 3, S, S]; S is halved while it is even.
    """
    error, total = shown - wanted, shown.new_zeros(())
    for scale in range(SCALES):
        if scale and min(error.shape[-2:]) % 2 == 0:
            error = F.avg_pool2d(error, 2)
        elif scale:
            break
        across, down = error.diff(dim=-1), error.diff(dim=-2)
        total = total + error.abs().mean() + across.abs().mean() + down.abs().mean()
    return total / SCALES


def pull(moved: Tensor) -> Tensor:
    """The penalty for moving by [B, styles, dim], in units of w's standard deviation: a scalar.

    An offset that all styles share stays within W; where they differ, the latent leaves W for W+, and is
    penalised twice.
    """
    apart = moved - moved.mean(dim=1, keepdim=True)
    return PULL_WEIGHT * moved.square().mean() + LAYER_PULL_WEIGHT * apart.square().mean()


@torch.no_grad()
def spread_axes(generator: Generator) -> Tensor:
    """The principal axes of w, scaled by w's standard deviation along them: [style_dim, style_dim], in rows.

    Estimated from a fixed sample of z, so the same for the same generator.
    """
    z = torch.randn(SAMPLES, generator.config.z_dim, generator=torch.Generator().manual_seed(0))
    w = generator.mapping(z.to(generator.latent_avg.device)).double().cpu()
    variance, axes = torch.linalg.eigh(torch.cov(w.T).reshape(generator.style_dim, generator.style_dim))
    return (axes * variance.clamp(min=0).sqrt()).T.float()


def shrink(images: Tensor, size: int) -> Tensor:
    """[B, 3, S, S] → [B, 3, size, size] by average pooling; S is a multiple of size."""
    factor = images.shape[-1] // size
    return images if factor == 1 else F.avg_pool2d(images, factor)
