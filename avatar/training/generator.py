"""Train the avatar's StyleGAN2 by distillation: from the code z of a head to its render.

Why distillation and not adversarial training: the renderer is a function of known factors, so every code has
exactly one right picture, and a regression learns from each pixel of it. Trained from scratch on a CPU, an
adversarial generator still draws ghosts after the time in which this one is finished. The price is softness
in what small networks draw last (strands of hair, outlines); ``GeneratorLoss`` keeps the face crisp.

Growing the resolution 16 → 32 → … → 256 buys much of the training at a fraction of its cost. Synthesis stops
early and returns the sum of the RGB skips so far, so no layers are faded in.

By itself, the mapping network shrinks what expressions contribute to w (the smile's share fell to a twentieth
of yaw's), until the synthesis cannot see them and no weight in the loss brings them back. So their columns of
its first layer start larger than the others, and are scaled up to the others' size when the resolution grows.
"""

import math
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avatar.data import dataset
from avatar.renderer.factors import FACTORS, INDEX, Z_DIM, fill_to_norm, sample_z
from avatar.training.bends import give_units
from avatar.training.critic import Critic, teach
from avatar.training.losses import GeneratorLoss, attention
from avatar.training.runs import DrawPreview, RunProgress, Trainer, command, half
from stylegan2 import Generator, GeneratorConfig, save_generator
from stylegan2.synthesis import StyledConv, ToRGB

CONFIG = GeneratorConfig(
    resolution=256,
    style_dim=256,
    z_dim=Z_DIM,
    mapping_layers=2,
    mapping_lr_multiplier=1.0,
    channels={4: 192, 8: 192, 16: 128, 32: 96, 64: 64, 128: 32, 256: 16},
)
GROWTH = ((16, 0.04), (32, 0.12), (64, 0.42), (128, 0.72), (256, 1.0))
"""Resolution, and the share of all images by which it ends."""

CRITIC_FROM, CRITIC_WEIGHT, CRITIC_SEES = 0.55, 0.25, 128
"""The share of all images from which a critic joins, the weight of its loss, and the largest window of a
picture that it sees, in pixels a side.
"""

EXPRESSIONS = {"smile": 4.0, "mouth_open": 2.0, "anger": 3.0, "eyes_closed": 1.5, "age": 2.0}
MOVED = FACTORS[: INDEX["gaze_y"] + 1]
EMPHASIS = 2.0
LEARNING_RATE, TURNING_RATE, BATCH, GPU_BATCH = 0.005, 0.02, 8, 64
PREVIEWS = 12
FFHQ_SPREAD = 0.45
"""Standard deviation of an entry of w at FFHQ, roughly."""


def train(rank: int, data: Path, run: Path, total: int, seed: int, world: int) -> None:
    """Run one of ``world`` equal workers."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    heads = dataset.load(data, rank, world)
    weights = pair_weights(heads)
    model = new_generator(seed).to(device)
    critic = Critic(seed).to(device)
    optimiser = critic.optimiser()
    trainer = Trainer(
        "generator",
        model,
        run,
        rank,
        world,
        total=total,
        seed=seed,
        learning_rate=LEARNING_RATE,
        turned=turned(model),
        turning_rate=TURNING_RATE,
        companions={"critic": critic, "critic_optimiser": optimiser},
    )
    loss_of, batch = GeneratorLoss(pair_weight=0.5), BATCH if device.type == "cpu" else GPU_BATCH

    def learn(progress: RunProgress, rng: torch.Generator) -> tuple[Tensor, int]:
        size = resolution(progress)
        if size != resolution(RunProgress(progress.images - batch * world, total)):
            even_columns(model)
        images, z = (part.to(device) for part in draw_pairs(heads, weights, rng, batch))
        true = F.avg_pool2d(images, images.shape[-1] // size)
        with half(device):
            w_plus = model.mapping(z)[:, None].expand(-1, model.num_styles, -1)
            made = model.synthesize(w_plus, noise=None, resolution=size)
        loss = loss_of(made.float(), true, attention(z, size, focus(progress)))
        if progress.done < CRITIC_FROM:
            return loss, batch
        made, true = window(made, true, rng)
        with half(device):
            teach(critic, optimiser, made.detach(), true, world)
            return loss + CRITIC_WEIGHT * critic.dislike(made, true), batch

    trainer.fit(learn, preview_of(data, trainer.progress) if rank == 0 else None)
    if rank == 0:
        finish(trainer.average.cpu(), run / "generator.safetensors")  # type: ignore[arg-type]  # an average is of the model's class


def new_generator(seed: int) -> Generator:
    """A fresh generator.

    Its pictures are near [-1, 1], though they are sums of seven random ones. The entries of z that carry no
    factor have a weight of 0, in training too: they would drown the others in noise.
    """
    model = Generator(CONFIG, torch.Generator().manual_seed(seed))
    carried = (torch.arange(Z_DIM) < len(FACTORS)).float()
    first = first_layer(model)
    with torch.no_grad():
        first.mul_(carried * (Z_DIM / len(FACTORS)) ** 0.5)
        first[:, : len(MOVED)].mul_(EMPHASIS)
        for to_rgb in model.synthesis.to_rgbs:
            cast(Tensor, to_rgb.weight).mul_(0.2)
    give_units(model.mapping, torch.Generator().manual_seed(seed + 1))
    first.register_hook(lambda gradient: gradient * carried.to(gradient.device))
    return model


def turned(model: Generator) -> list[nn.Parameter]:
    """The weights that Muon trains: convolutions, modulations, and the mapping except its first layer, whose
    columns and units have sizes chosen on purpose.
    """
    inner = [layer.weight for layer in list(model.mapping.layers)[1:]]
    convolutions = [conv.weight for conv in model.synthesis.convs]
    readers = (*model.synthesis.convs, *model.synthesis.to_rgbs)
    return cast(list[nn.Parameter], inner + convolutions + [reader.modulation.weight for reader in readers])


def first_layer(model: Generator) -> Tensor:
    """The mapping's first weight [style_dim, Z_DIM]; column i is what factor i contributes."""
    return cast(Tensor, model.mapping.layers[0].weight)


