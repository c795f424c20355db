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

from micromotion.forking import survive_forks

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
        (low_rank, sparse), both of the shape, dtype and device of `matrices`; computed in float64 on D/‖D‖₂,
        which makes the scale of the data of no account. A matrix of zeros gives zeros.

    Raises:
        ValueError: the input is not floating point [..., n, d], is empty in n or d, or holds NaN or infinity.
    """
    survive_forks()
    data = _checked(matrices)
    spectral = _largest_singular_value(data)
    unit = torch.where(spectral > 0, spectral, 1.0) / 1.25  # so that μ₀ is 1, whatever the matrix
    data = data / unit
    entrywise = data.abs().amax((-2, -1), keepdim=True) / _sparsity_weight(data)
    low_rank, sparse = _alternate(
        data,
        multiplier=data / entrywise.clamp(min=1.25),
        growth=_GROWTH,
        residual=tolerance * torch.linalg.matrix_norm(data, keepdim=True),
    )
    return _like(low_rank * unit, matrices), _like(sparse * unit, matrices)


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
    unit = torch.where(norm > 0, 4 * norm**2, 1.0) / (data.shape[-2] * data.shape[-1])  # so that μ is 1
    low_rank, sparse = _alternate(
        data / unit,
        multiplier=torch.zeros_like(data),
        growth=1.0,
        residual=1e-7**0.5 * norm**2 / unit,
    )
    low_rank, sparse = low_rank * unit, sparse * unit
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


def _largest_singular_value(data: Tensor) -> Tensor:
    """[b, n, d] -> [b, 1, 1]."""
    scale = data.abs().amax((-2, -1), keepdim=True).clamp(min=torch.finfo(data.dtype).tiny)
    data = _wide(data / scale)  # squares of very large or small numbers have no float64
    return torch.linalg.eigvalsh(data @ data.mT)[:, -1:, None].clamp(min=0).sqrt() * scale


def _wide(matrices: Tensor) -> Tensor:
    """[b, n, d] with n ≤ d: the matrices, or their transposes."""
    return matrices if matrices.shape[-2] <= matrices.shape[-1] else matrices.mT


def _alternate(data: Tensor, *, multiplier: Tensor, growth: float, residual: Tensor) -> tuple[Tensor, Tensor]:
    """Run the method of multipliers on [b, n, d] from S = 0 until ‖D − L − S‖_F ≤ residual, each by itself.

    The first step μ is 1 for all, `residual` is [b, 1, 1]. A matrix that has ended leaves the batch and takes
    no further round. With Y/μ in place of Y a round is short: what is within ±λ/μ of D + Y/μ − L is left for
    the next Y/μ, what is beyond it is S.
    """
    weight = _sparsity_weight(data)
    low_rank_out, sparse_out = torch.zeros_like(data), torch.zeros_like(data)
    active = data.flatten(1).any(1).nonzero().flatten()  # zeros are their own answer, and have no step size
    data, rest, residual = _wide(data[active]), _wide(multiplier[active]), residual[active, 0, 0]
    target, sparse, step = data + rest, torch.zeros_like(data), 1.0
    wanted, within = torch.empty_like(data), torch.empty_like(data)  # fresh memory at every pass costs more
    for round_ in range(1, _MAX_ROUNDS + 1):
        if not len(active):
            break
        torch.sub(target, sparse, out=wanted)
        shrink = _shrinking(wanted, 1 / step)
        excess = torch.baddbmm(target, shrink, wanted, alpha=-1, out=sparse)
        torch.clamp(excess, -weight / step, weight / step, out=within)
        sparse = excess.sub_(within)
        going = torch.linalg.vector_norm(rest.sub_(within), dim=(1, 2)) > residual  # = D − L − S
        if round_ == _MAX_ROUNDS or not bool(going.all()):
            turned = low_rank_out.shape[1:] != data.shape[1:]
            for out, part in ((low_rank_out, shrink @ wanted), (sparse_out, sparse)):
                out[active] = part.mT if turned else part
            active, data, within, sparse = active[going], data[going], within[going], sparse[going]
            residual = residual[going]
            target, wanted, rest = (room[: len(active)] for room in (target, wanted, rest))
        step *= growth
        rest, within = within.div_(growth), rest  # Y + μ·(D − L − S) = μ·within
        torch.add(data, rest, out=target)
    return low_rank_out, sparse_out


def _shrinking(matrices: Tensor, threshold: float) -> Tensor:
    """The matrices [b, n, n] that, applied from the left, move all singular values of [b, n, d] towards zero.

    With the left singular vectors U and the singular values σ that is U·max(1 − threshold/σ, 0)·Uᵀ. Both are
    read off the n × n Gram matrix, in a third of the time of a QR decomposition and an SVD of its triangle.
    That squares the condition number: relative to the largest singular value, what is left of one near the
    threshold errs by about 1e-16 over the threshold, 1e-9 in the last rounds; a hundredth of the tolerance.
    """
    energy, left = torch.linalg.eigh(matrices @ matrices.mT)
    kept = 1 - threshold * energy.clamp_(min=torch.finfo(energy.dtype).tiny).rsqrt_()
    return (left * kept.clamp_(min=0)[:, None, :]) @ left.mT
