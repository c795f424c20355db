"""Train the avatar's CLIP: pictures and the sentences that state what they show, brought together.

Contrastive as the original (Radford et al. 2021, arXiv 2103.00020), on renders and captions drawn afresh
for every batch. As captions of many heads fit many heads, a sentence weighs among the wrong ones only as far
as it is wrong. Heads come in pairs that differ in one factor, and their captions mostly state that factor, so
that telling two people apart is not enough.

Pictures go in as they are, in [-1, 1]: the original's anchors are collected without CLIP's normalisation too.
"""

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avatar import dataset
from avatar.augment import augment
from avatar.captions import READINGS, captions, ends, fits, read, topic_of, wordings
from avatar.factors import MOTIONS, factors_from_z
from avatar.train_generator import pair_weights
from avatar.training import Progress, Trainer, command
from micromotion.clip_model import KnownTokens, load_clip, save_clip

if TYPE_CHECKING:
    from clip.model import CLIP

EMBED, RESOLUTION, PATCH, CONTEXT = 128, 128, 16, 32
VISION_WIDTH, VISION_LAYERS, TEXT_WIDTH, TEXT_LAYERS = 192, 4, 128, 3
HEAD_WIDTH = 64
LEARNING_RATE, BATCH, GPU_BATCH = 0.001, 32, 512
STATED = 0.6
"""How often the caption of a head states what sets it apart from the other of its pair."""
SENTENCES = 4  # for each head and step
READING, SPREAD = 5.0, {"cut": 10.0}  # the weight of what is read off, and units that are not about 1
MOST_SCALE = 100.0  # of the logits, as in the original


def new_clip(seed: int) -> "CLIP":
    """A fresh CLIP that knows the words of the captions."""
    tokens = tokenize(list(wordings())).unique()  # sorted; 0 is the padding, and every other word
    from clip.model import CLIP

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CLIP(
            embed_dim=EMBED,
            image_resolution=RESOLUTION,
            vision_layers=VISION_LAYERS,
            vision_width=VISION_WIDTH,
            vision_patch_size=PATCH,
            context_length=CONTEXT,
            vocab_size=len(tokens),
            transformer_width=TEXT_WIDTH,
            transformer_heads=TEXT_WIDTH // HEAD_WIDTH,
            transformer_layers=TEXT_LAYERS,
        )
        model.token_embedding = KnownTokens(tokens, TEXT_WIDTH)
        _wake(model)
    return model


@torch.no_grad()
def _wake(model: "CLIP") -> None:
    """Weights to begin with that suit aligned faces and a short run.

    Where a patch lies says at once what it may show, each head of attention looks at a few places rather than
    at all, and edges count more than the brightness of a patch. With the package's own, places are learned
    first, and slowly.
    """
    nn.init.normal_(model.token_embedding.weight, std=0.02)
    nn.init.normal_(model.positional_embedding, std=0.01)
    nn.init.normal_(model.visual.positional_embedding, std=0.5)
    patches = model.visual.conv1.weight
    patches.sub_(0.8 * patches.mean(dim=(2, 3), keepdim=True)).mul_(3)
    for block in model.visual.transformer.resblocks:
        block.attn.in_proj_weight[: 2 * VISION_WIDTH].mul_(2)  # queries and keys


class Pupil(nn.Module):
    """CLIP, and what helps it while it learns: a reader of the heads' degrees off the picture features."""

    def __init__(self, clip: "CLIP") -> None:
        super().__init__()
        self.clip = clip
        self.reader = nn.Linear(EMBED, len(READINGS))
        nn.init.zeros_(self.reader.weight)
        nn.init.zeros_(self.reader.bias)


def tokenize(texts: Sequence[str]) -> Tensor:
    """int64 [N, CONTEXT], the ids that the clip package gives. Raises RuntimeError for too long a text."""
    with warnings.catch_warnings():  # clip needs the pkg_resources of the setuptools that we pin
        warnings.filterwarnings("ignore", "pkg_resources is deprecated")
        import clip
    return clip.tokenize(list(texts), CONTEXT)


def image_features(model: "CLIP", images: Tensor) -> Tensor:
    """Pictures [B, 3, S, S] in [-1, 1], of any size, to [B, EMBED] of unit length."""
    return F.normalize(model.encode_image(F.adaptive_avg_pool2d(images, RESOLUTION)).float(), dim=1)


def text_features(model: "CLIP", texts: Sequence[str]) -> Tensor:
    """Sentences to [N, EMBED] of unit length."""
    ids = tokenize(texts)
    ids = ids[:, : int(ids.argmax(dim=1).max()) + 1]  # nothing follows the end that the longest has
    return F.normalize(model.encode_text(ids.to(model.logit_scale.device)).float(), dim=1)


