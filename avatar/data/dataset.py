"""The data set: rendered heads with the z codes they were rendered from.

It is stored in shards, which can be made in any order; an interrupted run resumes where it stopped. A shard
records the factors it was rendered with, as a code means nothing without them. Heads come in pairs: three
pairs in four show one person twice, differing in a single factor; the others show two different people.
Pairs teach a network an expression: their difference is the expression and nothing else.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from avatar import workers
from avatar.renderer.factors import (
    FACTORS,
    INDEX,
    MOTIONS,
    factors_from_z,
    fill_to_norm,
    sample_motion_z,
    sample_training_z,
)
from avatar.renderer.render import render, render_quickly
from micromotion.video.pixels import quantise

SIZE, SHARD = 256, 128
SIZES = (128, 256)
CPU_BATCH, GPU_BATCH = 8, 64
STRANGERS = -1


@dataclass
class Heads:
    """Rendered heads in pairs: 2i and 2i + 1 are a pair.

    images: uint8 [N, 3, S, S]; z: float32 [N, Z_DIM], of length √Z_DIM; differs: int64 [N / 2], the
    index of the factor in which a pair differs, or STRANGERS (two different people).
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
    validation, and training never sees them. Raises FileNotFoundError if there are no shards to read, and
    ValueError if they were rendered with other factors than this version's, or differ in size.
    """
    shards = sorted(folder.glob("heads-*.safetensors"))
    chosen = shards[-held_out:] if validation else shards[:-held_out][rank::world]
    if not chosen:
        raise FileNotFoundError(
            f"No shards of heads in {folder}; make them with: python -m avatar.data.dataset {folder}"
        )
    size = check(chosen[0])
    for shard in chosen[1:]:
        check(shard, size)
    parts = [load_file(shard) for shard in chosen]
    return Heads(*(torch.cat([part[key] for part in parts]) for key in ("images", "z", "differs")))


def draw(generator: torch.Generator, pairs: int = SHARD // 2) -> tuple[Tensor, Tensor]:
    """Codes [2 · pairs, Z_DIM] in pairs, and in which factor each pair [pairs] differs."""
    first, second = sample_training_z(pairs, generator), sample_training_z(pairs, generator)
    names = (*MOTIONS, *MOTIONS, "mouth_open", "pitch", "roll", "gaze_x", "gaze_y")
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
        # One of the two is neutral, where a motion starts.
        if name in MOTIONS and name != "yaw" and min(value, second[i, index]) > 0:
            value = -sample_motion_z("yaw", 1, generator)[0].abs()
        second[i, index] = value
        differs[i] = index
    return fill_to_norm(torch.stack([first, second], dim=1).flatten(0, 1)), differs


def shard_codes(index: int, seed: int = 0, pairs: int = SHARD // 2) -> tuple[Tensor, Tensor]:
    """The codes and differences of a shard, as ``draw`` returns them, seeded by the shard's index."""
    return draw(torch.Generator().manual_seed(seed * 1_000_003 + index), pairs)


def check(shard: Path, size: int | None = None) -> int:
    """Pixels a side of a shard's pictures.

    Raises ValueError if it was rendered with other factors than this version's, or is not of the given
    ``size``.
    """
    with safe_open(shard, "pt") as file:
        factors = (file.metadata() or {}).get("factors")
        side = int(file.get_slice("images").get_shape()[-1])
    if factors != _names():
        raise ValueError(
            f"{shard} was drawn with other factors than this version's; render into a new folder"
        )
    if size is not None and side != size:
        raise ValueError(f"{shard} holds pictures of {side}², not {size}²; render into a new folder")
    return side


def _names() -> str:
    return " ".join(factor.name for factor in FACTORS)


def shard_path(folder: Path, kind: str, index: int) -> Path:
    """The path of a shard in its folder; `kind` is "heads" or "people"."""
    return folder / f"{kind}-{index:05d}.safetensors"


def make_shard(
    folder: Path,
    index: int,
    seed: int,
    *,
    size: int = SIZE,
    device: str = "cpu",
    compiled: bool = True,
    pairs: int = SHARD // 2,
) -> None:
    """Render one shard and write it atomically."""
    path = shard_path(folder, "heads", index)
    if path.exists():
        return
    z, differs = shard_codes(index, seed, pairs)
    write(path, {"images": paint(z, size, device, compiled), "z": z, "differs": differs})


def paint(z: Tensor, size: int, device: str, compiled: bool) -> Tensor:
    """Render codes [N, Z_DIM] on a device: uint8 [N, 3, size, size].

    On a CPU large pictures have one ray per pixel: their edges alias, which a network averages out.
    """
    draw_heads = render_quickly if device == "cpu" and size > 128 else render
    images = []
    for part in z.split(CPU_BATCH if device == "cpu" else GPU_BATCH):
        picture = draw_heads(factors_from_z(part.to(device)), size, compiled=compiled)
        images.append(quantise(picture).movedim(-1, 1).cpu())
    return torch.cat(images).contiguous()


def write(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a shard atomically, with the names of the factors it was rendered with."""
    partial = path.with_suffix(".part")
    save_file(tensors, partial, {"factors": _names()})
    partial.rename(path)


def _work(
    rank: int,
    mine: Sequence[int],
    make: Callable[..., None],
    kind: str,
    folder: Path,
    shards: int,
    seed: int,
    size: int,
    device: str,
    compiled: bool,
) -> None:
    started, present = time.monotonic(), _count(folder, kind)
    for index in mine:
        make(folder, index, seed, size=size, device=device, compiled=compiled)
        if rank == 0:
            done = _count(folder, kind)
            rate = (done - present) / (time.monotonic() - started)
            left = f"{(shards - done) / rate / 60:.0f} min left" if done > present else "already there"
            print(f"rendered {done} of {shards} shards  {rate * SHARD:.1f} heads/s  {left}", flush=True)


def _count(folder: Path, kind: str) -> int:
    return len(list(folder.glob(f"{kind}-*.safetensors")))


def command(make: Callable[..., None], kind: str, description: str, *, count: int) -> None:
    """Command line that renders ``kind``-00000 … of SHARD heads each, with a function like ``make_shard``."""
    parser = argparse.ArgumentParser(description=f"{description}; run again to resume.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=count, help=f"heads in all (default {count:,})")
    parser.add_argument(
        "--size", type=int, choices=SIZES, default=SIZE, help=f"pixels a side (default {SIZE})"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--eager", action="store_true", help="do not compile the renderer first")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, help="processes (default: one per core, or one for a GPU)")
    args = parser.parse_args()
    gpu = torch.cuda.is_available()
    if args.device == "cuda" and not gpu:
        parser.error("there is no CUDA device here; take --device cpu")
    device = "cuda" if gpu and args.device != "cpu" else "cpu"
    world = args.workers or (1 if device == "cuda" else len(os.sched_getaffinity(0)))
    compiled = not args.eager
    args.folder.mkdir(parents=True, exist_ok=True)
    try:
        for shard in sorted(args.folder.glob(f"{kind}-*.safetensors")):
            check(shard, args.size)
    except ValueError as error:
        parser.error(str(error))
    shards = -(-args.count // SHARD)
    missing = [index for index in range(shards) if not shard_path(args.folder, kind, index).exists()]
    work = make, kind, args.folder, shards, args.seed, args.size, device, compiled
    workers.share(missing, _work, *work, count=world, compiles=compiled)


if __name__ == "__main__":
    command(make_shard, "heads", "Render heads with known factors", count=32_000)
