from pathlib import Path

import numpy as np
import pytest
import torch
from bad_matrices import BAD_MATRICES
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from micromotion.motion.anchors import Anchors
from micromotion.motion.robust_pca import _shrinking, robust_pca


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def gross(*shape: int, share: float, size: float, seed: int = 0) -> Tensor:
    """Zeros, but for a share of entries of normal size × `size`."""
    hit = torch.rand(*shape, generator=seeded(seed + 1), dtype=torch.float64) < share
    return torch.where(hit, size * normal(*shape, seed=seed + 2), 0.0)


def flat(*shape: int, seed: int = 0) -> Tensor:
    """Entries of random sign with magnitudes in 0.8 … 1.2: none stands out, as exact recovery requires."""
    magnitudes = 0.8 + 0.4 * torch.rand(*shape, generator=seeded(seed + 3), dtype=torch.float64)
    return normal(*shape, seed=seed).sign() * magnitudes


def anchors_like(styles: int = 3, n: int = 11, dim: int = 64) -> Tensor:
    """Data as from anchors: a straight line, small dense noise, a few gross errors."""
    line = torch.linspace(-0.5, 0.5, n, dtype=torch.float64)[:, None] * normal(styles, 1, dim)
    return line + 0.05 * normal(styles, n, dim, seed=5) + gross(styles, n, dim, share=0.05, size=5.0)