def contrast(images: Tensor, texts: Tensor, scale: Tensor, fit: Tensor) -> Tensor:
    """Cross-entropy of finding the heads that a caption fits, and for each head its own caption.

    Args:
        images, texts: features [B, D] of unit length; the i-th belong together.
        scale: factor of the logits, a scalar.
        fit: [B heads, B captions], 0 … 1, how well they fit. All heads that a caption fits are right for it,
            each for its share; for a head, the captions that fit it besides its own are left out of the wrong
            ones, and what fits in part counts in part.
    """
    own = torch.eye(len(fit), dtype=torch.bool, device=fit.device)
    logits = scale * images @ texts.T
    mine = (logits + (1 - fit).masked_fill(own, 1.0).log()).log_softmax(dim=1).diagonal()
    shares = fit / fit.sum(dim=0)
    ours = (shares * (logits.log_softmax(dim=0) - shares.clamp(min=1e-9).log())).sum(dim=0)
    return -(mine.mean() + ours.mean()) / 2


def step_loss(pupil: Pupil, heads: dataset.Heads, pairs: Tensor, rng: torch.Generator) -> Tensor:
    """The loss on some pairs of heads, with captions and disturbances drawn from ``rng``.

    Each head is described several times over, as sentences cost little beside pictures; every time all heads
    are contrasted anew. What is read off the pictures must be true as well, which is learned sooner and shows
    the way.
    """
    model = pupil.clip
    device = model.logit_scale.device
    index = torch.stack([2 * pairs, 2 * pairs + 1], dim=1).flatten()
    readings = read(factors_from_z(heads.z[index]))
    topics = [topic_of(factor) for factor in heads.differs[pairs].repeat_interleave(2).tolist()]
    rounds = []
    for _ in range(SENTENCES):
        stated = (torch.rand(len(index), generator=rng) < STATED).tolist()
        rounds.append(
            captions(readings, rng, [t if now else None for t, now in zip(topics, stated, strict=True)])
        )
    images = augment(heads.images[index].to(device).float() / 127.5 - 1, rng)
    with torch.autocast(device.type, torch.bfloat16):
        seen = image_features(model, images)
        said = text_features(model, [c.text for part in rounds for c in part]).split(len(index))
    scale = model.logit_scale.exp().clamp(max=MOST_SCALE)
    losses = [
        contrast(seen, texts, scale, fits(part, readings).to(device))
        for texts, part in zip(said, rounds, strict=True)
    ]
    scales = torch.tensor([SPREAD.get(name, 1.0) for name in READINGS])
    off = F.smooth_l1_loss(pupil.reader(EMBED**0.5 * seen), (readings / scales).to(device), beta=0.1)
    return torch.stack(losses).mean() + READING * off


def train(rank: int, data: Path, run: Path, total: int, seed: int, world: int) -> None:
    """One of ``world`` equal workers; each tells apart the heads of its own batches."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    heads = dataset.load(data, rank, world)
    weights = pair_weights(heads)
    pupil = Pupil(new_clip(seed)).to(device)
    trainer = Trainer("clip", pupil, run, rank, world, total=total, seed=seed, learning_rate=LEARNING_RATE)
    batch = GPU_BATCH if device.type == "cuda" else BATCH

    def learn(progress: Progress, rng: torch.Generator) -> tuple[Tensor, int]:
        pairs = torch.multinomial(weights, batch // 2, replacement=len(weights) < batch, generator=rng)
        return step_loss(pupil, heads, pairs, rng), batch

    trainer.fit(learn)
    if rank == 0:
        finish(cast("CLIP", trainer.average.clip), run / "clip.safetensors")
        figures = correlations(load_clip(run / "clip.safetensors"), dataset.load(data, validation=True))
        print({name: round(value, 3) for name, value in figures.items()}, flush=True)


def finish(model: "CLIP", path: Path) -> None:
    """Write the model as it ships: in half precision, which costs nothing that can be measured."""
    half = copy.deepcopy(model).cpu().half()
    save_clip(half, path)
    print(f"wrote {path}, {path.stat().st_size:,} bytes", flush=True)


@torch.inference_mode()
def correlations(model: "CLIP", heads: dataset.Heads) -> dict[str, float]:
    """Per motion, the correlation between true degree and score over heads.

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
        result[motion] = float(torch.corrcoef(torch.stack([true, seen @ (full - none)]))[0, 1])
    return result


if __name__ == "__main__":
    command("clip", train, "Train the avatar's CLIP", images=1_500_000)
