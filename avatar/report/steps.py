"""The report's steps: each measures one thing, draws its pictures, and returns its figures."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatar.report import heads, pictures
from avatar.report.cost import cost
from avatar.report.detection import STRENGTHS, TURNS, detection, expected, look
from avatar.report.diversity import Renders, diversity
from avatar.report.keeping import Figures
from avatar.report.motions import MotionResponse, movement
from avatar.report.reconstruction import reconstruct
from avatar.report.ssim import scales
from avatar.report.subject import Subject, feature_net
from avatar.training.collect import PUBLISHED_NAMES

SHOWN, SAMPLES, RENDERS = 8, 5000, 3072


@dataclass(frozen=True)
class ReportContext:
    """Shared by the steps: the model, the folder for pictures, the cache of renders."""

    subject: Subject
    pictures: Path
    cache: Path
    heads: int = heads.COUNT

    def rendered(self, z: Tensor) -> Tensor:
        return heads.rendered(z, self.subject.size, self.cache)


def draw_samples(context: ReportContext) -> Figures:
    """24 people that the generator imagines."""
    pictures.samples(context.subject, context.pictures / "samples.jpg")
    return {"count": pictures.SAMPLES, "truncation": pictures.TRUNCATION}


def play_motions(context: ReportContext) -> Figures:
    """The five motions on unseen heads, and as strips on two of them."""
    subject, z = context.subject, heads.neutral(context.heads)
    latents = subject.encode(context.rendered(z))
    names = list(PUBLISHED_NAMES.values())
    pictures.strips(subject, names, latents[:1], context.pictures / "motions-1.jpg")
    pictures.strips(subject, names, latents[1:2], context.pictures / "motions-2.jpg")
    found = {name: movement(subject, name, factor, latents) for factor, name in PUBLISHED_NAMES.items()}
    shaven = heads.shaven(z).numpy()
    figures = {name: movement_figures(each) for name, each in found.items()}
    figures["aging"]["moved_shaven"] = float(found["aging"].slopes[shaven, found["aging"].own].mean())
    return {"heads": len(z), "shaven": int(shaven.sum()), "motions": figures}


def movement_figures(found: MotionResponse) -> Figures:
    """The figures of a motion's response."""
    return {
        "monotone": found.monotone(),
        "moved": found.moved,
        "moved_5_percent": float(np.quantile(found.slopes[:, found.own], 0.05)),
        "others": found.others(),
    }


def invert_heads(context: ReportContext) -> Figures:
    """Unseen heads through e4e and back."""
    subject, true = context.subject, context.rendered(heads.as_met(context.heads))
    result = reconstruct(subject, true)
    labels = [f"{p:.1f} dB, {s:.2f}" for p, s in zip(result.psnr, result.ms_ssim, strict=True)]
    some = list(range(min(SHOWN, len(true))))
    for name, chosen in (("reconstruction", some), ("reconstruction-worst", result.worst(SHOWN))):
        pictures.pairs(
            true[chosen],
            result.made[chosen],
            [labels[i] for i in chosen],
            context.pictures / f"{name}.jpg",
        )
    figures: Figures = {
        "heads": len(true),
        "scales": scales(subject.size),
        "psnr": spread(result.psnr),
        "ms_ssim": spread(result.ms_ssim),
    }
    if result.identity is not None and result.strangers is not None:
        figures |= {"identity": spread(result.identity), "strangers": spread(result.strangers)}
    return figures


def spread(values: Tensor) -> dict[str, float]:
    """The mean and the 5% quantile."""
    return {"mean": float(values.mean()), "5%": float(values.float().quantile(0.05))}


def compare_samples(context: ReportContext) -> Figures:
    """Samples against renders that the model learned from."""
    subject, network = context.subject, feature_net(context.subject)
    renders = Renders(heads.learned(RENDERS), subject.size, context.cache)
    found = diversity(subject, network, renders, SAMPLES)
    pictures.sheet(
        context.pictures / "neighbours.jpg",
        [found.samples, found.neighbours, found.twins],
        [
            label
            for label in ("a sample", "nearest render", "nearest sample")
            for _ in range(len(found.samples))
        ],
    )
    figures = {name: value for name, value in vars(found).items() if not isinstance(value, Tensor)}
    return {"net": network.name, "meaning": network.meaning, **figures}


def find_faces(context: ReportContext) -> Figures:
    """dlib on the model's pictures of heads turned by up to 25°, and on the renders for comparison."""
    subject = context.subject
    turned, straight = heads.turned(context.heads), heads.neutral(context.heads)
    renders, where = context.rendered(turned), expected(turned)
    figures: Figures = {"renders": asdict(look(renders, where)[0])}
    latents, failures = subject.encode(renders), []
    for name in PUBLISHED_NAMES.values():
        if name == "headsTurn":
            start = subject.encode(context.rendered(straight))
            found, failed = detection(
                subject,
                name,
                start,
                lambda turn: expected(heads.with_factor(straight, "yaw", turn)),
                TURNS,
            )
        else:
            found, failed = detection(subject, name, latents, lambda _: where, STRENGTHS)
        figures[name] = {strength: asdict(each) for strength, each in found.items()}
        failures.append(failed[:: max(1, len(failed) // 2)][:2])
    shown = torch.cat(failures)
    if len(shown):
        pictures.sheet(context.pictures / "not-found.jpg", [shown], ())
    return figures | {"failures": len(shown)}


def measure_cost(context: ReportContext) -> Figures:
    """Seconds and memory on the CPU, by threads."""
    return {str(threads): asdict(cost(context.subject.folder, threads)) for threads in (1, 2)}


STEPS: Mapping[str, Callable[[ReportContext], Figures]] = {
    "samples": draw_samples,
    "reconstruction": invert_heads,
    "motions": play_motions,
    "detection": find_faces,
    "diversity": compare_samples,
    "cost": measure_cost,
}
