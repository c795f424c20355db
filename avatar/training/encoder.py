"""Train the avatar's e4e: from a picture to the W+ latent whose synthesis shows it.

Pictures are renders, whose latents are known exactly, and the generator's own pictures of fresh codes. Most
are augmented first (``avatar.data.augment``) while their latents stay the same, so that a photograph or a
painting gets the latent of the head beneath its light, grain and backdrop. First the latents are learned, by
their distance to the true w in units of w's own spread, and separately the differences within pairs, as a
smile is a small part of a latent. Then the synthesis of the latent must match the picture, and the person if
there is an identity network. As in e4e (Tov et al. 2021, arXiv 2102.02766, section 4.2) the styles are freed
from the first one by one, once pictures count.

The regressor is not part of the loss: it measures the result, and would then measure how well it was fooled.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from avatar.data import dataset
from avatar.data.augment import augment
from avatar.renderer.factors import FACTORS, sample_training_z, sample_z
from avatar.training.generator import MOVED, draw_pairs, pair_weights
from avatar.training.losses import GeneratorLoss, attention
from avatar.training.muon import matrices
from avatar.training.runs import RunProgress, Trainer, command, half
from encoder4editing import EncoderConfig, Inverter, save_inverter
from encoder4editing.identity import IdentityNet, load_identity
from stylegan2 import Generator, load_generator

SIZE = 128
"""Pixels a side that the encoder reads, whatever the generator draws: larger pictures are averaged down."""
LEARNING_RATE, TURNING_RATE, BATCH, GPU_BATCH = 0.002, 0.02, 16, 64
CHANGE_WEIGHT, FACTOR_WEIGHT = 0.3, 1.0
MOVEMENT = 5.0
"""Weight of motions and free movements in ``factor_loss``, where traits have 1."""
DISTURBED, KEPT = (0.15, 0.5), 0.4
"""The shares of the run between which augmentation ramps up, and the share of pictures it leaves alone."""
PICTURE_FROM, PICTURE_WEIGHT, IDENTITY_WEIGHT, PICTURES = 0.3, 3.0, 0.9, 12
"""When the picture losses start (a share of the run), their weights, and their pictures per 16 heads.