@torch.no_grad()
def even_columns(model: Generator) -> None:
    """Scale the columns of motions and free movements up to the size of the median factor's."""
    first = first_layer(model)
    size = first.norm(dim=0)
    middle = size[: len(FACTORS)].median()
    first[:, : len(MOVED)].mul_((middle / size[: len(MOVED)]).clamp(min=1.0))


def resolution(progress: RunProgress) -> int:
    return next((size for size, end in GROWTH if progress.done < end), GROWTH[-1][0])


def window(made: Tensor, true: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """The same window of both pictures [B, 3, S, S], CRITIC_SEES² if they are larger than that."""
    room = max(0, true.shape[-1] - CRITIC_SEES)
    y, x = torch.randint(room + 1, (2,), generator=rng).tolist()
    there = (..., slice(y, y + CRITIC_SEES), slice(x, x + CRITIC_SEES))
    return made[there], true[there]


def focus(progress: RunProgress) -> float:
    """How much more eyes, brows and mouth count: much until they are right, then hair and outlines too."""
    return 10.0 if progress.done < GROWTH[2][1] else 4.0


def draw_pairs(
    heads: dataset.Heads, weights: Tensor, rng: torch.Generator, count: int
) -> tuple[Tensor, Tensor]:
    """Images [count, 3, S, S] in [-1, 1] and codes [count, Z_DIM] of random pairs.

    The entries of the codes that carry no factor are drawn afresh, the same for both heads of a pair.
    """
    pairs = torch.multinomial(weights, count // 2, generator=rng)
    index = torch.stack([2 * pairs, 2 * pairs + 1], dim=1).flatten()
    fresh = sample_z(count // 2, rng).repeat_interleave(2, dim=0)
    z = fill_to_norm(torch.cat([heads.z[index, : len(FACTORS)], fresh[:, len(FACTORS) :]], dim=1))
    return heads.images[index].float() / 127.5 - 1, z


def pair_weights(heads: dataset.Heads) -> Tensor:
    """How often a pair [N / 2] is drawn, relative to others: expressions are small, and learned last."""
    weights = torch.ones(len(heads.differs))
    for name, weight in EXPRESSIONS.items():
        weights[heads.differs == INDEX[name]] = weight
    return weights


def preview_of(data: Path, progress: RunProgress) -> DrawPreview:
    """A preview: held-out heads above the generator's pictures of their codes, at the current resolution."""
    heads = dataset.load(data, held_out=1, validation=True)
    images, z = heads.images[:PREVIEWS].float() / 127.5 - 1, heads.z[:PREVIEWS]

    def preview(model: nn.Module) -> Tensor:
        generator = cast(Generator, model)
        size = resolution(progress)
        true = F.avg_pool2d(images, images.shape[-1] // size)
        w = generator.mapping(z.to(generator.latent_avg.device))
        w_plus = w[:, None].expand(-1, generator.num_styles, -1)
        made = generator.synthesize(w_plus, noise=None, resolution=size).cpu()
        return torch.stack([true, made]).permute(2, 0, 3, 1, 4).reshape(3, 2 * size, -1)

    return preview


@torch.no_grad()
def finish(generator: Generator, path: Path) -> None:
    """Scale w to its spread at FFHQ, measure its mean over 20,000 codes, and save the generator."""
    codes = sample_z(20_000, torch.Generator().manual_seed(0))
    w = generator.mapping(codes)
    widen(generator, 2.0 ** round(math.log2(FFHQ_SPREAD / float((w - w.mean(dim=0)).square().mean().sqrt()))))
    generator.latent_avg.copy_(generator.mapping(codes).mean(dim=0))
    save_generator(generator, path)
    print(f"wrote {path}", flush=True)


@torch.no_grad()
def widen(generator: Generator, factor: float) -> None:
    """Scale w by a factor without changing any picture: the modulations are scaled by its inverse.

    A factor passes through leaky ReLU. Constants chosen for FFHQ (a learning rate, a distance) then fit here.
    """
    last = generator.mapping.layers[-1]
    for name in ("weight", "bias"):
        cast(Tensor, getattr(last, name)).mul_(factor)
    for module in (*generator.synthesis.convs, *generator.synthesis.to_rgbs):
        cast(StyledConv | ToRGB, module).modulation.weight.div_(factor)


if __name__ == "__main__":
    command("generator", train, "Distil the avatar's generator", images=900_000)
