"""Every stage of a prediction on a CPU, beside its rivals and its floor: about five minutes.

    python -m benchmarks.stages                                       # ours alone
    python -m benchmarks.stages --peers DIR --out docs/performance.md
    python -m benchmarks.stages --only synthesis                      # the rows whose names begin so

DIR holds checkouts of the public repositories, named as they are: wuqiuche/micromotion-styleGAN (which is the
original), NVlabs/stylegan2-ada-pytorch, rosinality/stylegan2-pytorch, omertov/encoder4editing. Weights are
random and of the published sizes; nothing is downloaded, and nothing is kept. Rivals and floors take turns
with ours (see `race`).
"""

import argparse
import os
from pathlib import Path

from benchmarks.stages import document
from benchmarks.stages.table import growth, measure, stages


def main() -> None:
    """Run what the command line asks for, print the tables, and write them down if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path, help="folder with checkouts of the public repositories")
    parser.add_argument("--out", type=Path, help="document that the tables are written into")
    parser.add_argument("--only", default="", help="only the stages whose names begin so")
    parser.add_argument("--size", choices=("tiny", "full"), default="full")
    parser.add_argument("--threads", type=int, default=min(4, os.cpu_count() or 1))
    given = parser.parse_args()
    text = f"Measured {document.machine(given.threads)}\n\n{document.HEADER}"
    print(text, end="", flush=True)
    for stage in stages(given.size, given.peers, given.threads):
        if stage.name.startswith(given.only):
            line = document.line(measure(stage))
            print(line, flush=True)
            text += f"{line}\n"
    if not given.only:
        grown = document.growth(growth(given.size, given.threads))
        print(grown, end="", flush=True)
        text += grown
    if given.out:
        document.write(given.out, text)


if __name__ == "__main__":
    main()
