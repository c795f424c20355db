"""A pixel more or less at the border, or another size, hardly changes the crop and the latent."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from micromotion import Animator
from micromotion.face.alignment import align
from micromotion.face.crop import crop_quad, ffhq_quad
from micromotion.face.detection import detect
from micromotion.face.landmarks import find_landmarks

pytestmark = pytest.mark.slow

DOCS = Path(__file__).resolve().parents[2] / "docs"
PICTURES = [DOCS / "face.jpg", *(DOCS / "faces" / f"{name}.jpg" for name in (
    "elizabeth-i", "grace-hopper", "mona-lisa", "peter-stuyvesant", "red-jacket"))]  # fmt: skip


def variants(photo: Image.Image) -> Iterator[tuple[Image.Image, np.ndarray, np.ndarray]]:
    """Slightly different versions of the photo: the picture, its scale, and its shift in x and y."""
    for border in (1, 2, 3, 4):
        yield ImageOps.expand(photo, border), np.ones(2), np.full(2, border)
    for left, top in ((1, 0), (0, 1), (3, 2)):
        yield photo.crop((left, top, *photo.size)), np.ones(2), np.array([-left, -top])
    for scale in (0.97, 1.01, 1.03):
        size = round(photo.width * scale), round(photo.height * scale)
        yield photo.resize(size, Image.Resampling.LANCZOS), np.array(size) / photo.size, np.zeros(2)


def moved(quad: np.ndarray, other: np.ndarray) -> float:
    """The largest movement of a corner, as a fraction of the crop's side."""
    return float(np.linalg.norm(other - quad, axis=1).max() / np.linalg.norm(quad[3] - quad[0]))


def test_a_border_a_shift_and_another_size_change_little() -> None:
    """The detector's own box moves crops by up to 13% of their side, and latents by up to 39%."""
    animator = Animator.load("avatar", "cpu")
    average = animator.bundle.generator.latent_avg
    crops, latents = [], []
    for path in PICTURES:
        with Image.open(path) as file:
            photo = file.convert("RGB")
        face = align(photo)
        latent = animator.encode(face.image, aligned=True)
        for picture, scale, border in variants(photo):
            again = align(picture)
            crops.append(moved(face.quad, (again.quad + 0.5 - border) / scale - 0.5))
            change = animator.encode(again.image, aligned=True) - latent
            latents.append(float(change.norm() / (latent - average).norm()))
    assert max(crops) < 0.02
    assert np.median(crops) < 0.006
    assert max(latents) < 0.1
    assert np.median(latents) < 0.03


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_the_detectors_box_hardly_matters(path: Path) -> None:
    """dlib's step sizes: a shift by a tenth of the box, a sixth larger or smaller."""
    with Image.open(path) as file:
        photo = file.convert("RGB")
    box = np.array(detect(photo)[0].box)
    quad = align(photo).quad
    width = int(box[2] - box[0])
    for right, down, larger in (
        (0.1, 0, 0),
        (-0.1, 0, 0),
        (0, 0.1, 0),
        (0, -0.1, 0),
        (0, 0, 0.08),
        (0, 0, -0.08),
    ):
        away = width * np.array([right - larger, down - larger, right + larger, down + larger])
        left, top, right_edge, bottom = np.rint(box + away).astype(int).tolist()
        assert moved(quad, ffhq_quad(find_landmarks(photo, (left, top, right_edge, bottom)))) < 0.025


def test_the_steady_crop_equals_the_old_one_on_average() -> None:
    """FFHQ was cropped by single detections; the steady crop is their mean over borders."""
    away = []
    for path in PICTURES:
        with Image.open(path) as file:
            photo = file.convert("RGB")
        singles = []
        for border in range(8):
            picture = ImageOps.expand(photo, border)
            box = detect(picture)[0].box
            singles.append(ffhq_quad(find_landmarks(picture, box, compatible=True)) - border)
        quad, mean = align(photo).quad, np.mean(singles, axis=0)
        side, wanted = (np.linalg.norm(each[3] - each[0]) for each in (quad, mean))
        away.append([*(quad - mean).mean(axis=0) / wanted, side / wanted - 1])
    assert np.abs(np.mean(away, axis=0)).max() < 0.01
    assert np.abs(away).max() < 0.035


def test_a_tilted_photo_gives_the_same_crop() -> None:
    with Image.open(DOCS / "faces" / "grace-hopper.jpg") as file:
        photo = file.convert("RGB")
    face = align(photo)
    for angle in (-20, -10, 10, 20):
        again = align(photo.rotate(angle, Image.Resampling.BICUBIC))
        turn = np.deg2rad(-angle)
        back = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        middle = (np.array(photo.size) - 1) / 2
        assert moved(face.quad, (again.quad - middle) @ back + middle) < 0.02


def test_compatible_reads_landmarks_once_in_the_detectors_box() -> None:
    import dlib

    from micromotion.face.landmarks import landmark_model

    predictor = dlib.shape_predictor(str(landmark_model()))
    for path in PICTURES:
        with Image.open(path) as file:
            photo = file.convert("RGB")
        face = align(photo, compatible=True)
        parts = predictor(np.asarray(photo), dlib.rectangle(*face.box)).parts()
        single = np.array([[part.x, part.y] for part in parts], np.float64)
        np.testing.assert_array_equal(face.landmarks, single)
        np.testing.assert_array_equal(face.quad, ffhq_quad(single))
        np.testing.assert_array_equal(face.image, crop_quad(photo, face.quad, 256, compatible=True))


def test_without_a_face_landmarks_stay_near_the_box() -> None:
    rng = np.random.default_rng(5)
    picture = Image.fromarray(rng.integers(0, 256, (300, 400, 3), dtype=np.uint8))
    for box in ((100, 100, 180, 180), (-30, 240, 60, 330), (0, 0, 2, 2)):
        landmarks = find_landmarks(picture, box)
        assert np.isfinite(landmarks).all()
        width = box[2] - box[0]
        assert np.abs(landmarks.mean(axis=0) - (box[0] + width / 2, box[1] + width / 2)).max() < 2 * width
