"""ReStyle's iterations against an independent float64 reference; and its generator's handling."""

import copy
import dataclasses
from itertools import pairwise
from typing import Any

import pytest
import torch
from encoder4editing_reference import (
    TINY,
    TINY_RESTYLE,
    TYPES,
    Reference,
    make_generator,
    make_images,
    make_restyle,
    relative_error,
)
from torch import Tensor

from encoder4editing import ReStyle
from stylegan2 import Generator

SIZE = TINY_RESTYLE.input_size
SMALL_GENERATOR = dataclasses.replace(TINY_RESTYLE, input_size=64, num_styles=8, pyramid=False)


class Draws:
    """Counts how often a generator renders."""

    def __init__(self, generator: Generator) -> None:
        self.count, self.draw = 0, generator.synthesize
        generator.synthesize = self  # type: ignore[method-assign]  # it counts

    def __call__(self, *args: Any, **options: Any) -> Tensor:
        self.count += 1
        return self.draw(*args, **options)


def invert(inverter: ReStyle, images: Tensor) -> Tensor:
    with torch.no_grad():
        return inverter.invert(images)


# --- arithmetic --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", TYPES)
def test_every_iteration_agrees_with_reference(name: str) -> None:
    inverter = make_restyle(dataclasses.replace(TINY_RESTYLE, **TYPES[name]))
    images = make_images(SIZE)
    expected = Reference(inverter).refine(images, inverter.generator)
    with torch.no_grad():
        single = list(inverter.refine(images))
        double = list(copy.deepcopy(inverter).double().refine(images.double()))
    assert len(single) == len(double) == 5
    for ours, precise, theirs in zip(single, double, expected, strict=True):
        assert relative_error(precise, theirs) < 1e-11
        assert relative_error(ours, theirs) < 1e-5
        assert ours.dtype == torch.float32
    assert torch.equal(invert(inverter, images), single[-1])
    moves = [(after - before).abs().max() for before, after in pairwise(expected)]
    assert min(moves) > 0.1  # otherwise later iterations would hardly be tested


@pytest.mark.slow
def test_a_generator_smaller_than_the_input_agrees_with_reference() -> None:
    inverter = make_restyle(SMALL_GENERATOR, resolution=32).double()
    images = make_images(64).double()
    expected = Reference(inverter).refine(images, inverter.generator)
    assert relative_error(invert(inverter, images), expected[-1]) < 1e-11


