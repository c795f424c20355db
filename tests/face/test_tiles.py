"""Tiles cover the picture, small objects fit within one tile, and nothing is counted twice."""

import numpy as np
import pytest

from micromotion.face.tiles import Box, distinct, tiles


@pytest.mark.parametrize("size", [(6000, 4000), (4000, 6000), (17000, 1000), (250_000, 200), (700, 900)])
@pytest.mark.parametrize("overlap", [1, 260, 900])
def test_objects_up_to_the_overlap_fit_within_a_tile(size: tuple[int, int], overlap: int) -> None:
    overlap = min(overlap, *size)
    found = list(tiles(size, 2200**2, overlap))
    assert max((right - left) * (bottom - top) for left, top, right, bottom in found) <= 2200**2
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, np.array(size) - overlap, (300, 2))
    corners = np.concatenate([corners, [(0, 0), np.array(size) - overlap]])
    for x, y in corners:
        assert any(
            left <= x and x + overlap <= right + 1 and top <= y and y + overlap <= bottom + 1
            for left, top, right, bottom in found
        ), (x, y)


@pytest.mark.parametrize("size", [(6000, 4000), (4000, 6000), (17000, 1000), (250_000, 200)])
def test_overlaps_cost_little(size: tuple[int, int]) -> None:
    found = tiles(size, 2200**2, min(260, *size))
    looked_at = sum((right - left) * (bottom - top) for left, top, right, bottom in found)
    assert size[0] * size[1] <= looked_at < 1.35 * size[0] * size[1]


def test_a_small_picture_is_one_tile() -> None:
    assert list(tiles((640, 480), 2200**2, 100)) == [(0, 0, 640, 480)]


def test_duplicate_boxes_are_merged_into_the_better_one() -> None:
    boxes: list[Box] = [(0, 0, 100, 100), (10, 5, 110, 105), (300, 0, 400, 100), (95, 95, 195, 195)]
    assert distinct(boxes, [0.5, 0.9, 0.2, 0.4]) == [1, 3, 2]
    assert distinct(boxes, [0.5, 0.9, 0.2, 0.4], known=[(290, 0, 390, 100)]) == [1, 3]
