"""Anchors of a sentence are collected once: the cache's keys, bounds, concurrency and damage."""

from __future__ import annotations

import errno
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from learn_networks import SENTENCE, quick, save_learning_bundle
from random_networks import random_anchors

from micromotion.errors import OutputError
from micromotion.learn import text_cache
from micromotion.motion.anchors import Anchors
from micromotion.weights.bundle import load_bundle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_learning_bundle(tmp_path_factory.mktemp("learning"))


def test_other_networks_are_cached_separately(
    model: Path, tmp_path: Path, astronaut_file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_cache, "collect_from_text", quick)
    bundle = load_bundle(model, "cpu")
    first = text_cache.collect_cached(SENTENCE, bundle, "custom")
    with torch.no_grad():
        next(iter(bundle.clip.parameters())).flatten()[0] += 0.5
    second = text_cache.collect_cached(SENTENCE, bundle, "custom")
    assert not torch.equal(first.w_plus, second.w_plus)
    assert len(list((cache / "collected").iterdir())) == 2


def test_damaged_cache_files_are_collected_again(
    model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_cache, "collect_from_text", quick)
    bundle = load_bundle(model, "cpu")
    first = text_cache.collect_cached(SENTENCE, bundle, "custom")
    (kept,) = (cache / "collected").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    progress = kept.with_suffix("")
    for damage in ("file", "folder"):
        if damage == "file":
            progress.write_bytes(b"not a folder")
        else:
            kept.unlink()
            progress.mkdir()
            (progress / "progress.safetensors").write_bytes(b"cut short")
        assert torch.equal(text_cache.collect_cached(SENTENCE, bundle, "custom").w_plus, first.w_plus)
        assert kept.read_bytes() == whole
        assert list((cache / "collected").iterdir()) == [kept]


def test_two_concurrent_collections_give_the_same_result(
    model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second collects the same from start to end during the first one's first step."""
    bundle = load_bundle(model, "cpu")
    inner: list[Anchors] = []

    def meanwhile(_: Any) -> None:
        if not inner:
            inner.append(random_anchors(0))  # only once
            inner.append(text_cache.collect_cached(SENTENCE, bundle, "custom", steps=4))

    outer = text_cache.collect_cached(SENTENCE, bundle, "custom", steps=4, on_step=meanwhile)
    (kept,) = (cache / "collected").iterdir()
    assert torch.equal(outer.w_plus, inner[1].w_plus)
    assert torch.equal(Anchors.load(kept).w_plus, outer.w_plus)


def test_another_process_may_finish_first_and_delete_the_progress(model: Path, cache: Path) -> None:
    bundle = load_bundle(model, "cpu")
    first = text_cache.collect_cached(SENTENCE, bundle, "custom", steps=4)
    (kept,) = (cache / "collected").iterdir()
    whole = kept.read_bytes()
    kept.unlink()

    def meanwhile(_: Any) -> None:
        kept.write_bytes(whole)
        shutil.rmtree(kept.with_suffix(""))
        kept.with_suffix("").write_bytes(b"")  # as if it vanished during a write

    assert torch.equal(
        text_cache.collect_cached(SENTENCE, bundle, "custom", steps=4, on_step=meanwhile).w_plus, first.w_plus
    )


def test_the_cache_is_bounded(model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_cache, "collect_from_text", quick)
    monkeypatch.setattr(text_cache, "MAX_CACHED", 3)
    bundle = load_bundle(model, "cpu")
    folder = cache / "collected"
    folder.mkdir(parents=True)
    (folder / "stopped").mkdir()
    (folder / "stopped/progress.safetensors").write_bytes(b"")
    for seed in range(5):
        text_cache.collect_cached(SENTENCE, bundle, "custom", seed=seed)
        assert len(list(folder.iterdir())) <= 3
    assert not (folder / "stopped").exists()
    steps: list[Any] = []
    text_cache.collect_cached(SENTENCE, bundle, "custom", seed=4, on_step=steps.append)
    assert steps == [], "the newest stays"
    monkeypatch.setattr(text_cache, "MAX_CACHED_BYTES", 100)
    text_cache.collect_cached(SENTENCE, bundle, "custom", seed=9)
    assert len(list(folder.iterdir())) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no such permissions")
def test_it_works_without_a_cache_folder(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_cache, "collect_from_text", quick)
    bundle = load_bundle(model, "cpu")
    first = text_cache.collect_cached(SENTENCE, bundle, "custom")
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("MICROMOTION_CACHE", str(tmp_path / "file/cache"))
    assert torch.equal(text_cache.collect_cached(SENTENCE, bundle, "custom").w_plus, first.w_plus)


def test_a_read_only_cache_is_read(model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load_bundle(model, "cpu")
    with monkeypatch.context() as context:
        context.setattr(text_cache, "collect_from_text", quick)
        first = text_cache.collect_cached(SENTENCE, bundle, "custom")

    def refuse(folder: Path) -> Path:
        raise OutputError(f"{folder} cannot be used.")

    def collect(*_: object, **__: object) -> Anchors:
        raise AssertionError("it is collected again")

    monkeypatch.setattr(text_cache, "make_folder", refuse)
    monkeypatch.setattr(text_cache, "collect_from_text", collect)
    monkeypatch.setattr("os.utime", _read_only)
    assert torch.equal(text_cache.collect_cached(SENTENCE, bundle, "custom").w_plus, first.w_plus)
    monkeypatch.setattr(text_cache, "collect_from_text", quick)
    before = {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}
    text_cache.collect_cached(SENTENCE, bundle, "custom", seed=1)
    assert {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()} == before


def _read_only(*_: object) -> None:
    raise OSError(errno.EROFS, "Read-only file system")
