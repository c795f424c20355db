"""Whether samples are as varied as renders, and no copies of them."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from avatar import dataset
from avatar.report.subject import FeatureNet, Subject, features_of, resized

SEED = 5_000_000
ROWS, HELD_OUT = 500, 4  # rows of a distance matrix at a time; shards that are not for training


def kid(x: Tensor, y: Tensor) -> float:
    """KID of two sets of features, x [M, D] and y [N, D], float64.

    It is the unbiased squared maximum mean discrepancy under the kernel (a·b / D + 1)³ (Bińkowski et al.
    2018, "Demystifying MMD GANs", arXiv 1801.01401): 0 on average for two samples of one distribution,
    sometimes below.
    """
    return _mean_kernel(x, x, own=True) + _mean_kernel(y, y, own=True) - 2 * _mean_kernel(x, y)


def _mean_kernel(x: Tensor, y: Tensor, *, own: bool = False) -> float:
    """Mean of the kernel over pairs; with ``own``, over pairs of different members of one set."""
    total = sum(float(_kernel(part, y).sum()) for part in x.split(ROWS))
    if not own:
        return total / (len(x) * len(y))
    alone = float((x.square().sum(dim=1) / x.shape[1] + 1).pow(3).sum())
    return (total - alone) / (len(x) * (len(x) - 1))


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1).pow(3)


def nearest(x: Tensor, y: Tensor, *, own: bool = False) -> tuple[Tensor, Tensor]:
    """For each row of x [M, D] its distance [M] to the nearest row of y [N, D], and which that is, int64 [M].

    With ``own``, x and y are one set, and nobody is his own neighbour.
    """
    found, where = [], []
    for start in range(0, len(x), ROWS):
        distance = torch.cdist(x[start : start + ROWS], y, compute_mode="donot_use_mm_for_euclid_dist")
        if own:
            row = torch.arange(len(distance))
            distance[row, start + row] = torch.inf
        least = distance.min(dim=1)
        found.append(least.values)
        where.append(least.indices)
    return torch.cat(found), torch.cat(where)


class Renders:
    """The data set's pictures at a size of our own, one of each pair, read shard by shard.

    Raises as ``dataset.load`` does.
    """

    def __init__(self, data: Path, size: int) -> None:
        self.data, self.size = data, size
        self.shards = max(1, len(list(data.glob("heads-*.safetensors"))) - HELD_OUT)
        dataset.load(data, 0, self.shards, held_out=HELD_OUT)

    def __len__(self) -> int:
        return self.shards * dataset.SHARD // 2

    def shard(self, index: int) -> Tensor:
        """uint8 [SHARD / 2, 3, size, size]."""
        return resized(dataset.load(self.data, index, self.shards, held_out=HELD_OUT).images[::2], self.size)

    def pictures(self, indices: Tensor) -> Tensor:
        """The pictures [N, 3, size, size] of these numbers, int64 [N]."""
        each = dataset.SHARD // 2
        return torch.stack([self.shard(i // each)[i % each] for i in indices.tolist()])


@dataclass(frozen=True)
class Diversity:
    """KID and neighbours of samples, in a feature net's units scaled to the renders' spread.

    count: of samples, and of renders that they are held against. kid: samples against renders; floor: other
    renders against those renders; blurred: the same renders at half the resolution against them, for scale.
    to_render, to_sample, between_renders: mean distance of a sample to the nearest render, to the nearest
    other sample, and of a render to the nearest other render. samples, neighbours, twins: uint8 pictures of
    a few samples, of the render and of the other sample nearest to each.
    """

    count: int
    kid: float
    floor: float
    blurred: float
    to_render: float
    to_sample: float
    between_renders: float
    samples: Tensor
    neighbours: Tensor
    twins: Tensor


def diversity(subject: Subject, net: FeatureNet, renders: Renders, count: int, shown: int = 8) -> Diversity:
    """Compare samples, of codes drawn as the data set draws its own, with as many renders.

    ``count`` is at most half of the renders: the others are the other renders.
    """
    count = min(count, len(renders) // 2)
    device = subject.animator.bundle.device
    z = dataset.draw(torch.Generator().manual_seed(SEED), pairs=count)[0][::2]
    clear, soft = render_features(net, renders, 2 * count, device)
    mean, spread = clear[:count].mean(dim=0), clear[:count].std(dim=0).clamp(min=1e-6)
    made = torch.cat([features_of(net, subject.show(subject.sample(part)), device) for part in z.split(64)])
    fake, real, other, blurred = (
        (features - mean) / spread for features in (made, clear[:count], clear[count:], soft[:count])
    )
    to_render, neighbours = nearest(fake, real)
    to_sample, twins = nearest(fake, fake, own=True)
    few = torch.linspace(0, count - 1, shown).long()
    return Diversity(
        count,
        kid(fake, real),
        kid(other, real),
        kid(blurred, real),
        float(to_render.mean()),
        float(to_sample.mean()),
        float(nearest(real, real, own=True)[0].mean()),
        subject.show(subject.sample(z[few])),
        renders.pictures(neighbours[few]),
        subject.show(subject.sample(z[twins[few]])),
    )


def render_features(
    net: FeatureNet, renders: Renders, count: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Features [count, D] of renders, and of the same ones at half the resolution."""
    clear, soft = [], []
    for index in range(-(-2 * count // dataset.SHARD)):
        pictures = renders.shard(index)
        half = resized(resized(pictures, renders.size // 2), renders.size)
        clear.append(features_of(net, pictures, device))
        soft.append(features_of(net, half, device))
    return torch.cat(clear)[:count], torch.cat(soft)[:count]
