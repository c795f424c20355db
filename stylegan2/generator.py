"""The generator: mapping and synthesis under one configuration, with the average latent for truncation."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from stylegan2 import fast_cpu, fast_gpu
from stylegan2.mapping import Mapping
from stylegan2.synthesis import Noise, StyledConv, Synthesis

MAX_RESOLUTION = 4096
MAX_WIDTH = 8192
MAX_MAPPING_LAYERS = 64
MAX_CLAMP = 1e6


@dataclass(frozen=True)
class GeneratorConfig:
    """The architecture of a generator. Raises ValueError, in one sentence, for an impossible value.

    `resolution` is the side of the square image in pixels, a power of two from 8 to 4096. `channels` gives
    the width at each resolution from 4 to that; without it, the widths are those of configuration F of
    Karras et al. 2020 (arXiv 1912.04958): 512 up to 64², then halved with each doubling. `conv_clamp` limits
    the output of every styled convolution and every RGB layer to ±conv_clamp, as NVIDIA's mixed-precision
    training does (Karras et al. 2020, arXiv 2006.06676, appendix D); None for no limit.
    """

    resolution: int
    style_dim: int = 512
    z_dim: int = 512
    mapping_layers: int = 8
    mapping_lr_multiplier: float = 0.01
    channels: dict[int, int] = field(default_factory=dict)
    conv_clamp: float | None = None

    def __post_init__(self) -> None:
        _whole("resolution", self.resolution, 8, MAX_RESOLUTION)
        if self.resolution & (self.resolution - 1):
            raise ValueError(f"resolution must be a power of two, not {self.resolution}")
        _whole("style_dim", self.style_dim, 1, MAX_WIDTH)
        _whole("z_dim", self.z_dim, 1, MAX_WIDTH)
        _whole("mapping_layers", self.mapping_layers, 1, MAX_MAPPING_LAYERS)
        if not _is_number(self.mapping_lr_multiplier, 100):
            raise ValueError(
                f"mapping_lr_multiplier must be above 0, at most 100, not {self.mapping_lr_multiplier!r}"
            )
        if not self.channels:
            object.__setattr__(self, "channels", {r: min(512, 32768 // r) for r in self.resolutions})
        if sorted(self.channels) != self.resolutions:
            raise ValueError(
                f"channels must give a width for each of {self.resolutions}, not {self.channels}"
            )
        for resolution, width in self.channels.items():
            _whole(f"the width at {resolution}", width, 1, MAX_WIDTH)
        if self.conv_clamp is not None and not _is_number(self.conv_clamp, MAX_CLAMP):
            raise ValueError(f"conv_clamp must be above 0, at most {MAX_CLAMP:g}, not {self.conv_clamp!r}")

    @property
    def resolutions(self) -> list[int]:
        """4, 8, … up to `resolution`."""
        return [4 << i for i in range(self.resolution.bit_length() - 2)]

    @property
    def num_styles(self) -> int:
        """The number of style vectors in W+: two per resolution."""
        return 2 * len(self.resolutions)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as a JSON-serialisable dictionary; `from_dict` is the inverse."""
        return asdict(self) | {"channels": {str(r): width for r, width in self.channels.items()}}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "GeneratorConfig":
        """The configuration from `to_dict`. Raises ValueError for unknown, missing or impossible values."""
        try:
            channels = {int(r): width for r, width in values["channels"].items()}
            return cls(**values | {"channels": channels})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"the generator's configuration has unknown or missing entries ({error})"
            ) from error


