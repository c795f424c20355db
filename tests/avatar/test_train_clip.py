"""Training of the avatar's CLIP: loss, vocabulary, run and file."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from draws import rng
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from training_data import few_heads, shrink_clip, smooth_pictures, unit

from avatar.data import dataset
from avatar.data.captions import wordings
from avatar.renderer.factors import INDEX, factors_from_z, fill_to_norm, sample_training_z
from avatar.training import clip as train_clip
from avatar.training.clip import Pupil, contrast, follows, image_features, new_clip, text_features, tokenize
from micromotion.weights.clip_model import load_clip, save_clip
from stylegan2 import CheckpointError

pytestmark = pytest.mark.slow


@pytest.fixture
def small_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_clip(monkeypatch)


def slow_contrast(images: Tensor, texts: Tensor, scale: float, missed: Tensor) -> float:
    """The loss head by head and caption by caption, from the definition."""

    def divergence(logits: list[float], distances: list[float]) -> float:
        p = [math.exp(-train_clip.STEEPNESS * d) for d in distances]
        q = [math.exp(logit) for logit in logits]
        return sum(a / sum(p) * math.log((a / sum(p)) / (b / sum(q))) for a, b in zip(p, q, strict=True))

    logit = (scale * images @ texts.T).tolist()
    rows = [divergence(logit[i], missed[i].tolist()) for i in range(len(images))]
    columns = [divergence([row[j] for row in logit], missed[:, j].tolist()) for j in range(len(texts))]
    return (sum(rows) / len(rows) + sum(columns) / len(columns)) / 2


# --- the loss


def test_the_contrast_agrees_with_its_definition() -> None:
    images, texts = unit(4, 0), unit(6, 1)
    missed = 2 * torch.rand(4, 6, generator=rng(2), dtype=torch.float64).round(decimals=1)
    found = contrast(images, texts, torch.tensor(7.0), missed)
    assert float(found) == pytest.approx(slow_contrast(images, texts, 7.0, missed), rel=1e-9)


def test_the_best_similarity_is_linear_in_the_degree() -> None:
    """Heads that smile by 0 … 1, and the full smile, on an arc: best if cosines are linear."""

    def loss(cosines: Tensor) -> float:
        angle = cosines.acos()
        images = torch.stack([angle.cos(), angle.sin()], dim=1)
        missed = (1 - degree)[:, None].expand(-1, 2)
        return float(contrast(images, torch.tensor([[1.0, 0], [1, 0]]), torch.tensor(20.0), missed))

    degree = torch.linspace(0, 1, 11)
    line = 0.5 + train_clip.STEEPNESS / 20 * degree
    assert loss(line) < 0.01 * loss(line.mean().expand(11))
    assert loss(line) < 0.1 * loss(line - 0.1 * (degree > 0.5).float())


def test_heads_with_the_same_caption_are_not_penalised() -> None:
    """Heads 0 and 1 share a caption, as do 2 and 3: distinguishing these would gain nothing."""
    missed = 9 * torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]])
    pole = torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]])
    assert contrast(pole, pole, torch.tensor(36.0), missed) < 1e-6
    strict = contrast(pole, pole, torch.tensor(36.0), 9 * (1 - torch.eye(4)))
    assert strict == pytest.approx(math.log(2), rel=1e-4)


def test_captions_that_fit_every_head_have_no_gradient() -> None:
    same = torch.ones(4, 3) / math.sqrt(3)
    assert contrast(same, same, torch.tensor(10.0), torch.zeros(4, 4)) == pytest.approx(0, abs=1e-6)


def test_pairs_are_augmented_alike_and_pictures_differently() -> None:
    pictures = smooth_pictures(4).float() / 127.5 - 1
    twins = pictures[[0, 0, 1, 1, 2, 2, 3, 3]]
    found = train_clip.disturb(twins, rng())
    assert torch.equal(found[0::2], found[1::2])
    light = (found - twins).mean(dim=(1, 2, 3))[0::2]
    assert light.std() > 0.01
    assert 0.01 < (found - twins).abs().mean() < 0.3
    assert torch.equal(found, train_clip.disturb(twins, rng()))


def test_pulls_and_follows_of_a_network_that_knows_where_to_look() -> None:
    """Its picture feature is the brightness of the upper half, which rises with the motion in every pair."""

    class Bright(nn.Module):
        logit_scale = nn.Parameter(torch.zeros(()))
        sign = 1.0

        def encode_image(self, images: Tensor) -> Tensor:
            light = self.sign * images[:, :, :16].mean(dim=(1, 2, 3))
            return torch.stack([light, (1 - light.square()).sqrt()], dim=1)

        def encode_text(self, ids: Tensor) -> Tensor:
            return torch.tensor([[1.0, 0.0], [-1.0, 0.0]])[: len(ids)]

    z = sample_training_z(20, rng()).repeat_interleave(2, dim=0)
    smiles = torch.stack([torch.linspace(0.1, 0.5, 20), torch.linspace(1.0, 1.9, 20)], dim=1).flatten()
    z[:, INDEX["smile"]] = smiles
    z = fill_to_norm(z)
    images = (100 + 50 * smiles).byte()[:, None, None, None].expand(-1, 3, 32, 32)
    heads = dataset.Heads(images, z, torch.full((20,), INDEX["smile"]))
    net: Any = Bright()
    assert train_clip.pulls(net, heads)["smile"] == 1
    assert follows(net, heads)["smile"] > 0.99
    assert math.isnan(train_clip.pulls(net, heads)["age"])
    net.sign = -1.0
    assert train_clip.pulls(net, heads)["smile"] == 0
    assert follows(net, heads)["smile"] < -0.99


def test_fresh_features_differ(small_clip: None) -> None:
    pictures = smooth_pictures(48).float() / 127.5 - 1
    texts = ["a person with no smile", "90% angry", "very old, eyes closed", "bald", "a pale man", "glasses"]

    def shared(model: Any) -> tuple[float, float]:
        with torch.no_grad():
            seen, said = image_features(model, pictures), text_features(model, texts)
        return float(seen.mean(dim=0).norm()), float(said.mean(dim=0).norm())

    model = new_clip(0)
    before = shared(model)
    train_clip.centre(model, pictures)
    after = shared(model)
    assert after[0] < 0.5 * before[0]
    assert after[1] < before[1]


def test_each_attention_head_starts_at_a_different_position() -> None:
    """A change in one cell of the last map has an effect, and in an outer row it has none."""
    pool = new_clip(0).visual.attnpool
    maps = torch.randn(1, 512, 4, 4, generator=rng()).relu()

    def effect(row: int, column: int) -> float:
        changed = maps.clone()
        changed[0, :, row, column] = changed[0, :, row, column].roll(1)
        with torch.no_grad():
            return float((pool(changed) - pool(maps)).norm())

    inner = [effect(row, column) for row in (1, 2) for column in range(4)]
    outer = [effect(row, column) for row in (0, 3) for column in range(4)]
    assert min(inner) > 5 * max(outer)


# --- vocabulary


def test_every_wording_has_distinct_tokens() -> None:
    model = new_clip(0)
    tokens = model.token_embedding.tokens
    assert torch.isin(tokenize(list(wordings())), tokens).all()
    assert len(tokens) < 300  # of 49,408
    ids = tokenize(["a person with 40% smile", "very old, eyes closed", "no glasses, 100%, bald"])
    alone = torch.nn.functional.embedding(torch.searchsorted(tokens, ids), model.token_embedding.weight)
    assert torch.equal(model.token_embedding(ids), alone)


def test_unknown_words_share_one_token() -> None:
    model = new_clip(0).eval()
    lion, girl, man = text_features(model, ["a photo of a lion", "a photo of a girl", "a photo of a man"])
    assert torch.equal(lion, girl)
    assert not torch.equal(lion, man)


def test_the_ids_of_the_package_work_at_any_length() -> None:
    import clip

    model = new_clip(0).eval()
    text = "a person with 40% smile"
    exact, longer = clip.tokenize(text, 12), clip.tokenize(text, train_clip.CONTEXT)
    torch.testing.assert_close(model.encode_text(exact), model.encode_text(longer))


# --- training and files


def test_a_handful_of_heads_is_learned(small_clip: None) -> None:
    heads, pupil = few_heads(), Pupil(new_clip(0))
    optimiser = torch.optim.Adam(pupil.parameters(), 2e-3)

    def held() -> float:
        with torch.no_grad():
            losses = [train_clip.step_loss(pupil, heads, torch.arange(6), rng(50 + i)) for i in range(4)]
        return float(torch.stack(losses).mean())

    before = held()
    for step in range(60):
        optimiser.zero_grad()
        train_clip.step_loss(pupil, heads, torch.arange(6), rng(step)).backward()
        optimiser.step()
    assert held() < 0.9 * before


def test_a_clip_file_loads_with_the_same_scores(tmp_path: Path) -> None:
    model = new_clip(3).eval()
    save_clip(model, tmp_path / "clip.safetensors", half=True)
    assert (tmp_path / "clip.safetensors").stat().st_size < 6_000_000
    again = load_clip(tmp_path / "clip.safetensors")
    pictures = smooth_pictures(3).float() / 127.5 - 1
    texts = ["a person with no smile", "90% angry", "very old, eyes closed"]
    with torch.no_grad():
        torch.testing.assert_close(
            image_features(again, pictures), image_features(model, pictures), atol=2e-3, rtol=0
        )
        torch.testing.assert_close(
            text_features(again, texts), text_features(model, texts), atol=2e-3, rtol=0
        )
        assert again(torch.nn.functional.interpolate(pictures, size=128), tokenize(texts))[0].shape == (3, 3)
    assert all(p.dtype == torch.float32 for p in again.parameters())


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda tokens: tokens.flip(0), "do not ascend"),
        (lambda tokens: tokens + 1, "do not ascend"),
        (lambda tokens: tokens.float(), "tokens"),
        (lambda tokens: tokens[:-1], "tokens"),
        (lambda tokens: tokens[None], "tokens"),
        (lambda tokens: tokens[:0], "tokens"),
    ],
)
def test_bad_tokens_are_refused(broken: Any, said: str, tmp_path: Path) -> None:
    from safetensors import safe_open

    path = tmp_path / "clip.safetensors"
    save_clip(new_clip(0), path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    state = load_file(path)
    state["token_embedding.tokens"] = broken(state["token_embedding.tokens"]).contiguous()
    save_file(state, path, metadata)
    with pytest.raises(CheckpointError, match=said):
        load_clip(path)


def test_the_figure_is_one_for_a_perfect_model() -> None:
    """A model whose picture features are the true degrees, and whose text features are the axes."""
    heads = few_heads(40)
    f = factors_from_z(heads.z)
    degrees = torch.cat(
        [f[name].clamp(min=0) for name in ("smile", "anger", "eyes_closed", "age", "yaw")], dim=1
    )
    rows = iter(nn.functional.pad(degrees, (0, 1)).split(64))

    class Perfect(nn.Module):
        logit_scale = nn.Parameter(torch.zeros(()))

        def encode_image(self, images: Tensor) -> Tensor:
            x = next(rows)
            x[:, -1] = (20 - x.square().sum(dim=1)).sqrt()  # equal lengths, as features are normalised
            return x

        def encode_text(self, ids: Tensor) -> Tensor:
            full, none = torch.zeros(2, 6)
            full[next(axes)] = 1
            none[-1] = 1e-6
            return torch.stack([full, -full])

    axes = iter(range(5))
    assert all(value > 0.999 for value in follows(Perfect(), heads).values())
