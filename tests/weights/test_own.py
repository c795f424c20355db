"""`micromotion weights` with a user's own checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
from public_files import Offer, write_d_latent, write_e4e, write_identity, write_rosinality
from weights_command import contents, done, refused

from micromotion.motion.playable import load_motion
from micromotion.weights.bundle import find_bundle, load_bundle


@pytest.mark.slow
def test_own_checkpoints_become_a_model(cache: Path, tmp_path: Path) -> None:
    files = [
        write_e4e(tmp_path / "a.bin"),
        write_rosinality(tmp_path / "b.bin"),
        write_identity(tmp_path / "c.bin"),
        write_d_latent(tmp_path / "smile/d_latent", 1),
        write_d_latent(tmp_path / "wink/d_latent_left", 2),
    ]
    said = done("add", *files, "--name", "mine")
    assert "a.bin: inverter.half.safetensors, inverter.safetensors" in said
    assert "b.bin: generator.half.safetensors, generator.safetensors" in said
    loaded = load_bundle("mine", "cpu")
    assert list(loaded.motions) == ["smile", "wink_left"]
    assert loaded.generator.latent_avg.tolist() == [0.25] * 24
    assert done("verify", "mine").startswith("mine: 7 files")
    assert all(path.is_file() for path in files)
    before = load_motion(tmp_path / "smile/d_latent").direction
    assert load_motion(loaded.motions["smile"]).direction.equal(before)


@pytest.mark.slow
def test_more_parts_can_be_added_to_a_model(offer: Offer, cache: Path, tmp_path: Path) -> None:
    done("fetch", "tiny", "--yes")
    done("add", write_d_latent(tmp_path / "wink/d_latent", 5), "--name", "tiny")
    assert list(find_bundle("tiny").motions) == ["headsTurn", "smile", "wink"]
    offer.forget()
    assert "complete" in done("fetch", "tiny")
    assert offer.asked() == []


@pytest.mark.slow
def test_models_load_from_our_own_files_too(offer: Offer, cache: Path) -> None:
    done("fetch", "tiny", "--yes")
    folder = cache / "models/tiny"
    parts = [
        folder / "generator.safetensors",
        folder / "inverter.safetensors",
        folder / "anchors/smile.safetensors",
    ]
    done("add", *parts, "--name", "again")
    for part in parts:
        name = part.relative_to(folder)
        assert (cache / "models/again" / name).read_bytes() == part.read_bytes()


@pytest.mark.parametrize(
    ("write", "word"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_text("not a model"), "neither a safetensors file nor"),
        (lambda path: write_rosinality(path), "no inverter among them"),
        (lambda path: write_identity(path), "no generator among them"),
        (lambda path: path.write_bytes(write_e4e(path).read_bytes()[:-5000]), "damaged"),
        (
            lambda path: path.write_bytes(b"\x80\x04cos\nsystem\n(S'touch owned'\ntR."),
            "holds no network G_ema",
        ),
    ],
    ids=["empty", "text", "generator alone", "identity alone", "cut", "malicious"],
)
def test_files_that_are_not_models_are_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: object, word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert callable(write)
    write(tmp_path / "file")
    sentence = refused("add", tmp_path / "file", "--name", "mine")
    assert word in sentence
    assert "unexpected" not in sentence
    assert contents(cache) == {}
    assert not (tmp_path / "owned").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["../mine", ".mine", "a/b", "", "avatar", "x" * 101])
def test_invalid_names_are_refused(cache: Path, tmp_path: Path, name: str) -> None:
    refused("add", write_e4e(tmp_path / "e4e.pt"), "--name", name)
    assert contents(cache) == {}


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    assert "There is no file" in refused("add", tmp_path / "none.pt", "--name", "mine")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="Linux has a file that cannot be read")
def test_an_unreadable_file_is_reported(cache: Path) -> None:
    assert "/proc/self/mem cannot be read: Input/output error." in refused(
        "add", "/proc/self/mem", "--name", "mine"
    )
    assert contents(cache) == {}


@pytest.mark.slow
def test_a_models_own_files_are_not_added_to_it(cache: Path, tmp_path: Path) -> None:
    done("add", write_e4e(tmp_path / "a.bin"), "--name", "mine")
    folder = find_bundle("mine").folder
    (tmp_path / "link.safetensors").symlink_to(folder / "generator.safetensors")
    (tmp_path / "hard.safetensors").hardlink_to(folder / "inverter.safetensors")
    before = contents(folder)
    for path in (folder / "generator.safetensors", *tmp_path.glob("*.safetensors")):
        assert "a file of the model itself" in refused("add", path, "--name", "mine")
    assert contents(folder) == before
