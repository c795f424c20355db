"""A small network that reads the motions off a picture: the laboratory's yardstick.

It is trained on renders and on nothing else.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from avatar import dataset
from avatar.augment import augment
from avatar.factors import MOTIONS, factors_from_z
from avatar.training import Progress, Trainer, command

LEARNING_RATE, BATCH = 0.002, 32
WIDTHS = (16, 32, 64, 96)


class Regressor(nn.Module):
    """Pictures [B, 3, 128, 128] in [-1, 1] → degrees [B, 5] of ``MOTIONS``.

    It looks at the face alone: hair and backdrop are cut away, so that greying hair does not pass for age.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *WIDTHS)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip(widths, WIDTHS, strict=False)
        )
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(WIDTHS[-1] * 5 * 5, 64), nn.LeakyReLU(0.2), nn.Linear(64, len(MOTIONS))
        )

    def forward(self, images: Tensor) -> Tensor:
        x = images[:, :, 24:104, 24:104]
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
        return self.head(x)


def load_regressor(path: Path) -> Regressor:
    """Read a regressor that ``main`` wrote; eval mode."""
    model = Regressor()
    model.load_state_dict(load_file(path))
    return model.eval().requires_grad_(False)


def degrees(z: Tensor) -> Tensor:
    """The true degrees [B, 5] of the motions in codes [B, Z_DIM]."""
    f = factors_from_z(z)
    return torch.cat([f[name] for name in MOTIONS], dim=1)


def train(rank: int, data: Path, run: Path, total: int, seed: int, world: int) -> None:
    """One of ``world`` equal workers."""
    heads = dataset.load(data, rank, world)
    torch.manual_seed(seed)
    model = Regressor()
    trainer = Trainer(
        "regressor", model, run, rank, world, total=total, seed=seed, learning_rate=LEARNING_RATE
    )

    def learn(progress: Progress, rng: torch.Generator) -> tuple[Tensor, int]:
        index = torch.randint(len(heads), (BATCH,), generator=rng)
        images = augment(heads.images[index].float() / 127.5 - 1, rng, keep=0.5)
        return F.smooth_l1_loss(model(images), degrees(heads.z[index]), beta=0.1), BATCH

    trainer.fit(learn)
    if rank == 0:
        save_file(trainer.average.state_dict(), run / "regressor.safetensors")
        error = errors(load_regressor(run / "regressor.safetensors"), dataset.load(data, validation=True))
        print({name: round(value, 4) for name, value in error.items()}, flush=True)


def errors(model: Regressor, heads: dataset.Heads) -> dict[str, float]:
    """Mean absolute error of each motion on renders it never saw."""
    guess = torch.cat([model(part.float() / 127.5 - 1) for part in heads.images.split(64)])
    off = (guess - degrees(heads.z)).abs().mean(dim=0)
    return dict(zip(MOTIONS, off.tolist(), strict=True))


if __name__ == "__main__":
    command("regressor", train, "Train the regressor that measures motions", images=200_000)
