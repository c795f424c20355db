"""Train the avatar's CLIP on pictures and the captions that state what they show.

Contrastive as the original (Radford et al. 2021, arXiv 2103.00020), with its ResNet, on renders and captions
drawn afresh for every batch. As the factors of every head are known, so is the distance of each head from
each caption; the similarity of picture and caption must fall linearly with that distance. A caption that fits
many heads is then wrong for none of them, and "100% smile" pulls as hard at a serious face as at one that
half smiles, which an optimisation of W+ under this CLIP depends on.

Expressions are small and people differ in much else, so training is sped up: heads come in pairs that differ
in one factor and are disturbed alike, and the difference of the two is learned besides each of them; readings
are regressed from the picture features from the first step on, before any captions; the attention that ends
the ResNet starts at positions of the face rather than everywhere at once; and what all features share is
penalised.

Pictures go in as they are, in [-1, 1]: the original's anchors are collected without CLIP's normalisation too.
"""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avatar.data import dataset
from avatar.data.captions import READINGS, captions, ends, misses, read, topic_of, wordings
from avatar.renderer.factors import INDEX, MOTIONS, factors_from_z, sample_training_z
from avatar.training.generator import pair_weights
from avatar.training.identity import settle
from avatar.training.runs import RunProgress, Trainer, command, half
from micromotion.weights.clip_model import KnownTokens, load_clip, save_clip

if TYPE_CHECKING:
    from clip.model import CLIP, ModifiedResNet

EMBED, RESOLUTION, CONTEXT = 128, 128, 32
VISION_WIDTH, VISION_LAYERS, TEXT_WIDTH, TEXT_LAYERS = 16, (1, 1, 1, 1), 128, 2
HEAD_WIDTH = 64
LEARNING_RATE, BATCH, GPU_BATCH = 0.0015, 16, 256
HELD_OUT = 4  # shards
WORDLESS = 0.1
"""Share of the run, at its start, without captions."""
STATED = 0.6
"""Probability that a head's caption states the factor in which its pair differs."""
SENTENCES = 3  # per head and step
STEEPNESS = 8.0
"""By how much the logit falls for a caption that is wrong by a whole degree."""
READING, DIFFERENCE = 1.0, 3.0  # weights of the readings, and of their differences within pairs
COMMON = 4.0
"""Weight of a batch's mean feature, which would grow: steps follow a wide layer's mean input."""
READ = tuple(i for i, name in enumerate(READINGS) if name != "cut")  # hair cuts have no order
MOST_SCALE = 100.0
"""Largest scale of the logits, where the original's ends. What ships has it, or anchors from text are faint.

The loss of ``micromotion.learn.losses`` weighs logits / 100 against distances in W+. With the scale learned
from 350,000 images, 43, a smile at strength 1 moved people by .13 of a smile; with this one by .33.
"""


def new_clip(seed: int) -> "CLIP":
    """A fresh CLIP that knows the words of the captions."""
    tokens = tokenize(list(wordings())).unique()  # sorted; 0 is the padding, and any other word
    from clip.model import CLIP

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CLIP(
            embed_dim=EMBED,
            image_resolution=RESOLUTION,
            vision_layers=VISION_LAYERS,
            vision_width=VISION_WIDTH,
            vision_patch_size=None,
            context_length=CONTEXT,
            vocab_size=len(tokens),
            transformer_width=TEXT_WIDTH,
            transformer_heads=TEXT_WIDTH // HEAD_WIDTH,
            transformer_layers=TEXT_LAYERS,
        )
        model.token_embedding = KnownTokens(tokens, TEXT_WIDTH)
        nn.init.normal_(model.token_embedding.weight, std=0.2)
        nn.init.normal_(model.positional_embedding, std=0.1)
        _initialise(model.visual)
    return model


