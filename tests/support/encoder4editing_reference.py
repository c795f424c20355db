"""Independent encoders and ReStyle in float64, random models, and the published names of their tensors."""

import dataclasses
import math
from typing import Any, TypeVar

import numpy as np
import stylegan2_reference
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoder4editing import EncoderConfig, Inverter, ReStyle
from stylegan2 import Generator, GeneratorConfig

TINY = EncoderConfig(
    input_size=64,
    num_styles=9,
    style_dim=24,
    widths=(16, 32, 48, 64),
    depths=(1, 2, 3, 1),
    fpn_width=64,
    head_width=20,
)
RESOLUTION = 64  # of the generator that a tiny ReStyle draws with: ten styles, twice its input
TINY_RESTYLE = dataclasses.replace(TINY, input_size=32, num_styles=10, input_channels=6)

Model = TypeVar("Model", bound=nn.Module)

# The public classes, and how they differ.
TYPES: dict[str, dict[str, Any]] = {
    "Encoder4Editing": {"pyramid": True, "deltas": True},
    "GradualStyleEncoder": {"pyramid": True, "deltas": False},
    "ProgressiveBackboneEncoder": {"pyramid": False, "deltas": True},
    "BackboneEncoder": {"pyramid": False, "deltas": False},
}


def make_inverter(config: EncoderConfig, seed: int = 0) -> Inverter:
    """An inverter in eval mode with every tensor random, also those that are trivial in a fresh model."""
    return randomised(Inverter(config), seed)


def make_generator(config: EncoderConfig, resolution: int = RESOLUTION) -> Generator:
    """A generator for an encoder's latents, with random noise strengths and biases too."""
    rng = torch.Generator().manual_seed(5)
    widths = {4 << i: 12 for i in range(resolution.bit_length() - 2)}
    shape = GeneratorConfig(resolution, config.style_dim, z_dim=8, mapping_layers=2, channels=widths)
    generator = Generator(shape, rng)
    with torch.no_grad():
        for name, tensor in generator.state_dict().items():
            if name.endswith(("bias", "noise_strength", "latent_avg")):
                tensor += 0.3 * torch.randn(tensor.shape, generator=rng)
    return generator.eval()


def make_restyle(
    config: EncoderConfig = TINY_RESTYLE, resolution: int = RESOLUTION, iterations: int = 5
) -> ReStyle:
    """As `make_inverter`, with a generator; the heads' outputs are small, lest iterations diverge."""
    inverter = randomised(ReStyle(config, make_generator(config, resolution), iterations), seed=0)
    with torch.no_grad():
        for name, tensor in inverter.state_dict().items():
            if "linear" in name:
                tensor *= 0.3
    return inverter


def randomised(model: Model, seed: int) -> Model:
    """The model in eval mode, with every tensor random."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.eval().state_dict().items():
        if name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif tensor.is_floating_point():
            fan_in = tensor[0].numel() if tensor.ndim == 4 else 1
            tensor.copy_(torch.randn(tensor.shape, generator=generator) / math.sqrt(fan_in))
    return model


def make_images(size: int, count: int = 2, seed: int = 1) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def published(name: str) -> str:
    """The public e4e code's name of one of our tensors (except that it has no `latlayer0`)."""
    for ours, theirs in (
        ("encoder.backbone.", "encoder."),
        ("stem.conv", "input_layer.0"),
        ("stem.norm", "input_layer.1"),
        ("stem.act", "input_layer.2"),
        ("units", "body"),
        ("shortcut.conv", "shortcut_layer.0"),
        ("shortcut.norm", "shortcut_layer.1"),
        ("norm1", "res_layer.0"),
        ("conv1", "res_layer.1"),
        (".act", ".res_layer.2"),
        ("conv2", "res_layer.3"),
        ("norm2", "res_layer.4"),
        ("gate.squeeze", "res_layer.5.fc1"),
        ("gate.excite", "res_layer.5.fc2"),
        ("heads", "styles"),
        ("lateral_coarse", "latlayer0"),
        ("lateral_middle", "latlayer1"),
        ("lateral_fine", "latlayer2"),
    ):
        name = name.replace(ours, theirs)
    head, convs, rest = name.partition(".convs.")
    if convs:
        index, _, kind = rest.partition(".")
        name = f"{head}.convs.{2 * int(index)}.{kind}"
    return name


def published_state(inverter: Inverter) -> dict[str, Tensor]:
    return {published(name): tensor for name, tensor in inverter.state_dict().items() if name != "latent_avg"}


