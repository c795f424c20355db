"""Exact area pooling, compared to counting in integers and to the original's method."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from micromotion.learn.pooling import area_block, area_pool


def counted(source: int, target: int) -> list[list[Fraction]]:
    """The part of each source pixel within each target pixel, as a fraction of the target pixel."""
    side = Fraction(source, target)
    rows = []
    for i in range(target):
        start, end = i * side, (i + 1) * side
        rows.append(
            [
                max(Fraction(0), min(end, Fraction(j + 1)) - max(start, Fraction(j))) / side
                for j in range(source)
            ]
        )
    return rows


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "target"), [(32, 7), (5, 3), (3, 5), (4, 4), (7, 1), (1, 7), (100, 64), (128, 224)], ids=str
)
def test_each_target_pixel_is_the_mean_of_what_it_covers(source: int, target: int) -> None:
    expected = np.array([[float(share) for share in row] for row in counted(source, target)])
    assert np.abs(area_block(source, target).numpy() - expected).max() <= 1e-15


@pytest.mark.slow
@pytest.mark.parametrize("size", [32, 64, 256])
def test_it_equals_the_originals_upsampling_and_averaging(size: int) -> None:
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    larger = images.repeat_interleave(7, 2).repeat_interleave(7, 3)
    step = size // 32
    expected = larger.unflatten(3, (-1, step)).mean(4).unflatten(2, (-1, step)).mean(3)
    pooled = area_pool(images, 224)
    assert pooled.shape == (2, 3, 224, 224)
    assert (pooled - expected).abs().max() <= 1e-14


def test_1024_pixels_are_pooled_with_the_originals_constants() -> None:
    """Along one axis; the other is minimal."""
    line = torch.randn(1, 1, 1, 1024, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = line.flatten().repeat_interleave(7).reshape(224, 32).mean(1)
    pooled = area_pool(line, 224)
    assert (pooled - expected).abs().max() <= 1e-14
    rounded = F.adaptive_avg_pool2d(line, (1, 224))  # similar functions, which differ
    assert (rounded - expected).abs().max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("source", "target"), [(6, 4), (4, 6), (5, 5), (9, 2)], ids=str)
def test_the_gradient_is_exact(source: int, target: int) -> None:
    images = torch.randn(
        1, 2, source, source, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    assert torch.autograd.gradcheck(lambda x: area_pool(x, target), images.requires_grad_())


@pytest.mark.parametrize(("height", "width", "size"), [(8, 12, 6), (12, 8, 6), (6, 5, 6)], ids=str)
def test_heights_and_widths_are_pooled_independently(height: int, width: int, size: int) -> None:
    image = torch.randn(1, 1, height, width, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    rows, columns = (torch.from_numpy(np.array(counted(n, size), dtype=np.float64)) for n in (height, width))
    assert (area_pool(image, size)[0, 0] - rows @ image[0, 0] @ columns.T).abs().max() <= 1e-15


def test_pooling_preserves_the_mean_and_the_dtype() -> None:
    images = torch.rand(2, 3, 50, 50, generator=torch.Generator().manual_seed(3))
    pooled = area_pool(images, 33)
    assert pooled.dtype == torch.float32
    assert torch.allclose(pooled.mean((2, 3)), images.mean((2, 3)), atol=1e-6)
    assert area_pool(images, 50) is images


@pytest.mark.parametrize(("source", "target"), [(0, 4), (4, 0), (-1, 4)], ids=str)
def test_sizes_below_one_are_refused(source: int, target: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        area_block(source, target)


def test_large_pictures_need_small_matrices() -> None:
    assert area_block(1024 // math.gcd(1024, 224), 224 // math.gcd(1024, 224)).shape == (7, 32)
