"""The subject of a report: a bundle with its motions, and the evaluation regressor for its pictures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from encoder4editing.regressor import Regressor, load_regressor
from micromotion import Animator
from micromotion.motion.playable import Motion, load_motion
from micromotion.video.pixels import quantise
from micromotion.weights.bundle import CLIP, IDENTITY, find_bundle
from stylegan2 import Generator

BATCH = 16

Features = Callable[[Tensor], Tensor]
"""Pictures [B, 3, S, S] in [-1, 1] → features [B, D]."""


@dataclass(frozen=True)
class Subject:
    """A loaded bundle; ``motions`` by their published names, ``about`` the contents of its bundle.json."""

    animator: Animator
    regressor: Regressor
    motions: Mapping[str, Motion]
    about: Mapping[str, Any]
    folder: Path

    @property
    def generator(self) -> Generator:
        return self.animator.bundle.generator

    @property
    def size(self) -> int:
        """Pixels a side of the model's pictures."""
        return self.generator.resolution

    def has(self, part: str) -> bool:
        """Whether the bundle has an optional part, such as CLIP."""
        return (self.folder / part).is_file()

    @torch.inference_mode()
    def encode(self, pictures: Tensor) -> Tensor:
        """Crops uint8 [N, 3, S, S] → latents [N, styles, dim], as the application finds them."""
        return torch.cat([self.animator.encode(as_image(picture), aligned=True) for picture in pictures])

    @torch.inference_mode()
    def show(self, latents: Tensor) -> Tensor:
        """Latents [N, styles, dim] → the application's pictures, uint8 [N, 3, S, S], on the CPU."""
        parts = [quantise(self.generator.synthesize(part)).movedim(-1, 1) for part in latents.split(BATCH)]
        return torch.cat([part.cpu() for part in parts])

    @torch.inference_mode()
    def sample(self, z: Tensor, truncation: float = 1.0) -> Tensor:
        """Codes z [N, Z_DIM] → latents [N, styles, dim]."""
        w = self.generator.mapping(z.to(self.animator.bundle.device))
        w = self.generator.truncate(w, truncation)
        return w[:, None].expand(-1, self.generator.num_styles, -1)


def load_subject(bundle: str | Path = "avatar", device: str = "auto") -> Subject:
    """Load a bundle for the report. Raises BundleError as ``load_bundle``, FileNotFoundError where it has no
    regressor.
    """
    files = find_bundle(bundle)
    animator = Animator.load(bundle, device)
    regressor = load_regressor(files.folder / "regressor.safetensors").to(animator.bundle.device)
    motions = {name: load_motion(path) for name, path in files.motions.items()}
    return Subject(animator, regressor, motions, files.about, files.folder)


@dataclass(frozen=True)
class FeatureNet:
    """A network whose features pictures are compared by.

    name: what it is; meaning: what its distances mean, in a sentence.
    """

    name: str
    meaning: str
    of: Features


def feature_net(subject: Subject) -> FeatureNet:
    """The bundle's best network for comparing pictures: its CLIP, else its identity network, else the
    regressor's inner layer. Inception's weights, the usual choice, are not part of this repository.
    """
    if subject.has(CLIP):
        from avatar.training.clip import image_features

        clip = subject.animator.bundle.clip
        return FeatureNet(
            "the bundle's own CLIP",
            "it was trained to tell captions apart, so it sees what words can express (expression, "
            "age, turn, hair, beard, glasses, skin) and little of sharpness",
            lambda images: image_features(clip, images),
        )
    if subject.has(IDENTITY):
        return FeatureNet(
            "the bundle's own identity network",
            "it was trained to tell people apart in any expression, so it sees who somebody is and ignores "
            "expression and light",
            subject.animator.bundle.identity.features,
        )
    return FeatureNet(
        "the regressor's last hidden layer",
        "it was trained to read the motions, so it sees expression, age and turn, and little of who it is",
        lambda images: hidden(subject.regressor, images),
    )


def hidden(regressor: Regressor, images: Tensor) -> Tensor:
    """The regressor's last hidden layer for pictures [B, 3, S, S]: [B, 128]."""
    face, skin = regressor.windows(images)
    return torch.cat([regressor.face[:-1](face), regressor.skin[:-1](skin)], dim=1)


@torch.inference_mode()
def features_of(network: FeatureNet, pictures: Tensor, device: torch.device) -> Tensor:
    """Features float64 [N, D], on the CPU, of uint8 pictures [N, 3, S, S]."""
    parts = [network.of(unit(part).to(device)).float().cpu() for part in pictures.split(64)]
    return torch.cat(parts).double()


def unit(pictures: Tensor) -> Tensor:
    """uint8 → float32 in [-1, 1]."""
    return pictures.float() / 127.5 - 1


def resized(pictures: Tensor, size: int) -> Tensor:
    """uint8 [N, 3, S, S] at another size, averaged where that is smaller."""
    if pictures.shape[-1] == size:
        return pictures
    shrink = pictures.shape[-1] > size
    parts = [
        F.adaptive_avg_pool2d(part.float(), size)
        if shrink
        else F.interpolate(part.float(), size=(size, size), mode="bilinear", align_corners=False)
        for part in pictures.split(64)
    ]
    return torch.cat([part.round().byte() for part in parts])


def as_image(picture: Tensor) -> Image.Image:
    """uint8 [3, S, S] → a PIL image."""
    return Image.fromarray(picture.movedim(0, -1).contiguous().numpy())
