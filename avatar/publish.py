"""Make the embedded bundle from a finished run: networks, regressor, anchors, figures, pictures."""

import argparse
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avatar.data import dataset
from avatar.report import gallery
from avatar.report.measure import measure, strangers
from avatar.report.ssim import batch_psnr
from avatar.report.subject import resized
from avatar.training.collect import PUBLISHED_NAMES, calibrate, collect
from avatar.training.regressor import calibration, load_pictures
from encoder4editing import Inverter, load_inverter
from encoder4editing.identity import load_identity
from encoder4editing.regressor import READ, Regressor, load_regressor
from micromotion import Animator
from micromotion.video.pixels import quantise
from micromotion.weights.bundle import CLIP, GENERATOR, IDENTITY, INVERTER, save_bundle
from micromotion.weights.bundle_record import ABOUT, read_about, write_about
from micromotion.weights.clip_model import load_clip
from stylegan2 import Generator, load_generator

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS, ANCHORS, DOCS = ROOT / "weights/avatar", ROOT / "anchors/avatar", ROOT / "docs"
REGRESSOR = "regressor.safetensors"
NOTES = "notes.json"
"""In a run's folder: network → a sentence about it, where the recipe does not tell how it was trained."""
MEASURED_FACES = 20

CHECKPOINTS = {
    "generator": GENERATOR,
    "encoder": INVERTER,
    "regressor": REGRESSOR,
    "identity": IDENTITY,
    "clip": CLIP,
}
"""The training runs' names → the networks that they produce; the last two are optional."""

About = dict[str, Any]
"""The contents of bundle.json."""


def publish_networks(data: Path, run: Path, weights: Path = WEIGHTS) -> None:
    """Write the bundle: generator, inverter, regressor, and identity network and CLIP if the run has them."""
    generator, inverter = load_generator(run / GENERATOR), load_inverter(run / INVERTER)
    about = {
        "architecture": architecture(run),
        "training": training(data, run),
        "view": "photo",  # a photo's own pixels move: the model's people are not photos
        "licence": "MIT; made by this repository from nothing else",
        "figures": network_figures(data, run),
    }
    save_bundle(weights, name="avatar", generator=generator, inverter=inverter, about=about)
    files = [GENERATOR, INVERTER]
    for part in (REGRESSOR, IDENTITY, CLIP):
        (weights / part).unlink(missing_ok=True)
        if (run / part).is_file():
            shutil.copyfile(run / part, weights / part)
            files.append(part)
    write_about(weights, "avatar", about, files)


def architecture(run: Path) -> dict[str, str]:
    """What each network of a run is, in a few words."""
    generator, inverter = load_generator(run / GENERATOR), load_inverter(run / INVERTER)
    words = {
        "generator": f"StyleGAN2, {generator.resolution}², {parameters(generator)} parameters",
        "inverter": f"e4e on {inverter.input_size}², {parameters(inverter)} parameters",
        "regressor": f"ten factors off a face, {parameters(load_regressor(run / REGRESSOR))} parameters",
    }
    if (run / IDENTITY).is_file():
        words["identity"] = f"ArcFace, IR-SE, {parameters(load_identity(run / IDENTITY))} parameters"
    if (run / CLIP).is_file():
        words["clip"] = f"CLIP, {parameters(load_clip(run / CLIP))} parameters"
    return words


def training(data: Path, run: Path) -> dict[str, str]:
    """What each network of a run was trained on, on how many images, and the run's notes."""
    shards = sorted(data.glob("heads-*.safetensors"))
    size, held_out = dataset.check(shards[0]), 4 * dataset.SHARD
    learned = {
        "generator": "distilled from the renders",
        "encoder": "renders and the generator's own pictures",
        "regressor": "renders",
        "identity": "renders of people in other poses, moods, ages and lights",
        "clip": "renders and sentences about them",
    }
    heads = f"{len(shards) * dataset.SHARD - held_out} to learn from, {held_out} held out"
    words = {"data": f"heads rendered by avatar/ at {size}², in pairs: {heads}"}
    for name, part in CHECKPOINTS.items():
        if (run / part).is_file():
            words[Path(part).stem] = f"{learned[name]}, {seen(run / f'{name}.pt')} images"
    notes = json.loads((run / NOTES).read_text(encoding="utf-8")) if (run / NOTES).is_file() else {}
    return words | {name: f"{words[name]}; {note}" for name, note in notes.items()}


