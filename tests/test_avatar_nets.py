"""How the avatar's CLIP and identity network are trained: their losses, data, runs and files."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from avatar import dataset, people, train_clip, train_identity, training
from avatar.captions import wordings
from avatar.factors import FACTORS, INDEX, factors_from_z, fill_to_norm, sample_training_z
from avatar.train_clip import Pupil, contrast, follows, image_features, new_clip, text_features, tokenize
from avatar.train_identity import Album, arcface, settle, verification
from encoder4editing.identity import IdentityConfig, IdentityNet, load_identity, save_identity
from micromotion.clip_model import load_clip, save_clip
from stylegan2 import CheckpointError

TINY = IdentityConfig(input_size=32, feature_dim=16, widths=(8, 12), depths=(1, 1), se_reduction=4)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth_pictures(count: int, seed: int = 0) -> Tensor:
    """uint8 [count, 3, 64, 64], each with coarse blobs of its own."""
    coarse = torch.rand(count, 3, 5, 5, generator=rng(seed))
    return (torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bicubic").clamp(0, 1) * 255).byte()


@pytest.fixture
def small_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thin one of 96², batches of four."""
    small = {"RESOLUTION": 96, "VISION_WIDTH": 4, "TEXT_WIDTH": 64, "TEXT_LAYERS": 1, "BATCH": 4}
    for name, value in small.items():
        monkeypatch.setattr(train_clip, name, value)


def few_heads(pairs: int = 6) -> dataset.Heads:
    z, differs = dataset.draw(rng(), pairs)
    return dataset.Heads(smooth_pictures(2 * pairs), z, differs)


# --- CLIP: the loss


def slow_contrast(images: Tensor, texts: Tensor, scale: float, missed: Tensor) -> float:
    """Head by head and caption by caption, from the definition."""

    def divergence(logits: list[float], distances: list[float]) -> float:
        p = [math.exp(-train_clip.STEEPNESS * d) for d in distances]
        q = [math.exp(logit) for logit in logits]
        return sum(a / sum(p) * math.log((a / sum(p)) / (b / sum(q))) for a, b in zip(p, q, strict=True))

    logit = (scale * images @ texts.T).tolist()
    rows = [divergence(logit[i], missed[i].tolist()) for i in range(len(images))]
    columns = [divergence([row[j] for row in logit], missed[:, j].tolist()) for j in range(len(texts))]
    return (sum(rows) / len(rows) + sum(columns) / len(columns)) / 2


def unit(count: int, seed: int) -> Tensor:
    return torch.nn.functional.normalize(
        torch.randn(count, 6, generator=rng(seed), dtype=torch.float64), dim=1
    )


def test_the_contrast_is_what_its_definition_says() -> None:
    images, texts = unit(4, 0), unit(6, 1)
    missed = 2 * torch.rand(4, 6, generator=rng(2), dtype=torch.float64).round(decimals=1)
    found = contrast(images, texts, torch.tensor(7.0), missed)
    assert float(found) == pytest.approx(slow_contrast(images, texts, 7.0, missed), rel=1e-9)


def test_similarity_is_to_fall_in_a_straight_line() -> None:
    """Heads that smile by 0 … 1, and the full smile, on an arc: best where cosines are linear."""

    def loss(cosines: Tensor) -> float:
        angle = cosines.acos()
        images = torch.stack([angle.cos(), angle.sin()], dim=1)
        missed = (1 - degree)[:, None].expand(-1, 2)
        return float(contrast(images, torch.tensor([[1.0, 0], [1, 0]]), torch.tensor(20.0), missed))

    degree = torch.linspace(0, 1, 11)
    line = 0.5 + train_clip.STEEPNESS / 20 * degree
    assert loss(line) < 0.01 * loss(line.mean().expand(11))
    assert loss(line) < 0.1 * loss(line - 0.1 * (degree > 0.5).float())


def test_two_heads_that_fit_the_same_caption_are_not_wrong() -> None:
    """Heads 0 and 1 share their caption, and 2 and 3 theirs: telling the twins apart would gain nothing."""
    missed = 9 * torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]])
    pole = torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]])
    assert contrast(pole, pole, torch.tensor(36.0), missed) < 1e-6
    strict = contrast(pole, pole, torch.tensor(36.0), 9 * (1 - torch.eye(4)))
    assert strict == pytest.approx(math.log(2), rel=1e-4)


def test_captions_that_everybody_fits_ask_for_nothing() -> None:
    same = torch.ones(4, 3) / math.sqrt(3)
    assert contrast(same, same, torch.tensor(10.0), torch.zeros(4, 4)) == pytest.approx(0, abs=1e-6)


def test_pairs_are_disturbed_alike_and_pictures_are_not() -> None:
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


def test_fresh_features_have_little_in_common(small_clip: None) -> None:
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


