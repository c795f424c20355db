"""Models that differ from the fetched files: fetching repairs them, or says why it does not."""

import hashlib
from pathlib import Path

import pytest
import torch
from misbehaving_server import File
from public_files import Offer, write_e4e
from weights_command import done, refused

from stylegan2 import load_generator


def other_e4e(folder: Path) -> Path:
    """Write an e4e of the published name with another decoder."""
    folder.mkdir()
    path = write_e4e(folder / "e4e.pt")
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"]["decoder.input.input"] += 1
    torch.save(checkpoint, path)
    return path


def constant(folder: Path) -> torch.Tensor:
    return load_generator(folder / "generator.safetensors").synthesis.constant.detach()


@pytest.mark.slow
def test_a_newer_public_file_replaces_its_generator_too(offer: Offer, cache: Path, tmp_path: Path) -> None:
    done("fetch", "tiny", "--yes")
    before = constant(cache / "models/tiny")
    newer = other_e4e(tmp_path / "newer").read_bytes()
    offer.files["e4e.pt"], offer.hashes["e4e.pt"] = newer, hashlib.sha256(newer).hexdigest()
    offer.behave("e4e.pt", File(newer))
    offer.write()
    done("fetch", "tiny", "--yes")
    assert torch.allclose(constant(cache / "models/tiny"), before + 1)


@pytest.mark.slow
def test_one_changed_byte_is_repaired(offer: Offer, cache: Path) -> None:
    done("fetch", "tiny", "--yes")
    path = cache / "models/tiny/generator.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "SHA-256" in refused("verify", "tiny")
    done("fetch", "tiny", "--yes")
    assert path.read_bytes() == content
    done("verify", "tiny")


@pytest.mark.slow
@pytest.mark.parametrize("into", [True, False])
def test_another_model_is_not_overwritten(offer: Offer, cache: Path, tmp_path: Path, into: bool) -> None:
    own = other_e4e(tmp_path / "own").rename(tmp_path / "own/mine.pt")
    name = "mine" if into else "tiny"
    done("add", own, "--name", name)
    before = constant(cache / "models" / name)
    where = ("--into", cache / "models/mine") if into else ()
    assert "holds another model" in refused("fetch", "tiny", "--yes", *where)
    assert torch.equal(constant(cache / "models" / name), before)


def test_the_landmarks_name_is_reserved(cache: Path, tmp_path: Path) -> None:
    assert "cannot be a model's name" in refused("add", other_e4e(tmp_path / "own"), "--name", "landmarks")
