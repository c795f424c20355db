"""Train the evaluation regressor, which reads motions off a picture (`encoder4editing.regressor`).

It is trained on renders only and then calibrated like any instrument: a line is fitted from the true degrees
of renders to its readings and taken out, so that it neither reads motions too small nor one motion for
another.
"""

from pathlib import Path
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from avatar.data import dataset
from avatar.renderer.factors import MOTIONS, factors_from_z
from avatar.training.runs import RunProgress, Trainer, command, half
from encoder4editing.regressor import READ, Regressor, to_side

LEARNING_RATE, BATCH, GPU_BATCH = 0.002, 32, 256
FREE = 0.3  # weight of the free movements, half of which closed eyes hide
HELD_OUT, SETTING = 4, 12  # shards not trained on: for validation, and (at most) for calibration


def degrees(z: Tensor) -> Tensor:
    """The true degrees [B, len(READ)] in codes [B, Z_DIM]."""
    f = factors_from_z(z)
    return torch.cat([f[name] for name in READ], dim=1)


class Pictures(NamedTuple):
    """Renders at SIDE², uint8 [N, 3, SIDE, SIDE], and their true degrees [N, len(READ)]."""

    images: Tensor
    degrees: Tensor


Share = Literal["training", "setting", "validation"]


def load_pictures(data: Path, share: Share, rank: int = 0, world: int = 1) -> Pictures:
    """Renders to train on (a worker's share), to calibrate the evaluation regressor with, or to validate.

    The three are disjoint: a network reads the pictures it was trained on better than any others.
    Raises as ``dataset.load`` does.
    """
    shards = len(list(data.glob("heads-*.safetensors")))
    aside = HELD_OUT + max(1, min(SETTING, shards // 10))
    if share == "validation":
        return reduced(dataset.load(data, held_out=HELD_OUT, validation=True))
    if share == "setting":
        both = reduced(dataset.load(data, held_out=aside, validation=True))
        return Pictures(*(part[: -HELD_OUT * dataset.SHARD] for part in both))
    # One shard at a time: many of 256² would fill the memory.
    count = max(1, shards - aside)
    numbers = range(rank, max(count, rank + 1), world)
    parts = [reduced(dataset.load(data, i, count, held_out=aside)) for i in numbers]
    return Pictures(torch.cat([p.images for p in parts]), torch.cat([p.degrees for p in parts]))


def reduced(heads: dataset.Heads) -> Pictures:
    """Heads at SIDE²."""
    parts = [to_side(part.float()).round().byte() for part in heads.images.split(64)]
    return Pictures(torch.cat(parts), degrees(heads.z))


def disturb(images: Tensor, rng: torch.Generator) -> Tensor:
    """Change light, sharpness, noise and framing of pictures [B, 3, S, S] in [-1, 1], each by itself.

    A generator's pictures are softer than renders, and must not read differently because of it. Nothing here
    turns or stretches a head.
    """
    gain, lift = (torch.rand(2, len(images), 1, 1, 1, generator=rng) * 0.24 - 0.12).to(images.device)
    soft = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2.0, mode="bilinear", align_corners=False)
    share = torch.rand(len(images), 1, 1, 1, generator=rng).mul(2).sub(1).clamp(min=0).to(images.device)
    grain = torch.randn(images.shape[1:], generator=rng).to(images.device)
    images = images.lerp(soft, share) * (1 + gain) + lift + 0.03 * share * grain
    down, across = torch.randint(-2, 3, (2,), generator=rng).tolist()
    return images.roll((down, across), dims=(2, 3))


def train(rank: int, data: Path, run: Path, total: int, seed: int, world: int) -> None:
    """Run one of ``world`` equal workers."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pictures = load_pictures(data, "training", rank, world)
    torch.manual_seed(seed)
    model = Regressor().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
    trainer = Trainer(
        "regressor", model, run, rank, world, total=total, seed=seed, learning_rate=LEARNING_RATE
    )
    batch = BATCH if device.type == "cpu" else GPU_BATCH
    emphasis = torch.tensor([1.0 if name in MOTIONS else FREE for name in READ], device=device)

    def learn(progress: RunProgress, rng: torch.Generator) -> tuple[Tensor, int]:
        index = torch.randint(len(pictures.images), (batch,), generator=rng)
        images = disturb(pictures.images[index].to(device).float() / 127.5 - 1, rng)
        with half(device):
            guess = model(images.contiguous(memory_format=torch.channels_last))
        wrong = F.smooth_l1_loss(
            guess.float(), pictures.degrees[index].to(device), beta=0.1, reduction="none"
        )
        return (wrong.mean(dim=0) * emphasis).mean(), batch

    trainer.fit(learn)
    if rank == 0:
        average = cast(Regressor, trainer.average)
        adjust(average, load_pictures(data, "setting"))
        state = {name: value.cpu().contiguous() for name, value in average.state_dict().items()}
        save_file(state, run / "regressor.safetensors")
        for line in calibration(average, load_pictures(data, "validation")).lines():
            print(line, flush=True)


@torch.inference_mode()
def read_all(model: Regressor, images: Tensor) -> Tensor:
    """Degrees [N, len(READ)], on the CPU, of uint8 pictures [N, 3, S, S]."""
    device = model.setting.device
    parts = (model(part.to(device).float() / 127.5 - 1) for part in images.split(64))
    return torch.cat(list(parts)).cpu()


@torch.no_grad()
def adjust(model: Regressor, pictures: Pictures) -> None:
    """Calibrate the evaluation regressor: take out the least-squares line from true degrees to readings.

    This is the classical calibration of an instrument. The free movements stay uncalibrated: closed eyes hide
    the gaze, and what can hardly be seen would drown the rest in noise.
    """
    model.setting.copy_(torch.eye(len(READ)))
    model.zero.zero_()
    slopes, zero = response(read_all(model, pictures.images), pictures.degrees)
    motions = slice(0, len(MOTIONS))
    model.setting[motions, motions] = torch.linalg.inv(slopes[motions, motions]).to(model.setting)
    model.zero[motions] = zero[motions].to(model.zero)


def response(read: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """How readings [N, K] follow true degrees [N, K]: read ≈ true @ slopes + zero, by least squares."""
    ones = torch.ones(len(true), 1, dtype=torch.float64)
    line = torch.linalg.lstsq(torch.cat([true.double(), ones], dim=1), read.double()).solution
    return line[:-1].float(), line[-1].float()


class Calibration(NamedTuple):
    """How good a regressor is on unseen renders; each [len(READ)], by ``READ``.

    error: mean absolute error; slope: change of a reading per unit of its own true degree; crosstalk: the
    largest change of it per unit of any other (which one: ``disturber``).
    """

    error: list[float]
    slope: list[float]
    crosstalk: list[float]
    disturber: list[str]

    def lines(self) -> list[str]:
        return [
            f"{name}: error {e:.3f}, slope {s:.3f}, cross-talk {c:.3f} ({d})"
            for name, e, s, c, d in zip(READ, *self, strict=True)
        ]


def calibration(model: Regressor, pictures: Pictures) -> Calibration:
    """Compare a regressor's readings with the true degrees."""
    read = read_all(model, pictures.images)
    slopes, _ = response(read, pictures.degrees)
    others = (slopes - slopes.diag().diag()).abs()
    most, where = others.max(dim=0)
    error = (read - pictures.degrees).abs().mean(dim=0)
    return Calibration(
        error.tolist(), slopes.diag().tolist(), most.tolist(), [READ[i] for i in where.tolist()]
    )


if __name__ == "__main__":
    command("regressor", train, "Train the regressor that measures motions", images=240_000)
