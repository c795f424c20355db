"""What ReStyle keeps of its generator is not kept across a change of the number format."""

import torch
from encoder4editing_reference import TINY_RESTYLE, make_images, make_restyle


@torch.no_grad()
def test_the_average_picture_is_drawn_again_in_half_precision() -> None:
    """The first pass must compare with what the generator draws now, as all later ones do."""
    inverter = make_restyle(TINY_RESTYLE)
    before = inverter.average_image().clone()
    inverter.generator.use_half(torch.bfloat16)
    inverter.use_half()
    again = inverter.average_image()
    assert torch.equal(again, inverter._draw(inverter.latent_avg[None]))
    assert not torch.equal(again, before)
    assert inverter.invert(make_images(TINY_RESTYLE.input_size)).isfinite().all()