def test_each_head_of_attention_begins_at_a_place_of_its_own() -> None:
    """What is changed in one cell of the last map is seen, and in an outer row it is not."""
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


# --- CLIP: words


def test_every_wording_has_tokens_of_its_own() -> None:
    model = new_clip(0)
    tokens = model.token_embedding.tokens
    assert torch.isin(tokenize(list(wordings())), tokens).all()
    assert len(tokens) < 300  # of 49,408
    ids = tokenize(["a person with 40% smile", "very old, eyes closed", "no glasses, 100%, bald"])
    alone = torch.nn.functional.embedding(torch.searchsorted(tokens, ids), model.token_embedding.weight)
    assert torch.equal(model.token_embedding(ids), alone)


def test_words_it_does_not_know_are_one_and_the_same() -> None:
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


# --- CLIP: training and files


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


def test_the_figure_is_one_for_a_perfect_reader() -> None:
    """A stand-in whose picture features are the true degrees, and whose text features are the axes."""
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
            x[:, -1] = (20 - x.square().sum(dim=1)).sqrt()  # all of one length, which features lose
            return x

        def encode_text(self, ids: Tensor) -> Tensor:
            full, none = torch.zeros(2, 6)
            full[next(axes)] = 1
            none[-1] = 1e-6
            return torch.stack([full, -full])

    axes = iter(range(5))
    assert all(value > 0.999 for value in follows(Perfect(), heads).values())  # type: ignore[arg-type]


# --- runs


def write_heads(folder: Path) -> None:
    folder.mkdir()
    for index in range(5):  # the last four are held out
        heads = few_heads(4)
        tensors = {"images": heads.images, "z": heads.z, "differs": heads.differs}
        dataset.write(folder / f"heads-{index:05d}.safetensors", tensors)


