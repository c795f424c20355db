"""The GPU benchmark without a GPU: counts, stages and output; no timings."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.stages import arithmetic, estimate, gpu, networks
from benchmarks.stages.race import Spent
from stylegan2 import Generator


@pytest.mark.slow
@pytest.mark.parametrize("size", ["tiny", "full"])
def test_operation_counts_agree_with_the_network(size: str) -> None:
    """Counted from the shapes, and by PyTorch from the executed operations."""
    layers = arithmetic.synthesis_layers(networks.generator_config(size))
    assert sum(each.flops for each in layers) == arithmetic.frame(size, kernels=False).flops


def test_the_least_bytes_are_those_of_the_tensors_between_the_layers() -> None:
    """Compared to the tensors of a real picture."""
    config = networks.generator_config("tiny")
    net = Generator(config).use_half().eval()
    seen: list[int] = []

    def note(layer: nn.Module, given: tuple[torch.Tensor, ...], answer: torch.Tensor) -> None:
        own = next(each for name, each in layer.named_parameters() if name == "weight")
        seen.append(given[0].nbytes + own.nbytes + answer.nbytes)

    for layer in (*net.synthesis.convs, *net.synthesis.to_rgbs):
        layer.register_forward_hook(note)
    with torch.no_grad():
        net.synthesize(torch.randn(1, net.num_styles, net.style_dim), fast=False)
    noises = sum(buffer.nbytes for name, buffer in net.synthesis.named_buffers() if "noise" in name)
    sums = sum(4 * 3 * side**2 for side in config.resolutions[:-1])  # each RGB sum is read once more
    assert sum(each.least for each in arithmetic.synthesis_layers(config)) == sum(seen) + noises + sums


def test_traffic_is_what_operations_read_and_write() -> None:
    x, y = torch.ones(8, 4), torch.ones(1, 4, dtype=torch.float16)
    with arithmetic.Traffic() as traffic:
        z = x.t() + 1  # a view, which is free; 128 bytes read, 128 written
        z += y.t()  # 128 and 8 read, 128 written
        z.relu_()
        y.expand(8, 4).clone()  # repeated elements are read once
    assert traffic.moved == 2 * 128 + (2 * 128 + 8) + 2 * 128 + (8 + 64)
    assert traffic.operations == 4


@pytest.mark.slow
def test_our_kernels_move_less_than_the_reference_and_more_than_the_least() -> None:
    least = sum(each.least for each in arithmetic.synthesis_layers(networks.generator_config("full")))
    ours, plain = arithmetic.frame("full"), arithmetic.frame("full", kernels=False)
    assert least < ours.moved < 0.4 * plain.moved
    assert ours.operations < 0.2 * plain.operations


@pytest.mark.slow
def test_every_stage_runs_without_a_gpu() -> None:
    spent: object = None
    for stage in gpu.stages("tiny", None, "cpu"):
        for contender in (stage.ours, *stage.rivals, *([stage.floor] if stage.floor else [])):
            spent = contender.make(*contender.args)()
            assert isinstance(spent, Spent)
            assert spent.seconds > 0
    assert isinstance(spent, Spent)
    assert spent.parts is not None
    assert set(spent.parts) >= {"render", "encode"}


def test_the_estimate_adds_up() -> None:
    costs = estimate.Costs(
        side=1024,
        layers=arithmetic.synthesis_layers(networks.generator_config("tiny")),
        frame=arithmetic.ArithmeticCost(flops=10, moved=20, operations=0),
        plain=arithmetic.ArithmeticCost(flops=10, moved=30, operations=0),
        face=arithmetic.ArithmeticCost(flops=100, moved=100, operations=0),
        finding=0.5,
        encoding=4.0,
    )
    machine = estimate.Gpu("G", flops=20, bandwidth=40, flops_share=0.5, bandwidth_share=0.25, why="so")
    assert machine.seconds(10, 20) == 3.0  # 10 / 10 + 20 / 10
    assert costs.drawing(machine) == 3.0
    assert costs.whole(machine) == 0.5 + 20 + 3 + 89 * 4 + 4  # encoding takes longer than rendering
    assert costs.whole(machine, 0.5) == 0.5 + 40 + 6 + 89 * 6 + 4
    assert "**383.50 s**" in estimate.text(costs, machine)


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
def test_without_a_gpu_it_reports_so_and_keeps_the_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "performance.md"
    path.write_text("as it was", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["stages", "--gpu", "--out", str(path)])
    with pytest.raises(SystemExit, match=r"^There is no CUDA device here") as ended:
        runpy.run_module("benchmarks.stages", run_name="__main__")
    assert ended.value.code not in (None, 0)
    assert path.read_text(encoding="utf-8") == "as it was"
