"""Videos rendered by the embedded model, so that each frame's degree is known."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from videos import write_video

from micromotion.learn.video import Collected, SampledFrame, collect_from_video
from micromotion.motion.playable import load_motion
from micromotion.weights.bundle import Bundle, load_bundle

HEIGHT, WIDTH, SIDE = 176, 240, 128
PERSON, OTHER = 3, 8
Degrees = Sequence[float]


@cache
def model() -> Bundle:
    return load_bundle("avatar", "cpu")


@cache
def person(seed: int) -> torch.Tensor:
    z = torch.randn(1, model().generator.config.z_dim, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        mean = model().inverter.latent_avg
        return mean + 0.6 * (model().generator.mapping(z)[:, None] - mean)


@cache
def head(seed: int, motion: str = "smile", degree: float = 0.0) -> np.ndarray:
    """A person of the model at a degree of a motion, uint8 [SIDE, SIDE, 3]."""
    direction = load_motion(model().motions[motion]).direction
    with torch.inference_mode():
        picture = model().generator.synthesize(person(seed) + degree * direction, noise="fixed")[0]
    pixels = ((picture.permute(1, 2, 0).clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
    return np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def scene(*heads: tuple[np.ndarray, int, int]) -> np.ndarray:
    """Heads at (left, top), later ones in front, cropped to the picture: uint8 [HEIGHT, WIDTH, 3]."""
    page = Image.new("RGB", (WIDTH, HEIGHT), (96, 104, 112))
    for pixels, left, top in heads:
        page.paste(Image.fromarray(pixels), (left, top))
    return np.asarray(page)


def performance(degrees: Degrees, motion: str = "smile", shake: float = 0.0) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    places = np.array([16, 24]) + np.rint(rng.normal(0, shake, (len(degrees), 2))).astype(int)
    return [
        scene((head(PERSON, motion, float(degree)), left, top))
        for degree, (left, top) in zip(degrees, places.tolist(), strict=True)
    ]


def collect(path: Path, frames: Sequence[np.ndarray], count: int = 7, **kind: Any) -> Collected:
    return collect_from_video(write_video(path, frames, **(kind or {"crf": "14"})), model(), count=count)


def agreement(collected: Collected, degrees: Degrees) -> float:
    """Correlation of the used frames' reported degrees with the true ones."""
    reported = [float(frame.reason.split()[1]) for frame in collected.kept]
    return float(np.corrcoef(reported, [degrees[frame.number] for frame in collected.kept])[0, 1])


def likeness(collected: Collected, motion: str) -> float:
    """Cosine similarity of the anchors' change, last minus first, and the known direction."""
    change = (collected.anchors.w_plus[-1] - collected.anchors.w_plus[0]).flatten()
    known = load_motion(model().motions[motion]).direction.flatten()
    return float(torch.cosine_similarity(change, known, dim=0))


def numbers(frames: Sequence[SampledFrame]) -> list[int]:
    return [frame.number for frame in frames]


SMILE = [round(float(d), 3) for d in np.clip((np.arange(24) - 2) / 19, 0, 1)]
