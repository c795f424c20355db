"""Our side of every stage: functions that prepare, and return the function that is timed.

The floors (the convolutions of a stage alone) are defined in `networks`.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.stages import networks
from benchmarks.stages.race import Spent, Work, peak_memory
from micromotion.runtime.device_memory import deterministic

ROOT = Path(__file__).parents[2]
PHOTO = ROOT / "docs" / "face.jpg"
STATUS = "/proc/self/status"


def synthesis(
    size: str, dtype: str, resolution: int | None = None, fast: bool = True, device: str = "cpu"
) -> Work:
    """One frame."""
    network = networks.generator(size, resolution)
    if dtype != "float32":
        network.use_half(getattr(torch, dtype))
    network, latent = network.to(device), torch.randn(1, network.num_styles, network.style_dim).to(device)

    def draw() -> Tensor:
        with torch.inference_mode(), deterministic():
            return network.synthesize(latent, fast=fast)

    return draw


def synthesis_floor(size: str, dtype: str) -> Work:
    return networks.synthesis_convolutions(networks.generator(size), getattr(torch, dtype))


def inversion(size: str, half: bool = False, device: str = "cpu") -> Work:
    """One face."""
    network = networks.inverter(size).to(device)
    if half:
        network.use_half()
    image = torch.rand(1, 3, network.input_size, network.input_size).to(device) * 2 - 1

    def invert() -> Tensor:
        with torch.inference_mode(), deterministic():
            return network.invert(image)

    return invert


def inversion_floor(size: str, half: bool = False, device: str = "cpu") -> Work:
    network = networks.inverter(size).to(device)
    image = torch.zeros(1, 3, network.input_size, network.input_size, device=device)
    return networks.encoder_convolutions(network.encoder, image, torch.float16 if half else torch.float32)


def anchors() -> Tensor:
    """18 layers of 11 latents of 512: a line with noise, like collected anchors."""
    rng = torch.Generator().manual_seed(0)
    still, way = torch.randn(2, 18, 1, 512, generator=rng)
    return (
        still + torch.linspace(0, 1, 11)[:, None] * 0.3 * way + 0.02 * torch.randn(18, 11, 512, generator=rng)
    )


def pca() -> Work:
    """Robust PCA of the anchors of one motion."""
    from micromotion import robust_pca

    data = anchors()
    return lambda: robust_pca(data)


def pca_floor(rounds: int = 35) -> Work:
    """The least work of its iterations: the Gram matrices, their eigenvectors, and a product with them."""
    data = anchors().double()
    gram = data @ data.mT

    def work() -> None:
        for _ in range(rounds):
            torch.matmul(data, data.mT, out=gram)
            _, vectors = torch.linalg.eigh(gram)
            torch.matmul(vectors, data)

    return work


def text_step(size: str) -> Work:
    """One optimisation step of three degrees in one batch; eleven degrees only repeat that work."""
    from benchmarks import text_anchors

    return text_anchors.our_step(size, text_anchors.SENTENCES[:3])


def text_floor(size: str) -> Work:
    """The arithmetic of such a step."""
    from benchmarks import text_anchors

    once = text_anchors.arithmetic(size)
    return lambda: [once() for _ in range(3)]


def text_original(folder: Path, size: str) -> Work:
    """One optimisation step of one degree in the original's code."""
    from benchmarks import text_anchors

    return text_anchors.original_step(folder, size, 1)


def importing(module: str, folder: Path = ROOT) -> Work:
    """A process that imports and ends."""
    return lambda: process_of(f"import {module}", folder)


def cold_start(size: str) -> Work:
    """From the start of a process until a model of that size is loaded from local safetensors."""
    folder = tempfile.TemporaryDirectory()
    networks.save_bundle(Path(folder.name), size)
    code = f"from micromotion import Animator\nAnimator.load({folder.name!r}, 'cpu')"

    def start() -> Spent:
        assert folder.name
        return process_of(code, ROOT)

    return start


def process_of(code: str, folder: Path = ROOT) -> Spent:
    """Run Python code in a new process that exits without cleaning up."""
    end = f"import os\nif os.path.exists({STATUS!r}): print(*open({STATUS!r}), flush=True)\nos._exit(0)"
    command = [sys.executable, "-W", "ignore", "-c", f"{code}\n{end}"]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, check=True, env=environment, stdout=subprocess.PIPE, text=True)
    took = time.perf_counter() - start
    words = done.stdout.split()
    return Spent(took, int(words[words.index("VmHWM:") + 1]) * 1024 if "VmHWM:" in words else 0)


def prediction(frames: int, *, model: str = "avatar", photo: Path = PHOTO) -> Work:
    """Photo to MP4 on disk with the embedded model, loaded beforehand; returns the seconds of each part."""
    from micromotion import Animator
    from micromotion.animation import Video

    animator = Animator.load(model, "cpu")
    folder = tempfile.TemporaryDirectory()

    def predict() -> dict[str, float]:
        video = animator.animate(photo, "smile", frames=min(frames, 600), view="model")
        if frames > 600:  # more than the service allows, to measure memory
            motions, latent = video._motions, video._latent
            video = Video(video._generator, latent, motions, np.linspace(0, 1, frames)[:, None], fps=30)
        video.save(Path(folder.name) / "video.mp4")
        return video.timings

    return predict


def rendering(frames: int, *, model: str = "avatar") -> Work:
    """The frames of such a video, not encoded."""
    from micromotion import Animator

    animator = Animator.load(model, "cpu")
    latent = animator.encode(PHOTO)
    return lambda: sum(1 for _ in animator.animate(latent, "smile", frames=frames))


def encoding(frames: int, *, model: str = "avatar") -> Work:
    """Prepared frames, encoded to an MP4."""
    from micromotion import Animator
    from micromotion.video.writer import write_frames

    animator = Animator.load(model, "cpu")
    pictures = list(animator.animate(PHOTO, "smile", frames=frames, view="model"))
    folder = tempfile.TemporaryDirectory()
    return lambda: write_frames(pictures, Path(folder.name) / "video.mp4", 30)


def signing(frames: int, side: int) -> Work:
    """The content credentials of an MP4: a new key and certificate, XMP, the signed manifest."""
    from micromotion.credentials.claim import Claim, Played
    from micromotion.credentials.signing import credentials_for
    from micromotion.video.writer import write_frames

    folder = tempfile.TemporaryDirectory()
    os.environ["MICROMOTION_DATA"] = folder.name
    noise = np.random.default_rng(0).integers(0, 40, (side, side, 3), np.uint8)
    ramp = (np.indices((side, side)).sum(0) % 200).astype(np.uint8)[..., None]
    pictures = (noise + np.roll(ramp, shift, axis=0) for shift in range(frames))
    plain = write_frames(pictures, Path(folder.name) / "plain.mp4", 30).read_bytes()
    claim = Claim("ffhq", (Played("smile", 0, 1),), shows_photo=True)

    def sign() -> Spent:
        path = Path(folder.name) / "signed.mp4"
        path.write_bytes(plain)
        start = time.perf_counter()
        credentials = credentials_for(claim)
        assert credentials is not None
        credentials.mark_video(path)
        return Spent(time.perf_counter() - start, peak_memory())

    return sign
