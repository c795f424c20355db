"""Robust PCA: decompose matrices into a low-rank and a sparse part, in batches.

Principal component pursuit (Candès, Li, Ma, Wright 2011, "Robust principal component analysis?"):

    minimise ‖L‖_* + λ·‖S‖₁   subject to   D = L + S,   λ = 1/√max(n, d)

`robust_pca` solves it by the method of multipliers: shrink the singular values for L, shrink the entries for
S, then update the multiplier with the residual.

Implemented here because neither PyTorch nor SciPy has it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from micromotion.runtime.forking import survive_forks

_GROWTH = 1.5
_MAX_ROUNDS = 1000
_EXCESS = 1e-5  # relative gap between the objective and its minimum that `exact` guarantees
_RELAXATION = 1.6  # halves the number of rounds, compared to 1
_PROOF_INTERVAL = 10  # rounds between two checks of the gap
_MAX_EXACT_ROUNDS = 20_000
_ROUNDING = 1e-6  # of the largest singular value: the precision of float32 anchors


def robust_pca(matrices: Tensor, *, tolerance: float = 1e-7, exact: bool = False) -> tuple[Tensor, Tensor]:
    """Decompose each matrix into a low-rank and a sparse part by the inexact ALM.

    Algorithm 5 of Lin, Chen, Ma 2010 ("The augmented Lagrange multiplier method for exact recovery of
    corrupted low-rank matrices", arXiv 1009.5055) with its constants: Y₀ = D/max(‖D‖₂, ‖D‖_∞/λ), μ₀ =
    1.25/‖D‖₂, μ grows by a factor of 1.5 per round. It takes about 35 rounds. If D is a noiseless sum that
    the pursuit can separate, the parts are found to the tolerance, except for a few matrices with errors up
    to 1%. On noisy data such a fast growth stops above the minimum, as measured against ADMM with a dual
    bound: on the anchors of the embedded model by 0.10 to 0.33% (L is off by a tenth, but the directions from
    L and S together only by 0.5 to 0.74%, in one style by 1.07%); on pure noise by 3.7% at 11 × 512, and by
    up to 11% at the smallest sizes. `exact` reaches the minimum.

    Args:
        matrices: floating point [..., n, d]; each leading index is a separate matrix with its own step size
            and stopping round. Its result depends on the rest of the batch only by rounding: measured at most
            1e-10 of the largest entry; the tolerance, if it nearly stopped one round earlier.
        tolerance: stop at ‖D − L − S‖_F ≤ tolerance·‖D‖_F; between 0 and 1, exclusive.
        exact: start from a point that the dual proves to be within a relative 1e-5 of the minimum, and end
            there. It takes some hundred more rounds, ten to fifty times as long; for degenerate matrices some
            thousand; after 20,000 it continues with the best point so far.

    Returns:
        (low_rank, sparse), with the shape, dtype and device of `matrices`; computed in float64 on D/‖D‖₂, so
        that the scale of the data does not matter. A zero matrix gives zeros.

    Raises:
        ValueError: the input is not floating point [..., n, d], is empty in n or d, or has NaN or infinity;
            the tolerance is out of range; or an entry of a part overflows the dtype, which is possible only
            for matrices with entries near its limit.

    >>> low_rank = torch.outer(torch.arange(1.0, 21.0), torch.ones(30))
    >>> noise = torch.zeros(20, 30)
    >>> noise[3, 7] = 50
    >>> found, sparse = robust_pca(low_rank + noise)
    >>> bool(torch.allclose(found, low_rank, atol=1e-2))
    True
    """
    survive_forks()
    if not 0 < tolerance < 1:
        raise ValueError(f"The tolerance of robust PCA must lie between 0 and 1, not be {tolerance!r}.")
    data, scale = _scaled(checked_matrices(matrices))
    data, unit, multiplier, sparse = _proven_start(data) if exact else _start(data)
    residual = tolerance * torch.linalg.matrix_norm(data, keepdim=True)
    low_rank, sparse = alternate(
        data, multiplier=multiplier, sparse=sparse, growth=_GROWTH, residual=residual
    )
    return as_given(low_rank * unit * scale, matrices), as_given(sparse * unit * scale, matrices)


@dataclass(frozen=True, eq=False)
class Subspace:
    """The principal subspace of points, and how its rank was chosen.

    Attributes:
        centre: float64 [d], the mean of the points.
        coordinates: float64 [n, r], the centred points in the basis.
        basis: float64 [r, d], orthonormal rows, most important first; r may be 0.
        singular_values: float64, all min(n − 1, d) of the centred points, descending.
        threshold: singular values above it are signal, those below are noise.
    """

    centre: Tensor
    coordinates: Tensor
    basis: Tensor
    singular_values: Tensor
    threshold: float


def principal_subspace(points: Tensor) -> Subspace:
    """The affine subspace of noisy points [n, d], with a rank chosen from the data.

    Keeps the singular values above ω(β)·(their median), ω(β) ≈ 0.56β³ − 0.95β² + 1.82β + 1.43, where β ≤ 1 is
    the matrix's aspect ratio n/d: the hard threshold for noise of unknown size of Gavish and Donoho (2014,
    "The optimal hard threshold for singular values is 4/√3", section 5), applied to the n − 1 values that
    remain after centring. If there is any variation, at least one is kept, and none below 1e-6 of the
    largest. Three or four points give a rank of at most one: they cannot distinguish a bend from noise.

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
    """The largest singular value due to rounding alone, for points that are all the same."""
    return 1e-12 * float(torch.linalg.matrix_norm(points))


