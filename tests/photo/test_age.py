"""A face looks older or younger in its photo's own light and colours, and unchanged at age 0."""

from functools import cache

import numpy as np
import pytest
from photo_faces import FACES, registered
from PIL import Image
from scipy import ndimage

from micromotion.face.alignment import align
from micromotion.photo.age import Ageing
from micromotion.photo.age_map import age_map
from micromotion.photo.head import MIRROR, fit_head
from micromotion.photo.registration import Registration, register
from micromotion.photo.sampling import Picture, blur, luminance, sample
from micromotion.photo.skin import find_skin
from micromotion.photo.strokes import drawn
from tools.mean_face import mean_landmarks

PLAIN_SIDE, PLAIN_UNIT = 400, 75.0


@cache
def ageing(name: str) -> Ageing:
    return made(registered(name))


def made(registration: Registration) -> Ageing:
    return Ageing.of(registration, fit_head(registration))


def aged(registration: Registration, age: float, of: Ageing | None = None) -> Picture:
    return drawn(registration.picture, (of or made(registration)).stroke(age))


def pictured(picture: Picture, landmarks: np.ndarray) -> Registration:
    return Registration(np.ascontiguousarray(picture, np.float32), landmarks, np.eye(2, 3))


def plain_face() -> Registration:
    """The mean face, skin-coloured and evenly lit, without any lines."""
    picture = np.full((PLAIN_SIDE, PLAIN_SIDE, 3), (0.75, 0.58, 0.48), np.float32)
    picture += np.random.default_rng(0).normal(0, 0.004, picture.shape).astype(np.float32)
    return pictured(picture, mean_landmarks() * PLAIN_UNIT + (PLAIN_SIDE / 2, 0.42 * PLAIN_SIDE))


def fine_detail(registration: Registration, picture: Picture) -> float:
    """Contrast of fine lines on the skin."""
    unit = registration.eye_distance
    light = np.log(luminance(picture) + 0.05)
    band = blur(light, 0.012 * unit) - blur(light, 0.06 * unit)
    skin = find_skin(registration).cover > 0.6
    return float(band[skin].std())


