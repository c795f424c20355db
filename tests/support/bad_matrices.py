"""Matrices that robust PCA refuses, each with a pattern for its error message."""

import torch

BAD_MATRICES = [
    (torch.tensor([[1.0, float("nan")]]), "finite"),
    (torch.tensor([[1.0, float("-inf")]]), "finite"),
    (torch.ones(5), r"\[\.\.\., n, d\]"),
    (torch.ones(3, 0, 4), "at least one row"),
    (torch.ones(3, 4, 0), "at least one row"),
    (torch.ones(3, 4, dtype=torch.int64), "floating point"),
]
