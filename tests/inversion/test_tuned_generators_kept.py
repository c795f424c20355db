"""Tuned generators are cached once, and damaged ones are tuned again."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from random_networks import random_generator, same
from torch import Tensor

import micromotion
from encoder4editing.identity import IdentityNet
from micromotion.errors import OutputError
from micromotion.inversion import pivotal_tuning
from micromotion.inversion.pivotal_tuning import tune, tuned
from stylegan2 import Generator

pytestmark = pytest.mark.slow


def kept_files(cache: Path) -> list[Path]:
    return sorted((cache / "tuned").iterdir())


def test_it_is_tuned_once(
    generator: Generator, identity: IdentityNet, latent: Tensor, image: Tensor, cache: Path
) -> None:
    told: list[int] = []

    def ask(**other: object) -> Generator:
        given: dict[str, Any] = {"generator": generator, "latent": latent, "image": image, "steps": 3} | other
        told.clear()
        return tuned(**given, on_step=lambda done, _: told.append(done))

    first = ask()
    assert told == [0, 1, 2, 3]
    again = ask()
    assert told == []
    assert same(first, again)
    assert not again.training
    assert not any(p.requires_grad for p in again.parameters())
    assert len(kept_files(cache)) == 1
    changed = random_generator()
    with torch.no_grad():
        next(changed.synthesis.parameters())[..., -1] += 1e-3
    for other in (
        {"image": image * 0.999},
        {"latent": latent * 1.001},
        {"steps": 2},
        {"identity": identity},
        {"generator": changed},
        {"generator": random_generator().use_half()},
    ):
        ask(**other)
        assert told, other
    assert len(kept_files(cache)) == 7


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 64
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def exchange(path: Path) -> None:
    """A well-formed file of another model."""
    other = pivotal_tuning._learning(random_generator())
    state = {name: value.detach()[..., :1].clone() for name, value in other.items()}
    pivotal_tuning.write_safetensors(
        path, pivotal_tuning.KIND, {"weights": pivotal_tuning.digest(state)}, state
    )


def pickle_bomb(path: Path) -> None:
    path.write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")


@pytest.mark.parametrize("spoil", [flip, cut, exchange, pickle_bomb])
def test_damaged_cache_files_are_tuned_again(
    generator: Generator, latent: Tensor, image: Tensor, cache: Path, spoil: Callable[[Path], None]
) -> None:
    first = tuned(generator, latent, image, steps=2)
    (path,) = kept_files(cache)
    whole = path.read_bytes()
    spoil(path)
    told: list[int] = []
    again = tuned(generator, latent, image, steps=2, on_step=lambda done, _: told.append(done))
    assert told
    assert same(first, again)
    assert path.read_bytes() == whole


def test_a_full_disk_only_skips_caching(
    generator: Generator, latent: Tensor, image: Tensor, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    expected = tune(generator, latent, image, steps=2)
    monkeypatch.setattr(os, "fsync", full)
    assert same(tuned(generator, latent, image, steps=2), expected)
    assert kept_files(cache) == []


def test_a_missing_cache_folder_is_not_an_error(
    generator: Generator, latent: Tensor, image: Tensor, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache / "tuned").write_text("in the way")
    expected = tune(generator, latent, image, steps=2)
    assert same(tuned(generator, latent, image, steps=2), expected)
    monkeypatch.setenv("MICROMOTION_CACHE", "~nobody-of-that-name/cache")
    assert same(tuned(generator, latent, image, steps=2), expected)


def test_the_oldest_are_evicted(
    generator: Generator, latent: Tensor, image: Tensor, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(steps: int) -> bool:
        told: list[int] = []
        tuned(generator, latent, image, steps=steps, on_step=lambda done, _: told.append(done))
        return bool(told)

    monkeypatch.setattr(pivotal_tuning, "MAX_CACHED", 2)
    assert ask(1)
    os.utime(kept_files(cache)[0], (1, 1))
    assert ask(2)
    assert not ask(1), "it is kept, and counts as new"
    second = max(kept_files(cache), key=lambda path: path.stat().st_mtime_ns)
    os.utime(second, ns=(10**18 * 3, 10**18 * 3))  # whatever the clock's resolution
    left, busy = cache / "tuned/.left.abc", cache / "tuned/.busy.abc"
    for folder in (left, busy):
        folder.mkdir()
    os.utime(left, (1, 1))
    assert ask(3)
    assert sorted(path.name for path in kept_files(cache) if path.name[0] == ".") == [".busy.abc"]
    assert not ask(1)
    assert ask(2)
    monkeypatch.setattr(pivotal_tuning, "MAX_CACHED_BYTES", 10)
    assert ask(4)
    assert not ask(4), "the newest stays"
    assert len([path for path in kept_files(cache) if path.name[0] != "."]) == 1


def test_two_processes_at_once(cache: Path) -> None:
    support, root = Path(__file__).parents[1] / "support", Path(micromotion.__file__).parent.parent
    script = (
        "import torch; from random_networks import random_generator;"
        "from micromotion.inversion.pivotal_tuning import tuned, digest;"
        "g = random_generator();"
        "r = tuned(g, torch.ones(1, g.num_styles, g.style_dim), torch.zeros(1, 3, 32, 32), steps=5);"
        "print(digest(r.state_dict()))"
    )
    environment = os.environ | {"PYTHONPATH": f"{support}{os.pathsep}{root}", "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment)
        for _ in range(2)
    ]
    said = [each.communicate(timeout=300)[0] for each in running]
    assert [each.returncode for each in running] == [0, 0]
    assert said[0] == said[1] != b""
    assert [path.suffix for path in kept_files(cache)] == [".safetensors"]


def test_a_read_only_cache_is_read_for_tuned_generators(
    generator: Generator, latent: Tensor, image: Tensor, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tuned(generator, latent, image, steps=3)

    def refuse(folder: Path) -> Path:
        raise OutputError(f"{folder} cannot be used.")

    told: list[int] = []
    monkeypatch.setattr(pivotal_tuning, "make_folder", refuse)
    assert same(tuned(generator, latent, image, steps=3, on_step=lambda done, _: told.append(done)), first)
    assert told == []
    tuned(generator, latent, image, steps=2, on_step=lambda done, _: told.append(done))
    assert told == [0, 1, 2]
    assert len(kept_files(cache)) == 1
