"""Bare skin is distinguished from eyes, lips, brows, beards, hair and glasses."""

from functools import cache

import numpy as np
import pytest
from photo_faces import registered

from micromotion.photo.registration import Registration
from micromotion.photo.sampling import luminance
from micromotion.photo.skin import Skin, colourful, find_skin


@cache
def skin_of(name: str) -> Skin:
    return find_skin(registered(name))


def cover_at(name: str, points: np.ndarray) -> float:
    x, y = points.round().astype(int).T
    return float(skin_of(name).cover[y, x].mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["eileen-collins", "mona-lisa", "geronimo", "benjamin-franklin", "jakob-fugger"]
)
def test_cheeks_are_skin_and_eyes_and_lips_are_not(name: str) -> None:
    landmarks = registered(name).landmarks
    assert skin_of(name).cover[skin_of(name).cheeks].mean() > 0.6
    for part in (landmarks[36:42], landmarks[42:48], landmarks[48:60]):
        assert cover_at(name, part.mean(axis=0, keepdims=True)) < 0.25


def test_beards_and_glasses_frames_are_not_skin() -> None:
    registration = registered("eileen-collins")
    picture, landmarks, unit = registration.picture.copy(), registration.landmarks, registration.eye_distance
    y, x = np.mgrid[: registration.side, : registration.side]
    chin = np.hypot(x - landmarks[8, 0], (y - landmarks[8, 1]) / 0.6 + 0.25 * unit) < 0.5 * unit
    shade = np.random.default_rng(0).uniform(0.05, 0.5, (*picture.shape[:2], 1))
    picture[chin] *= shade[chin].astype(np.float32)
    ring = np.zeros_like(chin)
    for eye in (landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)):
        away = np.hypot(x - eye[0], y - eye[1])
        ring |= (away > 0.36 * unit) & (away < 0.46 * unit) & (y > eye[1])
    picture[ring] = 0.05
    cover = find_skin(Registration(picture, landmarks, registration.matrix)).cover
    assert cover[chin].mean() < 0.25 * skin_of("eileen-collins").cover[chin].mean()
    assert cover[ring].mean() < 0.6 * skin_of("eileen-collins").cover[ring].mean()


def test_nothing_beyond_the_face_is_skin() -> None:
    for name in ("eileen-collins", "mona-lisa"):
        skin = skin_of(name)
        assert skin.cover[~skin.face].max() < 0.3


def test_grey_and_toned_photos_are_monochrome() -> None:
    picture = registered("eileen-collins").picture
    light = luminance(picture)[..., None]
    assert colourful(picture) == 1
    assert colourful(np.repeat(light, 3, axis=-1)) == 0
    assert colourful(light * np.array([1, 0.8, 0.6], np.float32)) < 0.2


def test_light_from_one_side_leaves_both_cheeks_skin() -> None:
    registration = registered("eileen-collins")
    across = np.linspace(-1, 1, registration.side, dtype=np.float32)
    lit = registration.picture * np.exp(0.6 * across)[None, :, None] * np.float32(0.7)
    skin = find_skin(Registration(np.clip(lit, 0, 1), registration.landmarks, registration.matrix))
    x = np.arange(registration.side)[None] < registration.landmarks[27, 0]
    assert skin.cover[skin.cheeks & x].mean() > 0.6
    assert skin.cover[skin.cheeks & ~x].mean() > 0.6