def published_decoder(generator: Generator) -> dict[str, Tensor]:
    """A generator's tensors under rosinality's names, as the public code saves them with the encoder's."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    state = {"to_rgbs.0.upsample.kernel": torch.outer(taps, taps)}
    for name, tensor in generator.state_dict().items():
        parts = name.split(".")
        if parts[0] == "mapping":
            state[f"style.{int(parts[2]) + 1}.{parts[3]}"] = tensor
        elif name.startswith("synthesis.noise_"):
            state[f"noises.{parts[1]}"] = tensor
        elif name == "synthesis.constant":
            state["input.input"] = tensor
        elif parts[0] == "synthesis":
            kind, index, entry = parts[1], int(parts[2]), ".".join(parts[3:])
            layer = (
                f"{kind}.{index - 1}" if index else kind.replace("convs", "conv").replace("rgbs", "rgb") + "1"
            )
            if entry == "weight":
                state[f"{layer}.conv.weight"] = tensor[None]
            elif entry == "bias" and kind == "to_rgbs":
                state[f"{layer}.bias"] = tensor.reshape(1, 3, 1, 1)
            else:
                theirs = {"bias": "activate.bias", "noise_strength": "noise.weight"}
                state[f"{layer}.{theirs.get(entry, 'conv.' + entry)}"] = tensor
    return {f"decoder.{name}": tensor for name, tensor in state.items()}


class Reference:
    """The encoders in float64 with plain functions, from the papers and the public checkpoints' names."""

    def __init__(self, inverter: Inverter) -> None:
        self.config = inverter.config
        self.p = {name.removeprefix("encoder."): t.double() for name, t in published_state(inverter).items()}
        self.average = inverter.latent_avg.double()

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean, var = self.p[name + ".running_mean"], self.p[name + ".running_var"]
        weight, bias = self.p[name + ".weight"], self.p[name + ".bias"]
        columns = [t.reshape(1, -1, 1, 1) for t in (mean, var, weight, bias)]
        return (x - columns[0]) / (columns[1] + 1e-5).sqrt() * columns[2] + columns[3]

    def prelu(self, x: Tensor, name: str) -> Tensor:
        return torch.where(x >= 0, x, x * self.p[name + ".weight"].reshape(1, -1, 1, 1))

    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.p[name + ".weight"]
        return F.conv2d(x, weight, self.p.get(name + ".bias"), stride, weight.shape[-1] // 2)

    def unit(self, x: Tensor, name: str, stride: int) -> Tensor:
        shortcut = x[:, :, ::stride, ::stride]
        if f"{name}.shortcut_layer.0.weight" in self.p:
            shortcut = self.norm(self.conv(shortcut, f"{name}.shortcut_layer.0"), f"{name}.shortcut_layer.1")
        y = self.conv(self.norm(x, f"{name}.res_layer.0"), f"{name}.res_layer.1")
        y = self.conv(self.prelu(y, f"{name}.res_layer.2"), f"{name}.res_layer.3", stride)
        y = self.norm(y, f"{name}.res_layer.4")
        gate = self.conv(y.mean((2, 3), keepdim=True), f"{name}.res_layer.5.fc1").clamp(min=0)
        gate = 1 / (1 + torch.exp(-self.conv(gate, f"{name}.res_layer.5.fc2")))
        return y * gate + shortcut

    def head(self, x: Tensor, index: int) -> Tensor:
        layer = 0
        while f"styles.{index}.convs.{layer}.weight" in self.p:
            x = self.conv(x, f"styles.{index}.convs.{layer}", 2)
            x = torch.where(x >= 0, x, 0.01 * x)
            layer += 2
        assert x.shape[2:] == (1, 1)
        weight = self.p[f"styles.{index}.linear.weight"]
        return x[:, :, 0, 0] @ (weight / math.sqrt(weight.shape[1])).T + self.p[f"styles.{index}.linear.bias"]

    @staticmethod
    def double_size(x: Tensor) -> Tensor:
        """Double the size by bilinear interpolation with aligned corners."""
        n = x.shape[-1]
        position = torch.arange(2 * n, dtype=x.dtype) * (n - 1) / (2 * n - 1)
        matrix = (1 - (position[:, None] - torch.arange(n)).abs()).clamp(min=0)
        return matrix @ x @ matrix.T

    def offsets(self, images: Tensor) -> Tensor:
        """The output of the encoder itself."""
        x = images.double()
        x = self.conv(x, "input_layer.0", self.config.stem_stride)
        x = self.prelu(self.norm(x, "input_layer.1"), "input_layer.2")
        stages, unit = [], 0
        for depth in self.config.depths:
            for index in range(depth):
                x = self.unit(x, f"body.{unit}", 2 if index == 0 else 1)
                unit += 1
            stages.append(x)
        coarse = self.conv(stages[3], "latlayer0") if "latlayer0.weight" in self.p else stages[3]
        levels = [coarse] * 64
        if self.config.pyramid:
            middle = self.double_size(coarse) + self.conv(stages[2], "latlayer1")
            fine = self.double_size(middle) + self.conv(stages[1], "latlayer2")
            levels[3:] = [middle] * 4 + [fine] * 64
        answers = [self.head(levels[i], i) for i in range(self.config.num_styles)]
        if self.config.deltas:
            answers = [answers[0]] + [answers[0] + delta for delta in answers[1:]]
        return torch.stack(answers, dim=1)

    def __call__(self, images: Tensor) -> Tensor:
        """The latents after one pass."""
        return self.offsets(images) + self.average

    def refine(self, images: Tensor, generator: Generator, iterations: int = 5) -> list[Tensor]:
        """ReStyle: the latents after each iteration, one picture and one pass at a time."""
        network = stylegan2_reference.from_ours(generator.state_dict())

        def draw(codes: Tensor) -> Tensor:
            picture = stylegan2_reference.synthesize(network, np.asarray(codes), generator.resolution)
            return resize(torch.from_numpy(picture), self.config.input_size)

        steps: list[list[Tensor]] = [[] for _ in range(iterations)]
        for image in images.double():
            codes = self.average
            for step in steps:
                codes = codes + self.offsets(torch.cat([image, draw(codes)])[None])[0]
                step.append(codes)
        return [torch.stack(step) for step in steps]


def resize(picture: Tensor, size: int) -> Tensor:
    """Resize [3, S, S] to [3, size, size], by block means or repeated pixels; one side divides the other."""
    if picture.shape[1] < size:
        times = size // picture.shape[1]
        return picture.repeat_interleave(times, 1).repeat_interleave(times, 2)
    blocks = (-1, picture.shape[1] // size)
    return picture.unflatten(2, blocks).unflatten(1, blocks).mean((2, 4))


def relative_error(value: Tensor, expected: Tensor) -> float:
    return ((value.double() - expected).abs().max() / expected.abs().max()).item()
