"""The IR-SE residual network of ArcFace, the trunk of e4e and of the identity network.

Deng et al. 2019, "ArcFace" (arXiv 1801.07698) introduced the "improved residual" unit; the
squeeze-and-excitation gate is from Hu et al. 2018 (arXiv 1709.01507). The layer order follows the public
IR-SE50 (TreB1eN/InsightFace_Pytorch, also in omertov/encoder4editing), so that its weights fit.
"""

import math
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

# The public names of the layers outside residual units, and within one → ours.
PUBLIC_STEM = {"input_layer.0": "stem.conv", "input_layer.1": "stem.norm", "input_layer.2": "stem.act"}
PUBLIC_UNIT = {
    "shortcut_layer.0": "shortcut.conv",
    "shortcut_layer.1": "shortcut.norm",
    "res_layer.0": "norm1",
    "res_layer.1": "conv1",
    "res_layer.2": "act",
    "res_layer.3": "conv2",
    "res_layer.4": "norm2",
    "res_layer.5.fc1": "gate.squeeze",
    "res_layer.5.fc2": "gate.excite",
}


def backbone_layer(public: str) -> str | None:
    """The name in a `Backbone` of a layer of the public IR-SE50; None if that is no layer of the trunk."""
    unit = re.fullmatch(r"body\.(\d{1,4})\.(.+)", public)
    if unit and unit[2] in PUBLIC_UNIT:
        return f"units.{unit[1]}.{PUBLIC_UNIT[unit[2]]}"
    return PUBLIC_STEM.get(public)


def with_counters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in which all batch normalisations have an int64 batch counter, as in torch since 0.4.1.

    Only training uses the counters; those that are missing, or were cast with the other tensors, become 0.
    """
    mean, count = ".running_mean", ".num_batches_tracked"
    counters = {name.removesuffix(mean) + count for name in state if name.endswith(mean)}
    whole = {name for name in counters & state.keys() if state[name].dtype == torch.int64}
    return state | dict.fromkeys(counters - whole, torch.tensor(0))


class Conv2d(nn.Conv2d):
    """A convolution that computes in float16 if its weights are float16, and returns its input's dtype.

    The input may have any magnitude: each sample is scaled to [-1, 1] and its output back, so that no value
    leaves float16's range (65504).
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.dtype != torch.float16:
            return super().forward(x)
        size = torch.linalg.vector_norm(x, math.inf, (1, 2, 3), keepdim=True)
        size = size.clamp(min=torch.finfo(x.dtype).tiny)
        y = self._conv_forward((x / size).half(), self.weight, None)
        return y * size if self.bias is None else torch.addcmul(self.bias[:, None, None], y, size)


def halve_convolutions(module: nn.Module) -> None:
    """Turns the weights of every `Conv2d` in a module into float16, in place; works on the meta device too.

    All other layers are unchanged: sums over many layers and averages over pixels need the precision.
    """
    for layer in module.modules():
        if isinstance(layer, Conv2d):
            layer.weight = nn.Parameter(layer.weight.detach().half(), layer.weight.requires_grad)


class SqueezeExcite(nn.Module):
    """Scales each channel of [B, C, H, W] by a gate in (0, 1) that depends on all channels' means."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.squeeze = nn.Conv2d(channels, hidden, 1, bias=False)
        self.excite = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.excite(torch.relu(self.squeeze(means))))


class Subsample(nn.Module):
    """Every stride-th pixel: the shortcut of a unit that keeps its width."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride]


class ResidualUnit(nn.Module):
    """One improved-residual unit with its gate: [B, in, H, W] to [B, out, ⌈H/stride⌉, ⌈W/stride⌉]."""

    def __init__(self, in_width: int, out_width: int, stride: int, se_reduction: int = 16) -> None:
        super().__init__()
        self.shortcut: nn.Module
        if in_width == out_width:
            self.shortcut = Subsample(stride)
        else:
            projection = Conv2d(in_width, out_width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(OrderedDict(conv=projection, norm=nn.BatchNorm2d(out_width)))
        self.norm1 = nn.BatchNorm2d(in_width)
        self.conv1 = Conv2d(in_width, out_width, 3, 1, 1, bias=False)
        self.act = nn.PReLU(out_width)
        self.conv2 = Conv2d(out_width, out_width, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_width)
        self.gate = SqueezeExcite(out_width, se_reduction)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.conv2(self.act(self.conv1(self.norm1(x))))
        return self.gate(self.norm2(residual)) + self.shortcut(x)


class Backbone(nn.Module):
    """IR-SE network of any depth and width.

    Args:
        widths: channels of each stage; the stem has the first stage's.
        depths: residual units of each stage, (3, 4, 14, 3) for IR-SE50; the first halves the picture.
        se_reduction: channels per hidden channel in the squeeze-and-excitation gates.
        stem_stride: stride of the first convolution, 1 in IR-SE50; 2 makes a small network cheaper.
        input_channels: of the picture, 3 in IR-SE50.
    """

    def __init__(
        self,
        widths: Sequence[int],
        depths: Sequence[int],
        se_reduction: int = 16,
        stem_stride: int = 1,
        input_channels: int = 3,
    ) -> None:
        super().__init__()
        stem_conv = Conv2d(input_channels, widths[0], 3, stem_stride, 1, bias=False)
        self.stem = nn.Sequential(
            OrderedDict(conv=stem_conv, norm=nn.BatchNorm2d(widths[0]), act=nn.PReLU(widths[0]))
        )
        self.units = nn.ModuleList()
        in_width = widths[0]
        for width, depth in zip(widths, depths, strict=True):
            for index in range(depth):
                self.units.append(ResidualUnit(in_width, width, 2 if index == 0 else 1, se_reduction))
                in_width = width
        self.depths = tuple(depths)

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, input_channels, H, W] to the output of every stage.

        Stage s (from 0) is [B, widths[s], H/2ˢ⁺¹, W/2ˢ⁺¹], half of that again with a stem stride of 2.
        """
        x = self.stem(x)
        outputs = []
        units = iter(self.units)
        for depth in self.depths:
            for _ in range(depth):
                x = next(units)(x)
            outputs.append(x)
        return outputs


def check_sizes(sizes: Mapping[str, tuple[object, int]]) -> None:
    """Raise ValueError that names the first size (value, limit) that is not an int from 1 to its limit."""
    for name, (value, limit) in sizes.items():
        if type(value) is not int or not 1 <= value <= limit:
            raise ValueError(f"{name} must be a whole number from 1 to {limit}, not {value!r}")


def check_stages(widths: Sequence[int], depths: Sequence[int]) -> None:
    """Raise ValueError unless a backbone's widths are 1 to 8192, and its depths 1 to 128."""
    for width in widths:
        check_sizes({"widths": (width, 8192)})
    for depth in depths:
        check_sizes({"depths": (depth, 128)})
