"""Whether samples are as varied as renders, and not copies of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from avatar.data import dataset
from avatar.report import heads
from avatar.report.subject import FeatureNet, Subject, features_of, resized

SEED = 5_000_000
ROWS = 500  # of a distance matrix at a time


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

    With ``own``, x and y are one set, and no row is its own neighbour.
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
    """Cached renders of codes [N, Z_DIM] at ``size``², read one part at a time."""

    def __init__(self, z: Tensor, size: int, cache: Path) -> None:
        self.size, self.count = size, len(z)
        self.paths = heads.kept(z, size, cache)

    def parts(self) -> Iterator[Tensor]:
        """uint8 [PART, 3, size, size], one after the other."""
        for path in self.paths:
            yield load_file(path)["images"]

    def pictures(self, indices: Tensor) -> Tensor:
        """The pictures [N, 3, size, size] at these indices, int64 [N]."""
        where = [divmod(i, heads.PART) for i in indices.tolist()]
        return torch.stack([load_file(self.paths[part])["images"][i] for part, i in where])


@dataclass(frozen=True)
class Diversity:
    """KID and neighbours of samples, in a feature network's units scaled to the renders' spread.

    count: number of samples; renders: number of renders they are compared with, and of samples whose
    neighbours were looked for. kid: samples against renders; floor: other renders against those renders;
    blurred: the same renders at half the resolution against them, for scale. to_render, to_sample,
    between_renders: mean distance of a sample to the nearest render, to the nearest other sample, and of a
    render to the nearest other render. samples, neighbours, twins: uint8 pictures of a few samples, of the
    render and of the other sample nearest to each.
    """

    count: int
    renders: int
    kid: float
    floor: float
    blurred: float
    to_render: float
    to_sample: float
    between_renders: float
    samples: Tensor
    neighbours: Tensor
    twins: Tensor


def diversity(
    subject: Subject, network: FeatureNet, renders: Renders, count: int, shown: int = 8
) -> Diversity:
    """Compare ``count`` samples, with codes drawn as for the data set, with renders.

    They are compared with one half of the renders; the other half gives the floor. Neighbours are looked for
    from as many samples as half the renders, as the distance to the nearest shrinks with the size of a set.
    """
    half = renders.count // 2
    device = subject.animator.bundle.device
    z = dataset.draw(torch.Generator().manual_seed(SEED), pairs=count)[0][::2]
    clear, soft = render_features(network, renders, device)
    mean, spread = clear[:half].mean(dim=0), clear[:half].std(dim=0).clamp(min=1e-6)
    made = torch.cat(
        [features_of(network, subject.show(subject.sample(part)), device) for part in z.split(64)]
    )
    fake, real, other, blurred = (
        (features - mean) / spread for features in (made, clear[:half], clear[half:], soft[:half])
    )
    few = fake[:half]
    to_render, neighbours = nearest(few, real)
    to_sample, twins = nearest(few, few, own=True)
    chosen = torch.linspace(0, len(few) - 1, shown).long()
    return Diversity(
        count,
        half,
        kid(fake, real),
        kid(other, real),
        kid(blurred, real),
        float(to_render.mean()),
        float(to_sample.mean()),
        float(nearest(real, real, own=True)[0].mean()),
        subject.show(subject.sample(z[chosen])),
        renders.pictures(neighbours[chosen]),
        subject.show(subject.sample(z[twins[chosen]])),
    )


def render_features(network: FeatureNet, renders: Renders, device: torch.device) -> tuple[Tensor, Tensor]:
    """Features [N, D] of renders, and of the same ones at half the resolution."""
    clear, soft = [], []
    for pictures in renders.parts():
        half = resized(resized(pictures, renders.size // 2), renders.size)
        clear.append(features_of(network, pictures, device))
        soft.append(features_of(network, half, device))
    return torch.cat(clear), torch.cat(soft)
