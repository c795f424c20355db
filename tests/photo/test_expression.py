"""The landmarks' displacements when a face smiles, opens its mouth, gets angry or ages."""

from typing import Any

import numpy as np
import pytest
from photo_faces import mirrored, registered

from micromotion.photo.expression import expression_landmarks
from micromotion.photo.registration import Registration

NAMES = ["grace-hopper", "eileen-collins", "mona-lisa", "paul-revere", "red-jacket"]
DEGREES = ("smile", "mouth_open", "anger", "age")


def at_degrees(face: Registration, degrees: dict[str, Any]) -> np.ndarray:
    """The face's landmarks at the given degrees."""
    return expression_landmarks(face, **degrees)


def rotated(registration: Registration, angle: float) -> tuple[Registration, np.ndarray]:
    """The face with its landmarks (not its picture) rotated about the middle of the square; the matrix."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = (registration.side - 1) / 2
    landmarks = (registration.landmarks - middle) @ turn.T + middle
    plain = np.full_like(registration.picture, 0.5)
    return Registration(plain, landmarks, registration.matrix), turn


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_degree_0_leaves_the_landmarks_unchanged(name: str) -> None:
    face = registered(name)
    assert np.array_equal(expression_landmarks(face), face.landmarks)


@pytest.mark.parametrize("name", NAMES)
def test_a_smile_lifts_widens_and_parts_the_lips(name: str) -> None:
    face = registered(name)
    goes = expression_landmarks(face, smile=1)
    right, down = face.axes
    moved = goes - face.landmarks
    assert (moved[[48, 54]] @ down < -0.03 * face.eye_distance).all()
    assert (goes[54] - goes[48]) @ right > (face.landmarks[54] - face.landmarks[48]) @ right * 1.05
    apart = (goes[66] - goes[62] - face.landmarks[66] + face.landmarks[62]) @ down / face.eye_distance
    assert apart > (0.005 if name == "eileen-collins" else 0.07), "she shows her teeth already"
    assert moved[[40, 41, 46, 47]].max() < 0.05 * face.eye_distance, "lids move a little"


@pytest.mark.parametrize("name", NAMES)
def test_a_frown_keeps_the_lips_closed(name: str) -> None:
    face = registered(name)
    moved = (expression_landmarks(face, smile=-1) - face.landmarks) @ face.axes[1]
    assert (moved[[48, 54]] > 0.02 * face.eye_distance).all()
    np.testing.assert_allclose(moved[[61, 62, 63]], moved[[67, 66, 65]], atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_anger_lowers_and_draws_together_the_brows(name: str) -> None:
    face = registered(name)
    goes = expression_landmarks(face, anger=1)
    moved = (goes - face.landmarks) @ face.axes[1] / face.eye_distance
    assert moved[17:27].mean() > 0.035
    assert (moved[[21, 22]] > moved[[17, 26]] + 0.03).all()
    assert (goes[22] - goes[21] - face.landmarks[22] + face.landmarks[21]) @ face.axes[0] < 0


@pytest.mark.parametrize("degree", DEGREES)
def test_degrees_saturate_smoothly(degree: str) -> None:
    face = registered("grace-hopper")
    strengths = np.arange(-2, 3.001, 0.02)
    path = np.array([at_degrees(face, {degree: s}) for s in strengths])
    size = np.linalg.norm(path - face.landmarks, axis=-1).max(axis=-1)
    one, two, three = (size[np.abs(strengths - s).argmin()] for s in (1, 2, 3))
    assert one < two < 1.4 * one
    assert three < 1.1 * two
    steps = np.abs(np.diff(path, axis=0)).max() / face.eye_distance
    assert steps < 0.015, "no leap from one degree to the next"


def test_shapes_add() -> None:
    face = registered("grace-hopper")
    parts = [at_degrees(face, {degree: 0.7}) - face.landmarks for degree in DEGREES]
    whole = at_degrees(face, dict.fromkeys(DEGREES, 0.7)) - face.landmarks
    np.testing.assert_allclose(whole, sum(parts), atol=1e-9)


@pytest.mark.parametrize("degree", DEGREES)
def test_a_mirrored_face_moves_mirrored(degree: str) -> None:
    face = registered("mona-lisa")
    there = at_degrees(mirrored(face), {degree: 1})
    here = at_degrees(face, {degree: 1})
    turned_back = mirrored(Registration(face.picture, here, face.matrix)).landmarks
    np.testing.assert_allclose(there, turned_back, atol=1e-6)


def test_a_tilted_face_moves_along_its_own_axes() -> None:
    upright, _ = rotated(registered("grace-hopper"), 0.0)
    tilted, turn = rotated(registered("grace-hopper"), 0.5)
    field = np.linspace(0, 0.1, 136).reshape(68, 2)
    here, there = (
        expression_landmarks(face, smile=1, anger=0.5, field=field) - face.landmarks
        for face in (upright, tilted)
    )
    np.testing.assert_allclose(there, here @ turn.T, atol=1e-6)


def test_a_field_is_in_eye_distances() -> None:
    face = registered("eileen-collins")
    field = np.zeros((68, 2))
    field[30] = 0.1, -0.2
    moved = expression_landmarks(face, field=field) - face.landmarks
    expected = face.eye_distance * (0.1 * face.axes[0] - 0.2 * face.axes[1])
    np.testing.assert_allclose(moved[30], expected, atol=1e-9)
    assert not moved[np.arange(68) != 30].any()


def test_a_turned_face_moves_less_on_its_far_side() -> None:
    face = registered("mona-lisa")  # the half on the picture's left is the far one
    moved = (expression_landmarks(face, smile=1) - face.landmarks) @ face.axes[0]
    assert -moved[48] < 0.8 * moved[54]
