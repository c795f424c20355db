"""The original's robust PCA, for comparison in the claims: tested against its formulas, per matrix."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from bad_matrices import BAD_MATRICES
from torch import Tensor

from benchmarks.claims.original_pca import robust_pca_compatible
from micromotion.motion.robust_pca import robust_pca


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_compatible(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The original's iteration on one matrix, from the formulas on the design page."""
    energy = np.sum(data**2)
    step = data.size / (4 * energy)
    weight = 1 / np.sqrt(max(data.shape))
    sparse, multiplier = np.zeros_like(data), np.zeros_like(data)
    for _ in range(1000):
        left, singular, right = np.linalg.svd(data - sparse + multiplier / step, full_matrices=False)
        low_rank = left @ np.diag(np.maximum(singular - 1 / step, 0)) @ right
        entries = data - low_rank + multiplier / step
        sparse = np.sign(entries) * np.maximum(np.abs(entries) - weight / step, 0)
        rest = data - low_rank - sparse
        multiplier = multiplier + step * rest
        if np.sum(rest**2) / energy <= 1e-7 * energy:
            break
    return low_rank, sparse


def test_zeros_give_zeros() -> None:
    for part in robust_pca_compatible(torch.zeros(2, 11, 16)):
        assert torch.equal(part, torch.zeros(2, 11, 16))


@pytest.mark.parametrize(("data", "words"), BAD_MATRICES)
def test_bad_input_is_named(data: Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        robust_pca_compatible(data)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_compatible_agrees_with_the_plain_loop(scale: float) -> None:
    data = scale * (normal(1, 11, 64, seed=8) + 0.3 * normal(3, 11, 64, seed=9))
    low_rank, sparse = robust_pca_compatible(data, rank=None)
    for index, matrix in enumerate(data):
        slow_low_rank, slow_sparse = slow_compatible(matrix.numpy())
        np.testing.assert_allclose(low_rank[index].numpy(), slow_low_rank, atol=1e-10 * scale)
        np.testing.assert_allclose(sparse[index].numpy(), slow_sparse, atol=1e-10 * scale)


@pytest.mark.parametrize("scale", [1e307, 1e200, 1e-200, 5e-324])
def test_compatible_reports_a_non_finite_step(scale: float) -> None:
    with pytest.raises(ValueError, match="range of float64"):
        robust_pca_compatible(scale * torch.ones(2, 4, 5, dtype=torch.float64))


def test_compatible_keeps_four_singular_values() -> None:
    data = 0.05 * normal(2, 11, 64)
    whole, sparse = robust_pca_compatible(data, rank=None)
    cut, same_sparse = robust_pca_compatible(data)
    assert torch.linalg.matrix_rank(whole).min() > 4
    assert torch.linalg.matrix_rank(cut, rtol=1e-9).tolist() == [4, 4]
    torch.testing.assert_close(torch.linalg.svdvals(cut)[:, :4], torch.linalg.svdvals(whole)[:, :4])
    assert torch.equal(sparse, same_sparse)


def test_only_the_compatible_variant_depends_on_the_scale() -> None:
    """The same anchors in other units change the rank of the original's result, not of the textbook's."""
    line = torch.linspace(-0.5, 0.5, 11, dtype=torch.float64)[:, None] * normal(1, 64)
    wrong = torch.rand(1, 11, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64) < 0.05
    errors = torch.where(wrong, 5 * normal(1, 11, 64, seed=2), 0.0)
    anchors = normal(1, 64, seed=4) + line + 0.05 * normal(1, 11, 64, seed=5)[0] + errors[0]

    def ranks(solve: Callable[[Tensor], tuple[Tensor, Tensor]]) -> list[int]:
        scaled = [solve(scale * anchors)[0] for scale in (0.1, 1.0, 10.0)]
        return [int(torch.linalg.matrix_rank(low_rank, rtol=1e-6)) for low_rank in scaled]

    small, middle, large = ranks(lambda data: robust_pca_compatible(data, rank=None))
    assert small > middle >= large
    assert len(set(ranks(robust_pca))) == 1
