"""A bundle is found by name or folder, and its parts are checked before they are used."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from random_networks import random_generator, random_inverter

from encoder4editing import IdentityConfig, IdentityNet, save_identity, save_inverter
from micromotion.errors import BundleError, OutputError
from micromotion.runtime.folders import cache_folder
from micromotion.weights import bundle as bundle_module
from micromotion.weights.bundle import bundle_names, find_bundle, load_bundle, save_bundle
from micromotion.weights.bundle_record import damage, file_record
from stylegan2 import save_generator
from tools.openapi import inputs


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
    monkeypatch.setattr(bundle_module, "ROOTS", roots)
    monkeypatch.chdir(tmp_path)
    found = find_bundle("mine")
    assert found.folder == root / "weights" / "mine"
    assert sorted(found.motions) == ["headsTurn", "smile"]


def test_the_error_says_how_to_fetch_a_model() -> None:
    with pytest.raises(BundleError, match="run `micromotion weights fetch ffhq`"):
        load_bundle("ffhq")


def test_models_in_the_cache_are_found_after_embedded_ones(
    random_bundle: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_module, "ROOTS", (tmp_path / "data", tmp_path))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(random_bundle, tmp_path / "mine")
    assert find_bundle("mine").folder == Path("mine"), "a path"
    shutil.copytree(random_bundle, cache / "models/mine")
    assert find_bundle("mine").folder == cache / "models/mine", "the cache before a path"
    assert sorted(find_bundle("mine").motions) == ["headsTurn", "smile"]
    assert bundle_names() == ["mine"]
    shutil.copytree(random_bundle, tmp_path / "weights/mine")
    assert find_bundle("mine").folder == tmp_path / "weights/mine", "what is embedded before the cache"
    assert sorted(find_bundle("mine").motions) == ["headsTurn", "smile"], (
        "anchors of its own, as fetched --into"
    )
    assert find_bundle("./mine").folder == Path("mine")


def test_without_a_home_the_embedded_models_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MICROMOTION_CACHE")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: Path("~/.cache/micromotion"))
    assert find_bundle("avatar").name == "avatar"
    with pytest.raises(BundleError, match="weights fetch ffhq"):
        find_bundle("ffhq")
    with pytest.raises(OutputError, match="MICROMOTION_CACHE"):
        cache_folder()


def test_equal_contents_give_equal_bytes(random_bundle: Path, tmp_path: Path) -> None:
    save_bundle(
        tmp_path / "again",
        name="random",
        generator=random_generator(),
        inverter=random_inverter(),
        about={"training": "none, random weights"},
    )
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (random_bundle / path.name).read_bytes(), path.name


def random_identity() -> IdentityNet:
    config = IdentityConfig(input_size=16, feature_dim=8, widths=(8, 8), depths=(1, 1), se_reduction=4)
    return IdentityNet(config, torch.Generator().manual_seed(3)).eval()


def random_clip() -> torch.nn.Module:
    from clip.model import CLIP

    with torch.random.fork_rng():
        torch.manual_seed(4)
        return CLIP(8, 32, 1, 64, 16, 8, 60, 64, 1, 1).eval()


def small_bundle(folder: Path, **parts: Any) -> Path:
    nets: dict[str, Any] = {"generator": random_generator(), "inverter": random_inverter()}
    save_bundle(folder, name="random", **nets, **parts, about={})
    return folder


@pytest.mark.slow
def test_the_learning_networks_are_loaded_lazily(tmp_path: Path) -> None:
    identity, clip = random_identity(), random_clip()
    loaded = load_bundle(small_bundle(tmp_path / "new", identity=identity, clip=clip), "cpu")
    with torch.inference_mode():
        assert loaded.identity
        assert loaded.clip
    assert (tmp_path / "new/clip.safetensors").stat().st_size < 2.5 * sum(
        p.numel() for p in clip.parameters()
    )
    for found, original in ((loaded.identity, identity), (loaded.clip, clip)):
        assert not found.training
        for name, parameter in found.named_parameters():
            assert parameter.dtype == torch.float32
            assert not parameter.requires_grad
            assert not parameter.is_inference(), "gradients go through it"
            torch.testing.assert_close(parameter, original.state_dict()[name], atol=1e-3, rtol=1e-3)
    assert loaded.clip is loaded.clip
    assert next(clip.parameters()).dtype == torch.float32, "what was saved stays as it was"


def test_optional_parts_are_recorded_and_preserved(tmp_path: Path) -> None:
    four = {f"{part}.safetensors" for part in ("generator", "inverter", "identity", "clip")}
    folder = small_bundle(tmp_path / "new", identity=random_identity(), clip=random_clip())
    assert set(find_bundle(folder).about["files"]) == four
    small_bundle(folder)
    found = find_bundle(folder)
    assert set(found.about["files"]) == four
    assert list(damage(folder, found.about, hashes=True)) == []


@pytest.mark.parametrize(("part", "what"), [("identity", "identity network"), ("clip", "CLIP")])
def test_a_missing_part_is_reported(
    part: str, what: str, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_bundle(copy, "cpu")
    with pytest.raises(
        BundleError, match=rf"'random' has no {what} .*put a {part}\.safetensors into .*copy\.$"
    ):
        getattr(loaded, part)
    monkeypatch.setattr(bundle_module, "_offered", lambda: ("random",))
    with pytest.raises(BundleError, match=f"run `micromotion weights fetch random --with {part}`"):
        getattr(loaded, part)
    save_inverter(random_inverter(), copy / f"{part}.safetensors")
    with pytest.raises(BundleError, match=rf"'random' cannot be used.*{part}\.safetensors"):
        getattr(loaded, part)
    if part == "identity":  # and a part that was missing is found once it exists
        save_identity(random_identity(), copy / "identity.safetensors")
        assert loaded.identity.config == random_identity().config


def test_a_bundle_reports_what_was_loaded(random_bundle: Path) -> None:
    line = load_bundle(random_bundle, "cpu").describe()
    assert line.startswith("Model random: generator.safetensors and inverter.safetensors from ")
    assert re.search(r", float32 on cpu, 32×32, in \d+\.\d s\.$", line)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("stored", [True, False])
def test_a_gpu_gets_half_precision(copy: Path, stored: bool) -> None:
    if stored:
        save_generator(random_generator().use_half(), copy / "generator.half.safetensors")
        save_inverter(random_inverter().use_half(), copy / "inverter.half.safetensors")
    loaded = load_bundle(copy, "cuda")
    assert (loaded.precision, loaded.generator.synthesis.constant.dtype) == ("float16", torch.float16)
    assert [".half." in path.name for path in loaded.files] == [stored, stored]


def test_an_unknown_model_is_reported(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="There is no model"):
        load_bundle("nonsense")
    with pytest.raises(BundleError, match=r"no bundle\.json"):
        load_bundle(tmp_path)


@pytest.mark.parametrize("part", ["generator.safetensors", "inverter.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "cut", "swapped"])
def test_a_damaged_part_is_reported(copy: Path, part: str, damage: str) -> None:
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
def test_a_bad_description_is_reported(copy: Path, text: bytes) -> None:
    (copy / "bundle.json").write_bytes(text)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        find_bundle(copy)


def test_parts_must_fit_together(copy: Path, tmp_path: Path) -> None:
    other = random_inverter(num_styles=10)
    with pytest.raises(BundleError, match=r"10 styles of 16.*8 of 16"):
        save_bundle(tmp_path / "new", name="x", generator=random_generator(), inverter=other, about={})
    assert not (tmp_path / "new").exists()

    save_inverter(other, copy / "inverter.safetensors")
    with pytest.raises(BundleError, match="do not fit together"):
        load_bundle(copy, "cpu")


def test_the_embedded_avatar_is_complete() -> None:
    """Its files agree with its bundle.json, and it has the motions that the service offers."""
    found = find_bundle("avatar")
    for name, recorded in found.about["files"].items():
        assert file_record(found.folder / name) == recorded
    assert set(found.motions) >= {"smile", "angry", "aging", "eyesClose", "headsTurn"}
    assert {*found.motions, "custom"} == set(inputs()["motion"][1]["choices"])
    assert json.dumps(found.about["figures"])
    loaded = load_bundle("avatar", "cpu")
    assert loaded.generator.resolution >= 128