@torch.no_grad()
def _initialise(visual: "ModifiedResNet") -> None:
    """Initialise the weights for aligned faces and a short run.

    Residual blocks contribute from the start, and each attention head looks at one position in the middle
    rows, where eyes and mouth are. With the package's initialisation, all heads start with the mean over the
    picture, in which a smile is lost.
    """
    for name, gain in visual.named_parameters():
        if name.endswith("bn3.weight"):
            gain.fill_(0.5)
    pool = visual.attnpool
    positions, width = pool.positional_embedding.shape
    axes = torch.linalg.qr(torch.randn(width, positions))[0].T  # a direction for each position
    pool.positional_embedding.copy_(4 * axes)
    pool.q_proj.weight.zero_()
    pool.q_proj.bias.zero_()
    side, each = round((positions - 1) ** 0.5), width // pool.num_heads
    middle = range(1 + side, positions - side)  # without the mean, which is at 0, and the rows at either end
    for head in range(pool.num_heads):
        pool.k_proj.weight[head * each : head * each + positions] = axes
        pool.q_proj.bias[head * each + middle[head % len(middle)]] = 12.0  # a logit of 6


@torch.no_grad()
def centre(model: "CLIP", images: Tensor) -> None:
    """Centre the features of a fresh network at zero, after Salimans & Kingma 2016 (arXiv 1602.07868).

    Otherwise what all pictures share is nearly all of a feature of unit length (0.98 of it, measured),
    likewise with captions, and no similarity can differ by as much as the loss requires.

    Args:
        model: is set to train mode; the shift goes into its existing biases.
        images: some pictures [N, 3, S, S] in [-1, 1].
    """
    model.train()
    seen = model.encode_image(F.adaptive_avg_pool2d(images, RESOLUTION))
    last = model.visual.attnpool.c_proj
    last.weight.div_(seen.std(dim=0).mean())
    last.bias.sub_(seen.mean(dim=0)).div_(seen.std(dim=0).mean())
    rng = torch.Generator().manual_seed(0)
    some = captions(read(factors_from_z(sample_training_z(256, rng))), rng)
    encoded = model.encode_text(tokenize([each.text for each in some]))
    model.ln_final.bias.sub_(encoded.mean(dim=0) @ torch.linalg.pinv(model.text_projection))


