"""How far a motion moves its own factor, and how far the others.

Measured on people who were never anchors; the regressor reads the frames.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from avatar.renderer.factors import FACTORS, INDEX, MOTIONS, sample_z
from avatar.renderer.render import render
from avatar.training.collect import PUBLISHED_NAMES, at_rest
from encoder4editing.regressor import Regressor
from micromotion import Animator
from micromotion.video.pixels import to_uint8
from stylegan2 import Generator

STRANGERS_SEED = 777
TRUNCATION, MEAN_OF = 0.7, 2000


@dataclass
class MotionEffect:
    """What one motion at strength 1 does to some faces.

    steadiness: Spearman correlation of its own factor with the frame number, one for each face; own: mean
    change of its own factor; leak: mean absolute change of the other factors, by name.
    """

    steadiness: list[float]
    own: float
    leak: dict[str, float]

    def steady(self, bound: float = 0.95) -> int:
        """On how many faces the factor grows with time: a correlation above ``bound``."""
        return sum(s > bound for s in self.steadiness)


def strangers(count: int, seed: int = STRANGERS_SEED, size: int = 256) -> list[Image.Image]:
    """Renders of people who are in no data set, in the rest pose."""
    f = at_rest(sample_z(count, torch.Generator().manual_seed(seed)))
    one_by_one = [render({name: value[i : i + 1] for name, value in f.items()}, size) for i in range(count)]
    return [to_picture(picture[0]) for picture in one_by_one]


@torch.inference_mode()
def dreamt(generator: Generator, count: int, seed: int = STRANGERS_SEED) -> list[Image.Image]:
    """The generator's pictures of new people in the rest pose.

    Their w is truncated to TRUNCATION of the way from the mean, as usual for samples of StyleGAN2.
    """
    mean, w = (
        generator.mapping(codes_at_rest(sample_z(n, torch.Generator().manual_seed(s))))
        for n, s in ((MEAN_OF, 0), (count, seed))
    )
    w = mean.mean(dim=0).lerp(w, TRUNCATION)
    w_plus = w[:, None].expand(-1, generator.num_styles, -1)
    return [to_picture(picture) for picture in generator.synthesize(w_plus, noise=None)]


def codes_at_rest(z: Tensor) -> Tensor:
    """Codes [B, Z_DIM] of the same people with a neutral face, looking straight ahead."""
    z = z.clone()
    for factor in FACTORS[: INDEX["gaze_y"] + 1]:
        i = INDEX[factor.name]
        z[:, i] = -z[:, i].abs() if factor.kind == "degree" else 0.0
    return z


def to_picture(pixels: Tensor) -> Image.Image:
    """[3, H, W] in [-1, 1] → a PIL image."""
    return Image.fromarray(to_uint8(pixels))


def measure(
    animator: Animator, regressor: Regressor, motion: str, faces: list[Image.Image], frames: int = 30
) -> MotionEffect:
    """Play a motion (the renderer's name) at strength 1 on aligned faces and read the frames."""
    own = MOTIONS.index(motion)
    steadiness, change = [], []
    for face in faces:
        video = animator.animate(face, PUBLISHED_NAMES[motion], frames=frames, aligned=True, view="model")
        degrees = read(regressor, list(video))
        steadiness.append(spearman(degrees[:, own]))
        change.append(degrees[-1] - degrees[0])
    moved = np.stack(change)
    leak = {name: float(np.abs(moved[:, i]).mean()) for i, name in enumerate(MOTIONS) if i != own}
    return MotionEffect(steadiness, float(moved[:, own].mean()), leak)


@torch.inference_mode()
def read(regressor: Regressor, frames: list[np.ndarray]) -> np.ndarray:
    """uint8 frames [n][H, W, 3] → degrees [n, …] of ``encoder4editing.regressor.READ``, the motions first."""
    batch = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return regressor(batch).numpy()


def spearman(values: np.ndarray) -> float:
    """Rank correlation of a series [n] with time."""
    ranks = np.argsort(np.argsort(values)).astype(np.float64)
    return float(np.corrcoef(ranks, np.arange(len(values)))[0, 1])
