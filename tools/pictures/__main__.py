"""Redraw the pictures in docs/method/, all of them or those named.

python -m tools.pictures                # all, some minutes on one core
python -m tools.pictures align rank     # these two
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from micromotion import Animator
from micromotion.video.picture import write_picture
from tools.pictures.charts import curve, loops, rank, robust_pca, timeline
from tools.pictures.faces import align, anchors, invert, likeness, strengths, styles, synthesis, whole_photo

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "method"
PICTURES: dict[str, Callable[[Animator], Image.Image]] = {
    "align.jpg": align,
    "invert.jpg": invert,
    "styles.jpg": styles,
    "anchors.jpg": anchors,
    "robust-pca.png": robust_pca,
    "rank.png": rank,
    "curve.png": curve,
    "strengths.jpg": strengths,
    "timeline.png": timeline,
    "loops.png": loops,
    "synthesis.jpg": synthesis,
    "likeness.jpg": likeness,
    "whole-photo.jpg": whole_photo,
}


def main() -> None:
    """Draw the pictures that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tools.pictures", description=__doc__.split("\n")[0])
    known = {Path(file).stem: file for file in PICTURES}
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--model", default="avatar", help="name or folder of the bundle (default: avatar)")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the pictures go")
    args = parser.parse_args()
    if unknown := set(args.names) - known.keys():
        parser.error(f"there is no picture {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    args.out.mkdir(parents=True, exist_ok=True)
    animator = Animator.load(args.model)
    for name in args.names or known:
        began, path = time.monotonic(), args.out / known[name]
        write_picture(PICTURES[path.name](animator), path)
        print(f"{path}, {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
