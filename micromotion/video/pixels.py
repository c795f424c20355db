"""From the generator's numbers to pictures."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def quantise(x: Tensor) -> Tensor:
    """The one mapping from [-1, 1] to 8 bits: round((x + 1) · 127.5), what lies outside is clamped.

    It is the same for every frame on purpose. The original stretched each frame by its own minimum and
    maximum, so one bright pixel (a tooth that shows) changed the brightness of the whole picture: flicker.

    Args:
        x: [3, H, W] or [B, 3, H, W], any float dtype, any device, RGB, nominally in [-1, 1].

    Returns:
        uint8 [H, W, 3] or [B, H, W, 3], contiguous, on the same device; nothing waits for it there.

    Raises:
        ValueError: x has another shape.
    """
    if x.ndim not in (3, 4) or x.shape[-3] != 3:
        raise ValueError(f"expected [3, H, W] or [B, 3, H, W], not {list(x.shape)}")
    levels = x.detach().float().add(1).mul_(127.5).round_().clamp_(0, 255)
    return levels.to(torch.uint8).movedim(-3, -1).contiguous()


def all_finite(x: Tensor) -> Tensor:
    """Whether all numbers of x are finite: bool [], on its device; nothing waits for it there.

    Read off the least and the largest, which are NaN where any is: a twentieth of the time of asking each.
    """
    return torch.stack(torch.aminmax(x)).isfinite().all()


def to_uint8(x: Tensor) -> NDArray[np.uint8]:
    """`quantise`, as an array in main memory."""
    frames: NDArray[np.uint8] = quantise(x).cpu().numpy()
    return frames
