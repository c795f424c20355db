"""The README's pictures, all drawn by the model that ships: samples, motions, real faces."""

from pathlib import Path

import numpy as np
import torch

from avatar.renderer.factors import sample_z
from avatar.renderer.render import render
from avatar.report import pictures
from avatar.report.measure import to_picture
from avatar.report.subject import Subject, load_subject
from avatar.training.collect import PUBLISHED_NAMES, at_rest
from micromotion import Animator, align
from micromotion.face.images import load_image
from micromotion.types import Frame
from micromotion.video.contact_sheet import contact_sheet

DEMO_SEED, FACE_SIZE = 12, 512
ABREAST, TILE, REFINED = 6, 160, 30
LEFT_OUT = ("peter-stuyvesant", "red-jacket")
"""Faces of docs/faces that are left out, so that twelve are shown."""


def draw(docs: Path) -> None:
    """Draw face.jpg, smile.png, motions.jpg, samples.jpg and faces.jpg into the folder of documents."""
    draw_stranger(docs / "face.jpg")
    subject = load_subject()
    subject.animator.animate(docs / "face.jpg", "smile", view="model").sheet(6).save(
        docs / "smile.png", optimize=True
    )
    latent = subject.animator.encode(docs / "face.jpg")
    pictures.strips(subject, list(PUBLISHED_NAMES.values()), latent, docs / "motions.jpg")
    pictures.samples(subject, docs / "samples.jpg")
    draw_faces(subject, sorted((docs / "faces").glob("*.jpg")), docs / "faces.jpg")


def draw_stranger(path: Path) -> None:
    """A rendered person who is in no data set, framed like a snapshot."""
    person = at_rest(sample_z(1, torch.Generator().manual_seed(DEMO_SEED)))
    to_picture(render(person, FACE_SIZE, zoom=0.8)[0]).save(path, quality=92)


def draw_faces(subject: Subject, photos: list[Path], path: Path) -> None:
    """Real faces, six abreast: each photo's crop, below it the refined avatar, and below that its smile."""
    shown = [photo for photo in photos if photo.stem not in LEFT_OUT]
    frames: list[Frame] = []
    for start in range(0, len(shown), ABREAST):
        columns = [stages(subject.animator, photo) for photo in shown[start : start + ABREAST]]
        frames += [stage for row in zip(*columns, strict=True) for stage in row]
    contact_sheet(frames, columns=ABREAST, tile=TILE).save(path, quality=pictures.QUALITY, optimize=True)


def stages(animator: Animator, photo: Path) -> tuple[Frame, Frame, Frame]:
    """A photo's crop, its refined avatar, and its smile, at the model's size."""
    still, smile = animator.animate(photo, "smile", frames=2, refine=REFINED, view="model")
    crop = align(load_image(photo), size=still.shape[0]).image
    return np.asarray(crop), still, smile
