"""Four ways from anchors to a direction, each the change of the latent per unit of degree, [styles, dim]."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from benchmarks.claims.original_pca import robust_pca_compatible
from micromotion.motion.anchor_analysis import analyse
from micromotion.motion.anchors import Anchors
from micromotion.motion.robust_pca import principal_subspace


def ours(anchors: Anchors) -> Tensor:
    """What `micromotion` plays: see `micromotion.motion.anchor_analysis.analyse`."""
    return analyse(anchors).direction


def original(anchors: Anchors) -> Tensor:
    """The public code's: its robust PCA of each style, rank 4, the last anchor minus the first."""
    low_rank, _ = robust_pca_compatible(anchors.w_plus.transpose(0, 1))
    return (low_rank[:, -1] - low_rank[:, 0]) / _span(anchors)


def plain_pca(anchors: Anchors) -> Tensor:
    """All styles together, centred, the rank chosen from the data, and the least-squares slope in it.

    Unlike ours, it treats nothing as an error.
    """
    subspace = principal_subspace(anchors.w_plus.flatten(1))
    degrees = anchors.degrees.double() - anchors.degrees.double().mean()
    slope = degrees @ subspace.coordinates / degrees.square().sum()
    return (slope @ subspace.basis).view(anchors.w_plus.shape[1:]).float()


def difference(anchors: Anchors) -> Tensor:
    """The last anchor minus the first."""
    return (anchors.w_plus[-1] - anchors.w_plus[0]) / _span(anchors)


METHODS: Mapping[str, Callable[[Anchors], Tensor]] = {
    "ours": ours,
    "the original's": original,
    "plain PCA": plain_pca,
    "the difference": difference,
}


def _span(anchors: Anchors) -> float:
    return float(anchors.degrees[-1] - anchors.degrees[0])


# --- corrupted anchors -------------------------------------------------------------------------------------

CLEAN = "clean"
SHARES, WHOLE = (0.05, 0.1, 0.2), (1, 2, 3)


Corrupt = Callable[[Anchors, torch.Generator], Anchors]


def corrupt_entries(anchors: Anchors, rng: torch.Generator, *, others: Tensor, share: float) -> Anchors:
    """Replace each entry, with probability `share`, by that of another person.

    others: latents [m, styles, dim] of other people; each entry draws its own.
    """
    hit = torch.rand(anchors.w_plus.shape, generator=rng) < share
    who = torch.randint(len(others), anchors.w_plus.shape, generator=rng)
    return Anchors(torch.where(hit, others.gather(0, who), anchors.w_plus), anchors.degrees)


def corrupt_anchors(anchors: Anchors, rng: torch.Generator, *, others: Tensor, count: int) -> Anchors:
    """Replace `count` random anchors by other people's latents; the degrees stay."""
    w_plus = anchors.w_plus.clone()
    where = torch.randperm(len(w_plus), generator=rng)[:count]
    w_plus[where] = others[torch.randperm(len(others), generator=rng)[:count]]
    return Anchors(w_plus, anchors.degrees)


def conditions(others: Tensor) -> dict[str, Corrupt]:
    """By name, in order: clean anchors, then each kind of corruption."""
    entries: dict[str, Corrupt] = {
        f"{share:.0%} of the entries": partial(corrupt_entries, others=others, share=share)
        for share in SHARES
    }
    whole: dict[str, Corrupt] = {
        f"{count} whole anchor{'s' if count > 1 else ''}": partial(
            corrupt_anchors, others=others, count=count
        )
        for count in WHOLE
    }
    return {CLEAN: lambda anchors, rng: anchors} | entries | whole
