"""Train the avatar's StyleGAN2 by distillation: from the code z of a head to its render.

Why distillation and not adversarial training: the renderer is a function of known factors, so every code has ONE right picture, and a
regression learns from each pixel of it. From scratch on a CPU an adversarial generator still shows ghosts after what here is a finished
model. The price is softness in what the code does not determine well (strands of hair, outlines); `GeneratorLoss` keeps the face crisp.
Growing the resolution 16 → 32 → 64 → 128 buys most of the training at a fraction of its cost; synthesis stops early and returns the sum
of the RGB skips so far, so no layers are faded in.
"""

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from avatar import dataset, workers
from avatar.factors import FACTORS, Z_DIM, fill_to_norm, sample_z
from avatar.losses import GeneratorLoss, attention
from stylegan2 import Generator, GeneratorConfig, save_generator

CONFIG = GeneratorConfig(
    resolution=128,
    style_dim=256,
    z_dim=Z_DIM,
    mapping_layers=4,
    channels={4: 192, 8: 192, 16: 128, 32: 96, 64: 48, 128: 24},
)
GROWTH = ((16, 0.05), (32, 0.13), (64, 0.45), (128, 1.0))
"""Resolution, and the share of all images by which it ends."""

LEARNING_RATE, BETAS, EMA_IMAGES = 0.006, (0.9, 0.99), 6_000
BATCH = 8


@dataclass
class Progress:
    """Where a run stands."""

    images: int
    total: int

    @property
    def done(self) -> float:
        return self.images / self.total

    @property
    def resolution(self) -> int:
        return next((size for size, end in GROWTH if self.done < end), GROWTH[-1][0])

    @property
    def learning_rate(self) -> float:
        """Warm-up over the first 1%, then a cosine down to a fiftieth."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, self.done)))
        return LEARNING_RATE * min(1.0, self.done / 0.01 + 0.05) * (0.02 + 0.98 * cosine)


def train(rank: int, data: Path, run: Path, total: int, seed: int, world: int) -> None:
    """One of ``world`` equal workers; gradients are averaged, so all hold the same generator."""
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{(run / 'rendezvous').resolve()}", rank=rank, world_size=world)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    heads = dataset.load(data, rank, world)
    model, average, optimiser, progress = _resume(run / "generator.pt", total, seed, device)
    rng = torch.Generator().manual_seed(seed * 7919 + rank + progress.images)
    loss_of, started, first = GeneratorLoss(), time.monotonic(), progress.images
    step, losses = 0, []
    while progress.done < 1:
        images, z = _batch(heads, rng, BATCH if world > 1 else BATCH * 4)
        loss = _learn(model, optimiser, loss_of, images.to(device), z.to(device), progress, world)
        progress.images += len(z) * world
        _follow(average, model, 0.5 ** (len(z) * world / EMA_IMAGES))
        losses.append(loss)
        step += 1
        if rank == 0 and step % 100 == 0:
            rate = (progress.images - first) / (time.monotonic() - started)
            left = (progress.total - progress.images) / rate / 60
            mean = sum(losses[-100:]) / 100
            print(f"{progress.images:>8} images  {progress.resolution:>3}²  loss {mean:.4f}  {rate:.0f}/s  {left:.0f} min left", flush=True)
        if rank == 0 and (step % 500 == 0 or progress.done >= 1):
            _save(run / "generator.pt", model, average, optimiser, progress)
    if rank == 0:
        _finish(average, run / "generator.safetensors")


def _batch(heads: dataset.Heads, rng: torch.Generator, size: int) -> tuple[Tensor, Tensor]:
    """Images [size, 3, S, S] in [-1, 1] and codes [size, Z_DIM] of random pairs; what the codes do not carry is drawn afresh."""
    pairs = torch.randint(len(heads) // 2, (size // 2,), generator=rng)
    index = torch.stack([2 * pairs, 2 * pairs + 1], dim=1).flatten()
    fresh = sample_z(size // 2, rng).repeat_interleave(2, dim=0)
    carried = len(FACTORS)
    z = fill_to_norm(torch.cat([heads.z[index, :carried], fresh[:, carried:]], dim=1))
    return heads.images[index].float() / 127.5 - 1, z


def _learn(
    model: Generator,
    optimiser: torch.optim.Optimizer,
    loss_of: GeneratorLoss,
    images: Tensor,
    z: Tensor,
    progress: Progress,
    world: int,
) -> float:
    size = progress.resolution
    weight = F.avg_pool2d(attention(z, CONFIG.resolution), CONFIG.resolution // size)
    true = F.avg_pool2d(images, CONFIG.resolution // size)
    for group in optimiser.param_groups:
        group["lr"] = progress.learning_rate
    with torch.autocast(images.device.type, torch.bfloat16):
        w = model.mapping(z)
        w_plus = w[:, None].expand(-1, model.num_styles, -1)
        made = model.synthesize(w_plus, noise=None, resolution=size)
    loss = loss_of(made.float(), true, weight)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    _average_gradients(model, world)
    optimiser.step()
    return loss.item()


def _average_gradients(model: torch.nn.Module, world: int) -> None:
    if world == 1:
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= world
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


@torch.no_grad()
def _follow(average: torch.nn.Module, model: torch.nn.Module, keep: float) -> None:
    for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
        slow.lerp_(fast, 1 - keep)


def _resume(
    checkpoint: Path, total: int, seed: int, device: torch.device
) -> tuple[Generator, Generator, torch.optim.Adam, Progress]:
    model = Generator(CONFIG, torch.Generator().manual_seed(seed)).to(device)
    with torch.no_grad():
        for to_rgb in model.synthesis.to_rgbs:
            to_rgb.weight *= 0.2  # the sum of six random pictures starts far outside [-1, 1] otherwise
    average = Generator(CONFIG).to(device)
    average.load_state_dict(model.state_dict())
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, betas=BETAS, eps=1e-8)
    progress = Progress(0, total)
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        average.load_state_dict(saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        progress.images = saved["images"]
    return model, average, optimiser, progress


def _save(path: Path, model: Generator, average: Generator, optimiser: torch.optim.Optimizer, progress: Progress) -> None:
    partial = path.with_suffix(".part")
    state = {"model": model.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict()}
    torch.save({**state, "images": progress.images}, partial)
    partial.rename(path)


@torch.no_grad()
def _finish(average: Generator, path: Path) -> None:
    """Measure the average w over 20,000 codes, and write the generator as it ships."""
    average = average.cpu()
    w = average.mapping(sample_z(20_000, torch.Generator().manual_seed(0)))
    average.latent_avg.copy_(w.mean(dim=0))
    save_generator(average, path)
    print(f"wrote {path}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Distil the avatar's generator; run again to resume.")
    parser.add_argument("data", type=Path, help="folder of shards made by avatar.dataset")
    parser.add_argument("run", type=Path, help="folder for checkpoints and the result")
    parser.add_argument("--images", type=int, default=800_000, help="images to train on in all (default 800,000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=workers.default_workers())
    args = parser.parse_args()
    args.run.mkdir(parents=True, exist_ok=True)
    (args.run / "rendezvous").unlink(missing_ok=True)
    workers.spawn(args.workers, train, args.data, args.run, args.images, args.seed, args.workers)


if __name__ == "__main__":
    main()
