"""Measure what docs/model-card.md says of the avatar's bias, and write the figures into it.

    python -m tools.bias     # some minutes on one core

Two sets of faces are measured. The faces in docs/faces: are they found, also when dark or small, and how does
the inversion change their skin's lightness (L* of CIELAB on both cheeks)? Faces that the model draws itself,
whose traits are known from the latent: are they found, and does every motion move all groups equally far?
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.stats import spearmanr
from skimage.color import rgb2lab
from torch import Tensor

from avatar.renderer.factors import INDEX, MOTIONS, Factors, factors_from_z, sample_z
from avatar.report.subject import BATCH, Subject, as_image, load_subject
from avatar.training.collect import PUBLISHED_NAMES
from micromotion.face.alignment import align
from micromotion.face.detection import detect
from micromotion.inspection import render
from micromotion.types import Frame

DOCS = Path(__file__).resolve().parents[1] / "docs"
CARD, BEGIN, END = DOCS / "model-card.md", "<!-- python -m tools.bias: begin -->\n", "<!-- end -->"
PEOPLE, SEED = 192, 1
CHEEKS = ((2, 31, 48), (14, 35, 54))  # dlib's landmarks whose mean is a cheek's centre
RADIUS = 0.045  # of the crop's side
MEDIA = {
    "eileen-collins": "photograph",
    "grace-hopper": "photograph",
    "geronimo": "photograph, grey",
    "red-jacket": "lithograph",
}
"""All others are paintings."""


def main() -> None:
    """Measure, and write the figures between the markers in the model card."""
    argparse.ArgumentParser(prog="python -m tools.bias", description=__doc__.split("\n")[0]).parse_args()
    torch.set_grad_enabled(False)
    subject = load_subject()
    text = "\n".join([*real_faces(subject), "", *drawn_faces(subject), "", measured_of(subject), ""])
    card = CARD.read_text(encoding="utf-8")
    head, _, rest = card.partition(BEGIN)
    _, end, tail = rest.partition(END)
    CARD.write_text(f"{head}{BEGIN}{text}{end}{tail}", encoding="utf-8")
    print(text)


def measured_of(subject: Subject) -> str:
    """The weights that the figures were measured on."""
    files = subject.about["files"]
    names = [f"{part} `{files[f'{part}.safetensors']['sha256'][:8]}`" for part in ("generator", "inverter")]
    return f"Measured on the {' and the '.join(names)} (SHA-256 in `bundle.json`)."


# --- faces in docs/faces ------------------------------------------------------------------------------------


def real_faces(subject: Subject) -> Iterator[str]:
    """A row per face, and a summary."""
    yield "| face | | found, score | dark, a quarter | small, 64 pixels | L* of the skin | of its inversion |"
    yield "|---|---|---|---|---|---|---|"
    before, after, crops, shown = [], [], [], []
    for path in sorted((DOCS / "faces").glob("*.jpg")):
        with Image.open(path) as file:
            photo = file.convert("RGB")
        face = align(photo, 256)
        latent = subject.animator.encode(photo)[0].cpu()
        picture = resized(render([latent], subject.animator.bundle)[0], 256)
        assert face.landmarks is not None
        landmarks = face.to_aligned(face.landmarks) / 256
        crops.append(np.asarray(face.image))
        shown.append(picture)
        before.append(lightness(crops[-1], landmarks))
        after.append(lightness(picture, landmarks))
        dark = found(photo.point(lambda level: level // 4))
        height = max(32, round(64 * photo.height / photo.width))
        small = found(photo.resize((64, height), Image.Resampling.LANCZOS))
        name, medium = path.stem.replace("-", " "), MEDIA.get(path.stem, "painting")
        light = f"{before[-1]:.0f} | {after[-1]:.0f}"
        yield f"| {name} | {medium} | {face.score:.2f} | {dark} | {small} | {light} |"
    slope = np.polyfit(before, after, 1)[0]
    order = spearmanr(before, after).statistic
    yield ""
    yield (
        f"Lightness of skin: from {min(before):.0f} to {max(before):.0f} in the crops (standard deviation "
        f"{np.std(before):.1f}), from {min(after):.0f} to {max(after):.0f} in the inversions "
        f"({np.std(after):.1f}). Slope {slope:.2f}, where 1 keeps all differences and 0 removes "
        f"them; rank correlation {order:.2f}. Two faces differ by {apart(crops):.0f} gray levels on average "
        f"in the crops (at 32 by 32 pixels), by {apart(shown):.0f} in the inversions."
    )


def resized(picture: Frame, side: int, how: Image.Resampling = Image.Resampling.BICUBIC) -> Frame:
    """A square picture at another size."""
    return np.asarray(Image.fromarray(picture).resize((side, side), how))


def lightness(picture: Frame, landmarks: np.ndarray) -> float:
    """The median L*, 0…100, of both cheeks of a picture with landmarks [68, 2] in the unit square."""
    side = len(picture)
    rows, columns = np.mgrid[:side, :side]
    mask = np.zeros((side, side), bool)
    for corners in CHEEKS:
        x, y = landmarks[list(corners)].mean(axis=0) * side
        mask |= np.hypot(columns - x, rows - y) < RADIUS * side
    return float(np.median(rgb2lab(picture)[..., 0][mask]))


def found(photo: Image.Image) -> str:
    """The best face's score, or "no" if none is found."""
    faces = detect(photo)
    return f"{faces[0].score:.2f}" if faces else "no"


