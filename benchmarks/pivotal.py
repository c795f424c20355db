"""Measure `--lock-identity`: likeness before and after tuning, with and without refining the latent first.

    python benchmarks/pivotal.py                               # the avatar on docs/faces
    python benchmarks/pivotal.py --model ffhq --photos me/     # a folder of photographs

PSNR and person (the cosine of the identity network's features, where the model has one) compare the crop with
the still frame. Then, for each motion at strength 1: how much of the change that the untuned model makes at
this latent is kept, as a correlation (1 is all of it, 0 is another motion), and the size of the change
relative to the untuned model's. Seconds: refining and tuning.
"""

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from micromotion import Animator, align
from micromotion.encoding import INVERTER_SIZE
from micromotion.errors import MicromotionError
from micromotion.face.images import load_image
from micromotion.inversion.pivotal_tuning import STEPS, Likeness, likeness, tune
from micromotion.motion.library import load_fitting
from micromotion.motion.playable import Motion
from micromotion.video.pixels import quantise
from stylegan2 import Generator

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Measure what the command line selects and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="avatar")
    parser.add_argument("--photos", type=Path, default=ROOT / "docs/faces", help="folder of pictures")
    parser.add_argument("--steps", type=int, nargs="+", default=[0, STEPS])
    parser.add_argument("--refine", type=int, nargs="+", default=[0, 10, 30], help="steps before tuning")
    parser.add_argument("--limit", type=int, default=1000, help="how many pictures at most")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--sheets", type=Path, help="a folder for a picture of each face's motions")
    given = parser.parse_args()
    animator = Animator.load(given.model, given.device)
    print(animator.bundle.describe())
    bundle = animator.bundle
    motions = {name: load_fitting(path, bundle) for name, path in bundle.motions.items()}
    ways = [(refined, steps) for refined in given.refine for steps in given.steps]
    found: list[list[tuple[Likeness, float]]] = []
    for path in sorted(given.photos.glob("*.jpg"))[: given.limit]:
        try:
            crop = align(load_image(path), max(INVERTER_SIZE, bundle.generator.resolution)).image
        except MicromotionError as error:
            print(f"{path.name}: {error}")
            continue
        tried = []
        for refined, steps in ways:
            tried.append(try_out(animator, crop, motions, refined, steps))
            print(f"{path.stem}, refine {refined}, tune {steps}: {tried[-1][0].describe()}", flush=True)
        found.append([(figures, seconds) for figures, seconds, _ in tried])
        if given.sheets:
            given.sheets.mkdir(parents=True, exist_ok=True)
            lay_out(crop, [strip for _, _, strip in tried]).save(given.sheets / f"{path.stem}.png")
    report(ways, list(motions), found)


def try_out(
    animator: Animator, crop: Image.Image, motions: dict[str, Motion], refined: int, steps: int
) -> tuple[Likeness, float, list[Image.Image]]:
    """Refine and tune for one face; returns likeness, seconds, and the frames of `play`."""
    bundle, identity = animator.bundle, animator.identity
    small = crop.resize((INVERTER_SIZE, INVERTER_SIZE), Image.Resampling.LANCZOS)
    latent = animator.encode(small, aligned=True)
    picture = torch.tensor(np.asarray(crop)).permute(2, 0, 1)[None] / 127.5 - 1
    begun = time.perf_counter()
    if refined:
        latent = animator.encode(small, aligned=True, refine=refined)
    after = tune(bundle.generator, latent, picture, steps=steps, identity=identity)
    seconds = time.perf_counter() - begun
    figures = likeness(bundle.generator, after, latent, picture, identity=identity, motions=motions)
    return figures, seconds, play(after, latent, motions)


@torch.inference_mode()
def play(generator: Generator, latent: Tensor, motions: dict[str, Motion]) -> list[Image.Image]:
    """The still frame, and a frame of each motion at strength 1."""
    latents = [latent, *(latent + motion.offset(1.0).to(latent.device) for motion in motions.values())]
    return [Image.fromarray(quantise(generator.synthesize(each)[0]).cpu().numpy()) for each in latents]


def report(
    ways: Sequence[tuple[int, int]], names: list[str], found: list[list[tuple[Likeness, float]]]
) -> None:
    """Print means over faces, a line for each way."""
    print(f"\n{len(found)} faces; for each motion, what is kept and its size")
    print("refine  tune   PSNR  person " + "".join(f"{name:>14}" for name in names) + "   seconds")
    for index, (refined, steps) in enumerate(ways):
        some = [row[index] for row in found]
        person = fmean(math.nan if each.identity is None else each.identity[1] for each, _ in some)
        line = f"{refined:6d} {steps:5d} {fmean(each.psnr[1] for each, _ in some):6.2f} {person:7.3f} "
        for name in names:
            kept, size = (fmean(each.motions[name][i] for each, _ in some) for i in (0, 1))
            line += f"{kept:9.2f} {size:4.2f}"
        print(f"{line}{fmean(seconds for _, seconds in some):10.1f}")


def lay_out(crop: Image.Image, strips: list[list[Image.Image]], tile: int = 192) -> Image.Image:
    """A sheet with the crop to the left of each strip."""
    sheet = Image.new("RGB", (tile * (1 + len(strips[0])), tile * len(strips)))
    for y, strip in enumerate(strips):
        for x, picture in enumerate([crop, *strip]):
            sheet.paste(picture.resize((tile, tile), Image.Resampling.BICUBIC), (tile * x, tile * y))
    return sheet


if __name__ == "__main__":
    main()
