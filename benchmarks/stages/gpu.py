"""The stages of a prediction on a GPU: what is measured, compared with what, and the targets.

With the device "cpu" and the size "tiny" everything runs without a GPU, as a check.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.stages import arithmetic, networks, ours, peers
from benchmarks.stages.race import Contender, Spent, Work, peak_memory
from benchmarks.stages.table import Stage
from micromotion.animator import Animator, Video
from micromotion.motion.playable import Motion
from micromotion.motion.schedule import schedule
from micromotion.options import AnimateOptions
from micromotion.runtime.process import keep_memory
from micromotion.weights.bundle import Bundle

MISSING = "There is no CUDA device here (torch sees none): run this on a machine with an NVIDIA GPU."
FRAMES = {"tiny": 2, "full": 90}


def stages(size: str, folder: Path | None, device: str = "cuda") -> Iterator[Stage]:
    """The rows of the table; `folder` holds the peers' checkouts."""
    resolution, frames = networks.RESOLUTIONS[size], FRAMES[size]
    nvidia, original = peers.checkout(folder, peers.NVIDIA), peers.checkout(folder, peers.ORIGINAL)
    e4e = peers.checkout(folder, peers.E4E)
    drawn = Contender("ours", steady, (device, ours.synthesis, size, "float16", None, True, device))
    rivals = [
        Contender(
            f"our reference path, {kind}", steady, (device, ours.synthesis, size, kind, None, False, device)
        )
        for kind in ("float16", "float32")
    ]
    if nvidia:
        name, make = "NVIDIA's, its CUDA kernels", peers.nvidia_synthesis
        rivals += [
            Contender(f"{name}, {kind}", steady, (device, make, nvidia, resolution, kind, device))
            for kind in ("float16", "float32")
        ]
    if original:
        args = (device, peers.original_synthesis, original, resolution, "float32", device)
        rivals.append(Contender("the original", steady, args))
    least = Contender("floor", floor, (size, device))
    yield Stage(f"synthesis {resolution}², float16", drawn, tuple(rivals), least, 2.5, rounds=5)
    yield Stage(
        "e4e inversion, 256², float16",
        Contender("ours", steady, (device, ours.inversion, size, True, device)),
        (Contender("e4e's code", steady, (device, peers.e4e_inversion, e4e, device)),) if e4e else (),
        Contender("floor", steady, (device, ours.inversion_floor, size, True, device)),
        1.5,
        rounds=5,
    )
    chain = (Contender("the original", peers.original_chain, (original, resolution, frames, device)),)
    yield Stage(
        f"whole prediction, {frames} frames of {resolution}²",
        Contender("ours", prediction, (size, frames, device)),
        chain if original else (),
        limit=2.0,
        rounds=3,
    )


def steady(device: str, make: Callable[..., Work], *args: Any) -> Work:
    """Repeat the work that make(*args) returns and wait for the device: a GPU runs asynchronously."""
    work = make(*args)
    times = 1 if device == "cpu" else 20

    def run() -> Spent:
        finish(device)
        start = time.perf_counter()
        for _ in range(times):
            work()
        finish(device)
        return Spent((time.perf_counter() - start) / times, memory(device))

    return run


def floor(size: str, device: str) -> Work:
    """The least time of a frame: for each layer the longer of arithmetic and memory traffic.

    At the speeds that this device reaches for a large float16 matrix product and for a large copy.
    """
    layers = arithmetic.synthesis_layers(networks.generator_config(size))
    side = 8192 if device != "cpu" else 64
    matrix = torch.ones(side, side, dtype=torch.float16, device=device)
    block = torch.empty(side * side, device=device)
    multiply = steady(device, lambda: lambda: matrix @ matrix)
    copy = steady(device, lambda: lambda: block.clone())

    def least() -> Spent:
        rate, bandwidth = 2 * side**3 / _seconds(multiply), 2 * block.nbytes / _seconds(copy)
        seconds = sum(max(each.flops / rate, each.least / bandwidth) for each in layers)
        return Spent(seconds, 0)

    return least


def _seconds(work: Work) -> float:
    spent = work()
    assert isinstance(spent, Spent)
    return spent.seconds


def prediction(size: str, frames: int, device: str) -> Work:
    """Photo to MP4 on disk, with prepared networks of random weights; returns the seconds of each part."""
    half = device != "cpu"
    generator, inverter = networks.generator(size), networks.inverter(size)
    if half:
        keep_memory()
        generator.use_half()
        inverter.use_half()
    bundle = Bundle("random", generator.to(device), inverter.to(device), {}, torch.device(device))
    animator, folder = Animator(bundle), tempfile.TemporaryDirectory()
    rng = torch.Generator().manual_seed(1)
    motion = Motion("random", 0.3 * torch.randn(generator.num_styles, generator.style_dim, generator=rng))

    def predict() -> Spent:
        start = time.perf_counter()
        latent = animator.encode(ours.PHOTO)
        encoded = time.perf_counter() - start
        video = Video(
            generator, latent, [motion], schedule("random", AnimateOptions(frames=frames))[1], fps=30
        )
        video.save(Path(folder.name) / "video.mp4")
        seconds = time.perf_counter() - start
        return Spent(seconds, memory(device), {"find and invert": encoded} | video.timings)

    return predict


def finish(device: str) -> None:
    """Wait until the device has finished its work."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def memory(device: str) -> int:
    """The peak memory of this process on the device, in bytes."""
    return peak_memory() if device == "cpu" else torch.cuda.max_memory_reserved(device)


def words() -> str:
    """The GPU and its software, in words."""
    return (
        f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}; "
    )
