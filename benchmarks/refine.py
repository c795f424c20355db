"""Measure `--refine N`: likeness before and after on unseen faces, and whether motions still work.

    python benchmarks/refine.py                                      # the avatar on new heads and docs/faces
    python benchmarks/refine.py --model ffhq --heads 0 --photos me/  # a folder of photographs

PSNR and loss compare the crop with the still frame; the loss is
`micromotion.inversion.refinement.picture_loss`. Person is the cosine of the identity network's features, if
the model has one; moved is the distance from the inverter's latent in units of w's spread (two random people
are √2 apart). Then: how far each motion at strength 1 moves its own factor, as measured by the avatar's
regressor; 1 is the full motion. Seconds: refinement alone.
"""

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from avatar.renderer.factors import MOTIONS
from avatar.report.measure import dreamt, read, strangers
from avatar.training.collect import PUBLISHED_NAMES
from encoder4editing.regressor import Regressor, load_regressor
from micromotion import Animator, align
from micromotion.errors import MicromotionError
from micromotion.face.images import load_image
from micromotion.inversion.pivotal_tuning import psnr
from micromotion.inversion.refinement import picture_loss, refine, shrink, spread_axes
from micromotion.weights.bundle import find_bundle

ROOT = Path(__file__).resolve().parent.parent
SEED = 31_415


@dataclass(frozen=True)
class Refined:
    """The figures of one face; person is NaN without an identity network, motions without a regressor."""

    psnr: float
    loss: float
    person: float
    moved: float
    motions: tuple[float, ...]
    seconds: float


def main() -> None:
    """Measure what the command line selects and print a table for each kind of face."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="avatar")
    parser.add_argument("--heads", type=int, default=8, help="renders, and as many generated heads")
    parser.add_argument("--photos", type=Path, default=ROOT / "docs/faces", help="folder of pictures")
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 10, 30, 100])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--sheet", type=Path, help="a picture of the faces, each with its smiles")
    given = parser.parse_args()
    animator = Animator.load(given.model, given.device)
    print(animator.bundle.describe())
    regressor = find_regressor(given.model)
    rows = []
    for kind, faces in kinds(animator, given.heads, given.photos).items():
        results = [[improve(animator, regressor, face, steps) for steps in given.steps] for face in faces]
        report(kind, given.steps, [[result for result, _ in row] for row in results])
        rows += [
            [face, *(picture for _, pictures in row for picture in pictures)]
            for face, row in zip(faces, results, strict=True)
        ]
    if given.sheet:
        lay_out(rows).save(given.sheet)


def kinds(animator: Animator, heads: int, photos: Path) -> dict[str, list[Image.Image]]:
    """Aligned faces, 256², by their source."""
    found: dict[str, list[Image.Image]] = {}
    if heads:
        found["the generator's own heads"] = dreamt(animator.bundle.generator, heads, SEED)
        found["new heads, rendered"] = strangers(heads, SEED, 256)
    found["photographs"] = list(aligned(photos))
    return {kind: [face.resize((256, 256)) for face in faces] for kind, faces in found.items() if faces}


def aligned(folder: Path) -> Iterator[Image.Image]:
    """The face of each picture in a folder, where there is one."""
    for path in sorted(each for each in folder.iterdir() if each.suffix.lower() in (".jpg", ".png", ".webp")):
        try:
            yield align(load_image(path), 256).image
        except MicromotionError as error:
            print(f"{path.name}: {error}")


def find_regressor(model: str) -> Regressor | None:
    """The model's regressor; None if it has none that this version can load."""
    path = find_bundle(model).folder / "regressor.safetensors"
    try:
        return load_regressor(path) if path.is_file() else None
    except RuntimeError:
        print(f"{path.name} is of another version: motions are not read.")
        return None


def improve(
    animator: Animator, regressor: Regressor | None, face: Image.Image, steps: int
) -> tuple[Refined, list[Image.Image]]:
    """Refine one face by `steps` steps; returns its figures, and pictures of it still and smiling."""
    bundle, start = animator.bundle, animator.encode(face, aligned=True)
    picture = (torch.tensor(np.asarray(face)).permute(2, 0, 1)[None] / 127.5 - 1).to(bundle.device)
    begun = time.perf_counter()
    latent = refine(bundle.generator, start, picture, steps, identity=animator.identity)
    seconds = time.perf_counter() - begun
    with torch.inference_mode():
        size = min(bundle.generator.resolution, 256)
        shown = shrink(bundle.generator.synthesize(latent).float(), size)
        wanted = shrink(picture, size)
        identity = animator.identity
        person = math.nan if identity is None else 1 - identity.loss(shown, wanted).item()
        result = Refined(
            psnr(shown, wanted),
            picture_loss(shown, wanted).item(),
            person,
            distance(latent - start, spread_axes(bundle.generator).to(latent.device)),
            movements(animator, regressor, latent),
            seconds,
        )
    name = "smile" if "smile" in animator.motions else animator.motions[0]
    return result, [Image.fromarray(frame) for frame in animator.animate(latent, name, frames=2)]


def distance(moved: Tensor, axes: Tensor) -> float:
    """Root mean square of a displacement [1, styles, dim] along w's axes, in units of its spread there."""
    lengths = axes.norm(dim=1)
    varied = lengths > 1e-3 * lengths.max()
    along = moved[0] @ (axes[varied] / lengths[varied, None].square()).T
    return along.square().mean().sqrt().item()


def movements(animator: Animator, regressor: Regressor | None, latent: Tensor) -> tuple[float, ...]:
    """How far each motion at strength 1 moves its own factor."""
    moved = []
    for column, motion in enumerate(MOTIONS):
        name = PUBLISHED_NAMES[motion]
        if regressor is None or name not in animator.motions:
            moved.append(math.nan)
            continue
        first, last = read(regressor, list(animator.animate(latent, name, frames=2)))[:, column]
        moved.append(float(last - first))
    return tuple(moved)


def report(kind: str, steps: list[int], results: list[list[Refined]]) -> None:
    """Print means over faces, a line for each number of steps."""
    print(f"\n{len(results)} of {kind}")
    titles = [*MOTIONS, "seconds"]
    print("  N   PSNR    loss  person  moved " + "".join(f"{title:>12}" for title in titles))
    for index, n in enumerate(steps):
        some = [row[index] for row in results]
        head = [fmean(getattr(each, name) for each in some) for name in ("psnr", "loss", "person", "moved")]
        tail = [fmean(each.motions[i] for each in some) for i in range(len(MOTIONS))]
        tail.append(fmean(each.seconds for each in some))
        line = "{:3d} {:6.2f} {:7.4f} {:7.3f} {:6.2f} ".format(n, *head)
        print(line + "".join(f"{value:12.2f}" for value in tail))


def lay_out(rows: list[list[Image.Image]], tile: int = 128) -> Image.Image:
    """All pictures of a row side by side."""
    sheet = Image.new("RGB", (tile * max(map(len, rows)), tile * len(rows)))
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            sheet.paste(picture.resize((tile, tile)), (x * tile, y * tile))
    return sheet


if __name__ == "__main__":
    main()