def write_people(folder: Path) -> None:
    folder.mkdir()
    for index in range(5):
        z = people.draw(rng(index), people.SHARD // people.VIEWS)[:16]
        person = index * 16 + torch.arange(2).repeat_interleave(8)
        tensors = {"images": smooth_pictures(16, index), "z": z, "person": person}
        dataset.write(folder / f"people-{index:05d}.safetensors", tensors)


def test_the_average_of_a_short_run_forgets_its_beginning(tmp_path: Path) -> None:
    def half_life(total: int) -> float:
        line = nn.Linear(1, 1)
        return training.Trainer("a", line, tmp_path, 0, 1, total=total, seed=0, learning_rate=0.1).half_life

    assert half_life(1000) == 50
    assert half_life(1_000_000) == training.HALF_LIFE


class InterruptedRunError(Exception):
    pass


@pytest.mark.parametrize("name", ["clip", "identity"])
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_clip: None
) -> None:
    module: Any = {"clip": train_clip, "identity": train_identity}[name]
    {"clip": write_heads, "identity": write_people}[name](tmp_path / "data")
    monkeypatch.setattr(module, "BATCH", 4)
    monkeypatch.setattr(training, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    files = []
    for stops in (False, True):
        run = tmp_path / f"run-{stops}"
        run.mkdir()
        if stops:
            honest, calls = module.step_loss, iter(range(3))

            def stopping(*args: Any, honest: Any = honest, calls: Any = calls, **options: Any) -> Tensor:
                if next(calls, None) is None:
                    raise InterruptedRunError
                return honest(*args, **options)

            with monkeypatch.context() as patch:
                patch.setattr(module, "step_loss", stopping)
                with pytest.raises(InterruptedRunError):
                    module.train(0, tmp_path / "data", run, 24, 0, 1)
            assert torch.load(run / f"{name}.pt", weights_only=True)["images"] == 12
        module.train(0, tmp_path / "data", run, 24, 0, 1)
        files.append((run / f"{name}.safetensors").read_bytes())
    assert files[0] == files[1]


# --- identity: data and loss


def test_a_person_stays_the_same_and_all_else_passes() -> None:
    f = factors_from_z(people.draw(rng(), 20, 6))
    for factor in FACTORS:
        spread = f[factor.name].view(20, 6).std(dim=1)
        if factor.name in people.PASSING:
            assert (spread > 1e-3).float().mean() > 0.8, factor.name
        elif factor.name in people.TRAITS:
            assert spread.max() < 1e-4, factor.name
    shapes = f["chin"].view(20, 6)[:, 0]
    assert shapes.std() > 0.3
    assert {"chin", "skin_tone", "nose_width"} <= set(people.TRAITS)
    assert not {"hair_cut", "beard", "age", "glasses"} & set(people.TRAITS)


def test_hair_is_kept_more_often_than_not() -> None:
    views = factors_from_z(people.draw(rng(), 200, 8))["hair_cut"].view(200, 8)
    usual = views.median(dim=1, keepdim=True).values
    assert 0.55 < ((views - usual).abs() < 1e-4).float().mean() < 0.75


def test_a_generator_draws_people(tmp_path: Path) -> None:
    from stylegan2 import Generator, GeneratorConfig, save_generator

    config = GeneratorConfig(16, 8, z_dim=256, mapping_layers=1, channels={4: 8, 8: 8, 16: 8})
    save_generator(Generator(config, rng()), tmp_path / "generator.safetensors")
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        people.make_shard(tmp_path / folder, 3, 0, size=8, generator=tmp_path / "generator.safetensors")
    one, two = (load_file(tmp_path / folder / "people-00003.safetensors") for folder in ("one", "two"))
    assert one["images"].shape == (dataset.SHARD, 3, 8, 8)
    assert one["person"].tolist()[:: people.VIEWS] == list(range(48, 64))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert one["images"].float().std() > 1
    assert dataset.check(tmp_path / "one/people-00003.safetensors", 8) == 8


def slow_arcface(features: Tensor, directions: Tensor, person: Tensor, margin: float) -> float:
    total = 0.0
    for x, own in zip(features, person.tolist(), strict=True):
        angles = [math.acos(float(x @ d) / float(d.norm())) for d in directions]
        logits = [math.cos(a) for a in angles]
        logits[own] = math.cos(angles[own] + margin)
        if angles[own] + margin > math.pi:
            logits[own] = math.cos(angles[own]) - margin * math.sin(margin)
        scaled = [train_identity.SCALE * v for v in logits]
        total += math.log(sum(math.exp(v) for v in scaled)) - scaled[own]
    return total / len(features)


@pytest.mark.parametrize("margin", [0.0, 0.3, 1.0])
def test_arcface_is_what_its_definition_says(margin: float) -> None:
    features, person = unit(6, 0), torch.tensor([0, 1, 2, 3, 3, 0])
    directions = 2 * unit(4, 1)
    directions[2] = -features[2] + 0.1  # an angle near π
    found = float(arcface(features, directions, person, margin))
    assert found == pytest.approx(slow_arcface(features, directions, person, margin), rel=1e-5)


def test_a_few_people_are_learned_and_told_apart() -> None:
    person = torch.arange(4).repeat_interleave(4)
    data = people.People(smooth_pictures(4)[person], sample_training_z(4, rng())[person], person, 4)
    album = Album(4, 0, TINY)
    optimiser = torch.optim.Adam(album.parameters(), 5e-3)
    losses = []
    for step in range(25):
        loss = train_identity.step_loss(album, data, torch.arange(16), rng(step), 0.2)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.3 * sum(losses[:5])
    settle(album.net, album.net.features, data.images, rng())
    figures = verification(album.net, data)
    assert figures["accuracy"] == 1
    assert figures["same"] > 0.8 > figures["different"] + 0.3


def test_the_accuracy_of_chance_and_of_a_perfect_network() -> None:
    class Colour(nn.Module):
        """Features that are the mean colour: perfect where every person has a colour of their own."""

        linear = nn.Linear(1, 1)

        def features(self, images: Tensor) -> Tensor:
            return nn.functional.normalize(images.mean(dim=(2, 3)) + 1e-3, dim=1)

    colour = torch.tensor([[255, 128, 128], [128, 255, 128], [128, 128, 255]], dtype=torch.uint8)
    person = torch.arange(3).repeat(4)
    pictures = colour[person][:, :, None, None].expand(-1, -1, 8, 8)
    z = sample_training_z(12, rng())
    net: Any = Colour()
    figures = verification(net, people.People(pictures, z, person, 3))
    assert figures["accuracy"] == 1
    assert figures["same"] == pytest.approx(1, abs=1e-4)
    blind = people.People(pictures[:1].expand(12, -1, -1, -1), z, person, 3)
    assert verification(net, blind)["accuracy"] == pytest.approx(0.5)


def test_an_identity_file_loads_with_the_same_features(tmp_path: Path) -> None:
    net = IdentityNet(train_identity.CONFIG, rng()).eval()
    for module in net.modules():  # statistics of another size than a fresh network's
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1, generator=rng(1))
            module.running_var.uniform_(0.5, 2.0, generator=rng(2))
    save_identity(net, tmp_path / "identity.safetensors", half=True)
    assert (tmp_path / "identity.safetensors").stat().st_size < 2_000_000
    assert all(p.dtype == torch.float32 for p in net.parameters())  # what trains stays as it is
    again = load_identity(tmp_path / "identity.safetensors")
    pictures = smooth_pictures(3).float() / 127.5 - 1
    with torch.no_grad():
        cosine = (again.features(pictures) * net.features(pictures)).sum(dim=1)
    assert cosine.min() > 0.9999


def test_too_few_shards_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"avatar\.people"):
        people.load(tmp_path)
