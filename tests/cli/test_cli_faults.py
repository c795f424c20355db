"""Command line and predictor under faults: killed, read-only, without a home, a full disk or GPU."""

from __future__ import annotations

import gc
import os
import pwd
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from learn_networks import SENTENCE
from running_server import ROOT, wait_until
from service_worker import play
from shown import shown
from typer.testing import CliRunner

from encoder4editing import Inverter
from micromotion import encoding
from micromotion.cli.main import app
from micromotion.errors import DeviceMemoryError, RenderError
from micromotion.learn import text
from stylegan2 import Generator

pytestmark = pytest.mark.slow

QUICK = """
import sys
import micromotion.encoding, micromotion.inversion.pivotal_tuning
tuned = micromotion.inversion.pivotal_tuning.tuned
micromotion.encoding.tuned = lambda *given, **named: tuned(*given, steps=3, **named)
from micromotion.cli.main import main
main()
"""
"""The command line, with only a few tuning steps."""


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", QUICK, "animate", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def animate(*arguments: object) -> tuple[int, str]:
    """Run `animate` in this process: the status, and the only line of output."""
    result = CliRunner().invoke(app, ["animate", *map(str, arguments)])
    return result.exit_code, result.output.strip()


def mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True)
    if done.returncode:
        pytest.skip("file systems can only be mounted by root, outside of most containers")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """1 MB."""
    yield from mounted(tmp_path / "small", "size=1m")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A file system that not even root can write to."""
    yield from mounted(tmp_path / "read-only", "ro")


# --- the command --------------------------------------------------------------------------------------------


def test_a_command_killed_while_rendering_leaves_the_old_video(
    model: Path, astronaut_file: Path, tmp_path: Path
) -> None:
    """An older video stays complete, and the next call writes a new one."""
    video = tmp_path / "video.mp4"
    video.write_bytes(b"the old video")
    process = start(astronaut_file, "--model", model, "--frames", 600, "-o", video)
    wait_until(lambda: any(path.stat().st_size for path in tmp_path.glob(".*.mp4")), 120, "it to begin")
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert video.read_bytes() == b"the old video"
    assert animate(astronaut_file, "--model", model, "--frames", 2, "-o", video) == (0, f"Video: {video}")
    assert video.read_bytes()[4:8] == b"ftyp"


def test_two_concurrent_tunings_share_a_cache(
    model: Path, astronaut_file: Path, tmp_path: Path, cache: Path
) -> None:
    options = ["--model", model, "--frames", 2, "--lock-identity"]
    videos = [tmp_path / f"{number}.gif" for number in range(3)]
    pair = [start(astronaut_file, *options, "-o", video) for video in videos[:2]]
    told = [process.communicate()[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], told
    (kept,) = (cache / "tuned").iterdir()
    assert kept.suffix == ".safetensors"
    last = start(astronaut_file, *options, "-o", videos[2])
    assert "Likeness" in last.communicate()[0]
    assert len({shown(video) for video in videos}) == 1


def test_a_full_disk_is_reported_and_nothing_is_left(
    model: Path, astronaut_file: Path, small_disk: Path
) -> None:
    (small_disk / "filler").write_bytes(bytes((1 << 20) - 8192))
    for name in ("video.mp4", "video.gif", "video.webp"):
        status, said = animate(astronaut_file, "--model", model, "--frames", 60, "-o", small_disk / name)
        assert (status, said) == (
            1,
            f"micromotion: {small_disk / name} could not be written: No space left on device.",
        )
    assert [path.name for path in small_disk.iterdir()] == ["filler"]
    (small_disk / "filler").unlink()
    assert animate(astronaut_file, "--model", model, "--frames", 2, "-o", small_disk / "video.mp4")[0] == 0


def test_a_read_only_folder_is_reported(model: Path, astronaut_file: Path, read_only: Path) -> None:
    video = read_only / "video.mp4"
    assert animate(astronaut_file, "--model", model, "-o", video) == (
        1,
        f"micromotion: The folder {read_only} cannot be written to: Read-only file system.",
    )
    learned = CliRunner().invoke(
        app,
        ["learn", "text", SENTENCE, "--name", "grin", "--model", str(model)],
        env={"MICROMOTION_DATA": str(read_only)},
    )
    assert learned.exit_code == 1
    assert learned.output.startswith(f"micromotion: {read_only}")
    assert "read-only file system" in learned.output
    assert learned.output.count("\n") == 1


def test_a_read_only_cache_costs_only_time(
    predictor: Any, astronaut_file: Path, read_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(predictor, monkeypatch)
    asked: list[dict[str, Any]] = [{"motion": "custom", "template": SENTENCE}, {"lock_identity": True}]
    expected = [shown(play(predictor, astronaut_file, **inputs)) for inputs in asked]
    monkeypatch.setenv("MICROMOTION_CACHE", str(read_only / "cache"))
    assert [shown(play(predictor, astronaut_file, **inputs)) for inputs in asked] == expected


def test_without_a_home_everything_but_caching_works(
    predictor: Any, model: Path, astronaut_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container whose user is not in /etc/passwd."""
    quickly(predictor, monkeypatch)
    asked: list[dict[str, Any]] = [{}, {"motion": "custom", "template": SENTENCE}, {"lock_identity": True}]
    expected = [shown(play(predictor, astronaut_file, **inputs)) for inputs in asked]

    def unknown(_: object) -> None:
        raise KeyError("nobody")

    for name in ("HOME", "MICROMOTION_CACHE", "MICROMOTION_DATA", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert [shown(play(predictor, astronaut_file, **inputs)) for inputs in asked] == expected
    video = tmp_path / "video.mp4"
    assert animate(astronaut_file, "--model", model, "--frames", 2, "-o", video) == (0, f"Video: {video}")
    status, said = animate(astronaut_file, "--model", "ffhq", "-o", video)
    assert status == 1
    assert said.endswith(".")
    assert said.count("\n") == 0


def quickly(predictor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reduce learning and tuning to two steps."""
    from micromotion.inversion import pivotal_tuning

    tuned = pivotal_tuning.tuned
    monkeypatch.setattr("micromotion.encoding.tuned", lambda *given, **named: tuned(*given, steps=2, **named))
    monkeypatch.setattr(sys.modules[type(predictor).__module__], "LEARNING_STEPS", 2)


# --- a full GPU ---------------------------------------------------------------------------------------------


class Full:
    """Replaces a function: allocates memory, then fails as if none were left."""

    def __init__(self) -> None:
        self.calls = 0
        self.taken: list[weakref.ref[torch.Tensor]] = []

    def __call__(self, *_: object, **__: object) -> None:
        self.calls += 1
        taken = torch.ones(1000)
        self.taken.append(weakref.ref(taken))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 512.00 MiB.")


STAGES = [
    (Inverter, "invert", {}, "inverting the face"),
    (encoding, "refine_latent", {"refine": 2}, "refining the face's latent"),
    (encoding, "tuned", {"lock_identity": True}, "tuning the generator"),
    (Generator, "synthesize", {}, "rendering 32×32 pixels"),
    (Generator, "synthesize", {"view": "photo"}, "rendering 32×32 pixels"),
    (text, "optimise", {"motion": "custom", "template": SENTENCE}, "collecting anchors"),
]


@pytest.mark.parametrize(("place", "name", "inputs", "task"), STAGES)
def test_a_full_gpu_is_reported_and_the_next_prediction_works(
    predictor: Any,
    astronaut_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: Any,
    name: str,
    inputs: dict[str, Any],
    task: str,
) -> None:
    good = shown(play(predictor, astronaut_file))
    full = Full()
    with monkeypatch.context() as patch:
        patch.setattr(place, name, full)
        with pytest.raises(DeviceMemoryError) as raised:
            play(predictor, astronaut_file, **inputs)
    assert f"too little memory for {task}" in str(raised.value)
    assert str(raised.value).endswith(".")
    assert full.calls >= 1
    del raised
    gc.collect()
    assert not any(taken() is not None for taken in full.taken), "memory is kept"
    assert shown(play(predictor, astronaut_file)) == good


# --- non-finite output --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "inputs", [{}, {"view": "photo"}, {"compare": True}, {"output_format": "webp"}, {"refine": 2}]
)
def test_a_non_finite_latent_is_an_error_and_no_video(
    predictor: Any,
    astronaut_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    inputs: dict[str, Any],
    value: float,
) -> None:
    good = shown(play(predictor, astronaut_file))
    invert = Inverter.invert
    with monkeypatch.context() as patch:
        patch.setattr(Inverter, "invert", lambda *given, **named: invert(*given, **named) * value)
        with pytest.raises(RenderError, match="not finite"):
            play(predictor, astronaut_file, **inputs)
    assert shown(play(predictor, astronaut_file)) == good
