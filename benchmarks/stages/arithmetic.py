"""The cost of a frame and of a face on any machine: operations and bytes, counted from the networks.

Two counts of bytes: the minimum, each layer's input, weights and output once; and those that PyTorch's
operations and our kernels move, one by one, as our code calls them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.stages import networks
from encoder4editing import Inverter
from micromotion.video.pixels import all_finite, quantise
from stylegan2 import Generator, GeneratorConfig, fast_gpu
from stylegan2.kernels import LANES, NAMES

FLOAT, HALF = 4, 2
"""Bytes of a number."""
UNMOVED = {"aten._unsafe_view", "aten.empty", "aten.empty_like", "aten.new_empty"}
"""Operations that move no data, in addition to those that PyTorch marks as views."""


@dataclass(frozen=True)
class Layer:
    """A layer of the synthesis network in float16: floating-point operations, and least bytes moved."""

    name: str
    flops: int
    least: int


@dataclass(frozen=True)
class ArithmeticCost:
    """Floating-point operations of products and convolutions; bytes; how many operations moved them."""

    flops: int
    moved: int
    operations: int


def synthesis_layers(config: GeneratorConfig) -> list[Layer]:
    """The layers for one frame: styled layers and RGB layers.

    A multiplication and an addition count as two. A styled layer has its convolution, the modulation
    (style_dim × in) and the demodulation (in × out), which the RGB layers have in float16 as well. Filter,
    noise and leaky ReLU count as nothing: they could be fused. Noise and RGB sum are float32.
    """
    layers = []
    below, side = config.channels[4], 4
    for side in config.resolutions:
        width = config.channels[side]
        for up in (True, False) if side > 4 else (False,):
            source = side // 2 if up else side
            flops = 2 * source**2 * 9 * below * width + _styling(config, below, width)
            numbers = source**2 * below + 9 * below * width + side**2 * width
            layers.append(Layer(f"{side}² {'up' if up else 'conv'}", flops, HALF * numbers + FLOAT * side**2))
            below = width
        flops = 2 * side**2 * width * 3 + _styling(config, width, 3)
        sums = 3 * side**2 + (3 * (side // 2) ** 2 if side > 4 else 0)
        layers.append(Layer(f"{side}² RGB", flops, HALF * width * (side**2 + 3) + FLOAT * sums))
    return layers


def _styling(config: GeneratorConfig, below: int, width: int) -> int:
    return 2 * (config.style_dim * below + below * width)


def frame(size: str, *, kernels: bool = True) -> ArithmeticCost:
    """One frame in float16 as our code draws it on a GPU, converted to 8 bits and checked to be finite.

    Without `kernels`, it is drawn by the reference.
    """

    def prepare(traffic: Traffic) -> Callable[[], object]:
        network = Generator(networks.generator_config(size)).use_half().requires_grad_(False)
        latent = torch.zeros(1, network.num_styles, network.style_dim)
        noises = network.synthesis.noises("fixed", 1, network.num_styles - 1)
        counting = {(name, lanes): partial(traffic.kernel, name) for name in NAMES for lanes in LANES}

        def draw() -> tuple[Tensor, Tensor]:
            if kernels:
                picture = fast_gpu.draw(network.synthesis, latent, noises, counting)[0]
            else:
                picture = network.synthesize(latent, fast=False)[0]
            return quantise(picture), all_finite(picture)

        return draw

    return counted(prepare)


def face(size: str) -> ArithmeticCost:
    """One inversion in float16."""

    def prepare(_: Traffic) -> Callable[[], object]:
        network = Inverter(networks.encoder_config(size)).use_half().eval().requires_grad_(False)
        image = torch.zeros(1, 3, network.input_size, network.input_size)
        return lambda: network.invert(image)

    return counted(prepare)


def counted(prepare: "Callable[[Traffic], Callable[[], object]]") -> ArithmeticCost:
    """The cost of the second run of the work that `prepare` returns; fake tensors take no time or memory.

    In the first run a network fills its caches.
    """
    traffic = Traffic()
    with torch.no_grad(), FakeTensorMode():
        work = prepare(traffic)
        with FlopCounterMode(display=False) as flops:
            work()
        traffic.moved = traffic.operations = 0
        with traffic:
            work()
    return ArithmeticCost(flops.get_total_flops(), traffic.moved, traffic.operations)


class Traffic(TorchDispatchMode):
    """Counts the bytes that operations read and write while it is on, and the operations; views are free."""

    def __init__(self) -> None:
        super().__init__()
        self.moved = self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.is_set_to.default:
            return True  # no weight changes meanwhile; fake tensors would report that all do
        result = func(*args, **(kwargs or {}))
        counts = func.namespace == "aten" and not func.is_view  # "prim" queries devices and the like
        if counts and str(func.overloadpacket) not in UNMOVED:
            self.operations += 1
            self.moved += sum(_bytes(each) for each in tree_leaves((args, kwargs, result)))
        return result

    def kernel(self, name: str, threads: int, *arguments: Tensor | float | None) -> None:
        """Stand-in for a kernel of ours: each tensor is read or written once, the first of `finish` both."""
        self.operations += 1
        self.moved += sum(map(_bytes, arguments[:1] * (name == "finish") + arguments))


def _bytes(value: object) -> int:
    """The bytes of a tensor, its expanded dimensions counted once; 0 for other objects."""
    if not isinstance(value, Tensor):
        return 0
    sizes = zip(value.shape, value.stride(), strict=True)
    numbers = 1
    for size, stride in sizes:
        numbers *= size if stride else min(size, 1)
    return numbers * value.element_size()
