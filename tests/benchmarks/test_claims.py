"""The measurement of the method's claims: figures compared to slow references, verdicts, and a run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from draws import normal, rng
from learn_networks import random_clip, random_identity
from PIL import Image
from safetensors.torch import save_file
from tiny_avatar import ENCODER, GENERATOR
from torch import Tensor
from video_formats import moving

from avatar.renderer.factors import MOTIONS
from avatar.report.subject import load_subject
from benchmarks.claims import __main__ as command
from benchmarks.claims import sources, verdicts
from benchmarks.claims.charts import line_charts, line_figure
from benchmarks.claims.document import document
from benchmarks.claims.domains import DOMAINS, repaint
from benchmarks.claims.figures import compare
from benchmarks.claims.methods import CLEAN, METHODS, conditions, corrupt_anchors, corrupt_entries
from benchmarks.claims.movement import FINE, summary
from benchmarks.claims.sources import REST, schedule, sentence
from benchmarks.claims.steps import QUICK, ClaimsContext, steps
from encoder4editing import Inverter
from encoder4editing.regressor import READ, Regressor
from micromotion.learn.template import DEFAULT_DEGREES, fill
from micromotion.motion.anchors import Anchors
from micromotion.video.writer import write_frames
from micromotion.weights.bundle import save_bundle
from stylegan2 import Generator

pytestmark = pytest.mark.slow

# --- methods and errors


PERSON, TRUTH, OTHERS = normal(6, 64, seed=1), normal(6, 64, seed=2), 3 * normal(40, 6, 64, seed=3)
DEGREES = torch.linspace(0, 1, 11)
ANCHORS = Anchors(PERSON + DEGREES[:, None, None] * TRUTH, DEGREES)


def error(direction: Tensor) -> float:
    return float((direction - TRUTH).norm() / TRUTH.norm())


@pytest.mark.parametrize("method", ["ours", "plain PCA", "the difference"])
def test_clean_anchors_on_a_line_give_the_line(method: str) -> None:
    assert error(METHODS[method](ANCHORS)) < 1e-3
    half = Anchors(ANCHORS.w_plus, ANCHORS.degrees / 2)
    torch.testing.assert_close(METHODS[method](half), 2 * METHODS[method](ANCHORS), rtol=1e-4, atol=1e-4)


def test_the_originals_method_agrees_with_its_code() -> None:
    """Its loop, rewritten: shrink singular values, shrink entries; truncate to rank 4; last minus first."""
    wanted = []
    for style in range(6):
        data = ANCHORS.w_plus[:, style].double().numpy()
        mu = data.size / (4 * np.linalg.norm(data) ** 2)
        sparse, dual = np.zeros_like(data), np.zeros_like(data)
        for _ in range(1000):
            u, s, v = np.linalg.svd(data - sparse + dual / mu, full_matrices=False)
            low = u * np.maximum(s - 1 / mu, 0) @ v
            rest = data - low + dual / mu
            sparse = np.sign(rest) * np.maximum(np.abs(rest) - 1 / (mu * np.sqrt(max(data.shape))), 0)
            wrong = data - low - sparse
            dual += mu * wrong
            if (np.linalg.norm(wrong) / np.linalg.norm(data)) ** 2 <= 1e-7 * np.linalg.norm(data) ** 2:
                break
        u, s, v = np.linalg.svd(low, full_matrices=False)
        low = (u * s)[:, :4] @ v[:4]
        wanted.append(low[-1] - low[0])
    found = METHODS["the original's"](ANCHORS).double().numpy()
    np.testing.assert_allclose(found, np.stack(wanted), rtol=1e-4, atol=1e-5)


def test_errors_are_the_given_number_of_another_faces_entries() -> None:
    spoilt = corrupt_entries(ANCHORS, rng(), others=OTHERS, share=0.2)
    hit = spoilt.w_plus != ANCHORS.w_plus
    assert 0.18 < float(hit.float().mean()) < 0.22
    known = (spoilt.w_plus[:, None] == OTHERS[None]).any(dim=1)  # at the same position of another's latent
    assert bool(known[hit].all())
    assert len({int(i) for i in (spoilt.w_plus[0, 0] == OTHERS[:, 0]).float().argmax(dim=0)[hit[0, 0]]}) > 3
    whole = corrupt_anchors(ANCHORS, rng(), others=OTHERS, count=3).w_plus
    changed = (whole != ANCHORS.w_plus).flatten(1).any(dim=1)
    assert int(changed.sum()) == 3
    assert all(any(torch.equal(code, other) for other in OTHERS) for code in whole[changed])


def test_the_conditions_are_those_of_the_issue() -> None:
    names = list(conditions(OTHERS))
    assert names == [
        "clean", "5% of the entries", "10% of the entries", "20% of the entries",
        "1 whole anchor", "2 whole anchors", "3 whole anchors",
    ]  # fmt: skip
    assert torch.equal(conditions(OTHERS)[CLEAN](ANCHORS, rng()).w_plus, ANCHORS.w_plus)
    assert names[0] == CLEAN


@pytest.mark.parametrize("condition", list(conditions(OTHERS))[1:])
def test_our_method_is_nearest_under_every_condition(condition: str) -> None:
    spoilt = [conditions(OTHERS)[condition](ANCHORS, rng(seed)) for seed in range(6)]
    errors = {name: np.mean([error(learn(each)) for each in spoilt]) for name, learn in METHODS.items()}
    assert errors["ours"] < min(errors[name] for name in METHODS if name != "ours")
    assert errors["ours"] < 0.4 * min(errors["plain PCA"], errors["the difference"])


# --- figures


def test_the_figures_agree_with_their_definitions() -> None:
    from scipy.stats import linregress, spearmanr  # slow to import

    noise = np.random.default_rng(0)
    read = noise.normal(0, 0.05, (11, 7, 5))
    read[..., 2] += 0.8 * np.asarray(FINE)[:, None] ** 1.5 * np.linspace(-0.2, 1, 7)
    read[..., 4] -= 0.1 * np.asarray(FINE)[:, None]
    alike = np.linspace(0.5, 0.9, 7)
    found = summary(read, FINE, 2, 0.1, alike)
    slopes = np.array([[linregress(FINE, read[:, n, k]).slope for k in range(5)] for n in range(7)])
    order = [spearmanr(FINE, read[:, n, 2]).statistic for n in range(7)]
    others = [0, 1, 3, 4]
    assert found["people"] == 7
    assert found["right"] == sum(read[10, n, 2] - read[0, n, 2] > 0.1 for n in range(7)) < 7
    assert found["own"] == pytest.approx(slopes[:, 2].mean())
    assert found["least"] == pytest.approx(np.quantile(slopes[:, 2], 0.05))
    assert found["order"] == pytest.approx(np.mean(order))
    assert found["steady"] == sum(each > 0.97 for each in order)
    assert found["leak"] == pytest.approx(np.abs(slopes[:, others]).mean())
    assert found["others"] == pytest.approx({MOTIONS[k]: slopes[:, k].mean() for k in others})
    assert (found["alike"], found["alike_least"]) == (pytest.approx(0.7), pytest.approx(0.52))
    steps = np.diff(read[..., 2].mean(axis=1)) * 10 / np.diff(read[[0, 10], :, 2].mean(axis=1))[0]
    assert found["steps"] == pytest.approx([steps.min(), steps.max()])


def test_equal_steps_measure_one_each() -> None:
    read = np.zeros((3, 2, 5))
    read[1:, :, 0] = [[0.2, 0.4], [0.4, 0.8]]
    found = summary(read, (0.0, 0.5, 1.0), 0, 0.1)
    assert found["steps"] == pytest.approx([1, 1])
    assert found["leak"] == 0
    assert found["alike"] is None
    still = summary(np.zeros((3, 2, 5)), (0.0, 0.5, 1.0), 0, 0.1)
    assert (still["own"], still["right"]) == (0, 0)


# --- verdicts


def test_the_text_follows_the_figures() -> None:
    assert compare([10, 12, 8], [5, 6, 9]) == "beats"
    assert compare([30, 5, 5], [10, 6, 6]) == "is ahead only on average of"
    assert compare([10, 10], [10.3, 9.6]) == "is level with"
    assert compare([5, 6], [9, 9]) == "loses to"
    assert verdicts.how_many(5, 5, "motion") == "holds for all 5 motions"
    assert verdicts.how_many(0, 5, "motion") == "holds for none of the 5 motions"
    assert verdicts.how_many(3, 5, "motion") == "holds for 3 of 5 motions"
    assert verdicts.how_many(0, 0, "motion") == "could not be measured"


def moved(own: float, leak: float, right: int = 50, alike: float | None = 0.9) -> dict[str, Any]:
    return {"own": own, "leak": leak, "right": right, "people": 50, "alike": alike}


def figures(ours: float, theirs: float) -> dict[str, Any]:
    """For two motions from video, the errors of robust and of plain PCA on corrupted anchors."""
    each = {
        CLEAN: {name: [moved(1.0, 0.1)] for name in METHODS},
        "10% of the entries": {name: [moved(theirs, 0.1)] for name in METHODS} | {"ours": [moved(ours, 0.1)]},
    }
    return {
        "anchors/video/smile": {"rank": 2, "count": 11, "first": 0.9, "straightness": 0.95},
        "anchors/video/yaw": {"rank": 5, "count": 11, "first": 0.7, "straightness": 0.85},
        "people/video/smile": moved(1.0, 0.1),
        "people/video/yaw": moved(1.0, 0.1, right=44),
        "errors/video/smile": each,
        "errors/video/yaw": each,
        "domain/marble": {"video": {"smile": moved(0.4, 0.1), "yaw": moved(0.9, 0.1)}},
    }


def test_each_verdict_can_go_both_ways() -> None:
    good, bad = figures(0.9, 0.5), figures(0.5, 0.9)
    assert verdicts.low_rank(good, "video").startswith("from video it holds for 1 of 2 motions (rank 2 to 5")
    one = {"anchors/video/smile": good["anchors/video/smile"]}
    assert verdicts.low_rank(one, "video").startswith("from video it holds for the one motion (rank 2 of 10;")
    assert verdicts.to_people(good, "video") == "from video it holds for 1 of 2 motions"
    assert verdicts.to_domains(good, "video") == "from video it holds for 1 of 2 cases (not: marble: smile)"
    assert verdicts.robust(good, "video") == "from video it holds for all 3 comparisons"
    assert verdicts.why_not(good, "video") == ""
    assert verdicts.robust(bad, "video") == "from video it holds for none of the 3 comparisons"
    assert "loses to plain PCA: it moves the intended factor by 0.50 against 0.90" in verdicts.why_not(
        bad, "video"
    )
    assert verdicts.comparisons(bad, "video") == [
        "On clean anchors, robust PCA is level with the original's, plain PCA and the difference.",
        "With 10% of the entries corrupted, robust PCA loses to the original's, plain PCA and the "
        "difference.",
    ]


def test_another_face_does_not_transfer() -> None:
    assert verdicts.transfers(moved(1.0, 0.1, 45, 0.61))
    assert verdicts.transfers(moved(1.0, 0.1, 45, None))
    assert not verdicts.transfers(moved(1.0, 0.1, 45, 0.59))
    assert not verdicts.transfers(moved(1.0, 0.1, 44, 0.9))


# --- videos, domains, charts


def test_a_video_begins_at_rest_and_ends_with_the_full_motion() -> None:
    degrees = schedule(21)
    assert len(degrees) == 21
    assert degrees[:REST] == [0.0] * REST
    assert degrees[-REST:] == [1.0] * REST
    assert (np.diff(degrees) >= 0).all()
    assert max(np.diff(degrees)) < 0.12


def test_every_motion_has_its_sentence() -> None:
    assert sentence("smile") == "a person with {degree} smile"
    assert all(len(fill(sentence(motion), DEFAULT_DEGREES)) == 11 for motion in MOTIONS)


def heads(size: int) -> Tensor:
    """Two discs of different colours before a smooth background."""
    v, u = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    face = (((u / 0.45) ** 2 + ((v - 0.1) / 0.65) ** 2) < 1).float()
    skin = torch.tensor([[220.0, 170, 140], [120.0, 80, 60]])[:, :, None, None]
    wall = torch.tensor([[90.0, 60, 140], [60.0, 140, 130]])[:, :, None, None] * (1 - 0.2 * (u**2 + v**2))
    eyes = ((u.abs() - 0.2) ** 2 + (v + 0.05) ** 2 < 0.006).float()
    return (wall * (1 - face) + skin * face * (1 - 0.8 * eyes) * (1 + 0.15 * u)).clamp(0, 255).byte()


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_is_another_look_of_the_same_picture(domain: str) -> None:
    size = 64
    pictures = heads(size)
    works = repaint(pictures, domain)
    assert works.dtype == torch.uint8
    assert works.shape == pictures.shape
    assert torch.equal(works, repaint(pictures, domain))
    assert torch.equal(works[:1], repaint(pictures[:1], domain))
    assert (works.float() - pictures.float()).abs().mean() > 4
    gray, before = works.float().mean(dim=1), pictures.float().mean(dim=1)
    eye, cheek = (slice(None), int(0.46 * size), int(0.4 * size)), (slice(None), int(0.7 * size), size // 2)
    assert (before[eye] < before[cheek]).all()
    around = [torch.nn.functional.avg_pool2d(gray[:, None], 5, 1, 2)[:, 0][at] for at in (eye, cheek)]
    assert (around[0] < around[1]).all(), "the eyes are darker than the cheeks in any domain"


def test_looks_differ_from_each_other() -> None:
    works = {domain: repaint(heads(64), domain).float() for domain in DOMAINS}
    for one in works:
        for other in works:
            assert one == other or (works[one] - works[other]).abs().mean() > 10


def test_a_chart_draws_every_line(tmp_path: Path) -> None:
    lines = {"a": [1.0, 2.0, 3.0], "b": [3.0, -1.0, 0.5], "c": [0.0, 0.0, 0.0]}
    line_charts(
        tmp_path / "a.png", "title", [("left", ["x", "y", "z"], lines), ("right", ["x", "y", "z"], lines)]
    )
    with Image.open(tmp_path / "a.png") as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)
    for colour in ((200, 60, 50), (120, 95, 170), (40, 120, 180)):
        assert (np.abs(pixels - colour).max(axis=1) < 12).sum() > 50


def test_charts_share_a_scale_that_begins_at_zero() -> None:
    lines = {"a": [1.0, 83.0], "b": [-5.0, 0.7]}
    left, right = line_figure("t", [("low", ["x", "y"], {"a": [1.0, 2.0]}), ("high", ["x", "y"], lines)]).axes
    assert left.get_ylim() == right.get_ylim()
    assert left.get_ylim()[0] == 0
    assert 83 <= left.get_ylim()[1] < 100
    assert [list(np.asarray(each.get_ydata())) for each in right.lines] == [[1.0, 83.0], [0.0, 0.7]]


# --- a run


def bundle(folder: Path, *, nets: bool) -> Path:
    """Random weights at 32², with a z of the avatar's and a regressor; with or without CLIP and identity."""
    about = {
        "figures": {
            "regressor": {
                name: {"error": 0.001, "slope": 0.99, "crosstalk": 0.01, "disturber": "age"} for name in READ
            }
        }
    }
    folder.mkdir(parents=True)
    optional = {"identity": random_identity(folder), "clip": random_clip()} if nets else {}
    inverter = Inverter(ENCODER, rng(2)).eval()
    with torch.no_grad():
        for name, parameter in inverter.named_parameters():
            if name.endswith("linear.weight"):  # otherwise a video's latents would hardly differ
                parameter.mul_(100)
    save_bundle(
        folder / "model",
        name="random",
        generator=Generator(GENERATOR, rng(1)).eval(),
        inverter=inverter,
        about=about,
        **optional,
    )
    torch.manual_seed(3)
    save_file(Regressor().state_dict(), folder / "model/regressor.safetensors")
    return folder / "model"