def network_figures(data: Path, run: Path) -> dict[str, Any]:
    """How good the networks of a run are on unseen renders."""
    generator, inverter = load_generator(run / GENERATOR), load_inverter(run / INVERTER)
    heads = dataset.load(data, validation=True)
    regressor = load_regressor(run / REGRESSOR)
    return {
        "held_out_psnr_db": {
            "generator": distilled(generator, heads),
            "inverter_and_generator": reconstructed(generator, inverter, heads),
        },
        "regressor": regressor_figures(regressor, data),
    }


def regressor_figures(regressor: Regressor, data: Path) -> dict[str, dict[str, float | str]]:
    """By factor: mean error, slope, largest cross-talk and where it comes from, on renders held out."""
    found = calibration(regressor, load_pictures(data, "validation"))
    return {
        name: {"error": round(e, 4), "slope": round(s, 4), "crosstalk": round(c, 4), "disturber": d}
        for name, e, s, c, d in zip(READ, *found, strict=True)
    }


def publish_anchors(weights: Path = WEIGHTS, anchors: Path = ANCHORS) -> None:
    """Collect the anchors of the five motions with the bundle's own networks."""
    generator, inverter = load_generator(weights / GENERATOR), load_inverter(weights / INVERTER)
    regressor = load_regressor(weights / REGRESSOR)
    anchors.mkdir(parents=True, exist_ok=True)
    for motion, name in PUBLISHED_NAMES.items():
        collected = collect(inverter, motion, generator.resolution)
        calibrate(collected, generator, regressor, motion).save(anchors / f"{name}.safetensors")
        print(f"collected {name}", flush=True)


def publish_figures(weights: Path = WEIGHTS) -> None:
    """Measure what each motion does to unseen people at strength 1, and add it to bundle.json."""
    animator, regressor = Animator.load("avatar", "cpu"), load_regressor(weights / REGRESSOR)
    faces, figures = strangers(MEASURED_FACES, size=animator.bundle.generator.resolution), {}
    for motion, name in PUBLISHED_NAMES.items():
        effect = measure(animator, regressor, motion, faces, frames=20)
        figures[name] = {
            "spearman_above_0.95": f"{effect.steady()} of {MEASURED_FACES} faces",
            "moves_own_factor": round(effect.own, 3),
            "moves_others": {other: round(value, 3) for other, value in effect.leak.items()},
        }
        print(name, figures[name], flush=True)
    about = read_about(weights)
    about["figures"]["motions"] = figures
    (weights / ABOUT).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@torch.inference_mode()
def distilled(generator: Generator, heads: dataset.Heads) -> float:
    """PSNR in dB of the generator's pictures of latents against renders it never saw."""
    latents = (generator.mapping(z)[:, None].expand(-1, generator.num_styles, -1) for z in heads.z.split(32))
    return _psnr(generator, latents, heads)


@torch.inference_mode()
def reconstructed(generator: Generator, inverter: Inverter, heads: dataset.Heads) -> float:
    """PSNR in dB of inversion and synthesis against renders that neither network saw."""
    latents = (inverter.invert(images.float() / 127.5 - 1) for images in heads.images.split(32))
    return _psnr(generator, latents, heads)


def _psnr(generator: Generator, latents: Iterable[Tensor], heads: dataset.Heads) -> float:
    """Mean over heads, of 8-bit pixels at the generator's size."""
    found = [
        batch_psnr(
            quantise(generator.synthesize(latent, noise=None)).movedim(-1, 1),
            resized(true, generator.resolution),
        )
        for latent, true in zip(latents, heads.images.split(32), strict=True)
    ]
    return round(float(torch.cat(found).mean()), 2)


def parameters(model: torch.nn.Module) -> int:
    """The number of a network's parameters."""
    return sum(p.numel() for p in model.parameters())


def seen(checkpoint: Path) -> int:
    """How many images a finished run has seen."""
    return int(torch.load(checkpoint, map_location="cpu", weights_only=True)["images"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Publish a finished run as the embedded avatar bundle.")
    parser.add_argument("data", type=Path, help="folder of shards made by avatar.data.dataset")
    parser.add_argument("run", type=Path, help="folder of the trained networks")
    args = parser.parse_args()
    publish_networks(args.data, args.run)
    publish_anchors()
    gallery.draw(DOCS)
    publish_figures()


if __name__ == "__main__":
    main()
