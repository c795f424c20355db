"""Robust PCA: a matrix taken apart into a low-rank and a sparse part, many matrices at once.

Principal component pursuit (Candès, Li, Ma, Wright 2011, "Robust principal component analysis?") asks for

    minimise ‖L‖_* + λ·‖S‖₁   subject to   D = L + S,   λ = 1/√max(n, d)

and both functions below solve it by the method of multipliers: shrink the singular values for L, shrink the
entries for S, then let the multiplier take up what is left over. They differ in the steps they take and in
when they stop.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_GROWTH = 1.5
_MAX_ROUNDS = 1000
_ROUNDING = 1e-6  # of the largest singular value: float32 anchors know no better


def robust_pca(matrices: Tensor, *, tolerance: float = 1e-7) -> tuple[Tensor, Tensor]:
    """Take each matrix apart into a low-rank and a sparse part by the inexact ALM.

    Algorithm 5 of Lin, Chen, Ma 2010 ("The augmented Lagrange multiplier method for exact recovery of
    corrupted low-rank matrices", arXiv 1009.5055) with its constants: Y₀ = D/max(‖D‖₂, ‖D‖_∞/λ),
    μ₀ = 1.25/‖D‖₂, μ grows by 1.5 a round. It takes about 35 rounds. Where the pursuit has an exact answer it
    is found to the tolerance; on noisy data so fast a growth ends short of the least objective, by 0.05%.

    Args:
        matrices: floating point [..., n, d]; every leading index is a matrix of its own, with its own step
            size and its own end, so its answer does not depend on the company it is in.
        tolerance: stop at ‖D − L − S‖_F ≤ tolerance·‖D‖_F.

    Returns:
        (low_rank, sparse), both of the shape, dtype and device of `matrices`; computed in float64 on
        D/max|D|, which makes the scale of the data of no account. A matrix of zeros gives zeros.

    Raises:
        ValueError: the input is not floating point [..., n, d], is empty in n or d, or holds NaN or infinity.
    """
    data = _checked(matrices)
    largest = data.abs().amax((-2, -1), keepdim=True)
    scale = torch.where(largest > 0, largest, 1.0)
    data = data / scale
    spectral = torch.linalg.matrix_norm(data, 2, keepdim=True)
    entrywise = data.abs().amax((-2, -1), keepdim=True) / _sparsity_weight(data)
    low_rank, sparse = _alternate(
        data,
        multiplier=data / torch.maximum(spectral, entrywise),
        step=1.25 / spectral,
        growth=_GROWTH,
        residual=tolerance * torch.linalg.matrix_norm(data, keepdim=True),
    )
    return _like(low_rank * scale, matrices), _like(sparse * scale, matrices)


def robust_pca_compatible(matrices: Tensor, *, rank: int | None = 4) -> tuple[Tensor, Tensor]:
    """Do what the original micromotion code does (wuqiuche/micromotion-styleGAN), for comparison only.

    Its step μ = n·d/(4·‖D‖_F²) has a squared norm where Candès et al. have the sum of absolute values, and it
    stops at ‖D − L − S‖_F²/‖D‖_F² ≤ 1e-7·‖D‖_F², whose right side grows with the data. So its answer depends
    on the scale of the data. The low-rank part is then cut to its first `rank` singular values, uncentred
    (exactly here; by an unseeded random projection there).

    Args:
        matrices: floating point [..., n, d].
        rank: how many singular values the low-rank part keeps; None keeps what the iteration left.

    Returns:
        (low_rank, sparse), both of the shape, dtype and device of `matrices`; computed in float64. A matrix
        of zeros gives zeros.

    Raises:
        ValueError: as `robust_pca`.
    """
    data = _checked(matrices)
    norm = torch.linalg.matrix_norm(data, keepdim=True)
    low_rank, sparse = _alternate(
        data,
        multiplier=torch.zeros_like(data),
        step=data.shape[-2] * data.shape[-1] / (4 * norm**2),
        growth=1.0,
        residual=1e-7**0.5 * norm**2,
    )
    if rank is not None:
        left, singular, right = torch.linalg.svd(low_rank, full_matrices=False)
        low_rank = (left[..., :rank] * singular[..., None, :rank]) @ right[..., :rank, :]
    return _like(low_rank, matrices), _like(sparse, matrices)


@dataclass(frozen=True, eq=False)
class Subspace:
    """The principal subspace of some points, and how its rank was chosen.

    Attributes:
        centre: float64 [d], the mean of the points.
        coordinates: float64 [n, r], the points less the centre, in the basis.
        basis: float64 [r, d], orthonormal rows, most important first; r may be 0.
        singular_values: float64, all min(n − 1, d) of the centred points, falling.
        threshold: the singular values above it are the motion's, those below are noise.
    """

    centre: Tensor
    coordinates: Tensor
    basis: Tensor
    singular_values: Tensor
    threshold: float


def principal_subspace(points: Tensor) -> Subspace:
    """Find the affine subspace that points [n, d] lie in but for noise, its rank chosen from the data.

    Kept are the singular values above ω(β)·(their median), ω(β) ≈ 0.56β³ − 0.95β² + 1.82β + 1.43, β the
    matrix's shape n/d ≤ 1: the hard threshold for noise of unknown size that Gavish and Donoho derive (2014,
    "The optimal hard threshold for singular values is 4/√3", section 5), here of the n − 1 values that
    centring leaves. Where there is any movement at least one is kept, and none below 1e-6 of the largest.
    Of three points or four no more than one can be kept: so few do not tell a bend from noise.

    Args:
        points: finite, floating point [n, d], n ≥ 2, d ≥ 1.
    """
    points = points.double()
    centre = points.mean(0)
    moved = points - centre
    left, singular, right = torch.linalg.svd(moved, full_matrices=False)
    singular = singular[: min(len(points) - 1, points.shape[1])]
    beta = min(moved.shape) / max(moved.shape)
    omega = 0.56 * beta**3 - 0.95 * beta**2 + 1.82 * beta + 1.43
    threshold = max(omega * float(singular.quantile(0.5)), _ROUNDING * float(singular[0]))
    rank = max(int((singular > threshold).sum()), int(singular[0] > _smallest(points)))
    return Subspace(centre, left[:, :rank] * singular[:rank], right[:rank], singular, threshold)


def _smallest(points: Tensor) -> float:
    """The size of a singular value that is rounding alone: points that stand still have it, not zero."""
    return 1e-12 * float(torch.linalg.matrix_norm(points))


def _checked(matrices: Tensor) -> Tensor:
    """[..., n, d] -> float64 [b, n, d], or a ValueError."""
    if not matrices.is_floating_point() or matrices.ndim < 2 or 0 in matrices.shape[-2:]:
        raise ValueError(
            f"Robust PCA needs floating point matrices [..., n, d] with at least one row and one column, "
            f"but was given {matrices.dtype} of shape {tuple(matrices.shape)}."
        )
    if not bool(torch.isfinite(matrices).all()):
        raise ValueError("Robust PCA needs finite numbers, but the matrices hold NaN or infinity.")
    batch = matrices[None] if matrices.ndim == 2 else matrices.flatten(0, -3)
    return batch.detach().to(torch.float64)


def _like(part: Tensor, matrices: Tensor) -> Tensor:
    return part.reshape(matrices.shape).to(matrices.dtype)


def _sparsity_weight(data: Tensor) -> float:
    """λ of the pursuit."""
    return float(max(data.shape[-2:]) ** -0.5)


def _alternate(
    data: Tensor, *, multiplier: Tensor, step: Tensor, growth: float, residual: Tensor
) -> tuple[Tensor, Tensor]:
    """Run the method of multipliers on [b, n, d] from S = 0 until ‖D − L − S‖_F ≤ residual, each by itself.

    `step` and `residual` are [b, 1, 1]. A matrix that has ended leaves the batch and takes no further round.
    """
    weight = _sparsity_weight(data)
    low_rank_out, sparse_out = torch.zeros_like(data), torch.zeros_like(data)
    active = data.flatten(1).any(1).nonzero().flatten()  # zeros are their own answer, and have no step size
    data, multiplier, step, residual = data[active], multiplier[active], step[active], residual[active]
    sparse = torch.zeros_like(data)
    for round_ in range(1, _MAX_ROUNDS + 1):
        if not len(active):
            break
        target = data + multiplier / step
        low_rank = _shrink_singular_values(target - sparse, 1 / step)
        excess = target - low_rank
        within = excess.clamp(-weight / step, weight / step)
        sparse = excess - within
        going = torch.linalg.matrix_norm(data - low_rank - sparse, keepdim=True) > residual
        multiplier, step = within * step, step * growth  # = Y + μ·(D − L − S)
        if round_ == _MAX_ROUNDS or not bool(going.all()):
            low_rank_out[active], sparse_out[active] = low_rank, sparse
            keep = going.flatten()
            active, data, multiplier, sparse = active[keep], data[keep], multiplier[keep], sparse[keep]
            step, residual = step[keep], residual[keep]
    return low_rank_out, sparse_out


def _shrink_singular_values(matrices: Tensor, threshold: Tensor) -> Tensor:
    """Move every singular value of [b, n, d] towards zero by threshold [b, 1, 1].

    With d ≫ n the wide matrix is folded by QR into an n × n triangle, which has the same left singular
    vectors U and singular values σ; U·max(1 − threshold/σ, 0)·Uᵀ is then applied from the left. That takes
    a third of the time of the whole SVD and is as exact. The n × n Gram matrix would be a fifth faster, but
    squares the condition number: singular values below 1e-8 of the largest drown in rounding, and the last
    thresholds come near to that (at 1e-8 it errs by 1e-9 of the largest, this by 1e-15).
    """
    if matrices.shape[-2] > matrices.shape[-1]:
        return _shrink_singular_values(matrices.mT, threshold).mT
    triangle = torch.linalg.qr(matrices.mT, mode="r").R
    left, singular, _ = torch.linalg.svd(triangle.mT)
    kept = (1 - threshold / singular[..., None, :]).clamp(min=0)
    return (left * kept) @ left.mT @ matrices
