"""Train the avatar's e4e: from a picture to the W+ code whose synthesis shows it.

Pictures are renders, whose codes are known exactly, and the generator's own pictures of fresh codes. First
the codes are learned (by their distance to the true w, in units of the generator's own spread of w); then the
synthesis of the code must show the picture as well.
"""

from pathlib import Path

import torch
from torch import Tensor

from avatar import dataset
from avatar.augment import augment
from avatar.factors import sample_training_z, sample_z
from avatar.losses import GeneratorLoss, attention
from avatar.train_generator import draw_pairs, pair_weights
from avatar.training import Progress, Trainer, command
from encoder4editing import EncoderConfig, Inverter, save_inverter
from stylegan2 import Generator, load_generator

CONFIG = EncoderConfig(
    input_size=128,
    num_styles=12,
    style_dim=256,
    widths=(24, 48, 96, 128),
    depths=(1, 1, 2, 1),
    fpn_width=48,
    head_width=48,
    se_reduction=4,
    stem_stride=2,
)
LEARNING_RATE, BATCH = 0.002, 16
PICTURE_FROM, PICTURE_WEIGHT, PICTURES = 0.55, 1.0, 4
"""When the picture loss sets in (a share of the run), its weight, and its pictures per batch."""


def train(rank: int, data: Path, run: Path, total: int, seed: int, world: int) -> None:
    """One of ``world`` equal workers."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    heads = dataset.load(data, rank, world)
    weights = pair_weights(heads)
    generator = load_generator(run / "generator.safetensors").to(device).requires_grad_(False)
    spread = w_spread(generator)
    model = Inverter(CONFIG, torch.Generator().manual_seed(seed)).to(device)
    model.latent_avg.copy_(generator.latent_avg.expand(CONFIG.num_styles, -1))
    trainer = Trainer("encoder", model, run, rank, world, total=total, seed=seed, learning_rate=LEARNING_RATE)
    loss_of, batch = GeneratorLoss(), BATCH if world > 1 else 4 * BATCH

    def learn(progress: Progress, rng: torch.Generator) -> tuple[Tensor, int]:
        images, z = draw(heads, weights, generator, rng, batch)
        with torch.no_grad():
            w = generator.mapping(z.to(device))[:, None]
        with torch.autocast(device.type, torch.bfloat16):
            code = model.invert(augment(images, rng).to(device)).float()
        loss = ((code - w) / spread).square().mean()
        if progress.done >= PICTURE_FROM:
            some = slice(0, PICTURES)  # renders: their pictures are the truth
            with torch.autocast(device.type, torch.bfloat16):
                shown = generator.synthesize(code[some], noise=None).float()
            weight = attention(z[some].to(device), shown.shape[-1])
            loss = loss + PICTURE_WEIGHT * loss_of(shown, images[some].to(device), weight)
        return loss, batch

    trainer.fit(learn)
    if rank == 0:
        save_inverter(trainer.average.cpu(), run / "inverter.safetensors")  # type: ignore[arg-type]
        print(f"wrote {run / 'inverter.safetensors'}", flush=True)


@torch.no_grad()
def w_spread(generator: Generator) -> Tensor:
    """Standard deviation [style_dim] of w over codes as the data set draws them."""
    z = sample_training_z(4096, torch.Generator().manual_seed(1)).to(generator.latent_avg.device)
    return generator.mapping(z).std(dim=0).clamp(min=1e-3)


@torch.no_grad()
def draw(
    heads: dataset.Heads, weights: Tensor, generator: Generator, rng: torch.Generator, count: int
) -> tuple[Tensor, Tensor]:
    """Pictures [count, 3, S, S] in [-1, 1] and their codes [count, Z_DIM].

    Three quarters are renders, in pairs; the rest are the generator's own.
    """
    images, z = draw_pairs(heads, weights, rng, count * 3 // 4)
    own = torch.where(torch.rand(count - len(z), 1, generator=rng) < 0.5, *_codes(count - len(z), rng))
    device = generator.latent_avg.device
    w_plus = generator.mapping(own.to(device))[:, None].expand(-1, generator.num_styles, -1)
    with torch.autocast(device.type, torch.bfloat16):
        made = generator.synthesize(w_plus, noise=None).float().cpu()
    return torch.cat([images, made]), torch.cat([z, own])


def _codes(count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    return sample_z(count, rng), sample_training_z(count, rng)


if __name__ == "__main__":
    command("encoder", train, "Train the avatar's e4e inverter", images=200_000)