With a third of these weights, half of the pictures and 340,000 images, the latents' pictures reached an
MS-SSIM of .86 with the pictures of the true latents.
"""
STYLES_PART = (0.35, 0.5)
"""The shares of the run at which the second and the last style are freed from the first."""


def config_for(generator: Generator) -> EncoderConfig:
    """A small encoder that gives the latents of this generator."""
    return EncoderConfig(
        input_size=SIZE,
        num_styles=generator.num_styles,
        style_dim=generator.style_dim,
        widths=(24, 48, 96, 128),
        depths=(1, 1, 2, 1),
        fpn_width=48,
        head_width=48,
        se_reduction=4,
        stem_stride=2,
    )


def train(rank: int, data: Path, run: Path, total: int, seed: int, world: int) -> None:
    """Run one of ``world`` equal workers."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    heads = shrunk(dataset.load(data, rank, world))
    weights = pair_weights(heads)
    generator = load_generator(run / "generator.safetensors").to(device).requires_grad_(False)
    identity = find_identity(run, device)
    spread, reader = w_spread(generator), factor_reader(generator)
    model = Inverter(config_for(generator), torch.Generator().manual_seed(seed)).to(device)
    model.latent_avg.copy_(generator.latent_avg.expand(generator.num_styles, -1))
    trainer = Trainer(
        "encoder",
        model,
        run,
        rank,
        world,
        total=total,
        seed=seed,
        learning_rate=LEARNING_RATE,
        turned=matrices(model),
        turning_rate=TURNING_RATE,
    )
    batch = GPU_BATCH if device.type == "cuda" else BATCH if world > 1 else 2 * BATCH

    def learn(progress: RunProgress, rng: torch.Generator) -> tuple[Tensor, int]:
        images, z = (part.to(device) for part in draw(heads, weights, generator, rng, batch))
        with torch.no_grad():
            w = generator.mapping(z)[:, None]
        with half(device):
            latent = model.invert(augment(images, rng, keep=untouched(progress.done))).float()
        latent = bound(latent, parted(progress.done, generator.num_styles))
        loss = latent_loss((latent - w) / spread) + FACTOR_WEIGHT * factor_loss((latent - w) @ reader)
        loss = loss + CHANGE_WEIGHT * change_loss(latent / spread, w / spread)
        if progress.done >= PICTURE_FROM:
            some = slice(0, batch * PICTURES // BATCH)  # renders: their pictures are the truth
            loss = loss + shown_loss(generator, identity, latent[some], images[some], z[some])
        return loss, batch

    trainer.fit(learn)
    if rank == 0:
        save_inverter(trainer.average.cpu(), run / "inverter.safetensors")  # type: ignore[arg-type]  # an average is of the model's class
        print(f"wrote {run / 'inverter.safetensors'}", flush=True)


def latent_loss(error: Tensor) -> Tensor:
    """Mean squared error of latents [B, styles, dim], in units of w's spread: a scalar."""
    return error.square().mean()


def factor_loss(error: Tensor) -> Tensor:
    """Mean squared error of the factors [B, styles, FACTORS] that latents carry, mostly of motions: a scalar.

    The distance between latents is mostly one of traits that are hard to see, such as clothes below the
    picture's edge; for a long time an encoder learns nothing of a smile from it.
    """
    weights = torch.ones(error.shape[-1], device=error.device)
    weights[: len(MOVED)] = MOVEMENT
    return (error.square() * weights).mean()


@torch.no_grad()
def factor_reader(generator: Generator) -> Tensor:
    """Linear map from w to factors [style_dim, FACTORS], by least squares, in standard deviations of z."""
    z = sample_training_z(20_000, torch.Generator().manual_seed(2))
    w = generator.mapping(z.to(generator.latent_avg.device)).double()
    known = z[:, : len(FACTORS)].to(w)
    return torch.linalg.lstsq(w - w.mean(dim=0), known - known.mean(dim=0)).solution.float()


def untouched(done: float) -> float:
    """Share of pictures that are not augmented, at this share of the run: at first, all of them."""
    begin, end = DISTURBED
    return max(KEPT, 1 - (1 - KEPT) * max(0.0, done - begin) / (end - begin))


def change_loss(latent: Tensor, w: Tensor) -> Tensor:
    """Relative error of the differences within pairs: a scalar.

    latent is [2P, styles, dim], w [2P, 1, dim], both in units of w's spread; 2i and 2i + 1 are a pair. A pair
    that differs in one expression counts as much as two different people.
    """
    change, true = latent[1::2] - latent[::2], w[1::2] - w[::2]
    wrong, there = (each.square().mean(dim=(1, 2)) for each in (change - true, true))
    return (wrong / (there + 0.01)).clamp(max=4.0).mean()


def shown_loss(
    generator: Generator, identity: IdentityNet | None, latent: Tensor, images: Tensor, z: Tensor
) -> Tensor:
    """The loss of latents' pictures against the original renders [B, 3, SIZE, SIZE], mostly of faces: a
    scalar.
    """
    shown = shown_at_size(generator, latent)
    loss = PICTURE_WEIGHT * GeneratorLoss()(shown, images, attention(z, images.shape[-1]))
    return loss if identity is None else loss + IDENTITY_WEIGHT * identity.loss(shown, images)


def shown_at_size(generator: Generator, latent: Tensor) -> Tensor:
    """Pictures [B, 3, SIZE, SIZE] of W+ latents: the sum of the RGB layers up to SIZE², if there are more.

    A progressively grown generator draws there what its full size shows (38 dB apart), in half the time.
    """
    with half(latent.device):
        shown = generator.synthesize(latent, noise=None, resolution=min(SIZE, generator.resolution)).float()
    return F.interpolate(shown, size=(SIZE, SIZE), mode="area")


def parted(done: float, styles: int) -> int:
    """How many styles may differ from the first, at this share of the run."""
    begin, end = STYLES_PART
    if done < begin:
        return 0
    return min(styles - 1, 1 + int((styles - 1) * (done - begin) / (end - begin)))


def bound(latent: Tensor, free: int) -> Tensor:
    """Latents [B, styles, dim] in which all styles after the first ``free + 1`` equal the first one."""
    return torch.cat([latent[:, : free + 1], latent[:, :1].expand(-1, latent.shape[1] - free - 1, -1)], dim=1)


def find_identity(run: Path, device: torch.device) -> IdentityNet | None:
    """The run's identity network, if it is trained already."""
    path = run / "identity.safetensors"
    return load_identity(path, device=device).requires_grad_(False) if path.is_file() else None


def shrunk(heads: dataset.Heads) -> dataset.Heads:
    """The same heads at SIZE²: a quarter of the memory where they were rendered at twice that."""
    if heads.images.shape[-1] == SIZE:
        return heads
    parts = heads.images.split(256)
    small = [F.interpolate(part.float(), size=(SIZE, SIZE), mode="area").round().byte() for part in parts]
    return dataset.Heads(torch.cat(small), heads.z, heads.differs)


@torch.no_grad()
def w_spread(generator: Generator) -> Tensor:
    """Standard deviation [style_dim] of w over codes as the data set draws them."""
    z = sample_training_z(4096, torch.Generator().manual_seed(1)).to(generator.latent_avg.device)
    return generator.mapping(z).std(dim=0).clamp(min=1e-3)


@torch.no_grad()
def draw(
    heads: dataset.Heads, weights: Tensor, generator: Generator, rng: torch.Generator, count: int
) -> tuple[Tensor, Tensor]:
    """Pictures [count, 3, SIZE, SIZE] in [-1, 1] and their codes [count, Z_DIM]; count is a multiple of 8.

    Three quarters are renders, in pairs; the rest are the generator's own, of new people.
    """
    images, z = draw_pairs(heads, weights, rng, count * 3 // 4)
    own = torch.where(torch.rand(count - len(z), 1, generator=rng) < 0.5, *_codes(count - len(z), rng))
    device = generator.latent_avg.device
    w_plus = generator.mapping(own.to(device))[:, None].expand(-1, generator.num_styles, -1)
    made = shown_at_size(generator, w_plus).clamp(-1, 1).cpu()
    return torch.cat([images, made]), torch.cat([z, own])


def _codes(count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    return sample_z(count, rng), sample_training_z(count, rng)


if __name__ == "__main__":
    command("encoder", train, "Train the avatar's e4e inverter", images=600_000)
