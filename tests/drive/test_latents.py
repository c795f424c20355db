"""The view 'model': a clip's latent trajectory on another face, as differences from rest alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from videos import write_video

from micromotion import Animator
from micromotion.drive.latents import LatentPath, ReadLatents, read_latents
from micromotion.types import Frame

FACES = Path(__file__).resolve().parents[2] / "docs" / "faces"
PHOTO, DRIVER = FACES / "grace-hopper.jpg", FACES / "eileen-collins.jpg"
STILL, FRAMES = 4, 14


@pytest.fixture(scope="module")
def animator() -> Animator:
    """The embedded model."""
    return Animator.load("avatar", "cpu")


@pytest.fixture(scope="module")
def clip(animator: Animator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of another person, who is at rest for STILL frames, turns the head, and comes back."""
    turning = list(animator.animate(DRIVER, "headsTurn", strength=0.6, frames=5, size=360, view="face"))
    frames = [turning[0]] * STILL + turning + turning[::-1]
    return write_video(tmp_path_factory.mktemp("clip") / "turn.mp4", frames)


@pytest.fixture(scope="module")
def read(animator: Animator, clip: Path) -> ReadLatents:
    return read_latents(clip, animator.bundle, rest=0)


def picture(animator: Animator, photo: Path) -> Frame:
    """What the model draws of a photo at rest."""
    return next(iter(animator.animate(photo, strength=0, frames=1, view="model")))


def test_a_path_is_played_from_its_first_to_its_last_frame() -> None:
    basis = torch.eye(6, dtype=torch.float64)[:2].unflatten(1, (2, 3))
    path = LatentPath(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, -2.0]], dtype=torch.float64), basis)
    assert path.offset(0.5).flatten().tolist() == [1, 0, 0, 0, 0, 0]
    assert path.offset(1.0).flatten().tolist() == [0.5, -2, 0, 0, 0, 0]
    assert path.scaled(0.5).offset(1.0).flatten().tolist() == [0.25, -1, 0, 0, 0, 0]


@pytest.mark.slow
def test_the_frame_at_rest_is_the_photos_own_latent_exactly(animator: Animator, read: ReadLatents) -> None:
    motion = read.motion(1.0)
    assert motion.curve is not None
    assert not motion.curve.offset(0.0).any()
    assert motion.curve.offset(7 / (STILL + 9)).any()


@pytest.mark.slow
def test_at_rest_the_model_draws_the_photos_own_picture(animator: Animator, clip: Path) -> None:
    frames = list(animator.drive(PHOTO, clip, view="model", rest=0, audio=False))
    own = picture(animator, PHOTO)
    assert (frames[0] == own).all()
    changes = [float(np.abs(frame.astype(int) - own).mean()) for frame in frames]
    moving = max(changes[STILL:])
    assert max(changes[:STILL]) < 0.1 * moving  # the driver does nothing, whatever the driver looks like
    assert moving > 3


@pytest.mark.slow
def test_a_moving_face_does_not_become_the_drivers(animator: Animator, clip: Path) -> None:
    """By the bundle's identity network: the driven face is not nearer to the driver than the photo is."""
    driver = features(animator, [picture(animator, DRIVER)])
    driven = features(animator, list(animator.drive(PHOTO, clip, view="model", rest=0, audio=False)))
    likeness = (driven @ driver.T)[:, 0]
    assert likeness.max() < likeness[0] + 0.05
    assert (driven @ driven[0]).min() > 0.8


def features(animator: Animator, frames: list[Frame]) -> torch.Tensor:
    network = animator.bundle.identity
    assert network is not None
    pictures = torch.from_numpy(np.stack(frames)).movedim(-1, 1).float() / 127.5 - 1
    with torch.inference_mode():
        return network.features(pictures)


@pytest.mark.slow
def test_strength_zero_is_the_photos_own_latent_throughout(read: ReadLatents) -> None:
    curve = read.motion(0.0).curve
    assert curve is not None
    assert not any(curve.offset(place).any() for place in (0.0, 0.4, 1.0))
