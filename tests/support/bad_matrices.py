"""Matrices that no robust PCA can take, and what is said of each."""

import torch

BAD_MATRICES = [
    (torch.tensor([[1.0, float("nan")]]), "finite"),
    (torch.tensor([[1.0, float("-inf")]]), "finite"),
    (torch.ones(5), r"\[\.\.\., n, d\]"),
    (torch.ones(3, 0, 4), "at least one row"),
    (torch.ones(3, 4, 0), "at least one row"),
    (torch.ones(3, 4, dtype=torch.int64), "floating point"),
]
