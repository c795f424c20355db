"""Networks of the published sizes with random weights, and their convolutions alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoder4editing import EncoderConfig, Inverter, save_inverter
from stylegan2 import Generator, GeneratorConfig, save_generator
from stylegan2.checkpoints.storage import skeleton

RESOLUTIONS = {"tiny": 32, "full": 1024}
TINY_CHANNELS = {4: 16, 8: 16, 16: 8, 32: 8}
TINY_ENCODER: dict[str, Any] = {
    "input_size": 32,
    "widths": (8, 8, 8, 8),
    "depths": (1, 1, 1, 1),
    "fpn_width": 8,
    "head_width": 8,
}


Network = TypeVar("Network", bound=nn.Module)


def generator_config(size: str, resolution: int | None = None) -> GeneratorConfig:
    """The shape of a generator; `size` is "tiny" or "full"."""
    if size == "tiny":
        return GeneratorConfig(32, 16, 16, 2, channels=TINY_CHANNELS)
    return GeneratorConfig(resolution or RESOLUTIONS[size])


def generator(size: str, resolution: int | None = None) -> Generator:
    """StyleGAN2 with noise, whose pictures are mostly in [-1, 1]."""
    network = Generator(generator_config(size, resolution), torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name, parameter in network.synthesis.named_parameters():
            if name.endswith("noise_strength"):
                parameter.add_(0.3)
        for layer in network.synthesis.rgb_layers:
            layer.weight.mul_(0.1)
    return network.eval().requires_grad_(False)


def inverter(size: str) -> Inverter:
    """e4e for a generator of that size."""
    with skeleton():
        network = Inverter(encoder_config(size))
    return filled(network.to_empty(device="cpu")).eval()


def encoder_config(size: str) -> EncoderConfig:
    """The shape of that e4e."""
    styles = generator_config(size).num_styles
    if size == "tiny":
        return EncoderConfig(num_styles=styles, style_dim=16, se_reduction=4, **TINY_ENCODER)
    return EncoderConfig(num_styles=styles)


def filled(network: Network) -> Network:
    """Fill a network with a million random numbers, repeated: a billion would take half a minute."""
    block = 0.02 * torch.randn(1 << 20, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                for part in tensor.view(-1).split(len(block)):
                    part.copy_(block[: len(part)])
                if name.endswith("running_var"):
                    tensor.abs_().add_(1)
                elif "norm" in name and name.endswith("weight"):
                    tensor.add_(1)
    return network.requires_grad_(False)


def save_bundle(folder: Path, size: str) -> None:
    """A bundle of random networks, without motions, as `Animator.load` reads it."""
    from micromotion.weights.bundle import GENERATOR, INVERTER
    from micromotion.weights.bundle_record import write_about

    save_generator(generator(size), folder / GENERATOR)
    save_inverter(inverter(size), folder / INVERTER)
    write_about(folder, "random", {}, ())


def synthesis_convolutions(network: Generator, dtype: torch.dtype) -> Callable[[], None]:
    """The convolutions of one picture, on inputs and weights prepared in their best memory layout."""
    steps: list[Callable[[], Tensor]] = []
    inputs: dict[tuple[int, int], Tensor] = {}
    synthesis = network.synthesis

    def prepared(weight: Tensor) -> Tensor:
        return weight.to(dtype).contiguous(memory_format=torch.channels_last)

    def convolve(weight: Tensor, side: int, *, up: bool = False) -> None:
        channels, ready = weight.shape[1], prepared(weight.transpose(0, 1) if up else weight)
        if (channels, side) not in inputs:
            inputs[channels, side] = prepared(torch.randn(1, channels, side, side))
        x = inputs[channels, side]
        if up:
            steps.append(lambda: F.conv_transpose2d(x, ready, stride=2))
        else:
            steps.append(lambda: F.conv2d(x, ready, padding=ready.shape[-1] // 2))

    for index, layer in enumerate(synthesis.styled_convs):
        side = synthesis.noise_size(index)
        convolve(layer.weight, side // 2 if layer.up else side, up=layer.up)
        if not layer.up:
            convolve(synthesis.rgb_layers[(index + 1) // 2].weight, side)
    return lambda: _run(steps)


def encoder_convolutions(
    network: nn.Module, image: Tensor, dtype: torch.dtype = torch.float32
) -> Callable[[], None]:
    """The convolutions that a network applies to an image, also on prepared inputs and weights."""
    steps: list[Callable[[], Tensor]] = []
    inputs: dict[torch.Size, Tensor] = {}

    def note(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.Conv2d)
        shape = given[0].shape
        if shape not in inputs:
            inputs[shape] = torch.randn(shape).to(image.device, dtype, memory_format=torch.channels_last)
        x, stride, padding = inputs[shape], layer.stride, layer.padding
        weight = layer.weight.to(dtype, memory_format=torch.channels_last)
        steps.append(lambda: F.conv2d(x, weight, None, stride, padding))

    hooks = [
        layer.register_forward_pre_hook(note) for layer in network.modules() if isinstance(layer, nn.Conv2d)
    ]
    with torch.inference_mode():
        network(image)
    for hook in hooks:
        hook.remove()
    return lambda: _run(steps)


@torch.inference_mode()
def _run(steps: list[Callable[[], Tensor]]) -> None:
    for step in steps:
        step()
