"""Make the embedded bundle from a finished run: networks, yardstick, anchors, figures, pictures."""

import argparse
import json
import shutil
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from avatar import dataset
from avatar.collect import PUBLISHED_NAMES, at_rest, calibrate, collect
from avatar.factors import sample_z
from avatar.measure import measure, strangers, to_picture
from avatar.regressor import errors, load_regressor
from avatar.render import render
from encoder4editing import Inverter, load_inverter
from micromotion import Animator
from micromotion.bundle import ABOUT, save_bundle
from micromotion.sheet import contact_sheet
from stylegan2 import Generator, load_generator

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS, ANCHORS, DOCS = ROOT / "weights/avatar", ROOT / "anchors/avatar", ROOT / "docs"
REGRESSOR = WEIGHTS / "regressor.safetensors"
DEMO_SEED, MEASURED_FACES = 12, 20


def publish_networks(data: Path, run: Path) -> None:
    """Write weights/avatar and anchors/avatar."""
    generator = load_generator(run / "generator.safetensors")
    inverter = load_inverter(run / "inverter.safetensors")
    regressor = load_regressor(run / "regressor.safetensors")
    heads = dataset.load(data, validation=True)
    about = {
        "architecture": {
            "generator": f"StyleGAN2, {generator.resolution}², {parameters(generator)} parameters",
            "inverter": f"e4e on {inverter.input_size}², {parameters(inverter)} parameters",
            "regressor": f"five motions off a face, {parameters(regressor)} parameters",
        },
        "training": {
            "data": f"heads rendered by avatar/ at {dataset.SIZE}², in pairs: "
            f"{len(dataset.load(data))} to learn from, {len(heads)} held out",
            "generator": f"distilled from the renders, {seen(run / 'generator.pt')} images",
            "inverter": f"renders and the generator's own pictures, {seen(run / 'encoder.pt')} images",
            "regressor": f"renders, {seen(run / 'regressor.pt')} images",
        },
        "licence": "MIT; made by this repository from nothing else",
        "figures": {
            "held_out_psnr_db": {
                "generator": distilled(generator, heads),
                "inverter_and_generator": reconstructed(generator, inverter, heads),
            },
            "regressor_mean_error": rounded(errors(regressor, heads)),
        },
    }
    save_bundle(WEIGHTS, name="avatar", generator=generator, inverter=inverter, about=about)
    shutil.copyfile(run / "regressor.safetensors", REGRESSOR)
    ANCHORS.mkdir(parents=True, exist_ok=True)
    for motion, name in PUBLISHED_NAMES.items():
        anchors = calibrate(collect(inverter, motion), generator, regressor, motion)
        anchors.save(ANCHORS / f"{name}.safetensors")
        print(f"collected {name}", flush=True)


def publish_figures() -> None:
    """Measure what each motion does to strangers at strength 1, and add it to the bundle's description."""
    animator, regressor = Animator.load("avatar", "cpu"), load_regressor(REGRESSOR)
    faces, figures = strangers(MEASURED_FACES), {}
    for motion, name in PUBLISHED_NAMES.items():
        movement = measure(animator, regressor, motion, faces, frames=20)
        figures[name] = {
            "spearman_above_0.95": f"{movement.steady()} of {MEASURED_FACES} faces",
            "moves_own_factor": round(movement.own, 3),
            "moves_others": rounded(movement.leak),
        }
        print(name, figures[name], flush=True)
    about = json.loads((WEIGHTS / ABOUT).read_text(encoding="utf-8"))
    about["figures"]["motions"] = figures
    (WEIGHTS / ABOUT).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def publish_pictures() -> None:
    """Draw docs/face.jpg, a stranger framed like a snapshot, docs/smile.png and docs/motions.png."""
    person = at_rest(sample_z(1, torch.Generator().manual_seed(DEMO_SEED)))
    to_picture(render(person, 512, zoom=0.8)[0]).save(DOCS / "face.jpg", quality=92)
    animator = Animator.load("avatar", "cpu")
    animator.animate(DOCS / "face.jpg", "smile").sheet(6).save(DOCS / "smile.png", optimize=True)
    frames, labels = [], []
    for name in PUBLISHED_NAMES.values():
        frames += list(animator.animate(DOCS / "face.jpg", name, frames=5))
        labels += [f"{name} {percent}%" for percent in (0, 25, 50, 75, 100)]
    contact_sheet(frames, labels=labels, columns=5, tile=160).save(DOCS / "motions.png", optimize=True)


@torch.inference_mode()
def distilled(generator: Generator, heads: dataset.Heads) -> float:
    """PSNR in dB of the generator's pictures of codes against renders it never saw."""
    codes = (generator.mapping(z)[:, None].expand(-1, generator.num_styles, -1) for z in heads.z.split(32))
    return psnr(torch.cat([generator.synthesize(code, noise=None) for code in codes]), heads.images)


@torch.inference_mode()
def reconstructed(generator: Generator, inverter: Inverter, heads: dataset.Heads) -> float:
    """PSNR in dB of inversion and synthesis against renders that neither network saw."""
    codes = (inverter.invert(images.float() / 127.5 - 1) for images in heads.images.split(32))
    return psnr(torch.cat([generator.synthesize(code, noise=None) for code in codes]), heads.images)


def psnr(made: Tensor, true: Tensor) -> float:
    """Mean over pictures, of 8-bit pixels; made [N, 3, S, S] in [-1, 1], true uint8."""
    pixels = ((made.clamp(-1, 1) + 1) * 127.5).round()
    error = F.mse_loss(pixels, true.float(), reduction="none").mean(dim=(1, 2, 3))
    return round((10 * torch.log10(255**2 / error)).mean().item(), 2)


def parameters(model: torch.nn.Module) -> int:
    """How many numbers a network has learned."""
    return sum(p.numel() for p in model.parameters())


def seen(checkpoint: Path) -> int:
    """How many images a finished run has seen."""
    return int(torch.load(checkpoint, map_location="cpu", weights_only=True)["images"])


def rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Publish a finished run as the embedded avatar bundle.")
    parser.add_argument("data", type=Path, help="folder of shards made by avatar.dataset")
    parser.add_argument("run", type=Path, help="folder of the trained networks")
    args = parser.parse_args()
    publish_networks(args.data, args.run)
    publish_pictures()
    publish_figures()


if __name__ == "__main__":
    main()
