"""Seconds per stage, peak memory and precision of a prediction at FFHQ's size, with random weights.

    python benchmarks/ffhq_gpu.py                                           # 90 frames of 1024² on the GPU
    python benchmarks/ffhq_gpu.py --resolution 256 --frames 3 --device cpu  # to see that it runs

Speed and memory do not depend on what the weights are; nothing is downloaded. The first prediction, which
also loads kernels, is shown beside the second.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

from encoder4editing import EncoderConfig, Inverter
from micromotion.animator import Animator, Clip
from micromotion.bundle import Bundle, pick_device
from micromotion.frames import repeatable
from micromotion.motion import Motion
from micromotion.pixels import to_uint8
from micromotion.plan import plan
from stylegan2 import Generator, GeneratorConfig

T = TypeVar("T")
STAGES = ("invert", "render", "encode")


def main() -> None:
    """Run what the command line asks for and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--resolution", type=int, default=1024)
    parser.add_argument("--frames", type=int, default=90)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--float32", action="store_true", help="not float16, which is the default on a GPU")
    given = parser.parse_args()
    device = pick_device(given.device)
    half = device.type == "cuda" and not given.float32
    print(f"{describe(device)}, torch {torch.__version__}, {'float16' if half else 'float32'}")

    generator, inverter = draw_nets(given.resolution)
    if half:
        inverter.use_half()
    bundle = Bundle("random", on(device, generator, half=half), inverter.to(device), {}, device)
    runs = [predict(bundle, given.frames, device) for _ in range(2)]
    print(f"\n{given.frames} frames of {given.resolution}²      first     second")
    for stage in (*STAGES, "whole prediction"):
        print(f"{stage:<20} {runs[0][stage]:8.2f} s {runs[1][stage]:8.2f} s")
    rendering = timed(lambda: render_only(bundle.generator, given.frames), device)[0]
    print(f"{'rendering alone':<31} {rendering:8.2f} s  ({given.frames / rendering:.1f} frames a second)")
    if device.type == "cuda":
        reserved, allocated = torch.cuda.max_memory_reserved(device), torch.cuda.max_memory_allocated(device)
        print(f"peak memory          {allocated / 1e9:8.2f} GB in use, {reserved / 1e9:.2f} GB reserved")
    print(f"float16 to float32   {precision(generator, device):8.1f} dB PSNR on 8-bit frames")


def describe(device: torch.device) -> str:
    """The machine in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def draw_nets(resolution: int) -> tuple[Generator, Inverter]:
    """A generator with noise whose pictures mostly lie in [-1, 1], and an e4e of the published size."""
    rng = torch.Generator().manual_seed(0)
    generator = Generator(GeneratorConfig(resolution), rng)
    with torch.no_grad():
        for name, parameter in generator.synthesis.named_parameters():
            if name.endswith("noise_strength"):
                parameter += 0.3 * torch.randn(parameter.shape, generator=rng)
        for layer in generator.synthesis.to_rgbs:
            layer.weight *= 0.1
    inverter = Inverter(EncoderConfig(num_styles=generator.num_styles), rng)
    return generator.eval(), inverter.eval()


def on(device: torch.device, generator: Generator, *, half: bool) -> Generator:
    """A copy of the generator on the device, in float16 if half."""
    copy = Generator(generator.config)
    copy.load_state_dict(generator.state_dict())
    return (copy.use_half() if half else copy).to(device).eval()


def predict(bundle: Bundle, frames: int, device: torch.device) -> dict[str, float]:
    """Photo to MP4 once, without looking for the face: seconds per stage."""
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)

    def whole() -> dict[str, float]:
        inverting, code = timed(
            lambda: Animator(bundle).encode(Image.fromarray(pixels), aligned=True), device
        )
        clip = play(bundle.generator, code, frames)
        with tempfile.TemporaryDirectory() as folder:
            clip.save(Path(folder) / "clip.mp4")
        return {"invert": inverting} | clip.timings

    seconds, stages = timed(whole, device)
    return stages | {"whole prediction": seconds}


def play(generator: Generator, code: torch.Tensor, frames: int) -> Clip:
    """A clip along a random direction."""
    rng = torch.Generator().manual_seed(1)
    motion = Motion("random", 0.3 * torch.randn(code.shape[1:], generator=rng))
    return Clip(generator, code, [motion], plan("random", frames=frames)[1], fps=30)


def render_only(generator: Generator, frames: int) -> int:
    """The frames, fetched but not encoded."""
    code = torch.zeros(1, generator.num_styles, generator.style_dim, device=generator.latent_avg.device)
    return sum(1 for _ in play(generator, code, frames))


def precision(generator: Generator, device: torch.device) -> float:
    """PSNR in dB of 8-bit frames in float16 against float32 (no TF32), over two random faces."""
    w_plus = torch.randn(
        2, generator.num_styles, generator.style_dim, generator=torch.Generator().manual_seed(2)
    )
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        exact, rough = (draw(on(device, generator, half=half), w_plus.to(device)) for half in (False, True))
    finally:
        torch.backends.cudnn.allow_tf32 = before
    return 10 * math.log10(255**2 / max(float(np.square(exact - rough).mean()), 1e-9))


def draw(generator: Generator, w_plus: torch.Tensor) -> np.ndarray:
    """8-bit pictures of these codes, one by one, as float64."""
    with torch.inference_mode(), repeatable():
        return np.concatenate([to_uint8(generator.synthesize(w[None])) for w in w_plus]).astype(float)


def timed(work: Callable[[], T], device: torch.device) -> tuple[float, T]:
    """The seconds until the device has finished, and the result."""
    start = time.perf_counter()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main()
