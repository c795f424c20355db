"""Train the avatar's identity network, which recognises a person in any expression, pose and light.

ArcFace (Deng et al. 2019, arXiv 1801.07698) on people in other poses, moods, ages, lights, clothes and hair;
it is validated on people it never saw. As the traits of each person are known here, they are also regressed
from the features: with few people and little time this generalises to unseen people, where telling the
training people apart would not.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avatar.data import people
from avatar.data.augment import augment
from avatar.renderer.factors import INDEX
from avatar.training.runs import RunProgress, Trainer, command
from encoder4editing.identity import IdentityConfig, IdentityNet, load_identity, save_identity

CONFIG = IdentityConfig(
    input_size=96,
    feature_dim=128,
    widths=(24, 48, 80, 112),
    depths=(1, 1, 2, 1),
    se_reduction=8,
    stem_stride=2,
)
LEARNING_RATE, BATCH, GPU_BATCH = 0.002, 64, 256
SCALE, MARGIN, EASY = 10.0, 0.1, 0.3
"""Scale of the logits; margin in radians; share of the run over which the margin grows from 0."""
PULL = 3.0
"""Weight of 1 − cosine with the own person: telling people apart requires a cosine of no more than a half."""
READING = 2.0
"""Weight of the regression of traits from the features."""
SETTLING = 20  # batches


class Album(nn.Module):
    """The network, and what only training uses: each person's feature direction, and a reader of traits."""

    def __init__(self, count: int, seed: int, config: IdentityConfig = CONFIG) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.net = IdentityNet(config, rng)
        self.directions = nn.Parameter(torch.randn(count, config.feature_dim, generator=rng) * 0.1)
        self.reader = nn.Parameter(torch.zeros(config.feature_dim, len(people.TRAITS)))


def arcface(features: Tensor, directions: Tensor, person: Tensor, margin: float) -> Tensor:
    """Cross-entropy over people, with a margin added to the angle to a picture's own person, and a pull
    towards that person.

    Args:
        features: [B, D] of unit length.
        directions: [people, D], of any length.
        person: int64 [B].
        margin: radians. Where angle + margin exceeds π, the cosine continues in a straight line.
    """
    cosine = features @ F.normalize(directions).T
    own = cosine.gather(1, person[:, None]).clamp(-1 + 1e-6, 1 - 1e-6)
    harder = own * math.cos(margin) - (1 - own.square()).sqrt() * math.sin(margin)
    harder = torch.where(own > -math.cos(margin), harder, own - margin * math.sin(margin))
    apart = F.cross_entropy(SCALE * cosine.scatter(1, person[:, None], harder), person)
    return apart + PULL * (1 - own.mean())


def step_loss(
    album: Album, data: people.People, index: Tensor, rng: torch.Generator, margin: float
) -> Tensor:
    """The loss on some pictures, augmented with ``rng``."""
    device = album.directions.device
    images = augment(data.images[index].to(device).float() / 127.5 - 1, rng, keep=0.5)
    features = album.net.features(images)
    # entries of z are standard normal: a reader of zeros has a mean square error of 1
    traits = data.z[index][:, [INDEX[name] for name in people.TRAITS]].to(device)
    off = features.shape[1] ** 0.5 * features @ album.reader - traits
    identified = arcface(features, album.directions, data.person[index].to(device), margin)
    return identified + READING * off.square().mean()


def train(rank: int, data: Path, run: Path, total: int, seed: int, world: int) -> None:
    """Run one of ``world`` equal workers."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    seen = people.load(data, rank, world)
    album = Album(seen.count, seed).to(device)
    album.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
    trainer = Trainer(
        "identity", album, run, rank, world, total=total, seed=seed, learning_rate=LEARNING_RATE
    )
    batch = GPU_BATCH if device.type == "cuda" else BATCH

    def learn(progress: RunProgress, rng: torch.Generator) -> tuple[Tensor, int]:
        index = torch.randint(len(seen), (batch,), generator=rng)
        return step_loss(album, seen, index, rng, MARGIN * min(1.0, progress.done / EASY)), batch

    trainer.fit(learn)
    if rank == 0:
        network = cast(IdentityNet, trainer.average.net)
        settle(network, network.features, seen.images, torch.Generator().manual_seed(seed))
        save_identity(network, run / "identity.safetensors", half=True)
        print(f"wrote {run / 'identity.safetensors'}", flush=True)
        figures = verification(
            load_identity(run / "identity.safetensors"), people.load(data, validation=True)
        )
        print({name: round(value, 3) for name, value in figures.items()}, flush=True)


@torch.no_grad()
def settle(
    network: nn.Module, look: Callable[[Tensor], Tensor], images: Tensor, rng: torch.Generator
) -> None:
    """Recompute the statistics of batch norms for averaged weights.

    Args:
        network: the network, which ends in eval mode.
        look: sends pictures in [-1, 1] through it.
        images: uint8 [N, 3, S, S], of which SETTLING batches are drawn.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the plain mean over batches
    network.train()
    device = next(network.parameters()).device
    for _ in range(SETTLING):
        index = torch.randint(len(images), (BATCH,), generator=rng)
        look(augment(images[index].to(device).float() / 127.5 - 1, rng, keep=0.5))
    network.eval()


@torch.inference_mode()
def verification(network: IdentityNet, data: people.People) -> dict[str, float]:
    """How well the cosine alone separates pairs of one person from pairs of two people.

    Returns:
        same, different: the mean cosine of two pictures of one person and of two people; auc: how often a
        pair of the same has the larger cosine; accuracy: at the best threshold, if both kinds of pair were
        equally frequent.
    """
    device = network.linear.weight.device
    parts = (network.features(part.to(device).float() / 127.5 - 1) for part in data.images.split(64))
    features = torch.cat(list(parts)).cpu()
    cosine = features @ features.T
    pair = torch.ones_like(cosine, dtype=torch.bool).triu(1)
    alike = data.person[:, None] == data.person
    same, different = cosine[pair & alike].sort()[0], cosine[pair & ~alike].sort()[0]
    threshold = torch.linspace(-1, 1, 2001)
    accepted = 1 - torch.searchsorted(same, threshold) / len(same)
    rejected = torch.searchsorted(different, threshold) / len(different)
    return {
        "same": float(same.mean()),
        "different": float(different.mean()),
        "auc": float(torch.searchsorted(different, same).double().mean() / len(different)),
        "accuracy": float(((accepted + rejected) / 2).max()),
    }


if __name__ == "__main__":
    command("identity", train, "Train the avatar's identity network", images=600_000)