class Pupil(nn.Module):
    """CLIP, and a linear reader of the heads' degrees off picture features, which only training uses.

    Degrees are in units of their standard deviation.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, clip: "CLIP") -> None:
        super().__init__()
        self.clip = clip
        self.reader = nn.Linear(EMBED, len(READ))
        nn.init.zeros_(self.reader.weight)
        nn.init.zeros_(self.reader.bias)
        some = read(factors_from_z(sample_training_z(4096, torch.Generator().manual_seed(0))))[:, READ]
        self.register_buffer("mean", some.mean(dim=0))
        self.register_buffer("spread", some.std(dim=0))

    def reading_loss(self, seen: Tensor, readings: Tensor) -> Tensor:
        """Error of degrees read off picture features [B, EMBED], and of their differences within pairs."""
        true = (readings[:, READ].to(seen.device) - self.mean) / self.spread
        off = self.reader(EMBED**0.5 * seen) - true
        return READING * off.square().mean() + DIFFERENCE * (off[0::2] - off[1::2]).square().mean()


def tokenize(texts: Sequence[str]) -> Tensor:
    """int64 [N, CONTEXT], the ids that the clip package gives. Raises RuntimeError for too long a text."""
    with warnings.catch_warnings():  # clip needs the pkg_resources of the setuptools that we pin
        warnings.filterwarnings("ignore", "pkg_resources is deprecated")
        import clip
    return clip.tokenize(list(texts), CONTEXT)


def image_features(model: "CLIP", images: Tensor) -> Tensor:
    """Pictures [B, 3, S, S] in [-1, 1], of any size, to [B, EMBED] of unit length."""
    small = F.adaptive_avg_pool2d(images, RESOLUTION).contiguous(memory_format=torch.channels_last)
    return F.normalize(model.encode_image(small).float(), dim=1)


def text_features(model: "CLIP", texts: Sequence[str]) -> Tensor:
    """Texts to [N, EMBED] of unit length."""
    ids = tokenize(texts)
    ids = ids[:, : int(ids.argmax(dim=1).max()) + 1]  # cut after the end of the longest
    return F.normalize(model.encode_text(ids.to(model.logit_scale.device)).float(), dim=1)


def contrast(images: Tensor, texts: Tensor, scale: Tensor, missed: Tensor) -> Tensor:
    """The contrastive loss, a scalar: similarities are to fall with the distance of picture and caption.

    The divergence (Kullback & Leibler 1951) of the softmax over similarities from that over distances, over
    heads for each caption and over captions for each head. Where only its own caption fits a head, and all
    others are far off, this is CLIP's own loss.

    Args:
        images, texts: features [heads, D] and [captions, D] of unit length.
        scale: factor of the logits, a scalar.
        missed: [heads, captions], ≥ 0, how wrong a caption is for a head (see ``captions.misses``).
    """
    logits, wanted = scale * images @ texts.T, -STEEPNESS * missed

    def divergence(dim: int) -> Tensor:
        each = F.kl_div(logits.log_softmax(dim), wanted.log_softmax(dim), reduction="none", log_target=True)
        return each.sum(dim).mean()

    return (divergence(0) + divergence(1)) / 2


def step_loss(
    pupil: Pupil, heads: dataset.Heads, pairs: Tensor, rng: torch.Generator, *, words: bool = True
) -> Tensor:
    """The loss on some pairs of heads, with captions and disturbances drawn from ``rng``.

    Each head gets several captions, as they cost little compared with pictures.
    """
    model = pupil.clip
    device = model.logit_scale.device
    index = torch.stack([2 * pairs, 2 * pairs + 1], dim=1).flatten()
    readings = read(factors_from_z(heads.z[index]))
    images = disturb(heads.images[index].to(device).float() / 127.5 - 1, rng)
    with half(device):
        seen = image_features(model, images)
    loss = pupil.reading_loss(seen, readings) + COMMON * seen.mean(dim=0).square().sum()
    if not words:
        return loss
    topics = [topic_of(factor) for factor in heads.differs[pairs].repeat_interleave(2).tolist()]
    stated = (torch.rand(SENTENCES * len(index), generator=rng) < STATED).tolist()
    about = [topic if now else None for topic, now in zip(SENTENCES * topics, stated, strict=True)]
    drawn = captions(readings.repeat(SENTENCES, 1), rng, about)
    with half(device):
        texts = text_features(model, [each.text for each in drawn])
    scale = model.logit_scale.exp().clamp(max=MOST_SCALE)
    return loss + contrast(seen, texts, scale, misses(drawn, readings).to(device))


def disturb(images: Tensor, rng: torch.Generator) -> Tensor:
    """Change light, sharpness and framing of pictures [2 · pairs, 3, S, S] in [-1, 1], both of a pair alike.

    The changes are mild: this CLIP sees renders and a generator's softer pictures, never a photo.
    """
    pairs = images.unflatten(0, (-1, 2))

    def drawn(low: float, high: float, channels: int = 1) -> Tensor:
        values = torch.rand(len(pairs), 1, channels, 1, 1, generator=rng)
        return (low + (high - low) * values).to(images.device)

    soft = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2.0, mode="bilinear", align_corners=False)
    pairs = pairs.lerp(soft.view_as(pairs), drawn(-1, 1).clamp(min=0))
    pairs = pairs * drawn(0.85, 1.15) * drawn(0.95, 1.05, 3) + drawn(-0.12, 0.12)
    reach = images.shape[-1] // 42  # 3 pixels of 128
    down, across = torch.randint(-reach, reach + 1, (2,), generator=rng).tolist()
    return pairs.flatten(0, 1).roll((down, across), dims=(2, 3))


def load_heads(data: Path, rank: int = 0, world: int = 1) -> dataset.Heads:
    """A worker's share of the renders at RESOLUTION²; raises as ``dataset.load`` does.

    They are reduced one shard at a time: many of 256² would fill the memory.
    """
    shards = max(rank + 1, len(list(data.glob("heads-*.safetensors"))) - HELD_OUT)
    parts = [_reduced(dataset.load(data, i, shards, held_out=HELD_OUT)) for i in range(rank, shards, world)]
    return dataset.Heads(
        *(torch.cat([getattr(part, key) for part in parts]) for key in ("images", "z", "differs"))
    )


def _reduced(heads: dataset.Heads) -> dataset.Heads:
    """Heads reduced to RESOLUTION² if they are larger."""
    if heads.images.shape[-1] <= RESOLUTION:
        return heads
    small = [
        F.adaptive_avg_pool2d(part.float(), RESOLUTION).round().byte() for part in heads.images.split(64)
    ]
    return dataset.Heads(torch.cat(small), heads.z, heads.differs)


def train(rank: int, data: Path, run: Path, total: int, seed: int, world: int) -> None:
    """Run one of ``world`` equal workers; each contrasts the heads of its own batches."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    heads = load_heads(data, rank, world)
    weights = pair_weights(heads)
    pupil = Pupil(new_clip(seed))
    first = dataset.load(data, 0, 1_000_000).images[:64]  # of the first shard: the same for every worker
    centre(pupil.clip, first.float() / 127.5 - 1)
    pupil.to(device)
    pupil.clip.visual.to(memory_format=torch.channels_last)
    trainer = Trainer("clip", pupil, run, rank, world, total=total, seed=seed, learning_rate=LEARNING_RATE)
    batch = GPU_BATCH if device.type == "cuda" else BATCH

    def learn(progress: RunProgress, rng: torch.Generator) -> tuple[Tensor, int]:
        pairs = torch.multinomial(weights, batch // 2, replacement=len(weights) < batch, generator=rng)
        return step_loss(pupil, heads, pairs, rng, words=progress.done >= WORDLESS), batch

    trainer.fit(learn)
    if rank == 0:
        model = cast("CLIP", trainer.average.clip)
        settle(
            model.visual,
            lambda x: image_features(model, x),
            heads.images,
            torch.Generator().manual_seed(seed),
        )
        model.logit_scale.data.fill_(math.log(MOST_SCALE))
        save_clip(model, run / "clip.safetensors", half=True)
        print(f"wrote {run / 'clip.safetensors'}", flush=True)
        report(load_clip(run / "clip.safetensors"), dataset.load(data, validation=True))


def report(model: "CLIP", heads: dataset.Heads) -> None:
    """Print how well it does on unseen heads."""
    for name, figures in (("follows", follows(model, heads)), ("pulls", pulls(model, heads))):
        print(name, {motion: round(value, 3) for motion, value in figures.items()}, flush=True)


@torch.inference_mode()
def follows(model: "CLIP", heads: dataset.Heads) -> dict[str, float]:
    """Per motion, the rank correlation (Spearman) between true degree and score over heads.

    The score is how much better a head fits the template at its full degree than at "no". The turn of the
    head is that to the right, which the template names; heads that look left count as not turned.
    """
    device = model.logit_scale.device
    parts = (image_features(model, part.to(device).float() / 127.5 - 1) for part in heads.images.split(64))
    seen, f = torch.cat(list(parts)).cpu(), factors_from_z(heads.z)
    result = {}
    for motion in MOTIONS:
        full, none = text_features(model, ends(motion)).cpu()
        true = f[motion][:, 0].clamp(min=0)
        result[motion] = float(
            torch.corrcoef(torch.stack([_ranks(true), _ranks(seen @ (full - none))]))[0, 1]
        )
    return result


def pulls(model: "CLIP", heads: dataset.Heads) -> dict[str, float]:
    """Per motion, how often the gradient of the full sentence's similarity points the right way.

    For a pair that differs in the motion alone: does the gradient at the head with less of it rise towards
    the picture of the other? Chance is 0.5; nan where no pair differs in the motion.
    """
    device = model.logit_scale.device
    result = {}
    for motion in MOTIONS:
        pairs = (heads.differs == INDEX[motion]).nonzero()[:, 0]
        degree = factors_from_z(heads.z)[motion][:, 0].view(-1, 2)[pairs]
        images = heads.images.unflatten(0, (-1, 2))[pairs].to(device).float() / 127.5 - 1
        order = degree.argsort(dim=1).to(device)
        low, high = images[torch.arange(len(pairs), device=device), order.T]
        low.requires_grad_()
        full = text_features(model, ends(motion)[:1]).detach()
        (gradient,) = torch.autograd.grad((image_features(model, low) @ full.T).sum(), low)
        right = (gradient * (high - low.detach())).sum(dim=(1, 2, 3)) > 0
        result[motion] = float(right.float().mean())
    return result


def _ranks(values: Tensor) -> Tensor:
    """The rank of each of [N] values, float64; equal ones share the mean of theirs."""
    _, where, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(dim=0).double()
    return (last - (counts - 1) / 2)[where]


if __name__ == "__main__":
    command("clip", train, "Train the avatar's CLIP", images=1_000_000)
