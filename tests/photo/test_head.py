"""The mean head fitted to faces of known depth, to mirrored faces and to real ones."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from micromotion.face.alignment import align
from micromotion.photo.head import CELLS, MIRROR, HeadFit, canonical_landmarks, fit_head, rotation, yaw_of
from micromotion.photo.registration import LARGER, Registration, register

FACES = Path(__file__).resolve().parents[2] / "docs" / "faces"
UNIT = np.array([[1.0, 0, 0], [0, 1, 0]])


def synthetic(side: int = 320, picture: np.ndarray | None = None) -> Registration:
    """The mean head's own landmarks on a grey picture, or another."""
    landmarks = ((canonical_landmarks() - 0.5) / LARGER + 0.5) * side - 0.5
    if picture is None:
        picture = np.full((side, side, 3), 0.5, np.float32)
    return Registration(picture, landmarks, UNIT)


def mirrored(registration: Registration) -> Registration:
    landmarks = registration.landmarks[MIRROR] * (-1, 1) + (registration.side - 1, 0)
    return Registration(np.ascontiguousarray(registration.picture[:, ::-1]), landmarks, UNIT)


def at(fit: HeadFit, registration: Registration, landmark: int) -> tuple[int, int]:
    """Row and column of the grid cell that contains a landmark."""
    column, row = (registration.landmarks[landmark] + 0.5) / registration.side * CELLS
    return int(row), int(column)


@pytest.fixture(scope="module", params=["eileen-collins", "mona-lisa", "geronimo"])
def real(request: pytest.FixtureRequest) -> Registration:
    photo = Image.open(FACES / f"{request.param}.jpg").convert("RGB")
    return register(photo, align(photo))


def test_the_mean_face_looks_straight_ahead_and_is_symmetric() -> None:
    landmarks = canonical_landmarks()

    assert abs(yaw_of(landmarks)) < 0.1
    assert np.allclose(landmarks[MIRROR] * (-1, 1) + (1, 0), landmarks, atol=1e-6)


def test_the_mean_head_has_its_own_depth() -> None:
    registration = synthetic()
    fit = fit_head(registration)

    nose, cheek, ear = (fit.position[at(fit, registration, i)] for i in (30, 4, 1))
    assert nose[2] > cheek[2] + 0.2
    assert cheek[2] > ear[2]
    left, right = (
        (fit.position[at(fit, registration, i)] + fit.position[at(fit, registration, i + 3)]) / 2
        for i in (36, 42)
    )
    assert right[0] - left[0] == pytest.approx(0.52, abs=0.03)
    assert left[2] == pytest.approx(0.75, abs=0.08)
    assert fit.normal[at(fit, registration, 30)][2] > 0.9
    (row, left_column), right_column = at(fit, registration, 36), at(fit, registration, 45)[1]
    assert fit.normal[row, left_column - 10][0] < -0.3
    assert fit.normal[row, right_column + 10][0] > 0.3
    assert fit.normal[at(fit, registration, 8)][1] < -0.1


def test_positions_are_projected_to_their_own_grid_points() -> None:
    fit = fit_head(synthetic())

    y, x = (np.mgrid[0:CELLS, 0:CELLS] + 0.5) / CELLS
    assert np.abs(fit.projected(fit.position) - np.dstack([x, y])).max() < 1e-6


@pytest.mark.parametrize("yaw", [-30, -12, 0, 20, 35])
@pytest.mark.parametrize("roll", [0, 25])
def test_the_yaw_of_a_turned_face_is_found(yaw: float, roll: float) -> None:
    # x, y, z of eye corners, tip and root of the nose, and sides of the jaw, in eye distances
    solid = {36: (-0.7, 0, 0), 39: (-0.3, 0, 0), 42: (0.3, 0, 0), 45: (0.7, 0, 0), 30: (0, 0.7, 0.6)}
    solid |= {33: (0, 0.9, 0.35), 2: (-1.1, 0.7, -0.75), 14: (1.1, 0.7, -0.75)}
    landmarks = np.zeros((68, 2))
    turn, lean = np.radians(yaw), np.radians(roll)
    for i, (x, y, z) in solid.items():
        across = x * np.cos(turn) + z * np.sin(turn)
        landmarks[i] = across * np.cos(lean) - y * np.sin(lean), across * np.sin(lean) + y * np.cos(lean)

    assert yaw_of(landmarks) == pytest.approx(yaw, abs=0.5)


@pytest.mark.slow
def test_a_mirrored_photo_has_a_mirrored_head(real: Registration) -> None:
    fit, other = fit_head(real), fit_head(mirrored(real))

    assert other.yaw == pytest.approx(-fit.yaw, abs=1e-6)
    assert np.abs(other.position[:, ::-1] * (-1, 1, 1) - fit.position).max() < 0.02
    assert np.abs(other.weight[:, ::-1] - fit.weight).max() < 0.02
    assert np.abs(other.normal[:, ::-1] * (-1, 1, 1) - fit.normal).mean() < 0.01
    assert np.abs(other.light * (1, -1, 1, 1) - fit.light).max() < 0.02


@pytest.mark.slow
def test_the_head_moves_and_its_surroundings_do_not(real: Registration) -> None:
    fit = fit_head(real)

    assert fit.weight.min() >= 0
    assert fit.weight.max() <= 1
    for landmark in (8, 30, 19, 24, 1, 15):
        assert fit.weight[at(fit, real, landmark)] > 0.8
    assert (
        fit.weight[:, 0].max() == fit.weight[:, -1].max() == fit.weight[0].max() == fit.weight[-1].max() == 0
    )
    assert fit.weight[:, :10].max() < 0.2
    assert np.isfinite(fit.position).all()
    assert np.allclose(np.linalg.norm(fit.normal, axis=-1), 1, atol=1e-5)


def test_the_result_does_not_depend_on_size() -> None:
    small, large = fit_head(synthetic(82)), fit_head(synthetic(1400))

    assert np.abs(small.position - large.position).max() < 1e-4
    assert np.abs(small.weight - large.weight).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("direction", [(0.5, 0.2), (-0.5, 0.2), (0.0, 0.5)])
def test_the_light_on_a_face_is_found(direction: tuple[float, float]) -> None:
    normal = fit_head(synthetic()).normal
    shade = np.exp(-1 + normal[..., 0] * direction[0] + normal[..., 1] * direction[1])
    picture = np.repeat(shade[..., None], 3, axis=2).astype(np.float32)

    light = fit_head(synthetic(CELLS, picture)).light

    assert light[1:3] == pytest.approx(direction, abs=0.12)


def test_a_black_picture_has_no_light() -> None:
    light = fit_head(synthetic(96, np.zeros((96, 96, 3), np.float32))).light

    assert np.abs(light[1:]).max() < 0.1


def test_a_rotation_turns_right_nods_down_and_leans_left() -> None:
    ahead, up = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])
    assert (rotation(17, 0, 0) @ ahead)[0] > 0.2
    assert (rotation(0, 17, 0) @ ahead)[1] < -0.2
    assert (rotation(0, 0, 17) @ up)[0] < -0.2
    turned = rotation(11, 6, -17)
    np.testing.assert_allclose(turned @ turned.T, np.eye(3), atol=1e-12)
