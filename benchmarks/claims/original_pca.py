"""Robust PCA as the original code does it (wuqiuche/micromotion-styleGAN), for comparison with ours."""

import torch
from torch import Tensor

from micromotion.motion.robust_pca import alternate, as_given, checked_matrices


def robust_pca_compatible(matrices: Tensor, *, rank: int | None = 4) -> tuple[Tensor, Tensor]:
    """Decompose each matrix as the original does, including its defects.

    Its step μ = n·d/(4·‖D‖_F²) has a squared norm where Candès et al. have the sum of absolute values, and it
    stops at ‖D − L − S‖_F²/‖D‖_F² ≤ 1e-7·‖D‖_F², whose right side grows with the data. So its result depends
    on the scale of the data. The low-rank part is then cut to its first `rank` singular values, uncentred
    (exactly here; by an unseeded random projection there).

    Args:
        matrices: floating point [..., n, d].
        rank: how many singular values the low-rank part keeps; None keeps all of them.

    Returns:
        (low_rank, sparse), both of the shape, dtype and device of `matrices`; computed in float64. A matrix
        of zeros gives zeros.

    Raises:
        ValueError: as `robust_pca`; also where ‖D‖_F² is beyond the range of float64.
    """
    data = checked_matrices(matrices)
    norm = torch.linalg.matrix_norm(data, keepdim=True)
    some = data.flatten(1).any(1)[:, None, None]
    unit = torch.where(some, 4 * norm**2, 1.0) / (data.shape[-2] * data.shape[-1])  # so that μ is 1
    if not bool((torch.isfinite(unit) & (unit >= torch.finfo(unit.dtype).tiny)).all()):
        raise ValueError("The step of the original needs ‖D‖_F² to be within the range of float64.")
    low_rank, sparse = alternate(
        data / unit,
        multiplier=torch.zeros_like(data),
        growth=1.0,
        residual=1e-7**0.5 * norm**2 / unit,
    )
    low_rank, sparse = low_rank * unit, sparse * unit
    if rank is not None:
        left, singular, right = torch.linalg.svd(low_rank, full_matrices=False)
        low_rank = (left[..., :rank] * singular[..., None, :rank]) @ right[..., :rank, :]
    return as_given(low_rank, matrices), as_given(sparse, matrices)