def test_larger_pictures_are_averaged_by_area() -> None:
    inverter, images = make_restyle(), make_images(2 * SIZE)
    blocks = images.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5))
    torch.testing.assert_close(invert(inverter, images), invert(inverter, blocks), rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_more_iterations_continue_from_fewer(iterations: int) -> None:
    images = make_images(SIZE)
    few, many = make_restyle(iterations=iterations), make_restyle(iterations=10)
    with torch.no_grad():
        steps = list(many.refine(images))
    assert len(steps) == 10
    assert torch.equal(invert(few, images), steps[iterations - 1])
    many.iterations = iterations
    assert torch.equal(invert(many, images), steps[iterations - 1])


@pytest.mark.parametrize("iterations", [0, 11, -1, 2.0, True, "5", None])
def test_invalid_numbers_of_iterations_are_refused(iterations: object) -> None:
    inverter = make_restyle()
    with pytest.raises(ValueError, match="iterations must be a whole number from 1 to 10"):
        inverter.iterations = iterations  # type: ignore[assignment]  # wrong on purpose
    with pytest.raises(ValueError, match="iterations must be a whole number from 1 to 10"):
        make_restyle(iterations=iterations)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.slow
def test_every_picture_of_a_batch_is_inverted_by_itself() -> None:
    inverter, images = make_restyle().double(), make_images(SIZE, count=3).double()
    alone = torch.cat([invert(inverter, image[None]) for image in images])
    torch.testing.assert_close(invert(inverter, images), alone)


def test_images_of_another_kind_are_refused() -> None:
    for images in (torch.zeros(1, 6, SIZE, SIZE), torch.zeros(1, 3, SIZE // 2, SIZE // 2)):
        with pytest.raises(ValueError, match="images must be"):
            make_restyle().invert(images)


# --- the generator -----------------------------------------------------------------------------------------


def test_the_generator_is_not_part_of_the_inverter() -> None:
    inverter = make_restyle()
    assert not [name for name in inverter.state_dict() if not name.startswith(("encoder.", "latent_avg"))]
    theirs = {id(parameter) for parameter in inverter.generator.parameters()}
    assert not theirs & {id(parameter) for parameter in inverter.parameters()}
    assert inverter.generator not in list(inverter.modules())


def test_moving_the_inverter_moves_the_generator() -> None:
    """To the meta device, the only other one on every machine."""
    inverter = make_restyle()
    generator = inverter.generator
    inverter.to("meta")
    assert inverter.generator is generator
    for tensor in (*generator.state_dict().values(), *inverter.state_dict().values()):
        assert tensor.device.type == "meta"


def test_the_average_picture_moves_with_the_inverter() -> None:
    used, images = make_restyle(), make_images(SIZE)
    invert(used, images)
    assert torch.equal(
        invert(used.double(), images.double()), invert(make_restyle().double(), images.double())
    )


def test_a_generator_that_was_moved_alone_is_noticed() -> None:
    inverter = make_restyle()
    inverter.generator.to("meta")
    with pytest.raises(ValueError, match=r"is on cpu, its generator on meta: move the inverter"):
        inverter.invert(make_images(SIZE))


@pytest.mark.parametrize("fields", [{"num_styles": 12}, {"style_dim": 16}], ids=str)
def test_a_generator_for_other_latents_is_refused(fields: dict[str, Any]) -> None:
    config = dataclasses.replace(TINY_RESTYLE, **fields)
    sizes = f"{config.num_styles} styles of {config.style_dim}.* takes 10 of 24"
    with pytest.raises(ValueError, match=sizes):
        ReStyle(config, make_generator(TINY_RESTYLE))


def test_three_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="6 input channels, not of 3"):
        ReStyle(TINY, make_generator(TINY_RESTYLE))


def test_the_average_picture_is_rendered_once_and_the_last_latent_never() -> None:
    inverter = make_restyle()
    draws = Draws(inverter.generator)
    invert(inverter, make_images(SIZE))
    assert draws.count == 5
    invert(inverter, make_images(SIZE))
    assert draws.count == 9


@pytest.mark.slow
def test_the_average_picture_follows_the_average() -> None:
    inverter, images = make_restyle(), make_images(SIZE)
    before = invert(inverter, images)
    state = {name: tensor.clone() for name, tensor in inverter.state_dict().items()}
    state["latent_avg"] += 0.5
    inverter.load_state_dict(state)
    fresh = make_restyle()
    fresh.latent_avg += 0.5
    assert torch.equal(invert(inverter, images), invert(fresh, images))
    inverter.latent_avg -= 0.5
    inverter.forget_average_image()
    # The average is rounded on its way there and back, and each pass takes the difference further
    torch.testing.assert_close(invert(inverter, images), before, rtol=1e-5, atol=1e-4)


@pytest.mark.slow
def test_it_can_be_trained_after_it_was_used() -> None:
    inverter = make_restyle(iterations=2)
    with torch.inference_mode():
        inverter.invert(make_images(SIZE))
    inverter.train()
    inverter(make_images(SIZE)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in inverter.parameters())


# --- half precision ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", TYPES)
def test_half_precision_changes_latents_little(name: str) -> None:
    inverter = make_restyle(dataclasses.replace(TINY_RESTYLE, **TYPES[name]))
    images = make_images(SIZE)
    expected = Reference(inverter).refine(images, inverter.generator)[-1]
    full = invert(inverter, images)
    assert inverter.use_half() is inverter
    for given in (images, images.half()):
        codes = invert(inverter, given)
        assert codes.dtype == torch.float32
        assert relative_error(codes, expected) < 5e-3
    assert not torch.equal(codes, full)


def test_half_precision_does_not_change_the_generator() -> None:
    inverter = make_restyle().use_half()
    assert all(parameter.dtype == torch.float32 for parameter in inverter.generator.parameters())
    assert inverter.encoder.backbone.get_parameter("stem.conv.weight").dtype == torch.float16