def checked_matrices(matrices: Tensor) -> Tensor:
    """[..., n, d] -> float64 [b, n, d], or a ValueError."""
    if not matrices.is_floating_point() or matrices.ndim < 2 or 0 in matrices.shape[-2:]:
        raise ValueError(
            f"Robust PCA needs floating point matrices [..., n, d] with at least one row and one column, "
            f"but was given {matrices.dtype} of shape {tuple(matrices.shape)}."
        )
    if not bool(torch.isfinite(matrices).all()):
        raise ValueError("Robust PCA needs finite numbers, but the matrices contain NaN or infinity.")
    batch = matrices[None] if matrices.ndim == 2 else matrices.flatten(0, -3)
    return batch.detach().to(torch.float64)


def as_given(part: Tensor, matrices: Tensor) -> Tensor:
    """A part [b, n, d] in the shape and dtype of the matrices; ValueError if the dtype cannot hold it."""
    part = part.reshape(matrices.shape).to(matrices.dtype)
    if not bool(torch.isfinite(part).all()):
        raise ValueError(
            f"Robust PCA of these matrices has entries beyond the range of {matrices.dtype}: "
            "scale the matrices down first."
        )
    return part


def _sparsity_weight(data: Tensor) -> float:
    """λ of the pursuit."""
    return float(max(data.shape[-2:]) ** -0.5)


def _scaled(data: Tensor) -> tuple[Tensor, Tensor]:
    """Matrices [b, n, d] scaled to a largest magnitude of 1 … 2, and the scales [b, 1, 1], powers of two.

    Powers of two avoid rounding; without scaling, squares of very large or small numbers leave float64's
    range.
    """
    largest = data.abs().amax((-2, -1), keepdim=True)
    scale = torch.where(largest > 0, largest / (2 * torch.frexp(largest).mantissa), 1.0)
    return data / scale, scale


