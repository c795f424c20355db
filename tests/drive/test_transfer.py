"""The rules by which a trajectory becomes what a photo's face does."""

from typing import Any

import numpy as np
import pytest
from photo_faces import mirrored, registered
from trajectories import displaced, still

from micromotion.drive.transfer import TRANSFER, FaceMotion, Transfer
from micromotion.photo.effects import Effects
from micromotion.photo.head import MIRROR
from micromotion.photo.lips import LOWER_INNER, UPPER_INNER, lips_apart

CLOSED, SMILING = "mona-lisa", "eileen-collins"


def transferred(name: str, frame: int = 0, **moving: Any) -> FaceMotion:
    return Transfer(registered(name))(still(frame + 1, **moving), frame)


def opening(motion: FaceMotion) -> float:
    return float((motion.field[LOWER_INNER, 1] - motion.field[UPPER_INNER, 1]).mean())


@pytest.mark.slow
@pytest.mark.parametrize("name", [CLOSED, SMILING, "grace-hopper", "peter-stuyvesant"])
def test_a_face_at_rest_moves_nothing(name: str) -> None:
    motion = transferred(name)
    assert motion.effects == Effects()
    assert not motion.field.any()
    assert not motion.gaze.any()
    assert not motion.travel.any()


def test_lids_gaze_and_pose_are_the_drivers() -> None:
    motion = transferred(CLOSED, lids=[0.3, 0.9], gaze=[[0.1, 0.02], [0.1, 0.02]], pose=[12, -3, 4])
    assert motion.effects == Effects(left_eye=0.3, right_eye=0.9, yaw=12, pitch=-3, roll=4)
    np.testing.assert_allclose(motion.gaze, [[0.1, 0.02]] * 2)


def test_lips_open_by_the_gap_whatever_the_landmarks_say() -> None:
    said = displaced(_66=(0, 0.02), _65=(0, 0.02), _67=(0, 0.02))
    one, other = transferred(CLOSED, gap=0.2), transferred(CLOSED, gap=0.2, landmarks=said)
    assert opening(one) > 0.1
    assert opening(other) == pytest.approx(opening(one))
    assert opening(transferred(CLOSED, gap=0.4)) == pytest.approx(2 * opening(one))


def test_an_open_mouth_takes_the_larger_opening() -> None:
    own = lips_apart(registered(SMILING))
    assert own > 0
    assert opening(transferred(SMILING, gap=0.1 * own)) == 0
    assert opening(transferred(SMILING, gap=2 * own)) > 0


def test_a_mouth_that_smiles_already_smiles_less() -> None:
    smile = displaced(_48=(-0.1, -0.08), _54=(0.1, -0.08), _60=(-0.1, -0.08), _64=(0.1, -0.08))
    calm, smiling = (transferred(name, landmarks=smile).field for name in (CLOSED, SMILING))

    def wider(field: np.ndarray) -> float:
        return float(field[54, 0] - field[48, 0])

    assert 0 < wider(smiling) < 0.7 * wider(calm)
    assert abs(smiling[48, 1]) < 0.7 * abs(calm[48, 1])


def test_brows_corners_and_nose_move_in_eye_distances() -> None:
    moved = displaced(_19=(0.01, -0.1), _31=(-0.05, 0), _27=(0.1, 0.1))
    field = transferred("jakob-fugger", landmarks=moved).field
    assert field[19, 1] < -0.09
    assert field[31, 0] / field[19, 0] < 0  # outwards, as given
    assert abs(field[31, 0]) < 0.05 * 1.2 * TRANSFER.nose
    assert not field[27].any()  # the bridge of the nose belongs to the skull


def test_the_chin_takes_the_jaw_along_and_the_temples_not() -> None:
    field = transferred(CLOSED, landmarks=displaced(_8=(0.1, 0.2))).field
    assert field[8, 1] > 0.15
    assert field[8, 1] > field[5, 1] > field[2, 1] >= 0
    assert not field[:17, 0].any()
    assert field[0, 1] < 0.001


def test_where_the_face_is_lost_nothing_moves_and_on_the_way_less() -> None:
    moving = {"lids": 1.0, "pose": 10.0, "landmarks": 0.1, "gap": 0.3, "gaze": 0.1, "shift": 0.2}
    trajectory = still(3, weight=[1, 0.5, 0], **moving)
    whole, half, none = (Transfer(registered(CLOSED))(trajectory, frame) for frame in range(3))
    assert half.effects == Effects(left_eye=0.5, right_eye=0.5, yaw=5, pitch=5, roll=5)
    np.testing.assert_allclose(half.field, whole.field / 2)
    assert none.effects == Effects()
    assert not any(part.any() for part in (none.field, none.gaze, none.travel))


def test_the_heads_translation_is_bounded() -> None:
    near, far = (transferred(CLOSED, shift=[by, 0], scale=1 + by).travel for by in (0.01, 50))
    assert near == pytest.approx([TRANSFER.follow * 0.01, 0, TRANSFER.follow * 0.01], rel=0.05)
    assert far[0] == pytest.approx(TRANSFER.farthest)
    assert far[2] == pytest.approx(TRANSFER.growth)


@pytest.mark.parametrize("name", [CLOSED, SMILING])
def test_a_mirrored_driver_moves_a_mirrored_photo_as_its_mirror_image(name: str) -> None:
    rng = np.random.default_rng(5)
    trajectory = still(
        lids=[0.2, 0.7], gaze=0.1, gap=0.2, landmarks=0.1 * rng.standard_normal((68, 2)), pose=[9, 4, -3]
    )
    plain = Transfer(registered(name))(trajectory, 0)
    other = Transfer(mirrored(registered(name)))(trajectory.mirrored(), 0)
    assert (other.effects.left_eye, other.effects.yaw) == (0.7, -9)
    np.testing.assert_allclose(other.field[MIRROR] * (-1, 1), plain.field, atol=0.01)


def test_a_far_half_of_a_turned_face_moves_less_sideways() -> None:
    smile = displaced(_48=(-0.1, 0), _54=(0.1, 0))
    field = transferred("george-washington", landmarks=smile).field  # looks to the picture's left
    near, far = abs(field[54, 0]), abs(field[48, 0])
    assert far < 0.9 * near
