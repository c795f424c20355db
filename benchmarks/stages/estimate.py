"""The estimated time of a prediction on a GPU that is not available: counts over assumed shares of its peaks.

An estimate, not a measurement. The operations and bytes of a frame and a face are counted (`arithmetic`);
only the CPU's part is measured, on this machine: finding the face and encoding the video.
"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.stages import arithmetic, networks
from benchmarks.stages.document import time as said
from benchmarks.stages.ours import PHOTO
from micromotion import align
from micromotion.types import Frame
from micromotion.video.writer import write_frames

FRAMES, WANTED = 90, 6.0
LAUNCH = 15e-6
"""Seconds that a CPU takes to launch one operation on the GPU: assumed, a bit more than usual."""


@dataclass(frozen=True)
class Gpu:
    """The peaks that NVIDIA publishes, and the assumed share of each that is reached.

    Attributes:
        flops: per second, float16 on tensor cores, dense.
        bandwidth: bytes per second.
        flops_share, bandwidth_share: of those.
        why: where the shares come from, in a sentence.
    """

    name: str
    flops: float
    bandwidth: float
    flops_share: float
    bandwidth_share: float
    why: str

    def seconds(self, flops: int, moved: int, *, share: float = 1.0) -> float:
        """Seconds of arithmetic plus traffic, without overlap; `share` scales both assumed shares."""
        rate, bandwidth = self.flops * self.flops_share, self.bandwidth * self.bandwidth_share
        return (flops / rate + moved / bandwidth) / share


T4 = Gpu(
    "T4",
    65e12,
    320e9,
    0.25,
    0.65,
    "70 W do not sustain its highest clock for long, and the convolutions of one picture are small, hence a "
    "quarter of the operations; plain copies reach two thirds of the bandwidth, as we remember the "
    "microbenchmarks of Jia et al. 2019 (arXiv 1903.07486). Neither share was measured by us",
)
H100 = Gpu("H100 SXM", 989e12, 3.35e12, 0.3, 0.75, "assumed, from no source")


@dataclass(frozen=True)
class Costs:
    """The inputs of the estimate; seconds are the CPU's, measured."""

    side: int
    layers: list[arithmetic.Layer]
    frame: arithmetic.ArithmeticCost
    plain: arithmetic.ArithmeticCost  # a frame drawn by the reference
    face: arithmetic.ArithmeticCost
    finding: float
    encoding: float

    @property
    def least(self) -> arithmetic.ArithmeticCost:
        """A frame, if each layer were one kernel."""
        flops, moved = sum(each.flops for each in self.layers), sum(each.least for each in self.layers)
        return arithmetic.ArithmeticCost(flops, moved, len(self.layers))

    def drawing(self, gpu: Gpu, share: float = 1.0) -> float:
        """Seconds of a frame."""
        return _taken(self.frame, gpu, share)

    def whole(self, gpu: Gpu, share: float = 1.0) -> float:
        """Seconds from photo to MP4; a frame is encoded while the next one is drawn."""
        drawing = self.drawing(gpu, share)
        video = drawing + (FRAMES - 1) * max(drawing, self.encoding) + self.encoding
        return self.finding + _taken(self.face, gpu, share) + video


def _taken(cost: arithmetic.ArithmeticCost, gpu: Gpu, share: float) -> float:
    """The longer of the GPU's seconds and the CPU's seconds to launch the operations."""
    return max(gpu.seconds(cost.flops, cost.moved, share=share), LAUNCH * cost.operations)


def costs(size: str = "full") -> Costs:
    """Count the networks of that size, and time the CPU's part."""
    side = networks.RESOLUTIONS[size]
    layers = arithmetic.synthesis_layers(networks.generator_config(size))
    frame, plain = arithmetic.frame(size), arithmetic.frame(size, kernels=False)
    return Costs(side, layers, frame, plain, arithmetic.face(size), align_seconds(), encode_seconds(side))