def _start(data: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
    """D/unit, where the unit [b, 1, 1] makes Lin et al.'s μ₀ equal to 1; the unit; their Y₀; and no S₀."""
    largest = _singular_values(_wide(data))[:, -1:, None]
    unit = torch.where(largest > 0, largest, 1.0) / 1.25
    data = data / unit
    entrywise = data.abs().amax((-2, -1), keepdim=True) / _sparsity_weight(data)
    return data, unit, data / entrywise.clamp(min=1.25), None


def _proven_start(data: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """D/unit, the unit [b, 1, 1], and a Y and an S whose objective is within `_EXCESS` of the minimum.

    Over-relaxed ADMM (Boyd et al. 2011, section 3.4.3) with Candès et al.'s μ = n·d/(4·‖D‖₁), which the unit
    makes 1. Each matrix stops separately, as soon as `_excess` proves it.
    """
    mean = data.abs().mean((-2, -1), keepdim=True)
    unit = 4 * torch.where(mean > 0, mean, 1.0)
    data = data / unit
    wide, weight = _wide(data), _sparsity_weight(data)
    multiplier_out, sparse_out = torch.zeros_like(wide), torch.zeros_like(wide)
    active = data.flatten(1).any(1).nonzero().flatten()
    part = wide[active]
    multiplier, sparse = torch.zeros_like(part), torch.zeros_like(part)
    for round_ in range(1, _MAX_EXACT_ROUNDS + 1):
        if not len(active):
            break
        wanted = part - sparse + multiplier
        low_rank = _shrinking(wanted, 1.0) @ wanted
        target = torch.lerp(sparse, part - low_rank, _RELAXATION) + multiplier
        multiplier = target.clamp(-weight, weight)
        sparse = target - multiplier
        if round_ % _PROOF_INTERVAL == 0:
            going = _excess(part, wanted, low_rank, multiplier) > _EXCESS
            if round_ == _MAX_EXACT_ROUNDS or not bool(going.all()):
                multiplier_out[active], sparse_out[active] = multiplier, sparse
                active, part, multiplier, sparse = (
                    each[going] for each in (active, part, multiplier, sparse)
                )
    if data.shape != wide.shape:
        return data, unit, multiplier_out.mT, sparse_out.mT
    return data, unit, multiplier_out, sparse_out


def _excess(data: Tensor, wanted: Tensor, low_rank: Tensor, multiplier: Tensor) -> Tensor:
    """An upper bound of the relative gap between the objective of (L, D − L) and the minimum, [b].

    All are [b, n, d] with n ≤ d; L is `wanted` with its singular values shrunk by 1. ⟨Y, D⟩ is a lower bound
    of the minimum if ‖Y‖₂ ≤ 1 and ‖Y‖_∞ ≤ λ; the latter always holds here.
    """
    nuclear = (_singular_values(wanted) - 1).clamp(min=0).sum(1)
    objective = nuclear + _sparsity_weight(data) * (data - low_rank).abs().sum((1, 2))
    bound = (multiplier * data).sum((1, 2)) / _singular_values(multiplier)[:, -1].clamp(min=1)
    return 1 - bound / objective


def _singular_values(matrices: Tensor) -> Tensor:
    """[b, n, d] with n ≤ d -> [b, n], ascending. Values below 1e-8 of the largest are rounding errors."""
    return torch.linalg.eigvalsh(matrices @ matrices.mT).clamp(min=0).sqrt()


def _wide(matrices: Tensor) -> Tensor:
    """[b, n, d] with n ≤ d: the matrices, or their transposes."""
    return matrices if matrices.shape[-2] <= matrices.shape[-1] else matrices.mT


def alternate(
    data: Tensor, *, multiplier: Tensor, growth: float, residual: Tensor, sparse: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Run the method of multipliers on each of [b, n, d] until ‖D − L − S‖_F ≤ residual.

    residual: [b, 1, 1]. sparse: the initial S, by default 0. The first step size μ is 1. A matrix that has
    converged leaves the batch. With Y/μ instead of Y a round is short: the part of D + Y/μ − L within ±λ/μ is
    the next Y/μ, the excess is S.
    """
    weight = _sparsity_weight(data)
    low_rank_out, sparse_out = torch.zeros_like(data), torch.zeros_like(data)
    active = data.flatten(1).any(1).nonzero().flatten()  # zero matrices need no rounds, and have no step size
    data, rest, residual = _wide(data[active]), _wide(multiplier[active]), residual[active, 0, 0]
    target, step = data + rest, 1.0
    sparse = torch.zeros_like(data) if sparse is None else _wide(sparse[active])
    wanted, within = torch.empty_like(data), torch.empty_like(data)  # allocating in every round is slower
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
    """Matrices [b, n, n] that, multiplied from the left, shrink all singular values of [b, n, d].

    With left singular vectors U and singular values σ this is U·max(1 − threshold/σ, 0)·Uᵀ. Both come from
    the n × n Gram matrix, in a third of the time of a QR decomposition and an SVD of its triangle. This
    squares the condition number: relative to the largest singular value, a value near the threshold has an
    error of about 1e-16 over the threshold, 1e-9 in the last rounds, a hundredth of the tolerance.
    """
    energy, left = torch.linalg.eigh(matrices @ matrices.mT)
    kept = 1 - threshold * energy.clamp_(min=torch.finfo(energy.dtype).tiny).rsqrt_()
    return (left * kept.clamp_(min=0)[:, None, :]) @ left.mT
