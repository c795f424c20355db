"""The report's pictures: sheets of the model's own output, small enough for a repository."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from avatar.renderer.factors import sample_z
from avatar.report.subject import Subject
from micromotion.video.contact_sheet import contact_sheet

QUALITY = 86
SAMPLES, TRUNCATION, SEED = 24, 0.7, 24
STRIP = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def sheet(path: Path, rows: Sequence[Tensor], labels: Sequence[str], tile: int = 160) -> None:
    """Write rows of pictures, each uint8 [N, 3, S, S], as one JPEG; a label for each picture, row by row."""
    frames = [picture.movedim(0, -1).contiguous().numpy() for row in rows for picture in row]
    picture = contact_sheet(frames, labels=labels or None, columns=len(rows[0]), tile=tile)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=QUALITY, optimize=True, progressive=True)


def samples(subject: Subject, path: Path) -> None:
    """Draw 24 people that the generator imagines, none of them picked."""
    z = sample_z(SAMPLES, torch.Generator().manual_seed(SEED))
    sheet(path, list(subject.show(subject.sample(z, TRUNCATION)).split(SAMPLES // 3)), (), tile=184)


def strips(subject: Subject, motions: Sequence[str], latent: Tensor, path: Path) -> None:
    """Draw each motion as a row, on the face of one latent [1, styles, dim]."""
    rows, labels = [], []
    for name in motions:
        offsets = torch.stack([subject.motions[name].offset(strength) for strength in STRIP])
        rows.append(subject.show(latent + offsets.to(latent.device)))
        labels += [f"{name} {strength:.0%}" for strength in STRIP]
    sheet(path, rows, labels, tile=184)


def pairs(upper: Tensor, lower: Tensor, labels: Sequence[str], path: Path) -> None:
    """Draw pictures [N, 3, S, S] above others, with labels below the lower ones."""
    sheet(path, [upper, lower], [""] * len(upper) + list(labels))
