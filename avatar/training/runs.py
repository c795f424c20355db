"""Training runs of the avatar's networks.

Equal workers with averaged gradients, a moving average of the model, checkpoints, a progress line.
"""

import argparse
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from PIL import Image
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from avatar import workers
from avatar.training.muon import Muon
from micromotion.video.pixels import to_uint8

SAVE_EVERY_S, REPORT_EVERY_S = 60.0, 15.0
HALF_LIFE = 6_000


@dataclass
class RunProgress:
    """Progress of a run, in images."""

    images: int
    total: int

    @property
    def done(self) -> float:
        return self.images / self.total

    def cosine(self, warm_up: float = 0.01, floor: float = 0.02) -> float:
        """Share of the peak learning rate: a linear warm-up, then half a cosine down to ``floor``."""
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, self.done)))
        return min(1.0, self.done / warm_up + 0.05) * (floor + (1 - floor) * fall)


Learn = Callable[[RunProgress, torch.Generator], tuple[Tensor, int]]
"""One step's loss (a scalar with its graph) on this worker, and how many images it saw."""

Companion = nn.Module | torch.optim.Optimizer
"""Something else that a run trains, saved in its checkpoint."""

DrawPreview = Callable[[nn.Module], Tensor]
"""Shows what the averaged model can do so far, in a picture [3, H, W] in [-1, 1]."""


class Trainer:
    """One of the ``world`` equal workers of a run.

    The checkpoint ``run/<name>.pt`` holds everything; a run started again resumes from it. ``average`` is the
    moving average of the model, with a half-life of ``half_life`` images, and is what ships. The default is
    HALF_LIFE, or a twentieth of a shorter run, whose average would otherwise still hold much of the initial
    weights. ``turned`` weights are trained by ``avatar.training.muon`` at its own rate, the others by Adam.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        run: Path,
        rank: int,
        world: int,
        *,
        total: int,
        seed: int,
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.99),
        turned: Sequence[nn.Parameter] = (),
        turning_rate: float = 0.02,
        half_life: int | None = None,
        companions: Mapping[str, Companion] | None = None,
    ) -> None:
        self.checkpoint = run / f"{name}.pt"
        self.rank, self.world, self.seed = rank, world, seed
        self.model, self._averaged = model, AveragedModel(model)
        self._averaged.n_averaged.fill_(1)  # or the first step would be copied, not averaged
        self.average = self._averaged.module.eval().requires_grad_(False)
        self.half_life = half_life or min(HALF_LIFE, total / 20)
        others = [p for p in model.parameters() if p.requires_grad and not any(p is t for t in turned)]
        self.optimisers: list[tuple[torch.optim.Optimizer, float]] = [
            (torch.optim.Adam(others, learning_rate, betas), learning_rate)
        ]
        if turned:
            self.optimisers.append((Muon(turned, turning_rate), turning_rate))
        self.companions = dict(companions or {})
        self.progress = RunProgress(0, total)
        if world > 1:
            rendezvous = _rendezvous_file(run, name).resolve()
            dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
        if self.checkpoint.exists():
            self._restore()

    def fit(self, learn: Learn, preview: DrawPreview | None = None) -> None:
        """Run steps until all images are seen; rank 0 reports, saves, and draws ``run/<name>.png``."""
        losses: deque[float] = deque(maxlen=100)
        started = reported = saved = time.monotonic()
        first = self.progress.images
        while self.progress.done < 1:
            # Seeded by the position in the run, so a resumed run continues as if it had not stopped.
            rng = torch.Generator().manual_seed(self.seed * 7919 + self.rank + self.progress.images)
            count, loss = self._step(learn, rng)
            self.progress.images += count * self.world
            losses.append(loss)
            now = time.monotonic()
            if self.rank == 0 and now - reported > REPORT_EVERY_S:
                reported = now
                self._report(sum(losses) / len(losses), (self.progress.images - first) / (now - started))
            if self.rank == 0 and now - saved > SAVE_EVERY_S:
                self._save()
                self._draw(preview)
                saved = time.monotonic()
        if self.rank == 0:
            self._save()
            self._draw(preview)

    def _step(self, learn: Learn, rng: torch.Generator) -> tuple[int, float]:
        for optimiser, peak in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = peak * self.progress.cosine()
            optimiser.zero_grad(set_to_none=False)
        loss, count = learn(self.progress, rng)
        loss.backward()
        average_gradients(self.model.parameters(), self.world)
        for optimiser, _ in self.optimisers:
            optimiser.step()
        decay = 0.5 ** (count * self.world / self.half_life)  # steps differ in size
        self._averaged.multi_avg_fn = get_ema_multi_avg_fn(decay)
        self._averaged.update_parameters(self.model)
        return count, loss.item()

    def _report(self, loss: float, rate: float) -> None:
        images, total = self.progress.images, self.progress.total
        left = (total - images) / rate / 60
        seen = f"{images:>8} of {total} images"
        print(f"{seen}  loss {loss:.4f}  {rate:.0f}/s  {left:.0f} min left", flush=True)

    def _save(self) -> None:
        partial = self.checkpoint.with_suffix(".part")
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser, _ in self.optimisers],
            "images": self.progress.images,
            **{name: companion.state_dict() for name, companion in self.companions.items()},
        }
        torch.save(state, partial)
        partial.rename(self.checkpoint)

    def _draw(self, preview: DrawPreview | None) -> None:
        if preview is not None:
            with torch.inference_mode():
                picture = preview(self.average)
            Image.fromarray(to_uint8(picture)).save(self.checkpoint.with_suffix(".png"))

    def _restore(self) -> None:
        saved = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        self.model.load_state_dict(saved["model"])
        self.average.load_state_dict(saved["average"])
        for (optimiser, _), state in zip(self.optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        self.progress.images = saved["images"]
        for name in self.companions.keys() & saved.keys():  # a companion may join a run later
            self.companions[name].load_state_dict(saved[name])


def half(device: torch.device) -> torch.autocast:
    """Autocast to bfloat16 where that is faster: on a GPU, and on processors that support it.

    On others, such as x86 without AVX-512, PyTorch falls back to loops 5 to 20 times slower than float32.
    """
    fast = device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


def average_gradients(parameters: Iterable[nn.Parameter], world: int) -> None:
    """Average the gradients over all ``world`` workers, in place."""
    if world == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= world
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def command(name: str, train: Callable[..., None], description: str, *, images: int) -> None:
    """Command line of a training module; workers run ``train(rank, data, run, total, seed, world)``."""
    parser = argparse.ArgumentParser(description=f"{description}; run again to resume.")
    parser.add_argument("data", type=Path, help="folder of shards made by avatar.data.dataset")
    parser.add_argument("run", type=Path, help="folder for checkpoints and results")
    parser.add_argument("--images", type=int, default=images, help=f"images to train on in all ({images:,})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=workers.default_workers())
    args = parser.parse_args()
    args.run.mkdir(parents=True, exist_ok=True)
    _rendezvous_file(args.run, name).unlink(missing_ok=True)  # an interrupted run leaves it behind
    workers.spawn(args.workers, train, args.data, args.run, args.images, args.seed, args.workers)


def _rendezvous_file(run: Path, name: str) -> Path:
    """The file through which a run's workers find each other."""
    return run / f"{name}.meeting"
