"""The moving photo: no pale mouth, no trembling, and when the inversion is trusted."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from micromotion import Animator
from micromotion.face.alignment import align
from micromotion.face.landmarks import find_landmarks
from micromotion.photo.effects import poses
from micromotion.photo.paste import Paste
from micromotion.photo.response import Family
from micromotion.photo.seam import around

pytestmark = pytest.mark.slow

FACES = Path(__file__).resolve().parents[2] / "docs" / "faces"


def open_face(name: str) -> Image.Image:
    return Image.open(FACES / f"{name}.jpg").convert("RGB")


@pytest.fixture(scope="module")
def animator() -> Animator:
    return Animator.load("avatar", device="cpu")


def test_poses_are_even_steps_of_each_motion_in_both_directions() -> None:
    video = np.array([[0, 0.2, 0], [1, -0.4, 0], [0.5, 0, 0]])
    rows = poses(video)
    steps = np.array([0.2, 0.4, 0.6, 0.8, 1])
    np.testing.assert_allclose(rows[:5], steps[:, None] * [1, 0, 0])
    np.testing.assert_allclose(rows[5:10], -0.4 * steps[:, None] * [0, 1, 0])
    np.testing.assert_allclose(rows[10:], 0.2 * steps[:, None] * [0, 1, 0])
    assert poses(np.zeros((4, 2))).shape == (0, 2)


def test_a_family_reproduces_smooth_responses_and_is_zero_at_rest() -> None:
    rows = poses(np.array([[2.0, 0.5], [-1, 0]]))
    generator = torch.Generator().manual_seed(0)
    powers = torch.randn(2, 3, 4, 5, generator=generator)

    def value(strengths: np.ndarray) -> torch.Tensor:
        parts = [powers[m, p] * float(s) ** (p + 1) for m, s in enumerate(strengths) for p in range(3)]
        return sum(parts, torch.zeros(()))

    family = Family(rows, [value(row) for row in rows])
    for strengths in ([0, 0], [1.3, 0], [-0.7, 0.25], [0, 0.5]):
        wanted = value(np.array(strengths))
        torch.testing.assert_close(family.total(np.array(strengths)), wanted, atol=1e-4, rtol=1e-4)
    assert len(family.at(np.array([0.5, 0]))) == 1


def test_a_family_smooths_measurement_errors() -> None:
    rows = poses(np.array([[1.0]]))
    rng = np.random.default_rng(0)
    errors = rng.normal(0, 0.01, (len(rows), 200)).astype(np.float32)
    family = Family(rows, [torch.from_numpy(row + error) for row, error in zip(rows, errors, strict=True)])
    found = np.stack([family.total(np.array([s])).numpy() for s in np.linspace(0, 1, 31)])
    assert np.abs(np.diff(found, 2, axis=0)).max() < 0.01


def test_the_displacement_field_does_not_tremble(animator: Animator) -> None:
    """It changes evenly from frame to frame, where landmarks of each frame alone would jump."""
    photo = open_face("grace-hopper")
    latent = animator.encode(photo)
    video = np.linspace(0, 0.6, 12)[:, None]
    rows = poses(video)
    still, *seen = (
        next(iter(animator.animate(latent, "headsTurn", frames=1, strength=float(s))))
        for s in (0, *rows[:, 0])
    )
    paste = Paste(photo, align(photo), still)
    paste.learn(list(zip(rows, seen, strict=True)))
    rest = torch.zeros(1, 3, 8, 8)
    fields = torch.cat([paste._moves(rest, strengths)[1] for strengths in video])
    once, twice = (fields.diff(n=order, dim=0).norm(dim=1).mean() for order in (1, 2))
    assert once > 5e-4
    assert twice < 0.5 * once
    np.testing.assert_array_equal(paste(still, np.zeros(1)), np.asarray(photo))


@pytest.mark.parametrize("name", ["johan-de-witt", "mona-lisa", "peter-stuyvesant"])
def test_a_smile_leaves_no_pale_patch(animator: Animator, name: str) -> None:
    """The model adds pixels only in mouth and eyes, no brighter than the face's own highlights."""
    photo = open_face(name)
    aligned = align(photo)
    still, frame = animator.animate(photo, "smile", frames=2, view="model")
    paste = Paste(photo, aligned, still)
    picture = paste(frame)
    paste._photo = np.zeros_like(picture)  # black stays black, moved or lit: only the model's pixels show
    added = luma(Image.fromarray(paste(frame)))

    landmarks = find_landmarks(Image.fromarray(picture), aligned.box)
    pixels = np.moveaxis(np.indices(added.shape)[::-1], 0, -1).astype(np.float64)
    parts = [around(landmarks[part]).inside(pixels) for part in (slice(36, 42), slice(42, 48), slice(48, 60))]
    beyond = np.max(parts, axis=0) < -0.15 * np.linalg.norm(landmarks[54] - landmarks[48])
    assert added[beyond].sum() < 0.03 * added.sum()  # 0.18 or more if new colours show everywhere

    rest = aligned.landmarks
    assert rest is not None
    face = luma(photo)[int(rest[19, 1]) : int(rest[8, 1]), int(rest[2, 0]) : int(rest[14, 0])]
    assert added.max() < np.percentile(face, 99)
    assert np.abs(picture.astype(int) - np.asarray(photo))[~beyond].mean() > 4, "nothing smiles"


def test_a_mouth_that_opens_is_not_torn(animator: Animator) -> None:
    """The full smile is wide in the photo too; a field from pictures alone would lose the mouth's corners."""
    photo = open_face("johan-de-witt")
    *_, last = animator.animate(photo, "smile", frames=1, view="photo")
    box = align(photo).box

    def width(image: Image.Image) -> float:
        at = find_landmarks(image, box)
        return float(np.linalg.norm(at[54] - at[48]) / np.linalg.norm(at[45] - at[36]))

    assert width(Image.fromarray(last)) > 1.1 * width(photo)


def luma(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L")).astype(np.float64)


def test_an_inversion_is_trusted_by_its_likeness_to_the_photo(animator: Animator) -> None:
    photo = open_face("mona-lisa")
    aligned = align(photo)
    own = np.asarray(aligned.image)
    twin = Paste(photo, aligned, own)
    assert twin.likeness > 0.95
    still = next(iter(animator.animate(photo, frames=1, strength=0, view="model")))
    other = Paste(photo, aligned, still)
    assert other.likeness < 0.6
    # A blot on the cheek belongs to the face if the inversion is a twin, and not if it is another face.
    y, x = 140, 165
    for paste, frame, shows in ((twin, own.copy(), True), (other, still.copy(), False)):
        frame[y - 6 : y + 6, x - 6 : x + 6] = (20, 40, 220)
        change = np.asarray(paste(frame)).astype(int) - np.asarray(photo)
        assert (change[..., 2].max() > 60) == shows
