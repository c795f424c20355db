"""How well e4e and the generator reconstruct an unseen head."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from avatar.report.ssim import batch_psnr, ms_ssim
from avatar.report.subject import Subject, unit
from micromotion.weights.bundle import IDENTITY


@dataclass(frozen=True)
class Reconstruction:
    """Pictures made from inverted heads, uint8 [N, 3, S, S], and their likeness, each [N].

    identity: cosine of the identity network's features of the head and of the picture; None without such a
    network.
    strangers: the same between a head and the next one, which is another person: a baseline for the target of
    0.8.
    """

    made: Tensor
    psnr: Tensor
    ms_ssim: Tensor
    identity: Tensor | None
    strangers: Tensor | None

    def worst(self, count: int) -> list[int]:
        """Indices of the ``count`` worst heads by MS-SSIM, the worst first."""
        return self.ms_ssim.argsort()[:count].tolist()


def reconstruct(subject: Subject, heads: Tensor) -> Reconstruction:
    """Invert heads uint8 [N, 3, S, S] of the model's size and compare their reconstructions with them."""
    made = subject.show(subject.encode(heads))
    pairs = zip(made.split(16), heads.split(16), strict=True)
    alike = torch.cat([ms_ssim(a, b) for a, b in pairs])
    identity = strangers = None
    if subject.has(IDENTITY):
        before, after = identity_features(subject, heads), identity_features(subject, made)
        identity = F.cosine_similarity(before, after)
        strangers = F.cosine_similarity(before, before.roll(1, dims=0))
    return Reconstruction(made, batch_psnr(made, heads), alike, identity, strangers)


@torch.inference_mode()
def identity_features(subject: Subject, pictures: Tensor) -> Tensor:
    """The identity network's features [N, D], on the CPU."""
    bundle = subject.animator.bundle
    return torch.cat(
        [bundle.identity.features(unit(part).to(bundle.device)).float().cpu() for part in pictures.split(32)]
    )
