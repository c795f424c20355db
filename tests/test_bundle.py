"""A bundle is found by name or folder, and its parts are checked before they are used."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import random_generator, random_inverter

from micromotion import bundle as bundle_module
from micromotion.bundle import find_bundle, load_bundle, pick_device, save_bundle
from micromotion.errors import BundleError, OptionError


@pytest.fixture
def copy(random_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(random_bundle, tmp_path / "copy"))


def test_saved_parts_load_unchanged(random_bundle: Path) -> None:
    loaded = load_bundle(random_bundle, "cpu")
    assert loaded.name == "random"
    assert list(loaded.motions) == ["headsTurn", "smile"]
    for part, original in ((loaded.generator, random_generator()), (loaded.inverter, random_inverter())):
        assert not part.training
        for name, tensor in original.state_dict().items():
            assert torch.equal(part.state_dict()[name], tensor), name


def test_the_recorded_hashes_are_those_of_the_files(random_bundle: Path) -> None:
    import hashlib

    files = find_bundle(random_bundle).about["files"]
    assert set(files) == {"generator.safetensors", "inverter.safetensors"}
    for name, recorded in files.items():
        content = (random_bundle / name).read_bytes()
        assert recorded == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@pytest.mark.parametrize("layout", ["checkout", "wheel"])
def test_embedded_bundles_are_found_by_name(
    layout: str, random_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = (tmp_path / "micromotion" / "data", tmp_path)
    root = roots[layout == "checkout"]
    shutil.copytree(random_bundle, root / "weights" / "mine")
    shutil.move(root / "weights" / "mine" / "anchors", root / "anchors" / "mine")
    monkeypatch.setattr(bundle_module, "_ROOTS", roots)
    monkeypatch.chdir(tmp_path)
    found = find_bundle("mine")
    assert found.folder == root / "weights" / "mine"
    assert sorted(found.motions) == ["headsTurn", "smile"]


def test_the_ffhq_model_says_that_it_cannot_be_fetched_yet() -> None:
    with pytest.raises(BundleError, match="public checkpoints"):
        load_bundle("ffhq")


def test_an_unknown_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="There is no model"):
        load_bundle("nonsense")
    with pytest.raises(BundleError, match=r"no bundle\.json"):
        load_bundle(tmp_path)


@pytest.mark.parametrize("part", ["generator.safetensors", "inverter.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "cut", "swapped"])
def test_a_damaged_part_is_told(copy: Path, part: str, damage: str) -> None:
    file = copy / part
    content = file.read_bytes()
    file.unlink()
    if damage == "cut":
        file.write_bytes(content[:-1000])
    elif damage == "swapped":
        shutil.copy(next(p for p in copy.glob("*.safetensors") if p != file), file)
    with pytest.raises(BundleError, match=part):
        load_bundle(copy, "cpu")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"format": "micromotion-bundle/999", "name": "x"}',
        b'{"format": "micromotion-bundle/1"}',
        b'{"format": "micromotion-bundle/1", "name": 3}',
        b" " * (2 << 20),
    ],
)
def test_a_bad_description_is_told(copy: Path, text: bytes) -> None:
    (copy / "bundle.json").write_bytes(text)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        find_bundle(copy)


def test_parts_must_fit_together(copy: Path, tmp_path: Path) -> None:
    other = random_inverter(num_styles=10)
    with pytest.raises(BundleError, match=r"10 styles of 16.*8 of 16"):
        save_bundle(tmp_path / "new", name="x", generator=random_generator(), inverter=other, about={})
    assert not (tmp_path / "new").exists()

    from encoder4editing import save_inverter

    save_inverter(other, copy / "inverter.safetensors")
    with pytest.raises(BundleError, match="do not fit together"):
        load_bundle(copy, "cpu")


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for wrong in ("gpu", "cuda:99", "meta", "", "cpu; rm"):
        with pytest.raises(OptionError):
            pick_device(wrong)


def test_the_embedded_avatar_is_complete() -> None:
    """Its files are the ones that its bundle.json describes, and it plays the five motions."""
    found = find_bundle("avatar")
    for name, recorded in found.about["files"].items():
        assert bundle_module._fingerprint(found.folder / name) == recorded
    assert set(found.motions) == {"smile", "angry", "aging", "eyesClose", "headsTurn"}
    assert json.dumps(found.about["figures"])
    loaded = load_bundle("avatar", "cpu")
    assert loaded.generator.resolution >= 128
