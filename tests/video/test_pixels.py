"""One fixed mapping from the generator's [-1, 1] to 8 bits."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from micromotion.runtime.frame_transfer import fetch_frames
from micromotion.video.pixels import all_finite, quantise, to_uint8


def test_all_levels_survive_and_other_values_are_clamped() -> None:
    levels = torch.arange(256, dtype=torch.float64)
    for dtype in (torch.float64, torch.float32):
        x = (levels / 127.5 - 1).to(dtype).expand(3, 4, 256)
        assert (to_uint8(x) == np.arange(256, dtype=np.uint8)[None, :, None]).all()
    outside = torch.tensor([-1e9, -1.004, -1.001, 1.001, 1.004, 1e9, float("inf"), -float("inf")])
    assert to_uint8(outside.expand(3, 1, 8))[0, :, 0].tolist() == [0, 0, 0, 255, 255, 255, 255, 0]


def test_it_rounds_to_the_nearest_level() -> None:
    x = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    exact = (x.numpy().transpose(1, 2, 0) + 1) * 127.5
    assert np.abs(to_uint8(x) - exact).max() <= 0.5 + 1e-4


def test_channels_go_last_and_memory_is_contiguous() -> None:
    red = torch.tensor([1.0, -1.0, -1.0])[:, None, None].expand(3, 2, 5)
    picture = to_uint8(red)
    assert picture.shape == (2, 5, 3)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous
    assert picture[1, 4].tolist() == [255, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_frame_is_mapped_alike_whatever_else_is_in_the_picture_or_the_batch(dtype: torch.dtype) -> None:
    x = (torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 1.2 - 0.6).to(dtype)
    batch = to_uint8(x)
    assert batch.shape == (4, 8, 8, 3)
    assert all((to_uint8(one) == frame).all() for one, frame in zip(x, batch, strict=True))
    brighter = x[0].clone()
    brighter[:, 0, 0] = 5.0  # min–max stretching would darken all the rest
    changed = to_uint8(brighter) != batch[0]
    assert changed[0, 0].all()
    assert changed.sum() == 3


def test_the_tensor_given_is_not_changed_and_may_need_gradients() -> None:
    x = torch.zeros(3, 2, 2, requires_grad=True)
    to_uint8(x)
    assert (x == 0).all()


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (8, 8, 3), (2, 4, 8, 8), (1, 1, 3, 8, 8)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        to_uint8(torch.zeros(shape))


# Frames in flight.


@pytest.mark.parametrize("ahead", [0, 1, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_fetched_frames_are_in_order_with_bounded_look_ahead(ahead: int, count: int) -> None:
    taken: list[int] = []

    def pictures() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for i in range(count):
            taken.append(i)
            yield torch.full((2, 2, 3), i, dtype=torch.uint8), torch.tensor(True)

    for i, frame in enumerate(fetch_frames(pictures(), ahead=ahead)):
        assert (frame == i).all()
        assert len(taken) == min(count, i + 1 + ahead)
    assert len(taken) == count


def test_the_picture_on_the_device_and_the_one_in_main_memory_are_the_same() -> None:
    x = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    picture = quantise(x)
    assert picture.dtype == torch.uint8
    assert picture.is_contiguous()
    assert np.array_equal(picture.numpy(), to_uint8(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_one_non_finite_value_is_found_anywhere(dtype: torch.dtype) -> None:
    x = torch.randn(3, 40, 40, generator=torch.Generator().manual_seed(0)).to(dtype)
    x[0, 0, :2] = torch.tensor([torch.finfo(dtype).max, torch.finfo(dtype).min])
    assert all_finite(x).shape == ()
    assert all_finite(x)
    for bad in (float("nan"), float("inf"), -float("inf")):
        for place in (0, 1, 2399, 4799):
            damaged = x.clone()
            damaged.view(-1)[place] = bad
            assert not all_finite(damaged)
    damaged[1, 7], damaged[2, 3] = float("nan"), float("inf")
    assert not all_finite(damaged)