def at(registration: Registration, plane: Picture, x: float, y: float) -> float:
    """A plane's value at a point of the plain face, in eye distances."""
    point = np.array([x, y]) * PLAIN_UNIT + (PLAIN_SIDE / 2, 0.42 * PLAIN_SIDE)
    return float(sample(plane, point[None, :1], point[None, 1:])[0, 0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eileen-collins", "geronimo"])
def test_age_0_leaves_the_photo_bit_identical(name: str) -> None:
    registration = registered(name)
    assert np.array_equal(aged(registration, 0.0, ageing(name)), registration.picture)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eileen-collins", "mona-lisa", "red-jacket", "young-woman-in-mauve"])
def test_older_skin_has_lines_and_younger_has_fewer(name: str) -> None:
    registration, own = registered(name), ageing(name)
    younger, now, half, old = (
        fine_detail(registration, aged(registration, age, own)) for age in (-1.0, 0.0, 0.5, 1.0)
    )
    assert younger < 0.93 * now
    assert half > 1.05 * now
    assert old > 1.12 * now


def test_a_plain_face_gets_its_lines_where_they_belong() -> None:
    registration = plain_face()
    gain = np.log(luminance(aged(registration, 1.0)) / luminance(registration.picture))
    soft = blur(gain.astype(np.float32), 2.0)
    for side in (-1, 1):
        fold = min(at(registration, soft, side * x, 0.92) for x in np.linspace(0.42, 0.58, 9))
        assert fold < -0.12  # from the nose to the mouth
        assert abs(at(registration, soft, side * 0.3, -0.02)) < 0.05  # not in the eye
    column = [at(registration, soft, 0.3, y) for y in np.linspace(-1.1, -0.5, 80)]
    dips = ndimage.label(np.array(column) < np.mean(column) - 0.04)[1]
    assert 2 <= dips <= 7  # lines across the forehead
    assert gain.max() < 0.2  # no bright spots


def test_a_line_is_darker_on_the_side_away_from_the_light() -> None:
    face = plain_face()
    x = np.arange(PLAIN_SIDE) / PLAIN_SIDE - 0.5
    sides = []
    for direction in (-1, 1):
        lit = pictured(
            face.picture * np.exp(1.2 * direction * x)[None, :, None].astype(np.float32), face.landmarks
        )
        gain = np.log(luminance(aged(lit, 1.0)) / luminance(lit.picture))
        row = [at(face, gain.astype(np.float32), 0.5 + dx, 0.92) for dx in np.linspace(-0.15, 0.15, 61)]
        sides.append(float(np.argmin(row)))
    assert sides[0] != sides[1]


def test_ageing_changes_only_colours_within_the_box() -> None:
    stroke = ageing("eileen-collins").stroke(1.0)
    assert stroke.shift is None
    side = registered("eileen-collins").side
    assert stroke.left > 0
    assert stroke.top > 0
    assert stroke.right < side
    for edge in (np.s_[0], np.s_[:, 0], np.s_[:, -1]):
        assert stroke.kept is not None
        assert stroke.added is not None
        assert np.abs(stroke.kept[edge] - 1).max() < 0.01
        assert np.abs(stroke.added[edge]).max() < 0.01


def test_a_grey_photo_stays_grey_and_a_toned_one_keeps_its_tone() -> None:
    registration = registered("eileen-collins")
    light = luminance(registration.picture)[..., None]
    grey = pictured(np.repeat(light, 3, axis=-1), registration.landmarks)
    old = aged(grey, 1.0)
    assert np.ptp(old, axis=-1).max() < 0.02
    tone = np.array([1.0, 0.86, 0.68], np.float32)
    toned = pictured(light * tone * 0.9, registration.landmarks)
    old = aged(toned, 1.0)
    dark = old[..., 0] < 0.99
    assert np.abs(old[..., 2] - tone[2] / tone[0] * old[..., 0])[dark].max() < 0.02


def test_ageing_is_smooth_in_the_age_and_saturates() -> None:
    registration, own = registered("eileen-collins"), ageing("eileen-collins")
    ages = np.linspace(-1, 2, 31)
    frames = np.stack([aged(registration, age, own)[::3, ::3] for age in ages])
    steps = np.abs(np.diff(frames, axis=0)).max(axis=(1, 2, 3))
    assert steps.max() < 0.12
    assert np.abs(np.diff(frames, n=2, axis=0)).max() < 0.07, "at 0, youth gives way to age"
    far = [aged(registration, age, own) for age in (2.0, 4.0, 40.0)]
    assert np.abs(far[1] - far[0]).mean() < np.abs(far[0] - registration.picture).mean() / 4
    assert np.abs(far[2] - far[1]).max() < 0.06


def test_a_mirrored_photo_ages_as_the_mirror_image() -> None:
    registration = registered("eileen-collins")
    landmarks = registration.landmarks[MIRROR] * (-1, 1) + (registration.side - 1, 0)
    mirrored = pictured(registration.picture[:, ::-1], landmarks)
    here, there = aged(registration, 1.0, ageing("eileen-collins")), aged(mirrored, 1.0)[:, ::-1]
    change = np.abs(here - registration.picture).mean()
    assert np.abs(here - there).mean() < 0.1 * change


@pytest.mark.slow
def test_a_larger_photo_ages_alike() -> None:
    registration = registered("grace-hopper")
    picture = Image.fromarray((registration.picture * 255).round().astype(np.uint8))
    side = registration.side // 2
    small = pictured(
        np.asarray(picture.resize((side, side), Image.Resampling.BOX), np.float32) / np.float32(255),
        (registration.landmarks + 0.5) / 2 - 0.5,
    )
    large = aged(registration, 1.0, ageing("grace-hopper"))[: 2 * side, : 2 * side]
    change = large - registration.picture[: 2 * side, : 2 * side]
    change = blur(change.reshape(side, 2, side, 2, 3).mean(axis=(1, 3)), 2.0)
    own = blur(aged(small, 1.0) - small.picture, 2.0)
    assert np.corrcoef(change.ravel(), own.ravel())[0, 1] > 0.75
    assert 0.6 < own.std() / change.std() < 1.5


def test_a_rotated_face_ages_as_the_upright_one() -> None:
    registration = registered("eileen-collins")
    middle, angle = (registration.side - 1) / 2, np.radians(15)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    y, x = np.mgrid[: registration.side, : registration.side]
    there = (np.stack([x, y], axis=-1) - middle) @ turn + middle  # of the rotated picture, in the upright one
    rotated = pictured(
        sample(registration.picture, there[..., 0], there[..., 1], bicubic=True),
        (registration.landmarks - middle) @ turn.T + middle,
    )
    change = aged(registration, 1.0, ageing("eileen-collins")) - registration.picture
    change = sample(change, there[..., 0], there[..., 1])
    own = aged(rotated, 1.0) - rotated.picture
    skin = find_skin(rotated).cover > 0.5
    assert np.corrcoef(blur(change, 1.5)[skin].ravel(), blur(own, 1.5)[skin].ravel())[0, 1] > 0.75


@pytest.mark.slow
def test_the_far_side_of_a_turned_face_gets_no_lines() -> None:
    registration = registered("jakob-fugger")  # looks to the picture's left
    change = np.abs(aged(registration, 1.0, ageing("jakob-fugger")) - registration.picture).mean(axis=-1)
    jaw = registration.landmarks[[0, 1, 2, 3]]
    beyond = jaw + 0.25 * (jaw - registration.landmarks[30]) / 2
    assert all(change[int(y), int(x)] < 0.02 for x, y in beyond)


def test_the_wrinkle_asset_follows_the_landmarks() -> None:
    registration = plain_face()
    chart = age_map(registration, 0.0, mirrored=False)
    shifted = pictured(registration.picture, registration.landmarks + np.array([7, -4]))
    other = age_map(shifted, 0.0, mirrored=False)
    assert (other.left - chart.left, other.top - chart.top) == (7, -4)
    flipped = age_map(registration, 0.0, mirrored=True)
    middle = round(PLAIN_SIDE / 2) - chart.left
    width = min(middle, chart.lines.shape[1] - middle) - 1
    left, right = chart.lines[:, middle - width : middle + 1], flipped.lines[:, middle : middle + width + 1]
    assert np.abs(left[:, ::-1] - right).max() < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["black", "white", "noise"])
def test_a_picture_that_shows_no_skin_does_not_fail(kind: str) -> None:
    face = plain_face()
    pictures: dict[str, Picture] = {
        "black": np.zeros_like(face.picture),
        "white": np.ones_like(face.picture),
        "noise": np.random.default_rng(1).random(face.picture.shape, np.float32),
    }
    old = aged(pictured(pictures[kind], face.landmarks), 1.0)
    assert np.isfinite(old).all()


@pytest.mark.slow
def test_a_large_photo_ages_as_much_as_a_small_one() -> None:
    """Its pixels do not soften lines, which would look like scales."""
    photo = Image.open(FACES / "eileen-collins.jpg").convert("RGB")
    darkest, detail = [], []
    for scale in (1, 3):
        larger = photo.resize((photo.width * scale, photo.height * scale), Image.Resampling.LANCZOS)
        registration = register(larger, align(larger))
        stroke = Ageing.of(registration, fit_head(registration)).stroke(1.0)
        assert stroke.kept is not None
        gain, unit = np.log(stroke.kept.mean(axis=-1)), registration.eye_distance
        fine = blur(gain, 0.015 * unit) - blur(gain, 0.06 * unit)
        darkest.append(np.quantile(gain, 0.005))
        detail.append(fine[len(fine) // 3 :].std())
    assert darkest[1] == pytest.approx(darkest[0], rel=0.15)
    assert detail[1] == pytest.approx(detail[0], rel=0.1)
