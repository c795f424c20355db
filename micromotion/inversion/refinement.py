"""Refinement: a few steps of gradient descent from the inverter's latent towards the picture itself.

An inverter answers at once, and a little off: colours drift, a likeness is lost. Here its latent is where an
optimisation in W+ begins (Abdal et al. 2019, "Image2StyleGAN", arXiv 1904.03189), of what the picture and the
person lose. Far from the latents that mapping gives, motions no longer work (Tov et al. 2021, arXiv
2102.02766), so the latent moves along the principal axes of w, each in units of its own spread (the P_N space
of Zhu et al. 2020, arXiv 2012.09036), and a pull holds it near its start.
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
"""In units of w's spread; falls to nothing along half a cosine."""
IDENTITY_WEIGHT, PULL_WEIGHT, LAYER_PULL_WEIGHT = 0.3, 0.4, 0.4
SAMPLES = 4096
HALF_GRADIENT = 2.0**-6
"""How large one pixel's share of the loss's gradient is made on its way through float16, which has no smaller
numbers than 2⁻²⁴ and none above 2¹⁶: what a coarse layer collects from all pixels must fit as well."""

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
    """Improve the latent of a face picture; the same call gives the same latent, to the bit with the same
    machine, PyTorch and number of threads.

    Args:
        generator: in float32, or after `use_half`; all that is optimised stays float32.
        latent: the inverter's answer [1, num_styles, style_dim].
        picture: [1, 3, S, S] in [-1, 1], FFHQ-aligned; S a power of two times the generator's resolution, or
            the other way round. They are compared at the smaller of the two sizes.
        steps: how many steps of Adam, 0 … 200; 0 gives the latent back.
        identity: also keeps the person, where given.
        on_step: called with the number of steps done, from 0 on, and the loss there.

    Returns:
        The best of all latents on the way, the first included, by picture, person and pull together;
        [1, num_styles, style_dim], float32, on the latent's device.

    Raises:
        OptionError: steps is out of bounds, or the sizes do not fit.
    """
    check_refine(steps)
    # An inverter's answer may be of inference mode, and so may the call: gradients need a copy outside it.
    with torch.inference_mode(False), torch.enable_grad(), deterministic(), frozen(generator):
        latent = latent.detach().float().clone()
        if steps == 0:
            return latent
        loss_of = Loss(generator, picture.detach().to(latent.device, copy=True), identity)
        return _descend(loss_of, latent, spread_axes(generator).to(latent.device), steps, on_step)


def _descend(loss_of: Loss, latent: Tensor, axes: Tensor, steps: int, on_step: OnStep | None) -> Tensor:
    """Adam on how far to move along each of the axes, in their own lengths."""
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
    """How far a latent's picture is from the one that is wanted, and the person from the one shown there."""

    def __init__(self, generator: Generator, picture: Tensor, identity: IdentityNet | None) -> None:
        """picture is [1, 3, S, S] in [-1, 1]. Raises OptionError where its size does not fit."""
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
        """What to multiply the loss by so that its gradient survives float16; 1 in float32."""
        if not is_half(self.generator):
            return 1.0
        return HALF_GRADIENT * 3 * self.generator.resolution**2


def picture_loss(shown: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute error of colours and of differences between neighbours, at up to four scales: a scalar.

    Coarse scales see light and pose, which one pixel's error does not tell the way to; differences see lines,
    of which plain L1 takes the average. Both pictures are [B, 3, S, S]; S is halved while it is even.
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
    """The price of moving [B, styles, dim] units of w's spread: a scalar.

    What all styles share stays among the w that mapping gives; where they differ, the latent leaves for W+,
    and pays twice.
    """
    apart = moved - moved.mean(dim=1, keepdim=True)
    return PULL_WEIGHT * moved.square().mean() + LAYER_PULL_WEIGHT * apart.square().mean()


@torch.no_grad()
def spread_axes(generator: Generator) -> Tensor:
    """The principal axes of w, as long as w's standard deviation along them: [style_dim, style_dim], in rows.

    Estimated from a fixed draw of z, so the same for the same generator.
    """
    z = torch.randn(SAMPLES, generator.config.z_dim, generator=torch.Generator().manual_seed(0))
    w = generator.mapping(z.to(generator.latent_avg.device)).double().cpu()
    variance, axes = torch.linalg.eigh(torch.cov(w.T).reshape(generator.style_dim, generator.style_dim))
    return (axes * variance.clamp(min=0).sqrt()).T.float()


def shrink(images: Tensor, size: int) -> Tensor:
    """[B, 3, S, S] → [B, 3, size, size] by means over squares; S is a multiple of size."""
    factor = images.shape[-1] // size
    return images if factor == 1 else F.avg_pool2d(images, factor)