def apart(pictures: list[Frame]) -> float:
    """The mean difference between two of the pictures, in gray levels."""
    small = [resized(each, 32, Image.Resampling.BOX).astype(np.float64) for each in pictures]
    return float(np.mean([np.abs(a - b).mean() for i, a in enumerate(small) for b in small[:i]]))


# --- faces that the model draws -----------------------------------------------------------------------------


def drawn_faces(subject: Subject) -> Iterator[str]:
    """A row per group of people: how many are found, and how far each motion moves them."""
    z = sample_z(PEOPLE, torch.Generator().manual_seed(SEED))
    age = z[:, INDEX["age"]].clone()
    z[:, : INDEX["gaze_y"] + 1] = 0  # rest pose, looking straight ahead
    z[:, INDEX["age"]] = age
    latents = subject.sample(z, 0.8).cpu()
    still = read(subject, latents)
    faces = np.array([bool(detect(as_image(picture))) for picture in subject.show(latents)])
    moved = {}
    for factor in MOTIONS:
        offset = subject.motions[PUBLISHED_NAMES[factor]].offset(1.0)
        own = MOTIONS.index(factor)
        moved[PUBLISHED_NAMES[factor]] = read(subject, latents + offset)[:, own] - still[:, own]
    yield f"| people | of {PEOPLE} | found | " + " | ".join(moved) + " |"
    yield "|---|---|---|" + "---|" * len(moved)
    for name, who in groups(factors_from_z(z)).items():
        cells = [f"{change[who].mean():.2f}" for change in moved.values()]
        yield f"| {name} | {who.sum()} | {faces[who].mean():.0%} | " + " | ".join(cells) + " |"


def groups(factors: Factors) -> dict[str, np.ndarray]:
    """A mask of people for each group, by the renderer's factors; groups overlap."""
    value = {name: values[:, 0].numpy() for name, values in factors.items()}
    tone, age = value["skin_tone"], value["age"]
    return {
        "all": np.ones(len(tone), bool),
        "skin tone, lightest third": tone < 1 / 3,
        "skin tone, middle third": (tone >= 1 / 3) & (tone < 2 / 3),
        "skin tone, darkest third": tone >= 2 / 3,
        "young (age 0)": age == 0,
        "old (age above 0.3)": age > 0.3,
        "beard": value["beard"] > 0.2,
        "glasses": value["glasses"] > 0.2,
    }


def read(subject: Subject, latents: Tensor) -> np.ndarray:
    """The regressor's readings of the latents' pictures, [N, factors]."""
    device = subject.animator.bundle.device
    parts = [subject.generator.synthesize(part.to(device), noise=None) for part in latents.split(BATCH)]
    return torch.cat([subject.regressor(part) for part in parts]).cpu().numpy()


if __name__ == "__main__":
    main()
