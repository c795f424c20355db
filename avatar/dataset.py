"""The data set: rendered heads with the codes they were drawn from.

It is kept in shards, which can be made in any order; an interrupted run goes on where it stopped. Heads come
in pairs. Three pairs in four show one person twice, differing in a single factor; the others are two
strangers. Pairs are what teaches a network an expression: their difference is the expression and nothing
else.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from avatar import workers
from avatar.factors import (
    FACTORS,
    INDEX,
    MOTIONS,
    factors_from_z,
    fill_to_norm,
    sample_motion_z,
    sample_training_z,
)
from avatar.render import render

SIZE, SHARD, BATCH = 128, 128, 8
STRANGERS = -1


@dataclass
class Heads:
    """Rendered heads in pairs: 2i and 2i + 1 belong together.

    images: uint8 [N, 3, SIZE, SIZE]; z: float32 [N, Z_DIM], of length √Z_DIM; differs: int64 [N / 2], the
    index of the factor in which a pair differs, or STRANGERS.
    """

    images: Tensor
    z: Tensor
    differs: Tensor

    def __len__(self) -> int:
        return len(self.z)


def load(
    folder: Path, rank: int = 0, world: int = 1, *, held_out: int = 4, validation: bool = False
) -> Heads:
    """Read a worker's share of the training shards, or the shards held out for validation.

    A worker gets every ``world``-th shard from the ``rank``-th on. The last ``held_out`` shards are for
    validation, and training never sees them. Raises FileNotFoundError where there are no shards to read.
    """
    shards = sorted(folder.glob("heads-*.safetensors"))
    chosen = shards[-held_out:] if validation else shards[:-held_out][rank::world]
    if not chosen:
        raise FileNotFoundError(
            f"No shards of heads in {folder}; make them with: python -m avatar.dataset {folder}"
        )
    parts = [load_file(shard) for shard in chosen]
    return Heads(*(torch.cat([part[key] for part in parts]) for key in ("images", "z", "differs")))


def draw(generator: torch.Generator, pairs: int = SHARD // 2) -> tuple[Tensor, Tensor]:
    """Codes [2 · pairs, Z_DIM] in pairs, and in which factor each pair [pairs] differs."""
    first, second = sample_training_z(pairs, generator), sample_training_z(pairs, generator)
    names = (*MOTIONS, *MOTIONS, "mouth_open", "pitch", "gaze_x", "gaze_y")
    differs = torch.full((pairs,), STRANGERS)
    for i in range(pairs):
        if i % 4 == 3:
            continue
        pick = int(torch.randint(len(names) + 3, (1,), generator=generator))
        if pick < len(names):
            index = INDEX[names[pick]]
        else:
            index = int(torch.randint(len(FACTORS), (1,), generator=generator))
        value = second[i, index].clone()
        second[i] = first[i]
        name = FACTORS[index].name
        # One of the two is at rest, where a motion starts.
        if name in MOTIONS and name != "yaw" and min(value, second[i, index]) > 0:
            value = -sample_motion_z("yaw", 1, generator)[0].abs()
        second[i, index] = value
        differs[i] = index
    return fill_to_norm(torch.stack([first, second], dim=1).flatten(0, 1)), differs


def make_shard(folder: Path, index: int, seed: int) -> None:
    """Render one shard, seeded by its own number, and write it whole or not at all."""
    path = folder / f"heads-{index:05d}.safetensors"
    if path.exists():
        return
    z, differs = draw(torch.Generator().manual_seed(seed * 1_000_003 + index))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images = []
    for part in z.split(BATCH):
        picture = render(factors_from_z(part.to(device)), SIZE, 2, compiled=True).cpu()
        images.append(((picture + 1) * 127.5).round().clamp(0, 255).byte())
    partial = path.with_suffix(".part")
    save_file({"images": torch.cat(images), "z": z, "differs": differs}, partial)
    partial.rename(path)


def _work(rank: int, folder: Path, shards: int, seed: int, world: int) -> None:
    for index in range(rank, shards, world):
        make_shard(folder, index, seed)
        if rank == 0:
            print(f"rendered {len(list(folder.glob('heads-*.safetensors')))} of {shards} shards", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Render heads with known factors; run again to resume.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=32_000, help="heads in all (default 32,000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=workers.default_workers())
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    shards = -(-args.count // SHARD)
    workers.spawn(args.workers, _work, args.folder, shards, args.seed, args.workers)


if __name__ == "__main__":
    main()
