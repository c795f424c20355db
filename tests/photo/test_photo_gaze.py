"""Irises are found, and move within the lids alone."""

from itertools import pairwise

import numpy as np
import pytest
from photo_faces import mirrored, registered

from micromotion.photo.gaze import GAZE, Eyeball, find_irises
from micromotion.photo.lids import Lids
from micromotion.photo.registration import Registration
from micromotion.photo.sampling import luminance
from micromotion.photo.strokes import composed, drawn

NAMES = ("eileen-collins", "johan-de-witt", "jakob-fugger", "berthe-morisot")


def lids_of(registration: Registration) -> tuple[Lids, Lids]:
    return Lids.found(registration, 0), Lids.found(registration, 1)


def eyeballs(registration: Registration) -> list[Eyeball]:
    lids = lids_of(registration)
    irises = find_irises(registration, lids)
    assert irises is not None
    return [Eyeball(registration, *each) for each in zip(lids, irises, strict=True)]


def looking(registration: Registration, right: float, down: float = 0.0) -> np.ndarray:
    gaze = np.array([right, down])
    strokes = [eye.stroke(gaze) for eye in eyeballs(registration)]
    return drawn(registration.picture, composed(strokes, registration.side))


def darkness(picture: np.ndarray, lids: Lids) -> np.ndarray:
    """The centre (X, Y) of what is dark between the lids, in the eye's coordinates."""
    x, y = np.meshgrid(np.arange(0.05, 0.95, 0.02), np.arange(-0.4, 0.7, 0.02))
    inside = np.minimum(lids.upper(x) - y, y - lids.lower(x)) > 0.05
    light = luminance(lids.frame.read(picture, x[inside], y[inside]))
    weight = np.maximum(np.median(light) - light, 0)
    return np.array([(weight * x[inside]).sum(), (weight * y[inside]).sum()]) / weight.sum()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_iris_moves_where_it_is_told_to(name: str) -> None:
    face = registered(name)
    lids = lids_of(face)
    for eye, sign in zip(lids, (1, -1), strict=True):
        left, right = (sign * darkness(looking(face, way), eye)[0] for way in (-0.1, 0.1))
        assert 0.04 < right - left < 0.25
        down, up = (darkness(looking(face, 0, way), eye)[1] for way in (0.07, -0.07))
        assert up > down


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_nothing_moves_outside_the_lids(name: str) -> None:
    face = registered(name)
    touched = (looking(face, 0.2, 0.05) != face.picture).any(axis=-1)
    assert touched.any()
    y, x = np.nonzero(touched)
    depths = []
    for eye in lids_of(face):
        at = eye.frame.to_frame(np.stack([x, y], axis=-1).astype(float))
        depths.append(np.minimum(eye.upper(at[:, 0]) - at[:, 1], at[:, 1] - eye.lower(at[:, 0])))
    pixel = 1.5 / min(eye.frame.width for eye in lids_of(face))
    assert (np.maximum(*depths) > -pixel).all()


def test_no_displacement_changes_nothing() -> None:
    face = registered("eileen-collins")
    assert all(eye.stroke(np.zeros(2)).size == (0, 0) for eye in eyeballs(face))


def test_an_iris_stops_before_it_leaves_the_eye() -> None:
    far, farther = (looking(registered("eileen-collins"), way) for way in (1.0, 5.0))
    assert np.abs(far - farther).max() < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_both_eyes_look_the_same_way_and_a_mirrored_face_mirrors(name: str) -> None:
    face = registered(name)
    (left, right), twins = eyeballs(face), eyeballs(mirrored(face))
    assert left.iris.radius == right.iris.radius
    assert abs((left.iris.x - 0.5) + (right.iris.x - 0.5)) < 0.3
    assert abs(left.iris.x - twins[1].iris.x) < 0.09
    assert abs(right.iris.x - twins[0].iris.x) < 0.09


def test_in_the_dark_nothing_is_found() -> None:
    face = registered("eileen-collins")
    dim = Registration(0.05 * face.picture, face.landmarks, face.matrix)
    assert find_irises(dim, lids_of(dim)) is None


@pytest.mark.slow
def test_a_stroke_is_smooth_in_the_gaze() -> None:
    face = registered("eileen-collins")
    ways = [looking(face, right) for right in np.linspace(0, 0.1, 21)]
    steps = [float(np.abs(b - a).max()) for a, b in pairwise(ways)]
    assert max(steps) < 0.25
    assert GAZE.appears[0] < 0.005
