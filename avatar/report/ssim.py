"""Similarity of two pictures: PSNR, and MS-SSIM (Wang, Simoncelli, Bovik 2003, "Multiscale structural
similarity for image quality assessment").

Written here, as scikit-image has SSIM at one scale only.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of the scales, the finest first."""
WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03


def batch_psnr(made: Tensor, true: Tensor) -> Tensor:
    """PSNR in dB [N] of uint8 pictures [N, 3, S, S]; infinite where they are equal."""
    error = (made.float() - true.float()).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(255**2 / error)


def scales(size: int) -> int:
    """How many of the five scales a picture of ``size`` pixels a side has: each must hold a whole window.

    256² have all five; 128² have four, as the fifth would be 8². Raises ValueError below 11 pixels.
    """
    if size < WINDOW:
        raise ValueError(f"MS-SSIM wants at least {WINDOW} pixels a side, not {size}")
    return next((n for n in range(5, 1, -1) if size >> (n - 1) >= WINDOW), 1)


def ms_ssim(made: Tensor, true: Tensor) -> Tensor:
    """MS-SSIM [N], 1 for equal pictures, of uint8 pictures [N, 3, S, S]; the mean over the colours.

    Contrast and structure are compared at every scale, luminance at the coarsest. Where pictures are too
    small for all five scales, the weights of the others (see ``scales``) are scaled to sum to 1. A negative
    correlation counts as 0, as its power is NaN.
    """
    a, b = made.double(), true.double()
    count = scales(min(a.shape[-2:]))
    weights = torch.tensor(WEIGHTS[:count], dtype=torch.float64)
    weights = weights / weights.sum()
    result = torch.ones(a.shape[:2], dtype=torch.float64)
    for i, weight in enumerate(weights):
        if i:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        light, structure = ssim_terms(a, b)
        term = light * structure if i == count - 1 else structure
        result = result * term.mean(dim=(2, 3)).clamp(min=0).pow(weight)
    return result.mean(dim=1)


def ssim_terms(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM maps of luminance and of contrast/structure, each [N, 3, S - 10, S - 10], of values 0 … 255."""
    c1, c2 = (K1 * 255) ** 2, (K2 * 255) ** 2
    mean_a, mean_b = _window(a), _window(b)
    spread_a = _window(a * a) - mean_a.square()
    spread_b = _window(b * b) - mean_b.square()
    together = _window(a * b) - mean_a * mean_b
    light = (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
    return light, (2 * together + c2) / (spread_a + spread_b + c2)


def _window(x: Tensor) -> Tensor:
    """Gaussian mean around every pixel that has a whole window."""
    at = torch.arange(WINDOW, dtype=x.dtype) - WINDOW // 2
    bell = torch.exp(-at.square() / (2 * SIGMA**2))
    bell = (bell / bell.sum()).expand(x.shape[1], 1, -1)
    across = F.conv2d(x, bell[:, :, None], groups=x.shape[1])
    return F.conv2d(across, bell[:, :, :, None], groups=x.shape[1])
