"""From a finished run to the embedded bundle."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from draws import rng
from safetensors.torch import load_file, save_file
from tiny_avatar import ENCODER, GENERATOR

from avatar import publish
from avatar.data import dataset
from avatar.training.collect import PUBLISHED_NAMES, calibrate
from avatar.training.regressor import Share, degrees, load_pictures
from encoder4editing import Inverter, save_inverter
from encoder4editing.identity import IdentityConfig, IdentityNet, save_identity
from encoder4editing.regressor import READ, SIDE, Regressor
from micromotion.motion.anchors import Anchors
from micromotion.weights.bundle import load_bundle
from micromotion.weights.bundle_record import damage, read_about
from stylegan2 import Generator, load_generator, save_generator

pytestmark = pytest.mark.slow


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six shards of noise at 64²."""
    folder = tmp_path / "data"
    folder.mkdir()
    for i in range(6):
        z, differs = dataset.draw(rng(i))
        images = torch.randint(0, 256, (len(z), 3, 64, 64), dtype=torch.uint8, generator=rng(i))
        dataset.write(folder / f"heads-{i:05d}.safetensors", {"images": images, "z": z, "differs": differs})
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of networks with random weights, at 32², without CLIP."""
    folder = tmp_path / "run"
    folder.mkdir()
    identity = IdentityConfig(
        input_size=32, feature_dim=8, widths=(8, 8, 8, 8), depths=(1, 1, 1, 1), se_reduction=4
    )
    save_generator(Generator(GENERATOR, rng(1)), folder / "generator.safetensors")
    save_inverter(Inverter(ENCODER, rng(2)), folder / "inverter.safetensors")
    save_identity(IdentityNet(identity, rng(3)).eval(), folder / "identity.safetensors")
    torch.manual_seed(4)
    save_file(Regressor().state_dict(), folder / "regressor.safetensors")
    for i, name in enumerate(("generator", "encoder", "identity", "regressor")):
        torch.save({"images": 1000 + i}, folder / f"{name}.pt")
    return folder


def test_a_bundle_describes_its_contents_and_training(data: Path, run: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    publish.publish_networks(data, run, weights)
    about = read_about(weights)
    assert not list(damage(weights, about, hashes=True))
    parts = {"generator", "inverter", "identity", "regressor"}
    assert set(about["files"]) == {f"{part}.safetensors" for part in parts}
    assert set(about["architecture"]) == parts
    assert about["training"] == {
        "data": "heads rendered by avatar/ at 64², in pairs: 256 to learn from, 512 held out",
        "generator": "distilled from the renders, 1000 images",
        "inverter": "renders and the generator's own pictures, 1001 images",
        "identity": "renders of people in other poses, moods, ages and lights, 1002 images",
        "regressor": "renders, 1003 images",
    }
    assert set(about["figures"]["regressor"]) == set(READ)
    assert 0 < about["figures"]["held_out_psnr_db"]["generator"] < 20  # noise
    bundle = load_bundle(weights, "cpu")
    assert bundle.generator.resolution == 32
    assert bundle.identity.features(torch.zeros(1, 3, 32, 32)).shape == (1, 8)


def test_a_note_adds_what_a_recipe_lacks(data: Path, run: Path, tmp_path: Path) -> None:
    (run / publish.NOTES).write_text('{"generator": "stopped early"}', encoding="utf-8")
    publish.publish_networks(data, run, tmp_path / "weights")
    training = read_about(tmp_path / "weights")["training"]
    assert training["generator"].endswith(" images; stopped early")
    assert training["inverter"].endswith(" images")


def test_parts_missing_in_the_next_run_are_removed(data: Path, run: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    publish.publish_networks(data, run, weights)
    (run / "identity.safetensors").unlink()
    publish.publish_networks(data, run, weights)
    assert not (weights / "identity.safetensors").exists()
    assert "identity" not in str(read_about(weights))


def test_anchors_are_collected_at_the_models_size(
    data: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, anchors = tmp_path / "weights", tmp_path / "anchors"
    publish.publish_networks(data, run, weights)
    sizes = []

    def collect(inverter: Inverter, motion: str, size: int) -> Anchors:
        sizes.append(size)
        codes = torch.randn(8, 16, generator=rng(1)) * torch.linspace(0, 1, 4)[:, None, None]
        return Anchors(codes, torch.linspace(0, 1, 4), {"motion": motion})

    monkeypatch.setattr(publish, "collect", collect)
    publish.publish_anchors(weights, anchors)
    assert sizes == [32] * 5
    assert {path.stem for path in anchors.iterdir()} == set(PUBLISHED_NAMES.values())


def test_training_and_evaluation_renders_are_disjoint(data: Path) -> None:
    """Of six shards one is for training, one for calibration and four for evaluation."""
    shards = [load_file(path)["z"] for path in sorted(data.iterdir())]
    learn, setting, judge = (load_pictures(data, share) for share in get_args(Share))
    torch.testing.assert_close(learn.degrees, degrees(shards[0]))
    torch.testing.assert_close(setting.degrees, degrees(shards[1]))
    torch.testing.assert_close(judge.degrees, degrees(torch.cat(shards[2:])))
    assert learn.images.shape == (128, 3, SIDE, SIDE)
    with pytest.raises(FileNotFoundError):
        load_pictures(data, "training", rank=1, world=2)  # more workers than shards


class Reads(Regressor):
    """A regressor that reads given smiles from a batch, whatever the pictures show."""

    def __init__(self, smile: torch.Tensor) -> None:
        super().__init__()
        self.smile = smile

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.smile[:, None], torch.zeros(len(images), len(READ) - 1)], dim=1)


@pytest.mark.parametrize(
    ("read", "full"),
    [
        (lambda s: 0.8 * s, 1.25),  # reads 1 at a quarter more
        (lambda s: 0.4 * s.clamp(max=1.5), 1.35),  # never reaches 1: nine tenths of the maximum
        (lambda s: -0.3 + 0.5 * s, 1.8),  # begins below 0
        (lambda s: 0 * s - 0.5, None),  # shows nothing
    ],
)
def test_strength_one_is_the_full_motion_as_measured(
    run: Path, read: Callable[[torch.Tensor], torch.Tensor], full: float | None
) -> None:
    generator = load_generator(run / "generator.safetensors")
    codes = torch.randn(8, 16, generator=rng(1)) * torch.linspace(0, 1, 4)[:, None, None]
    anchors = Anchors(codes, torch.linspace(0, 1, 4), {})
    found = calibrate(anchors, generator, Reads(read(torch.linspace(0, 2, 41) + 1e-4)), "smile")
    assert torch.equal(found.w_plus, codes)
    torch.testing.assert_close(found.degrees, anchors.degrees / (full or 1.0))
    assert found.provenance.get("full_at") == full