def _whole(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, not {value!r}")


def _is_number(value: object, high: float) -> bool:
    """Whether a value is a number above 0 and at most `high`; a NaN or a bool is not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= high


class Generator(nn.Module):
    """StyleGAN2's generator (Karras et al. 2020, arXiv 1912.04958), parametrised for training.

    Parameters and fixed noise are drawn from `rng` (a CPU generator), or from torch's global one. Noise
    strengths and all biases but those of the modulations (1) start at 0. `latent_avg` [style_dim] is the
    average w, zero until set. `tuned` says that the weights were fitted to one picture, and so show whoever
    is in it; files keep it.
    """

    def __init__(self, config: GeneratorConfig, rng: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.tuned = False
        self.mapping = Mapping(
            config.z_dim, config.style_dim, config.mapping_layers, config.mapping_lr_multiplier, rng
        )
        widths = [config.channels[r] for r in config.resolutions]
        self.synthesis = Synthesis(widths, config.style_dim, rng, conv_clamp=config.conv_clamp)
        self.latent_avg: Tensor
        self.register_buffer("latent_avg", torch.zeros(config.style_dim))

    @property
    def resolution(self) -> int:
        """The side of the full image in pixels."""
        return self.config.resolution

    @property
    def num_styles(self) -> int:
        """The number of style vectors in W+."""
        return self.config.num_styles

    @property
    def style_dim(self) -> int:
        """The length of w and of each style vector."""
        return self.config.style_dim

    @property
    def has_noise(self) -> bool:
        """Whether noise changes the picture: some layer has a noise strength that is not 0."""
        convs = cast("Sequence[StyledConv]", self.synthesis.convs)
        return any(bool(conv.noise_strength.any()) for conv in convs)

    def use_half(self, dtype: torch.dtype = torch.float16) -> "Generator":
        """Turn the constant and the convolution weights of synthesis into float16, in place; returns self.

        Synthesis then runs in float16 where that is safe (see `Synthesis`); the mapping, the modulations,
        biases, noises and latent_avg stay float32, and so do w and the images. Also works on the meta
        device. `float()` converts back, without the bits that were rounded away.

        float16 is for GPUs. `dtype=torch.bfloat16` is for CPUs that compute in it (AVX-512 BF16, AMX): there
        it takes half of float32's time, and its pictures are about 50 dB from those of float32.
        """
        self.synthesis.use_half(dtype)
        return self

    def truncate(self, w: Tensor, psi: float) -> Tensor:
        """Pull w or W+ [..., style_dim] towards the average: latent_avg + psi·(w − latent_avg)."""
        return self.latent_avg + psi * (w - self.latent_avg)

    def draw_noise(self, rng: torch.Generator, batch: int = 1) -> list[Tensor]:
        """Noise for `synthesize`, drawn once for a whole video: [batch, 1, R, R] per convolution.

        It is returned on the model's device; a CPU `rng` draws the same for all devices.
        """
        return list(self.synthesis.draw_noises(rng, batch))

    def synthesize(
        self, w_plus: Tensor, *, noise: Noise = "fixed", resolution: int | None = None, fast: bool = True
    ) -> Tensor:
        """Draw W+ [B, num_styles, style_dim] as float images [B, 3, R, R], nominally in [-1, 1], not clamped.

        `noise` is "fixed" (the noise stored with the model: the same picture each time), a torch.Generator
        (fresh noise for each image, drawn on the generator's device), the result of `draw_noise`, or None (no
        noise); all give the same image if the model has no noise (`has_noise`). A `resolution` R below the
        model's stops there and returns the RGB sum so far. Works under autocast and after `use_half`; the RGB
        sum stays float32. Without gradients a fast implementation is used, on a CPU (`stylegan2.fast_cpu`) or
        in float16 on a GPU (`stylegan2.fast_gpu`); `fast=False` always uses the plain reference. Raises
        ValueError for a W+, noise or resolution that does not fit.
        """
        if w_plus.ndim != 3 or tuple(w_plus.shape[1:]) != (self.num_styles, self.style_dim):
            raise ValueError(
                f"W+ must have the shape [B, {self.num_styles}, {self.style_dim}], not {list(w_plus.shape)}"
            )
        self._check_noise(noise, w_plus.shape[0])
        if resolution is None:
            resolution = self.resolution
        elif resolution not in self.config.resolutions:
            raise ValueError(f"resolution must be one of {self.config.resolutions}, not {resolution!r}")
        steps = self.config.resolutions.index(resolution) + 1
        noises = self.synthesis.noises(noise, w_plus.shape[0], 2 * steps - 1)
        if fast and fast_cpu.can_draw(self.synthesis, w_plus):
            return fast_cpu.draw(self.synthesis, w_plus, noises)
        if fast and (kernels := fast_gpu.kernels_to_draw(self.synthesis, w_plus)):
            return fast_gpu.draw(self.synthesis, w_plus, noises, kernels)
        picture: Tensor = self.synthesis(w_plus, noises)
        return picture

    def _check_noise(self, noise: Noise, batch: int) -> None:
        if noise is None or isinstance(noise, torch.Generator):
            return
        if isinstance(noise, str):
            if noise != "fixed":
                raise ValueError(f"noise must be 'fixed', None, a torch.Generator or drawn, not {noise!r}")
            return
        sizes = [self.synthesis.noise_size(i) for i in range(len(self.synthesis.convs))]
        shapes = [tuple(each.shape) for each in noise]
        if not any(shapes == [(images, 1, size, size) for size in sizes] for images in (1, batch)):
            raise ValueError(f"drawn noise must be of the sizes {sizes}, for one image or for all {batch}")
