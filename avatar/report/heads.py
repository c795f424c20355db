"""Heads to measure the model on, rendered at its size and cached.

Except for ``learned``, they are in no data set.
"""

import hashlib
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from avatar import workers
from avatar.data.dataset import SHARD, paint, shard_codes
from avatar.renderer.factors import FACTORS, INDEX, fill_to_norm, sample_z
from avatar.report.measure import codes_at_rest

COUNT, SEED = 200, 4_000_000
TURN = 25 / 35
"""The yaw factor at 25°, as it is 1 at 35°."""
PART = 8
MANY = 1000
"""Number of heads for which it pays to compile the renderer first."""
REPORT_EVERY_S = 30.0


def as_met(count: int = COUNT) -> Tensor:
    """Codes [count, Z_DIM] of random people, in any mood, age, light and pose."""
    return fill_to_norm(sample_z(count, torch.Generator().manual_seed(SEED)))


def neutral(count: int = COUNT) -> Tensor:
    """Codes of other people in the rest pose, looking straight ahead: motions start from here."""
    return fill_to_norm(codes_at_rest(sample_z(count, torch.Generator().manual_seed(SEED + 1))))


def turned(count: int = COUNT) -> Tensor:
    """The neutral heads, turned evenly between ±25°."""
    return with_factor(neutral(count), "yaw", TURN * torch.linspace(-1, 1, count))


def learned(count: int) -> Tensor:
    """Codes [count, Z_DIM] of heads that the model learned from: the first of each pair of the data set."""
    shards = -(-2 * count // SHARD)
    return torch.cat([shard_codes(index)[0][::2] for index in range(shards)])[:count]


def with_factor(z: Tensor, name: str, value: Tensor | float) -> Tensor:
    """The same people with one factor set to ``value``, from -1 or 0 to 1."""
    z = z.clone()
    z[:, INDEX[name]] = torch.as_tensor(2.0 * value)
    return fill_to_norm(z)


def shaven(z: Tensor) -> Tensor:
    """Which codes [N] are of faces without beard and moustache."""
    return ((z[:, INDEX["beard"]] <= 0) & (z[:, INDEX["moustache"]] <= 0)).bool()


def rendered(z: Tensor, size: int, cache: Path, *, processes: int | None = None) -> Tensor:
    """Renders uint8 [N, 3, size, size] of codes [N, Z_DIM], cached on disk."""
    paths = kept(z, size, cache, processes=processes)
    return torch.cat([load_file(path)["images"] for path in paths])


def kept(z: Tensor, size: int, cache: Path, *, processes: int | None = None) -> list[Path]:
    """Paths of the cached renders of codes [N, Z_DIM], PART heads a file; missing ones are rendered.

    Files are named after the codes, the size and the renderer's source, so that an interrupted run resumes
    and a changed renderer draws anew.
    """
    cache.mkdir(parents=True, exist_ok=True)
    paths = [cache / f"{part_key(part, size)}.safetensors" for part in z.split(PART)]
    missing = [i for i, path in enumerate(paths) if not path.is_file()]
    compiled = len(missing) * PART >= MANY
    if missing:
        print(f"rendering {len(missing) * PART} heads at {size}²", flush=True)
    workers.share(missing, _render, z, size, paths, compiled, count=processes, compiles=compiled)
    return paths


def _render(rank: int, mine: list[int], z: Tensor, size: int, paths: list[Path], compiled: bool) -> None:
    parts, reported = z.split(PART), time.monotonic()
    for i in mine:
        partial = paths[i].with_suffix(".part")
        save_file({"images": paint(parts[i], size, "cpu", compiled=compiled)}, partial)
        partial.rename(paths[i])
        if rank == 0 and time.monotonic() - reported > REPORT_EVERY_S:
            reported = time.monotonic()
            done = sum(len(part) for part, path in zip(parts, paths, strict=True) if path.is_file())
            print(f"  {done} of {len(z)}", flush=True)


def renderer_sources() -> list[Path]:
    """The renderer's source files; cached renders are valid for this source only."""
    avatar = Path(__file__).resolve().parents[1]
    return [*sorted((avatar / "renderer").glob("*.py")), avatar / "data" / "dataset.py"]


def part_key(z: Tensor, size: int) -> str:
    """Cache key of a part: a hash of codes, size and renderer in 20 hex digits."""
    digest = hashlib.sha256(f"{size} {[f.name for f in FACTORS]}".encode())
    digest.update(z.contiguous().numpy().tobytes())
    for source in renderer_sources():
        digest.update(source.read_bytes())
    return digest.hexdigest()[:20]