def run(monkeypatch: pytest.MonkeyPatch, model: Path, root: Path) -> str:
    arguments = ["claims", "--quick", "--motions", "smile", "--model", str(model), "--device", "cpu"]
    arguments += ["--out", str(root / "docs"), "--cache", str(root / "cache")]
    monkeypatch.setattr("sys.argv", arguments)
    monkeypatch.setattr(command, "keep_memory", lambda: None)
    command.main()
    return (root / "docs/claims.md").read_text(encoding="utf-8")


def test_the_small_form_measures_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Text, video and factors, run twice: nothing is repeated, and the page is byte-identical."""
    model = bundle(tmp_path / "with", nets=True)
    text = run(monkeypatch, model, tmp_path)
    assert "proves nothing" in text
    assert "not measured" not in text
    for source in ("text", "video", "the renderer's factors"):
        assert f"### Motions from {source}" in text
        assert f"### Anchors from {source}" in text
    assert str(tmp_path) not in text
    pictures = {path.name: path.read_bytes() for path in (tmp_path / "docs/claims").iterdir()}
    linked = {line.split("(claims/")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")}
    assert linked == set(pictures)
    said = capsys.readouterr().out
    assert "15 of 15: domain/old photograph" in said
    assert run(monkeypatch, model, tmp_path) == text
    assert {path.name: path.read_bytes() for path in (tmp_path / "docs/claims").iterdir()} == pictures
    assert capsys.readouterr().out.startswith("wrote ")
    (kept,) = (tmp_path / "cache").glob("*/figures.json")
    figures = json.loads(kept.read_text())
    assert set(figures["errors/text/smile"]) == set(conditions(OTHERS))
    assert len(figures["errors/text/smile"]["3 whole anchors"]["ours"]) == QUICK.draws
    assert f"| smile | 0.001 | 0.990 | 0.010 (age) | {figures['same/renders/smile']['alike']:.2f} |" in text

    # without its networks the same model reports what is missing, from the same renders
    for name in ("clip.safetensors", "identity.safetensors"):
        (model / name).unlink()
    less = run(monkeypatch, model, tmp_path)
    assert "Nothing here is learned from text" in less
    assert "Identity is not measured" in less
    assert "| smile | 0.001 | 0.990 | 0.010 (age) |\n" in less
    assert "### Motions from video" in less
    assert "from text" not in less.split("## In short")[1]


def test_failed_collections_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A video without a face is reported, and the rest continues."""
    monkeypatch.setattr(sources, "shoot", lambda motion, video, *_: write_frames(moving(8), video, 25))
    subject = load_subject(bundle(tmp_path / "model", nets=False), "cpu")
    context = ClaimsContext(subject, tmp_path / "renders", tmp_path, QUICK._replace(people=2), ("smile",))
    work = {name: step for name, step in steps(context).items() if not name.startswith("domain")}
    figures = command.run(work, tmp_path / "figures.json")
    assert figures["anchors/video/smile"]["failed"].startswith("No face was found in 'smile.mp4'")
    assert figures["people/video/smile"] == figures["errors/video/smile"] == {}
    text = document(subject, context.form, figures)
    assert "smile from video failed: No face was found in 'smile.mp4'" in text
    assert "### Motions from the renderer's factors" in text
    assert "### Motions from video" not in text
