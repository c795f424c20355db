"""Photo to W+ in several passes: the encoder sees the generator's picture of its latent, and corrects it.

Alaluf et al. 2021, "ReStyle" (arXiv 2104.02699); the arithmetic is that of the public code's inference.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from encoder4editing.encoder import EncoderConfig
from encoder4editing.inverter import Inverter, fit_area
from stylegan2 import Generator

MAX_ITERATIONS = 10


class ReStyle(Inverter):
    """Finds the latent of a face picture by iterative refinement.

    The generator is not a submodule: its tensors are neither parameters nor in the state dict of the
    inverter, so they are not saved, counted or trained with it. But the two must be on one device: `.to(…)`
    and the like move or cast the generator along with the inverter, in place. (`invert` raises if only the
    generator was moved.)

    Args:
        config: the encoder's architecture, of 6 input channels: the picture, then the generator's attempt.
        generator: draws the attempts, with its fixed noise; its W+ must have the encoder's shape.
        iterations: encoder passes, 1 to 10; the public models were trained for 5.
        rng: the random generator for the weights, on the CPU; torch's global generator by default.

    Attributes:
        generator: as given; not a submodule.
        encoder: images [B, 6, input_size, input_size] to corrections [B, num_styles, style_dim].
        latent_avg: buffer [num_styles, style_dim], the latent that refinement starts from.

    Raises:
        ValueError: encoder and generator do not fit together, or there are too few or too many iterations.
    """

    INPUT_CHANNELS = 6
    generator: Generator

    def __init__(
        self,
        config: EncoderConfig,
        generator: Generator,
        iterations: int = 5,
        rng: torch.Generator | None = None,
    ) -> None:
        super().__init__(config, rng)
        gives, takes = (config.num_styles, config.style_dim), (generator.num_styles, generator.style_dim)
        if gives != takes:
            raise ValueError(
                f"its encoder gives {gives[0]} styles of {gives[1]}, "
                f"but the generator takes {takes[0]} of {takes[1]}"
            )
        object.__setattr__(self, "generator", generator)  # past nn.Module, which would register it
        self.iterations = iterations
        self._average_image: Tensor | None = None
        self.register_load_state_dict_post_hook(lambda inverter, _: inverter.forget_average_image())

    @property
    def iterations(self) -> int:
        """Encoder passes per picture, 1 to 10; ValueError on setting anything else."""
        return self._iterations

    @iterations.setter
    def iterations(self, value: int) -> None:
        if type(value) is not int or not 1 <= value <= MAX_ITERATIONS:
            raise ValueError(f"iterations must be a whole number from 1 to {MAX_ITERATIONS}, not {value!r}")
        self._iterations = value

    def invert(self, images: Tensor) -> Tensor:
        """Latents of pictures after all iterations; see `Inverter.invert`, and `refine` for the steps.

        Raises:
            ValueError: the images have another shape or dtype, or the generator is on another device.
        """
        *_, latents = self.refine(images)
        return latents

    def refine(self, images: Tensor) -> Iterator[Tensor]:
        """The latents [B, num_styles, style_dim] after each iteration; takes and raises the same as `invert`.

        The first pass compares the picture with the average image, each later pass with the generator's last
        picture; every correction is added to the latent so far.
        """
        images = self._prepared(images)
        if self.generator.latent_avg.device != self.latent_avg.device:
            raise ValueError(
                f"the inverter is on {self.latent_avg.device}, its generator on "
                f"{self.generator.latent_avg.device}: move the inverter, which takes the generator along"
            )
        latents = self.latent_avg.expand(len(images), -1, -1)
        attempt = self.average_image().expand(len(images), -1, -1, -1)
        for iteration in range(self.iterations):
            if iteration > 0:
                attempt = self._draw(latents)
            latents = latents + self.encoder(torch.cat([images, attempt], dim=1))
            yield latents

    def average_image(self) -> Tensor:
        """The generator's picture of `latent_avg`, [1, 3, input_size, input_size], cached at the first call.

        It is drawn again after `.to(…)`, `use_half` or `load_state_dict`; call `forget_average_image` after
        changing `latent_avg` or the generator's weights in any other way.
        """
        if self._average_image is None:
            with torch.no_grad():
                self._average_image = self._draw(self.latent_avg[None])
        return self._average_image

    def forget_average_image(self) -> None:
        """Drops the cached average image; the next inversion draws it again."""
        self._average_image = None

    def use_half(self) -> "ReStyle":
        """As `Inverter.use_half`; the generator, which may be shared, has its own `use_half`."""
        self.forget_average_image()
        return super().use_half()

    def _draw(self, latents: Tensor) -> Tensor:
        """The generator's pictures of latents at the encoder's size, in the latents' dtype."""
        return fit_area(self.generator.synthesize(latents).to(latents.dtype), self.input_size)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ReStyle":
        # .to(), .cuda(), .double() … call this: the generator is moved or cast too.
        self.forget_average_image()
        self.generator._apply(fn, recurse)
        return super()._apply(fn, recurse)
