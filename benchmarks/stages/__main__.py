"""Every stage of a prediction, compared with its rivals and its floor: about five minutes on a CPU.

    python -m benchmarks.stages                                       # ours alone
    python -m benchmarks.stages --peers DIR --out docs/performance.md
    python -m benchmarks.stages --only synthesis                      # only rows whose names begin with this
    python -m benchmarks.stages --gpu --peers DIR                     # the same on an NVIDIA GPU
    python -m benchmarks.stages --estimate                            # what a T4 would take, not measured

DIR holds checkouts of the public repositories, under their own names: wuqiuche/micromotion-styleGAN (which is
the original), NVlabs/stylegan2-ada-pytorch, rosinality/stylegan2-pytorch, omertov/encoder4editing. Weights
are random and of the published sizes; nothing is downloaded or stored. Rivals and floors take turns with ours
(see `race`).
"""

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import torch

from benchmarks.stages import document, estimate, gpu
from benchmarks.stages.table import Stage, growth, measure, stages


def main() -> None:
    """Measure what the command line selects, print the tables, and write them to --out if given."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path, help="folder with checkouts of the public repositories")
    parser.add_argument("--out", type=Path, help="document that the tables are written into")
    parser.add_argument("--only", default="", help="only stages whose names begin with this")
    parser.add_argument("--size", choices=("tiny", "full"), default="full")
    parser.add_argument("--threads", type=int, default=min(4, os.cpu_count() or 1))
    parser.add_argument("--gpu", action="store_true", help="on the GPU, and the estimate for a T4")
    parser.add_argument("--estimate", action="store_true", help="the estimate for a T4 alone; needs no GPU")
    given = parser.parse_args()
    blocks: dict[str, str] = {}
    if given.gpu and not torch.cuda.is_available():
        sys.exit(gpu.MISSING)
    if given.gpu:
        blocks["gpu"] = table(gpu.stages(given.size, given.peers), given.only, given.threads, gpu.words())
    elif not given.estimate:
        blocks["measured"] = table(stages(given.size, given.peers, given.threads), given.only, given.threads)
        if not given.only:
            grown = document.growth(growth(given.size, given.threads))
            print(grown, end="", flush=True)
            blocks["measured"] += grown
    if given.gpu or given.estimate:
        text = estimate.text(estimate.costs(given.size))
        blocks["estimate"] = f"Estimated {document.machine(given.threads)}\n\n{text}"
        print(f"\n{blocks['estimate']}")
    for block, text in blocks.items():
        if given.out:
            document.write(given.out, text, block)


def table(rows: Iterable[Stage], only: str, threads: int, device: str = "") -> str:
    """Measure the stages whose names begin with `only`; prints each line when it is done."""
    text = f"Measured {document.machine(threads, device)}\n\n{document.HEADER}"
    print(text, end="", flush=True)
    for stage in rows:
        if stage.name.startswith(only):
            line = document.line(measure(stage))
            print(line, flush=True)
            text += f"{line}\n"
    return text


if __name__ == "__main__":
    main()
