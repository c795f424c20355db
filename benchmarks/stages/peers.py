"""The public implementations, from checkouts of their repositories, with random weights.

Their code runs unmodified. What prevents that on a CPU is patched from outside: `.cuda()` does nothing, and
CUDA extensions are not compiled (all of them also have a plain path). On a GPU nothing is patched.
"""

import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.stages.networks import filled
from benchmarks.stages.ours import process_of
from stylegan2.checkpoints.storage import read_torch

_HERE = "from benchmarks.stages import peers\npeers"
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


def enter(folder: Path, device: str = "cpu") -> None:
    """Let this process, which belongs to one peer, import the peer's modules."""
    import torch.utils.cpp_extension

    def stay(self: Any, *_: Any, **__: Any) -> Any:
        return self

    if device == "cpu":
        torch.Tensor.cuda = torch.nn.Module.cuda = stay  # type: ignore[method-assign]  # what they call stays on the CPU
        torch.utils.cpp_extension.load = lambda *_, **__: None  # no compiler is run
    sys.path.insert(0, str(folder.resolve()))


def original_synthesis(
    folder: Path, resolution: int, dtype: str, device: str = "cpu"
) -> Callable[[], object]:
    enter(folder, device)
    from StyleCLIP.models.stylegan2.model import Generator

    return _rosinality_like(Generator, resolution, dtype, device)


def rosinality_synthesis(folder: Path, resolution: int, dtype: str) -> Callable[[], object]:
    enter(folder)
    from model import Generator

    return _rosinality_like(Generator, resolution, dtype)


def _rosinality_like(kind: Any, resolution: int, dtype: str, device: str = "cpu") -> Callable[[], object]:
    network = kind(resolution, 512, 8).eval().to(device)
    latent = torch.randn(1, network.n_latent, 512).to(device)

    def draw() -> object:
        with torch.no_grad(), _precision(dtype):
            return network([latent], input_is_latent=True, randomize_noise=False)[0]

    return draw


def nvidia_synthesis(folder: Path, resolution: int, dtype: str, device: str = "cpu") -> Callable[[], object]:
    """Its reference path on a CPU; on a GPU its kernels, or an error if they fail.

    In float16 it is configured as its FFHQ model is trained: the four largest resolutions, clamped at 256.
    """
    enter(folder, device)
    from training.networks import Generator

    shape = {"channel_base": 32768} | ({"num_fp16_res": 4, "conv_clamp": 256} if dtype == "float16" else {})
    network = Generator(512, 0, 512, resolution, 3, synthesis_kwargs=shape).eval().to(device)
    latent = torch.randn(1, network.num_ws, 512).to(device)
    if device != "cpu":
        from torch_utils.ops import bias_act, upfirdn2d

        if not (bias_act._init() and upfirdn2d._init()):
            raise RuntimeError("its CUDA kernels could not be compiled here")

    def draw() -> object:
        with torch.no_grad(), _precision(dtype):
            return network.synthesis(latent, noise_mode="const", force_fp32=dtype != "float16")

    return draw


def _precision(dtype: str) -> Any:
    """These networks do not support bfloat16: torch's autocast converts their convolutions."""
    return torch.autocast("cpu", torch.bfloat16) if dtype == "bfloat16" else nullcontext()


def e4e_inversion(folder: Path, device: str = "cpu") -> Callable[[], object]:
    enter(folder, device)
    from models.encoders.psp_encoders import Encoder4Editing

    with torch.device("meta"):
        network = Encoder4Editing(50, "ir_se", Namespace(stylegan_size=1024))
    network = filled(network.to_empty(device="cpu")).eval().to(device)
    image = torch.rand(1, 3, 256, 256).to(device) * 2 - 1
    average = torch.zeros(1, 18, 512).to(device)

    def invert() -> Tensor:
        with torch.no_grad():
            latents: Tensor = network(image) + average
            return latents

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


def original_chain(folder: Path, resolution: int, frames: int, device: str = "cpu") -> Callable[[], object]:
    """Its whole chain from an aligned picture to a video, as in its main.py, with loaded networks.

    For a GPU: its inverter does not run on a CPU.
    """
    enter(folder, device)
    import imageio
    from restyle_encoder.models.psp import pSp
    from restyle_encoder.utils.inference_utils import run_batch_latent
    from skimage.util import img_as_ubyte
    from StyleCLIP.models.stylegan2.model import Generator

    options = Namespace(
        output_size=resolution, encoder_type="BackboneEncoder", input_nc=6, n_iters_per_batch=5
    )
    options.resize_outputs, options.dataset_type, options.device = False, "ffhq_encode", device
    pSp.load_weights = lambda self: None
    inverter, generator = pSp(options).eval().to(device), Generator(resolution, 512, 8).eval().to(device)
    inverter.latent_avg = torch.zeros(inverter.n_styles, 512).to(device)
    picture = torch.rand(1, 3, 256, 256).to(device) * 2 - 1
    temporary = tempfile.TemporaryDirectory()

    def predict() -> None:
        with torch.no_grad():
            latent = run_batch_latent(picture, inverter, options, picture[0])[0][4][None]
            video = []
            for index in range(frames):
                drawn = generator([latent + 0.001 * index], input_is_latent=True, randomize_noise=False)[0]
                drawn = (drawn - drawn.min()) / (drawn.max() - drawn.min())
                video.append(img_as_ubyte(drawn.squeeze(0).cpu().numpy()).transpose(1, 2, 0))
        imageio.mimsave(Path(temporary.name) / "video.mp4", video, fps=30, codec="libx264")  # its default

    return predict


def original_start(folder: Path) -> Callable[[], object]:
    """From the start of a process until its networks are loaded from files of random weights."""
    checkpoints = tempfile.TemporaryDirectory()
    process_of(f"{_HERE}.write_checkpoints({str(folder)!r}, {checkpoints.name!r})")
    return lambda: process_of(f"{_HERE}.load_checkpoints({str(folder)!r}, {checkpoints.name!r})")


def write_checkpoints(folder: str, checkpoints: str) -> None:
    """Write files of random weights as the original reads them."""
    original, options = _original_main(Path(folder))
    with torch.device("meta"):
        original.pSp.load_weights = lambda self: None
        networks = original.pSp(options), original.Generator(1024, 512, 8)
    inverter, generator = (filled(network.to_empty(device="cpu")).state_dict() for network in networks)
    shape = vars(options) | {"checkpoint_path": ""}
    saved = {"state_dict": inverter, "latent_avg": torch.zeros(18, 512), "opts": shape}
    torch.save(saved, f"{checkpoints}/inverter.pt")
    torch.save({"g_ema": generator}, f"{checkpoints}/generator.pt")


def load_checkpoints(folder: str, checkpoints: str) -> None:
    """Do what its main.py does before it reads a picture, its imports first.

    The inverter is read by its own code, options and generator by our reader, which is faster.
    """
    original, _ = _original_main(Path(folder))
    path = f"{checkpoints}/inverter.pt"
    options = read_torch(Path(path))["opts"] | {"checkpoint_path": path}
    original.pSp(Namespace(**options)).eval()
    generator = original.Generator(1024, 512, 8)
    generator.load_state_dict(read_torch(Path(checkpoints) / "generator.pt")["g_ema"], strict=False)
    generator.eval()


def _original_main(folder: Path) -> tuple[Any, Namespace]:
    """Its main.py, imported, and the options of the published inverter."""
    enter(folder)
    import main as original

    options = Namespace(output_size=1024, encoder_type="BackboneEncoder", input_nc=6, device="cpu")
    return original, options
