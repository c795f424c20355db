"""`micromotion weights`: killed, interrupted, damaged, a full disk, folders that cannot be written."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import COMMAND
from misbehaving_server import File, wait_until
from public_files import Offer
from weights_command import PARTS, command, contents, done, refused

from micromotion.errors import OutputError
from micromotion.weights import install
from micromotion.weights.manifest import load_manifest

pytestmark = pytest.mark.slow

# Fetches, and is killed when a function has returned for the n-th time, independently of the clock.
KILLED_AFTER = """
import importlib, os, signal, sys
module, _, function = sys.argv[1].rpartition(".")
home = importlib.import_module(module)
real, left = getattr(home, function), [int(sys.argv[2])]

def then_die(*arguments, **options):
    result = real(*arguments, **options)
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(home, function, then_die)
from micromotion.cli.main import app
app(["weights", "fetch", "tiny", "--yes"])
"""


# Interruptions and damage.


@pytest.mark.parametrize(
    ("function", "calls"),
    [
        ("micromotion.weights.download.download", 3),  # all is fetched, nothing begun
        ("micromotion.weights.convert.save_inverter", 1),
        ("micromotion.weights.convert.save_inverter", 2),  # in half precision
        ("micromotion.weights.assembly.write_about", 1),  # complete, but without its name
    ],
)
def test_a_killed_fetch_can_be_repeated(offer: Offer, cache: Path, function: str, calls: int) -> None:
    program = [sys.executable, "-c", KILLED_AFTER, function, str(calls)]
    assert subprocess.run(program, stdout=subprocess.DEVNULL, timeout=60).returncode == -signal.SIGKILL
    assert not (cache / "models/tiny").exists()
    assert (cache / "models/.tiny.building").exists() == ("download" not in function)
    offer.forget()
    done("fetch", "tiny", "--yes")
    assert offer.asked() == [], "all was downloaded already"
    assert done("verify", "tiny")
    assert not [path for path in cache.rglob("*") if path.name.startswith(".")]


def test_a_fetch_killed_during_the_download_resumes(offer: Offer, cache: Path) -> None:
    offer.behave("e4e.pt", File(offer.files["e4e.pt"], stall=50_000))
    part = cache / "downloads/.e4e.pt.part"
    with subprocess.Popen(
        [*COMMAND, "weights", "fetch", "tiny", "--yes"], stdout=subprocess.DEVNULL
    ) as process:
        try:
            wait_until(lambda: part.is_file() and part.stat().st_size == 50_000, seconds=60)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL
    offer.behave("e4e.pt", File(offer.files["e4e.pt"]))
    done("fetch", "tiny", "--yes")
    assert offer.server.asked("/e4e.pt")[-1].headers["range"] == "bytes=50000-"
    assert done("verify", "tiny")


def test_a_fetch_killed_between_the_two_renames_is_recovered(offer: Offer, cache: Path) -> None:
    """The only moment at which an extended model has no folder of its name; the next call restores it."""
    done("fetch", "tiny", "--yes")
    before = contents(cache / "models/tiny")
    (cache / "models/tiny").rename(cache / "models/.tiny.replaced")
    (cache / "models/.tiny.building").mkdir()
    offer.forget()
    done("fetch", "tiny", "--yes")
    assert offer.asked() == []
    assert contents(cache / "models") == {f"tiny/{name}": content for name, content in before.items()}


def test_an_interruption_leaves_no_partial_model(
    offer: Offer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("micromotion.weights.convert.save_inverter", interrupt)
        assert command("fetch", "tiny", "--yes").exit_code == 130
    assert list((cache / "models").iterdir()) == []
    offer.forget()
    done("fetch", "tiny", "--yes")
    assert offer.asked() == []


def test_a_full_disk_is_reported(offer: Offer, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("micromotion.weights.convert.save_inverter", fail)
        assert "No space left on device" in refused("fetch", "tiny", "--yes")
    assert list((cache / "models").iterdir()) == []
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, 1))
    with pytest.raises(OutputError, match="free some room"):
        install.fetch(install.plan(load_manifest(), "tiny"))


def test_two_concurrent_fetches_download_once(offer: Offer, cache: Path) -> None:
    offer.behave("e4e.pt", File(offer.files["e4e.pt"], pace=0.02))
    pair = [
        subprocess.Popen([*COMMAND, "weights", "fetch", "tiny", "--yes"], stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert [process.wait(120) for process in pair] == [0, 0]
    assert sorted(offer.asked()) == ["e4e.pt", "headsTurn.d_latent", "smile.d_latent"]
    assert done("verify", "tiny")


def test_a_damaged_model_is_repaired(offer: Offer, cache: Path) -> None:
    done("fetch", "tiny", "--yes", "--with", "identity")
    before = contents(cache / "models/tiny")
    (cache / "models/tiny/generator.half.safetensors").unlink()
    (cache / "models/tiny/anchors/smile.safetensors").write_bytes(b"cut short")
    offer.forget()
    done("fetch", "tiny", "--yes")
    assert sorted(offer.asked()) == ["e4e.pt", "smile.d_latent"]
    assert contents(cache / "models/tiny") == before


def test_verify_finds_one_changed_bit(offer: Offer, cache: Path) -> None:
    done("fetch", "tiny", "--yes")
    for name in PARTS:
        path = cache / "models/tiny" / name
        good = path.read_bytes()
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        for arguments in (["verify", "tiny"], ["verify"], ["verify", cache / "models/tiny"]):
            assert f"{path} does not match its recorded SHA-256" in refused(*arguments)
        path.write_bytes(good[:-1])
        assert f"{path} has {len(good) - 1} bytes, not {len(good)}" in refused("verify", "tiny")
        path.unlink()
        assert "missing" in refused("verify", "tiny")
        path.write_bytes(good)
        assert done("verify", "tiny").startswith("tiny: 6 files")


def test_other_folders_are_not_touched(offer: Offer, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/me.jpg").write_bytes(b"precious")
    assert "is not a model" in refused("fetch", "tiny", "--yes", "--into", tmp_path / "photos")
    assert "is not a model" in refused("fetch", "tiny", "--yes", "--into", tmp_path / "photos/me.jpg")
    assert contents(tmp_path / "photos") == {"me.jpg": b"precious"}
    assert offer.asked() == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_models_folder_is_reported(
    offer: Offer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    monkeypatch.setenv("MICROMOTION_CACHE", str(tmp_path / "locked"))
    assert "name another folder in MICROMOTION_CACHE" in refused("fetch", "tiny", "--yes")


def test_an_impossible_cache_folder_is_reported(
    offer: Offer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MICROMOTION_CACHE", str(tmp_path / "file"))
    assert "name another folder in MICROMOTION_CACHE" in refused("fetch", "tiny", "--yes")
