"""A clip drives several faces of a photo: each as it would alone, kept apart, the nearest in front."""

from pathlib import Path

import numpy as np
import pytest
from neighbouring_faces import features, neighbours, together
from PIL import Image
from trajectories import displaced, still

from micromotion import Animator
from micromotion.drive.driven_photo import DrivenGroup, frame_at, places
from micromotion.errors import NoFaceError
from micromotion.types import Frame

GROUP = Path(__file__).resolve().parents[2] / "docs" / "faces" / "groups" / "oath.jpg"
SMILING = still(
    3,
    lids=0.8,
    gap=0.2,
    landmarks=displaced(_48=(-0.08, -0.05), _54=(0.08, -0.05), _8=(0, 0.1)),
    pose=[[0, 0, 0], [6, 2, 1], [9, 3, 2]],
)
TURNING = still(pose=[20, 0, 0])

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def animator() -> Animator:
    return Animator.load("avatar", "cpu")


@pytest.fixture(scope="module")
def photo() -> Frame:
    """Four people whose squares do not overlap."""
    return np.asarray(Image.open(GROUP).convert("RGB"))


def test_faces_apart_move_as_each_does_alone(animator: Animator, photo: Frame) -> None:
    both = animator.drive(GROUP, SMILING, faces="0,2")
    assert (list(both.faces or ()), both.found, both.size) == ([0, 2], 4, photo.shape[1::-1])
    alone = [animator.drive(GROUP, SMILING, face=number) for number in (0, 2)]
    for shown, *each in zip(both, *alone, strict=True):
        assert np.array_equal(shown, together(photo, *each))


def test_all_means_all(animator: Animator) -> None:
    everybody = animator.drive(GROUP, SMILING, faces="all")
    assert sorted(everybody.faces or ()) == [0, 1, 2, 3]
    assert everybody.describe_faces() == "Faces: 4 found, moving 0, 1, 2, 3"
    listed = animator.drive(GROUP, SMILING, faces="3,1,2,0")
    for one, other in zip(everybody, listed, strict=True):
        assert np.array_equal(one, other)


def test_a_trajectory_at_rest_leaves_the_photo_bit_for_bit(animator: Animator, photo: Frame) -> None:
    for frame in animator.drive(GROUP, still(2), faces="all"):
        assert np.array_equal(frame, photo)


def test_the_photo_is_scaled_as_for_one_face(animator: Animator) -> None:
    assert animator.drive(GROUP, still(), faces="0,1", size=400).size == (400, 200)


def test_a_face_that_is_not_there_is_told(animator: Animator) -> None:
    with pytest.raises(NoFaceError, match="4 faces"):
        animator.drive(GROUP, SMILING, faces="0,7")


@pytest.mark.parametrize(("mover", "neighbour"), [(0, 1), (1, 0)])
def test_a_driven_head_leaves_its_neighbours_face_alone(mover: int, neighbour: int) -> None:
    picture, faces = neighbours()
    shown = DrivenGroup(picture, faces, [mover], TURNING).drawn(0)
    unmoved = np.asarray(picture)
    assert np.array_equal(shown[features(faces[neighbour])], unmoved[features(faces[neighbour])])
    assert not np.array_equal(shown[features(faces[mover])], unmoved[features(faces[mover])])


def test_the_larger_head_is_in_front() -> None:
    """Morisot turns towards Franklin, and stays behind him, whatever the order in the list."""
    picture, faces = neighbours()
    one, other = (DrivenGroup(picture, faces, order, TURNING).drawn(0) for order in ([0, 1], [1, 0]))
    assert np.array_equal(one, other)
    him = DrivenGroup(picture, faces, [0], TURNING).drawn(0)
    assert np.array_equal(one[features(faces[0])], him[features(faces[0])])


def test_places_name_the_frames_of_the_trajectory() -> None:
    picture, faces = neighbours()
    group = DrivenGroup(picture, faces, [0], SMILING)
    for frame, place in enumerate(places(len(SMILING))):
        assert frame_at(float(place[0]), len(SMILING)) == frame
        assert np.array_equal(group(place), group.drawn(frame))
