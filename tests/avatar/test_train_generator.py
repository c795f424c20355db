"""Distilling the generator: changes of the mapping, and what they must preserve."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from avatar import workers
from avatar.renderer.factors import FACTORS, Z_DIM, sample_z
from avatar.training import generator as train_generator
from avatar.training.generator import (
    CRITIC_SEES,
    GROWTH,
    even_columns,
    finish,
    first_layer,
    resolution,
    widen,
    window,
)
from avatar.training.runs import RunProgress
from stylegan2 import Generator, GeneratorConfig, load_generator

pytestmark = pytest.mark.slow

SMALL = GeneratorConfig(
    resolution=16,
    style_dim=96,
    z_dim=Z_DIM,
    mapping_layers=2,
    mapping_lr_multiplier=1.0,
    channels={4: 8, 8: 8, 16: 4},
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Generator:
    monkeypatch.setattr(train_generator, "CONFIG", SMALL)
    return train_generator.new_generator(3)


def pictures(generator: Generator) -> torch.Tensor:
    w = generator.mapping(sample_z(4, torch.Generator().manual_seed(1)))
    return generator.synthesize(w[:, None].expand(-1, generator.num_styles, -1), noise=None).detach()


def test_a_wider_w_gives_the_same_pictures(small: Generator) -> None:
    before, codes = pictures(small), sample_z(9, torch.Generator().manual_seed(2))
    w = small.mapping(codes)
    widen(small, 0.125)
    torch.testing.assert_close(small.mapping(codes), 0.125 * w, rtol=0, atol=0)
    torch.testing.assert_close(pictures(small), before, rtol=1e-5, atol=1e-5)


def test_the_published_generator_has_ffhqs_width_and_its_mean(small: Generator, tmp_path: Path) -> None:
    widen(small, 37.0)
    before = pictures(small)
    finish(small, tmp_path / "generator.safetensors")
    shipped = load_generator(tmp_path / "generator.safetensors")
    w = shipped.mapping(sample_z(20_000, torch.Generator().manual_seed(5)))
    spread = (w - w.mean(dim=0)).square().mean().sqrt()
    assert 0.7 < spread / 0.45 < 1.42
    assert (shipped.latent_avg - w.mean(dim=0)).norm() < 0.02 * w.norm(dim=1).mean()
    torch.testing.assert_close(pictures(shipped), before, rtol=1e-4, atol=1e-4)


def test_unused_entries_never_affect_the_picture(small: Generator) -> None:
    z = sample_z(4, torch.Generator().manual_seed(1))
    other = torch.cat([z[:, : len(FACTORS)], z[:, len(FACTORS) :].flip(1)], dim=1)  # the same length
    torch.testing.assert_close(small.mapping(z), small.mapping(other))
    small.mapping(z).square().sum().backward()
    gradient = first_layer(small).grad
    assert gradient is not None
    assert gradient[:, : len(FACTORS)].abs().sum(dim=0).min() > 0
    assert gradient[:, len(FACTORS) :].abs().max() == 0


def test_faded_expressions_are_amplified_and_others_stay(small: Generator) -> None:
    first = first_layer(small)
    with torch.no_grad():
        first[:, 0] *= 0.01
    before = first.detach().clone()
    even_columns(small)
    after = first.detach()
    middle = before.norm(dim=0)[: len(FACTORS)].median()
    assert after[:, 0].norm() == pytest.approx(float(middle), rel=1e-5)
    torch.testing.assert_close(after[:, 1:], before[:, 1:])  # they start larger than others
    torch.testing.assert_close(after[:, 0] / after[:, 0].norm(), before[:, 0] / before[:, 0].norm())


def test_the_resolution_grows_by_doubling_to_the_full_one() -> None:
    seen = [resolution(RunProgress(images, 1000)) for images in range(1000)]
    assert sorted(seen) == seen
    assert sorted(set(seen)) == [16 * 2**i for i in range(len(GROWTH))]
    assert seen[-1] == train_generator.CONFIG.resolution


def note_cores(rank: int, folder: Path) -> None:
    (folder / str(rank)).write_text(repr(sorted(os.sched_getaffinity(0))))


def test_one_worker_per_core_has_one_thread(tmp_path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))
    workers.spawn(len(cores), note_cores, tmp_path)
    if len(cores) > 1:
        seen = sorted(path.read_text() for path in tmp_path.iterdir())
        assert seen == sorted(f"[{core}]" for core in cores)
    assert sorted(os.sched_getaffinity(0)) == cores


def note_pieces(rank: int, mine: Sequence[int], folder: Path) -> None:
    (folder / f"{rank} took {' '.join(map(str, mine))}").touch()


def test_workers_share_pieces_and_one_compiles_before_the_others_start(tmp_path: Path) -> None:
    workers.share(range(5), note_pieces, tmp_path, count=2, compiles=True)
    assert {path.name for path in tmp_path.iterdir()} == {"0 took 0", "0 took 1 3", "1 took 2 4"}


@pytest.mark.parametrize("compiles", [False, True])
def test_no_more_workers_than_pieces_are_started(compiles: bool, tmp_path: Path) -> None:
    workers.share([], note_pieces, tmp_path, count=2, compiles=compiles)
    assert not list(tmp_path.iterdir())
    workers.share([7], note_pieces, tmp_path, count=2, compiles=compiles)
    assert [path.name for path in tmp_path.iterdir()] == ["0 took 7"]


def test_one_worker_does_not_change_the_callers_threads() -> None:
    before, seen = torch.get_num_threads(), list[tuple[int, int]]()
    torch.set_num_threads(3)
    try:
        workers.spawn(1, lambda rank: seen.append((rank, torch.get_num_threads())))
        assert seen == [(0, 1)]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_the_critic_sees_the_same_part_of_both_pictures() -> None:
    rng = torch.Generator().manual_seed(0)
    picture = torch.rand(2, 3, 2 * CRITIC_SEES, 2 * CRITIC_SEES, generator=rng)
    seen = [window(picture, picture + 1, rng) for _ in range(3)]
    for made, true in seen:
        assert made.shape == (2, 3, CRITIC_SEES, CRITIC_SEES)
        torch.testing.assert_close(true, made + 1)
    assert not torch.equal(seen[0][0], seen[1][0])
    small = picture[..., :64, :64]
    assert torch.equal(window(small, small, rng)[0], small)
