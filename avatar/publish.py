"""Make the embedded bundle from a finished run: networks, anchors, figures, and the face of the demo."""

import argparse
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from avatar import dataset
from avatar.collect import PUBLISHED_NAMES, at_rest, collect
from avatar.factors import sample_z
from avatar.measure import measure, strangers, to_picture
from avatar.regressor import errors, load_regressor
from avatar.render import render
from encoder4editing import Inverter, load_inverter
from micromotion import Animator
from micromotion.bundle import save_bundle
from stylegan2 import Generator, load_generator

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS, ANCHORS, DEMO_FACE = ROOT / "weights/avatar", ROOT / "anchors/avatar", ROOT / "docs/face.jpg"
DEMO_SEED, MEASURED_FACES = 12, 50


def publish(data: Path, run: Path) -> None:
    """Write weights/avatar, anchors/avatar and docs/face.jpg."""
    generator = load_generator(run / "generator.safetensors")
    inverter = load_inverter(run / "inverter.safetensors")
    regressor = load_regressor(run / "regressor.safetensors")
    heads = dataset.load(data, validation=True)
    count = len(dataset.load(data)) + len(heads)
    images = {name: seen(run / f"{name}.pt") for name in ("generator", "encoder", "regressor")}
    shape = f"{generator.resolution}², W of {generator.style_dim}"
    about: dict[str, Any] = {
        "architecture": {
            "generator": f"StyleGAN2, {shape}, {parameters(generator)} parameters",
            "inverter": f"e4e on {inverter.input_size}², {parameters(inverter)} parameters",
            "regressor": f"five motions off a face, {parameters(regressor)} parameters",
        },
        "training": {
            "data": f"{count} heads rendered by avatar/, {dataset.SIZE}², in pairs; {len(heads)} held out",
            "generator": f"distilled from the renders, {images['generator']} images (avatar.train_generator)",
            "inverter": f"{images['encoder']} renders and generated pictures (avatar.train_encoder)",
            "regressor": f"{images['regressor']} renders (avatar.regressor)",
        },
        "licence": "MIT; made by this repository from nothing else",
    }
    figures: dict[str, Any] = {
        "generator": distilled(generator, heads),
        "inverter": reconstructed(generator, inverter, heads),
        "regressor_mean_error": {name: round(value, 4) for name, value in errors(regressor, heads).items()},
    }
    save_bundle(
        WEIGHTS, name="avatar", generator=generator, inverter=inverter, about=about | {"figures": figures}
    )
    shutil.copyfile(run / "regressor.safetensors", WEIGHTS / "regressor.safetensors")
    ANCHORS.mkdir(parents=True, exist_ok=True)
    for motion, name in PUBLISHED_NAMES.items():
        collect(inverter, motion).save(ANCHORS / f"{name}.safetensors")
        print(f"collected {name}", flush=True)
    figures["motions"] = played(MEASURED_FACES)
    save_bundle(
        WEIGHTS, name="avatar", generator=generator, inverter=inverter, about=about | {"figures": figures}
    )
    to_picture(demo_face()).save(DEMO_FACE, quality=92)


def played(count: int) -> dict[str, Any]:
    """What each motion does to strangers at strength 1."""
    animator, regressor = Animator.load("avatar", "cpu"), load_regressor(WEIGHTS / "regressor.safetensors")
    faces, figures = strangers(count), {}
    for motion, name in PUBLISHED_NAMES.items():
        movement = measure(animator, regressor, motion, faces)
        figures[name] = {
            "spearman_above_0.95": f"{movement.steady()} of {count}",
            "moves_own": round(movement.own, 3),
            "moves_others": {other: round(value, 3) for other, value in movement.leak.items()},
        }
        print(name, figures[name], flush=True)
    return figures


@torch.inference_mode()
def distilled(generator: Generator, heads: dataset.Heads) -> dict[str, float]:
    """PSNR of the generator's pictures against renders it never saw."""
    made = torch.cat([generator.synthesize(w_plus(generator, z), noise=None) for z in heads.z.split(32)])
    return {"psnr_db": psnr(made, heads.images)}


@torch.inference_mode()
def reconstructed(generator: Generator, inverter: Inverter, heads: dataset.Heads) -> dict[str, float]:
    """PSNR of inversion and synthesis against renders that neither network saw."""
    parts = (images.float() / 127.5 - 1 for images in heads.images.split(32))
    made = torch.cat([generator.synthesize(inverter.invert(part), noise=None) for part in parts])
    return {"psnr_db": psnr(made, heads.images)}


def w_plus(generator: Generator, z: torch.Tensor) -> torch.Tensor:
    return generator.mapping(z)[:, None].expand(-1, generator.num_styles, -1)


def psnr(made: torch.Tensor, true: torch.Tensor) -> float:
    """Peak signal-to-noise ratio in dB of 8-bit pixels, the mean over pictures [N, 3, S, S].

    made is in [-1, 1], true in 0 … 255.
    """
    error = F.mse_loss(((made.clamp(-1, 1) + 1) * 127.5).round(), true.float(), reduction="none").mean(
        dim=(1, 2, 3)
    )
    return round((10 * torch.log10(255**2 / error)).mean().item(), 2)


def demo_face() -> torch.Tensor:
    """A stranger, framed like a snapshot: [3, 512, 512]."""
    person = at_rest(sample_z(1, torch.Generator().manual_seed(DEMO_SEED)))
    return render(person, 512, zoom=0.8)[0]


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def seen(checkpoint: Path) -> int:
    """How many images a finished run has seen."""
    return int(torch.load(checkpoint, map_location="cpu", weights_only=True)["images"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Publish a finished run as the embedded avatar bundle.")
    parser.add_argument("data", type=Path, help="folder of shards made by avatar.dataset")
    parser.add_argument("run", type=Path, help="folder of the trained networks")
    args = parser.parse_args()
    publish(args.data, args.run)


if __name__ == "__main__":
    main()
