"""Arrays and tensors are pictures as files are; a wrong one is refused in one sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from micromotion import Animator, align
from micromotion.errors import ImageError, OptionError
from micromotion.face import images
from micromotion.face.images import load_image


@pytest.fixture(scope="module")
def pixels() -> Any:
    return np.random.default_rng(1).integers(0, 256, (300, 40, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: p,
        lambda p: (p / 255).astype(np.float16),
        lambda p: (p / 255).astype(np.float32),
        lambda p: p / 255,
        lambda p: np.asfortranarray(p),
        lambda p: torch.tensor(p),
        lambda p: (torch.tensor(p) / 255).requires_grad_(),
        lambda p: torch.tensor(p.transpose(2, 0, 1)).permute(1, 2, 0),
    ],
)
def test_every_kind_gives_the_same_picture(pixels: Any, make: Any) -> None:
    loaded = load_image(make(pixels))
    assert (loaded.mode, loaded.size) == ("RGB", (40, 300))
    assert np.array_equal(np.asarray(loaded), pixels)


def test_a_float_is_rounded_to_the_nearest_level() -> None:
    values = np.linspace(0, 1, 32 * 32 * 3).reshape(32, 32, 3)
    loaded = np.asarray(load_image(values), np.float64)
    assert np.abs(loaded - 255 * values).max() <= 0.5 + 1e-4
    assert (loaded.min(), loaded.max()) == (0, 255)


def test_the_picture_is_a_copy(pixels: Any) -> None:
    given = pixels.copy()
    loaded = load_image(given)
    given[:] = 0
    assert np.array_equal(np.asarray(loaded), pixels)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (np.zeros((64, 64), np.uint8), "repeat the gray"),
        (np.zeros((64, 64, 4), np.uint8), "fourth channel"),
        (np.zeros((3, 64, 64), np.uint8), "permute"),
        (torch.zeros(3, 64, 64), "permute"),
        (torch.zeros(1, 3, 64, 64), r"pictures\[0\]"),
        (np.zeros((64, 64, 3), np.int64), "int64"),
        (np.full((64, 64, 3), 200.0), "the value 200"),
        (np.full((64, 64, 3), -1.0), "the value -1"),
        (np.full((64, 64, 3), np.nan), "not finite"),
        (np.full((64, 64, 3), np.inf), "not finite"),
        (np.zeros((20, 64, 3), np.uint8), "64×20"),
        (np.zeros((0, 64, 3), np.uint8), "64×0"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(wrong: Any, told: str) -> None:
    with pytest.raises(ImageError, match=told) as caught:
        load_image(wrong)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_a_large_array_is_refused_before_it_is_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    large = np.broadcast_to(np.float32(0), (10_000, 10_000, 3))  # no memory
    monkeypatch.setattr(images, "from_array", None)
    with pytest.raises(ImageError, match="50 million pixels"):
        load_image(large)


@pytest.mark.slow
def test_a_photo_animates_as_an_array_as_from_a_file(animator: Animator, astronaut: Image.Image) -> None:
    array = np.asarray(astronaut)
    expected = animator.animate(astronaut, frames=2).numpy()
    for given in (array, array / 255, torch.tensor(array)):
        assert np.array_equal(animator.animate(given, frames=2).numpy(), expected)
    assert np.array_equal(align(array).quad, align(astronaut).quad)


@pytest.mark.parametrize("shape", [(1, 9, 16), (8, 16), (3, 8, 16), (2, 8, 16)])
def test_a_tensor_that_is_neither_picture_nor_latent_is_refused(
    animator: Animator, shape: tuple[int, ...]
) -> None:
    with pytest.raises(OptionError, match=r"\[1, 8, 16\] in this model, and a picture \[H, W, 3\]"):
        animator.animate(torch.zeros(shape))
