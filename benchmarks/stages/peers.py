"""The public implementations, from checkouts of their repositories, on a CPU and with random weights.

Their code runs as it is. What stands in its way is put aside from outside: `.cuda()` stays on the CPU, and
CUDA extensions are not compiled (all of them have a plain path beside those).
"""

import sys
from argparse import Namespace
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.stages.nets import filled

ORIGINAL = "micromotion-styleGAN"
NVIDIA = "stylegan2-ada-pytorch"
ROSINALITY = "stylegan2-pytorch"
E4E = "encoder4editing"


def checkout(peers: Path | None, name: str) -> Path | None:
    """A repository in DIR, as DIR/name, DIR/owner+name or DIR/owner/name; None if it is not there."""
    if peers is None:
        return None
    found = [peers / name, *peers.glob(f"*[+]{name}"), *peers.glob(f"*/{name}")]
    return next((folder for folder in found if folder.is_dir()), None)


def enter(folder: Path) -> None:
    """Let this process, which belongs to one peer, import the peer's modules."""
    import torch.utils.cpp_extension

    def stay(self: Any, *_: Any, **__: Any) -> Any:
        return self

    torch.Tensor.cuda = torch.nn.Module.cuda = stay  # type: ignore[assignment, method-assign]
    torch.utils.cpp_extension.load = lambda *_, **__: None  # type: ignore[assignment]
    sys.path.insert(0, str(folder.resolve()))


def original_synthesis(folder: Path, resolution: int, dtype: str) -> Callable[[], object]:
    enter(folder)
    from StyleCLIP.models.stylegan2.model import Generator

    return _rosinality_like(Generator, resolution, dtype)


def rosinality_synthesis(folder: Path, resolution: int, dtype: str) -> Callable[[], object]:
    enter(folder)
    from model import Generator

    return _rosinality_like(Generator, resolution, dtype)


def _rosinality_like(kind: Any, resolution: int, dtype: str) -> Callable[[], object]:
    net = kind(resolution, 512, 8).eval()
    code = torch.randn(1, net.n_latent, 512)

    def draw() -> object:
        with torch.no_grad(), _precision(dtype):
            return net([code], input_is_latent=True, randomize_noise=False)[0]

    return draw


def nvidia_synthesis(folder: Path, resolution: int, dtype: str) -> Callable[[], object]:
    """Its reference path, which is what it takes on a CPU."""
    enter(folder)
    from training.networks import Generator

    net = Generator(512, 0, 512, resolution, 3, synthesis_kwargs={"channel_base": 32768}).eval()
    code = torch.randn(1, net.num_ws, 512)

    def draw() -> object:
        with torch.no_grad(), _precision(dtype):
            return net.synthesis(code, noise_mode="const", force_fp32=True)

    return draw


def _precision(dtype: str) -> Any:
    """These nets know no bfloat16: it is torch that makes their convolutions so."""
    return torch.autocast("cpu", torch.bfloat16) if dtype == "bfloat16" else nullcontext()


def e4e_inversion(folder: Path) -> Callable[[], object]:
    enter(folder)
    from models.encoders.psp_encoders import Encoder4Editing

    with torch.device("meta"):
        net = Encoder4Editing(50, "ir_se", Namespace(stylegan_size=1024))
    net = filled(net.to_empty(device="cpu")).eval()
    image, average = torch.rand(1, 3, 256, 256) * 2 - 1, torch.zeros(1, 18, 512)

    def invert() -> Tensor:
        with torch.no_grad():
            codes: Tensor = net(image) + average
            return codes

    return invert


def original_pca(folder: Path, anchors: Tensor) -> Callable[[], object]:
    """Its loop over the layers."""
    enter(folder)
    from StyleCLIP.optimization.pca import RPCA_gpu

    def solve() -> list[object]:
        with torch.no_grad():
            return [
                torch.pca_lowrank(RPCA_gpu(layer).fit()[0], q=4, center=False) for layer in anchors.unbind(0)
            ]

    return solve