def relative(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


def slow_robust_pca(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Algorithm 5 of Lin, Chen, Ma 2010 on one matrix, entry by entry."""
    rows, columns = data.shape
    weight = 1 / np.sqrt(max(rows, columns))
    spectral = np.linalg.svd(data, compute_uv=False)[0]
    multiplier = data / max(spectral, np.abs(data).max() / weight)
    step = 1.25 / spectral
    sparse = np.zeros_like(data)
    while True:
        left, singular, right = np.linalg.svd(data - sparse + multiplier / step, full_matrices=False)
        low_rank = np.zeros_like(data)
        for k, value in enumerate(singular):
            if value > 1 / step:
                low_rank += (value - 1 / step) * np.outer(left[:, k], right[k])
        for i in range(rows):
            for j in range(columns):
                entry = data[i, j] - low_rank[i, j] + multiplier[i, j] / step
                sparse[i, j] = np.sign(entry) * max(abs(entry) - weight / step, 0)
        multiplier = multiplier + step * (data - low_rank - sparse)
        step *= 1.5
        if np.linalg.norm(data - low_rank - sparse) <= 1e-7 * np.linalg.norm(data):
            return low_rank, sparse


# --- textbook -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(11, 32), (32, 11), (12, 12), (2, 20), (20, 1)])
def test_agrees_with_the_plain_loop(shape: tuple[int, int]) -> None:
    data = normal(*shape, seed=3) + gross(*shape, share=0.1, size=6.0)
    low_rank, sparse = robust_pca(data)
    slow_low_rank, slow_sparse = slow_robust_pca(data.numpy())
    np.testing.assert_allclose(low_rank.numpy(), slow_low_rank, atol=1e-8)
    np.testing.assert_allclose(sparse.numpy(), slow_sparse, atol=1e-8)


@pytest.mark.parametrize(
    ("n", "d", "rank", "share"),
    [(11, 256, 1, 0.02), (11, 512, 1, 0.05), (40, 60, 2, 0.05), (60, 40, 1, 0.05), (100, 100, 5, 0.1)],
)
def test_recovers_an_exact_sum_of_low_rank_and_sparse(n: int, d: int, rank: int, share: float) -> None:
    wanted_low_rank = flat(n, rank, seed=1) @ flat(rank, d, seed=2)
    wanted_sparse = gross(n, d, share=share, size=5.0)
    low_rank, sparse = robust_pca(wanted_low_rank + wanted_sparse)
    assert relative(low_rank, wanted_low_rank) < 1e-6
    assert relative(sparse, wanted_sparse) < 1e-6
    assert torch.linalg.matrix_rank(low_rank, rtol=1e-6) == rank


@pytest.mark.slow
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e-3, 1e3, 1e30, 1e300, 1e307])
def test_the_scale_does_not_matter(scale: float, exact: bool) -> None:
    data = anchors_like()
    assert float(data.abs().max()) < 17.9  # so that times 1e307 it is finite
    for part, scaled in zip(
        robust_pca(data, exact=exact), robust_pca(data * scale, exact=exact), strict=True
    ):
        torch.testing.assert_close(scaled / scale, part, rtol=1e-9, atol=1e-9)


def test_scaling_by_a_power_of_two_is_exact() -> None:
    data = anchors_like()
    for part, scaled in zip(robust_pca(data), robust_pca(data * 2.0**900), strict=True):
        assert torch.equal(scaled, part * 2.0**900)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("size", [1e-320, 5e-324])
def test_denormal_numbers_are_decomposed_to_their_last_digit(size: float, exact: bool) -> None:
    """Whole multiples of a denormal number, down to the smallest."""
    data = (100 * anchors_like()).round() * size
    low_rank, sparse = robust_pca(data, exact=exact)
    assert bool(low_rank.any())
    assert bool(sparse.any())
    assert float((data - low_rank - sparse).abs().max()) <= 1e-6 * float(data.abs().max()) + 3 * 5e-324


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_part_beyond_the_range_is_refused(dtype: torch.dtype) -> None:
    """One entry has the other sign, so that its part of S is twice as large as any entry of D."""
    data = torch.ones(2, 20, 20, dtype=dtype)
    data[1, 3, 4] = -1
    _, sparse = robust_pca(data)
    torch.testing.assert_close(sparse[1, 3, 4].double(), torch.tensor(-2.0, dtype=torch.float64))
    assert bool(torch.isfinite(torch.stack(robust_pca(0.4 * torch.finfo(dtype).max * data))).all())
    with pytest.raises(ValueError, match=f"beyond the range of {dtype}"):
        robust_pca(0.9 * torch.finfo(dtype).max * data)


@pytest.mark.parametrize("tolerance", [0.0, -1e-7, 1.0, float("nan"), float("inf")])
def test_invalid_tolerances_are_refused(tolerance: float) -> None:
    with pytest.raises(ValueError, match="tolerance"):
        robust_pca(anchors_like(), tolerance=tolerance)


def test_rows_and_columns_may_be_permuted_and_transposed() -> None:
    data = anchors_like()
    rows, columns = torch.randperm(11, generator=seeded(1)), torch.randperm(64, generator=seeded(2))
    for part, permuted, transposed in zip(
        robust_pca(data), robust_pca(data[:, rows][:, :, columns]), robust_pca(data.mT), strict=True
    ):
        torch.testing.assert_close(permuted, part[:, rows][:, :, columns], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(transposed.mT, part, rtol=1e-9, atol=1e-9)


def test_a_matrix_does_not_depend_on_its_batch() -> None:
    """The companions need from one round to over thirty, and differ in size by 1e12."""
    data = anchors_like()
    easy = torch.ones(1, 11, 64, dtype=torch.float64)
    company = torch.cat([1e6 * data[:1], easy, data[1:2], torch.zeros_like(easy), 1e-6 * data[2:]])
    parts = robust_pca(company)
    for index, matrix in enumerate(company):
        for part, alone in zip(parts, robust_pca(matrix), strict=True):
            torch.testing.assert_close(part[index], alone, rtol=0, atol=1e-10 * float(matrix.abs().max()))


def test_a_matrix_depends_on_its_batch_only_by_rounding() -> None:
    """Noise has no gap in its singular values, where rounding errors grow most."""
    for n, d in ((25, 175), (23, 15), (9, 160)):
        company = normal(4, n, d, seed=n)
        parts = robust_pca(company)
        for index, matrix in enumerate(company):
            for part, alone in zip(parts, robust_pca(matrix), strict=True):
                assert float((part[index] - alone).abs().max()) <= 1e-9 * float(matrix.abs().max())


@settings(max_examples=40, deadline=None)
@given(
    batch=st.lists(st.integers(0, 3), max_size=2),
    n=st.integers(1, 14),
    d=st.integers(1, 30),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 1000),
)
def test_any_shape_is_decomposed(batch: list[int], n: int, d: int, dtype: torch.dtype, seed: int) -> None:
    data = (normal(*batch, n, d, seed=seed) + gross(*batch, n, d, share=0.1, size=9.0, seed=seed)).to(dtype)
    before = data.clone()
    low_rank, sparse = robust_pca(data)
    assert low_rank.shape == sparse.shape == data.shape
    assert low_rank.dtype == sparse.dtype == dtype
    assert torch.equal(data, before)
    rest = torch.linalg.matrix_norm(data.double() - low_rank.double() - sparse.double())
    assert bool((rest <= 3e-7 * torch.linalg.matrix_norm(data.double())).all())


def test_the_parts_add_up_to_the_tolerance() -> None:
    data = anchors_like()
    for tolerance in (1e-3, 1e-7, 1e-10):
        low_rank, sparse = robust_pca(data, tolerance=tolerance)
        rest = torch.linalg.matrix_norm(data - low_rank - sparse) / torch.linalg.matrix_norm(data)
        assert bool((rest <= tolerance * 1.001).all())


def test_small_singular_values_are_shrunk_to_a_hundredth_of_the_tolerance() -> None:
    """Over ten decades, through the Gram matrix: the smaller the threshold, the larger the error."""
    left, right = torch.linalg.qr(normal(11, 11)).Q, torch.linalg.qr(normal(256, 11, seed=1)).Q
    singular = torch.logspace(0, -10, 11, dtype=torch.float64)
    matrix = left * singular @ right.mT
    for threshold, error in ((1e-1, 1e-14), (1e-3, 1e-12), (1e-5, 1e-10), (1e-7, 2e-9)):
        wanted = (left * (singular - threshold).clamp(min=0)) @ right.mT
        got = _shrinking(matrix[None], threshold)[0] @ matrix
        torch.testing.assert_close(got, wanted, rtol=0, atol=error)


def test_zeros_give_zeros() -> None:
    for part in robust_pca(torch.zeros(2, 11, 16)):
        assert torch.equal(part, torch.zeros(2, 11, 16))


@pytest.mark.parametrize(("data", "words"), BAD_MATRICES)
def test_bad_input_is_named(data: Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        robust_pca(data)


# --- exact --------------------------------------------------------------------------------------------------


def objective(low_rank: Tensor, sparse: Tensor) -> Tensor:
    """The objective of the pursuit, [b]."""
    weight = max(sparse.shape[-2:]) ** -0.5
    return torch.linalg.svdvals(low_rank).sum(-1) + weight * sparse.abs().sum((-1, -2))


def least(data: Tensor, rounds: int = 3000) -> tuple[Tensor, Tensor]:
    """A lower and an upper bound of the minimum, [b] each: plain ADMM (Candès et al. 2011, algorithm
    1) with SVDs, many rounds, and the dual made feasible at its end.
    """
    weight = max(data.shape[-2:]) ** -0.5
    step = data.shape[-2] * data.shape[-1] / (4 * data.abs().sum((-1, -2), keepdim=True))
    multiplier, sparse = torch.zeros_like(data), torch.zeros_like(data)
    low_rank = sparse
    for _ in range(rounds):
        left, singular, right = torch.linalg.svd(data - sparse + multiplier / step, full_matrices=False)
        low_rank = (left * (singular - 1 / step[..., 0]).clamp(min=0)[..., None, :]) @ right
        entries = data - low_rank + multiplier / step
        sparse = entries.sign() * (entries.abs() - weight / step).clamp(min=0)
        multiplier = multiplier + step * (data - low_rank - sparse)
    outside = torch.maximum(
        torch.linalg.matrix_norm(multiplier, 2), multiplier.abs().amax((-1, -2)) / weight
    ).clamp(min=1)
    return (multiplier * data).sum((-1, -2)) / outside, objective(low_rank, data - low_rank)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(4, 11, 64), (8, 3, 4), (8, 6, 2), (8, 5, 1), (4, 12, 12)])
def test_exact_reaches_the_minimum(shape: tuple[int, ...]) -> None:
    data = normal(*shape, seed=11)
    low_rank, sparse = robust_pca(data, exact=True)
    rest = torch.linalg.matrix_norm(data - low_rank - sparse) / torch.linalg.matrix_norm(data)
    assert bool((rest <= 1.001e-7).all())
    below, above = least(data)
    assert bool((above - below <= 2e-5 * below).all()), "the reference is not at its end"
    assert bool((objective(low_rank, data - low_rank) <= (1 + 1e-5) * above).all())


def test_the_default_ends_above_the_minimum_as_documented() -> None:
    def above(data: Tensor) -> Tensor:
        usual, exact = (robust_pca(data, exact=which) for which in (False, True))
        return objective(usual[0], data - usual[0]) / objective(*exact) - 1

    small = above(normal(300, 2, 3, seed=1))
    assert 0.05 < float(small.max()) < 0.11
    assert 0.03 < float(above(normal(3, 11, 512)).max()) < 0.037
    avatar = Path(__file__).resolve().parents[2] / "anchors/avatar/smile.safetensors"
    anchors = Anchors.load(avatar).w_plus.double().transpose(0, 1)
    shipped = above(anchors - (anchors.median(1).values)[:, None])
    assert float(shipped.min()) > 0.001
    assert float(shipped.max()) < 0.0034


def test_exact_recovers_parts_that_the_default_misses() -> None:
    """A noiseless sum of a low-rank and a sparse matrix, which the pursuit separates."""
    wanted = normal(40, 2, seed=21)[None] @ normal(30, 2, 60, seed=22)
    data = wanted + gross(30, 40, 60, share=0.05, size=5.0, seed=23)

    def missed(low_rank: Tensor) -> Tensor:
        return torch.linalg.matrix_norm(low_rank - wanted) / torch.linalg.matrix_norm(wanted)

    usual, exact = missed(robust_pca(data)[0]), missed(robust_pca(data, exact=True)[0])
    assert float(exact.max()) < 1e-6
    assert float(usual.median()) < 1e-6 < float(usual.max()) < 0.01


def test_exact_is_independent_per_matrix_and_keeps_zeros() -> None:
    data = torch.cat(
        [normal(1, 6, 9), torch.zeros(1, 6, 9, dtype=torch.float64), 1e6 * normal(1, 6, 9, seed=1)]
    )
    parts = robust_pca(data, exact=True)
    assert not bool(parts[0][1].any() or parts[1][1].any())
    for index in (0, 2):
        for part, alone in zip(parts, robust_pca(data[index], exact=True), strict=True):
            assert float((part[index] - alone).abs().max()) <= 1e-9 * float(data[index].abs().max())
    assert robust_pca(torch.zeros(0, 3, 4), exact=True)[0].shape == (0, 3, 4)