def text(found: Costs, gpu: Gpu = T4) -> str:
    """The estimate as text, with its arithmetic."""
    whole, cautious = (found.whole(gpu, share) for share in (1.0, 0.5))
    finding, encoding = said(found.finding), said(found.encoding)
    frame, plain, face = found.frame, found.plain, found.face
    return "\n".join(
        [
            f"{gpu.name}: peaks of {gpu.flops / 1e12:g} TFLOPS in float16 on tensor cores and "
            f"{gpu.bandwidth / 1e9:g} GB/s (NVIDIA's data sheet), of which {gpu.flops_share:.0%} and "
            f"{gpu.bandwidth_share:.0%} are assumed: {gpu.why}.",
            "",
            "| | operations | bytes | as assumed | at half of that |",
            "|---|---|---|---|---|",
            _row(f"a frame of {found.side}², if each layer were one kernel", found.least, gpu),
            _row(f"the same with our kernels, {frame.operations} operations", frame, gpu),
            _row(f"the same by the reference, {plain.operations} operations", plain, gpu),
            _row(f"inversion by e4e, {face.operations} operations", face, gpu),
            f"| finding the face, on this CPU | | | {finding} | {finding} |",
            f"| encoding a frame, on this CPU | | | {encoding} | {encoding} |",
            f"| **photo to MP4, {FRAMES} frames** | | | **{said(whole)}** | **{said(cautious)}** |",
            "",
            f"The last line is finding the face, inversion, a frame drawn, {FRAMES - 1} times the longer of "
            f"drawing and encoding, which overlap, and a frame encoded. Launching an operation takes the "
            f"CPU {LAUNCH * 1e6:g} µs (assumed), {said(LAUNCH * frame.operations)} for a frame, in parallel "
            f"with the GPU. The target is {WANTED:g} s: {_met(whole)} as assumed, {_met(cautious)} at half "
            "of that.",
            "",
            *(_beside(found, each) for each in (T4, H100)),
        ]
    )


def _beside(found: Costs, gpu: Gpu) -> str:
    """What our kernels gain on a GPU, and what remains to be gained."""
    least, ours, plain = (
        gpu.seconds(cost.flops, cost.moved) for cost in (found.least, found.frame, found.plain)
    )
    sending, before = (LAUNCH * cost.operations for cost in (found.frame, found.plain))
    return (
        f"{gpu.name}, at {gpu.flops_share:.0%} of {gpu.flops / 1e12:g} TFLOPS and {gpu.bandwidth_share:.0%} "
        f"of {gpu.bandwidth / 1e9:g} GB/s: a frame takes the GPU {said(ours)} with our kernels, "
        f"{said(plain)} by the reference, and would take {said(least)} if each layer were one kernel; "
        f"launching its operations takes the CPU {said(sending)} and {said(before)}, in parallel.\n"
    )


def _met(seconds: float) -> str:
    return "met" if seconds <= WANTED else "missed"


def _row(name: str, cost: arithmetic.ArithmeticCost, gpu: Gpu) -> str:
    times = " | ".join(said(gpu.seconds(cost.flops, cost.moved, share=share)) for share in (1.0, 0.5))
    return f"| {name} | {cost.flops / 1e9:.1f} GFLOP | {cost.moved / 1e9:.2f} GB | {times} |"


def align_seconds() -> float:
    """Seconds to find the face in the photo, with the detector loaded."""
    picture = Image.open(PHOTO)
    align(picture, size=256)
    start = time.perf_counter()
    align(picture, size=256)
    return time.perf_counter() - start


def encode_seconds(side: int, frames: int = FRAMES) -> float:
    """Seconds to encode one frame of a video that zooms into a photograph with camera-like grain."""
    pictures = list(zooming_photo(side, frames))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        write_frames(pictures, Path(folder) / "video.mp4", 30)
        return (time.perf_counter() - start) / frames


def zooming_photo(side: int, frames: int) -> Iterator[Frame]:
    """Frames, uint8 [side, side, 3], of a zoom by a tenth into a photo; its grain is fixed, as our noise."""
    photo = Image.open(PHOTO).convert("RGB")
    grain = np.random.default_rng(0).normal(0, 2, (side, side, 1))
    for index in range(frames):
        edge = 0.05 * photo.width * index / max(1, frames - 1)
        box = (edge, edge, photo.width - edge, photo.height - edge)
        picture = photo.resize((side, side), Image.Resampling.BICUBIC, box=box)
        yield (np.asarray(picture) + grain).clip(0, 255).astype(np.uint8)
