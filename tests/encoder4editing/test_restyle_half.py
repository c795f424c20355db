"""ReStyle and its generator may have different dtypes, and no stale picture is cached."""

import torch
from encoder4editing_reference import TINY_RESTYLE, make_images, make_restyle


@torch.no_grad()
def test_the_average_picture_is_rendered_again_in_half_precision() -> None:
    """The first pass must compare with the generator's current picture, as all later ones do."""
    inverter = make_restyle(TINY_RESTYLE)
    before = inverter.average_image().clone()
    inverter.generator.use_half(torch.bfloat16)
    inverter.use_half()
    again = inverter.average_image()
    assert torch.equal(again, inverter._draw(inverter.latent_avg[None]))
    assert not torch.equal(again, before)
    assert inverter.invert(make_images(TINY_RESTYLE.input_size)).isfinite().all()


@torch.no_grad()
def test_a_generator_of_more_precision_does_not_change_the_inverters() -> None:
    inverter = make_restyle(TINY_RESTYLE)
    images = make_images(TINY_RESTYLE.input_size)
    single = inverter.invert(images)
    inverter.generator.double()
    inverter.forget_average_image()
    found = inverter.invert(images)
    assert found.dtype == torch.float32
    assert torch.allclose(found, single, atol=1e-4 * float(single.abs().max()))
