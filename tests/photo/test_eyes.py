"""Closing the eyes in a photo's own pixels: on drawn eyes, whose lids are known, and on real faces."""

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from micromotion.face.alignment import align
from micromotion.photo.eyes import Eye
from micromotion.photo.lids import Lids
from micromotion.photo.registration import Registration, register
from micromotion.photo.sampling import Picture, blur, luminance, sample
from micromotion.photo.strokes import composed, drawn

FACES = Path(__file__).parents[2] / "docs" / "faces"
MIRROR = [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)]
MIRROR += [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
MIRROR += [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
"""The index in the original of each of dlib's landmarks of the mirrored face."""

SKIN, WHITE, IRIS, LASH = (0.8, 0.6, 0.5), (0.92, 0.9, 0.9), (0.25, 0.2, 0.15), (0.2, 0.12, 0.1)
HIGH, LOW = 0.3, -0.12
"""Heights of the drawn eyes' lids, in eye widths above the line between the corners."""


@cache
def face(name: str) -> Registration:
    photo = Image.open(FACES / f"{name}.jpg").convert("RGB")
    return register(photo, align(photo))


def drawn_face(side: int = 400, *, lower_landmarks: float = 0.0, grain: float = 0.0) -> Registration:
    """Skin with two eyes, 0.14 of the side wide.

    lower_landmarks: how far the lids' landmarks are from the drawn lids, in eye widths."""
    picture = np.full((side, side, 3), SKIN, np.float32)
    y, x = np.mgrid[:side, :side] / side
    landmarks = np.tile([[0.5, 0.9]], (68, 1))
    for first, left in ((36, 0.26), (42, 0.60)):
        width = 0.14
        u, v = (x - left) / width, (0.45 - y) / width
        bow = np.clip(4 * u * (1 - u), 0, 1) ** 0.75
        inside = (u > 0) & (u < 1) & (v < HIGH * bow) & (v > LOW * bow)
        picture[inside] = WHITE
        picture[inside & ((u - 0.5) ** 2 + (v - 0.1) ** 2 < 0.2**2)] = IRIS
        picture[(u > 0) & (u < 1) & (np.abs(v - HIGH * bow + 0.012) < 0.02)] = LASH
        at = np.array([0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3])
        bow = np.clip(4 * at * (1 - at), 0, 1) ** 0.75
        high = np.where(np.arange(6) < 3, HIGH, LOW) * bow + lower_landmarks * (bow > 0)
        landmarks[first : first + 6] = np.stack([left + at * width, 0.45 - high * width], axis=1)
        brow = np.linspace(-0.1, 1.1, 5)
        start = 17 if first == 36 else 22
        landmarks[start : start + 5] = np.stack([left + brow * width, np.full(5, 0.45 - 0.8 * width)], axis=1)
    picture = blur(picture, side / 800)
    if grain:
        picture += np.random.default_rng(1).normal(0, grain, picture.shape).astype(np.float32)
    return Registration(np.clip(picture, 0, 1), landmarks * side - 0.5, np.eye(2, 3))


def closed(registration: Registration, degree: float) -> Picture:
    eyes = [Eye.found(registration, side) for side in (0, 1)]
    stroke = composed([eye.stroke(degree) for eye in eyes], registration.side)
    return drawn(registration.picture, stroke)


def mirrored(registration: Registration) -> Registration:
    landmarks = registration.landmarks[MIRROR].copy()
    landmarks[:, 0] = registration.side - 1 - landmarks[:, 0]
    return Registration(registration.picture[:, ::-1].copy(), landmarks, registration.matrix)


def resized(registration: Registration, side: int) -> Registration:
    picture = Image.fromarray((255 * registration.picture + 0.5).astype(np.uint8)).resize((side, side))
    landmarks = (registration.landmarks + 0.5) * side / registration.side - 0.5
    return Registration(np.asarray(picture, np.float32) / np.float32(255), landmarks, np.eye(2, 3))


def opening(registration: Registration, picture: Picture, side: int) -> float:
    """The share of the area between the original lids that looks unchanged."""
    lids = Lids.found(registration, side)
    x = np.tile(np.linspace(0.25, 0.75, 21), 15)
    part = np.repeat(np.linspace(0.15, 0.85, 15), 21)
    y = lids.lower(x) + part * (lids.upper(x) - lids.lower(x))
    before, after = (lids.frame.read(each, x, y) for each in (registration.picture, picture))
    return float((np.abs(after - before).max(axis=1) < 0.02).mean())


def test_degree_zero_changes_nothing() -> None:
    assert composed([Eye.found(face("mona-lisa"), side).stroke(0) for side in (0, 1)], 100).size == (0, 0)


@pytest.mark.parametrize("off", [0.0, -0.06])
def test_finds_the_drawn_lids_even_from_landmarks_on_the_iris(off: float) -> None:
    x = np.linspace(0.25, 0.75, 20)
    bow = (4 * x * (1 - x)) ** 0.75
    for side in (0, 1):
        lids = Lids.found(drawn_face(lower_landmarks=off), side)
        assert lids.upper(x) == pytest.approx(HIGH * bow, abs=0.05)
        assert lids.lower(x) == pytest.approx(LOW * bow, abs=0.07)


def test_a_shut_lid_hides_the_eye_and_has_the_skins_colour() -> None:
    still = drawn_face()
    shut = closed(still, 1)
    for side in (0, 1):
        lids = Lids.found(still, side)
        x = np.tile(np.linspace(0.2, 0.8, 25), 10)
        upper, lower = lids.upper(x), lids.lower(x)
        y = lower + np.repeat(np.linspace(0.35, 0.95, 10), 25) * (upper - lower)
        lid = lids.frame.read(shut, x, y)
        assert np.abs(lid / np.array(SKIN, np.float32) - 1).max() < 0.25
        assert np.abs(lid.mean(axis=0) / np.array(SKIN, np.float32) - 1).max() < 0.1


def test_a_half_closed_lid_covers_the_iris_without_squeezing_it() -> None:
    still = drawn_face()
    half = closed(still, 0.5)
    lids = Lids.found(still, 0)
    x, y = np.full(9, 0.5), np.linspace(-0.04, 0.02, 9)
    before, after = (lids.frame.read(each, x, y) for each in (still.picture, half))
    assert after == pytest.approx(before, abs=0.05)
    covered = lids.frame.read(half, np.array([0.5]), np.array([0.24]))
    assert luminance(covered)[0] > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eileen-collins", "grace-hopper", "mona-lisa", "george-washington"])
def test_the_eye_disappears_step_by_step(name: str) -> None:
    still = face(name)
    steps = [closed(still, degree) for degree in (0.3, 0.6, 1)]
    change = [float(np.abs(step - still.picture).mean()) for step in steps]
    assert 0 < change[0] < change[1] < change[2]
    assert max(opening(still, steps[-1], side) for side in (0, 1)) < 0.15


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eileen-collins", "paul-revere"])
def test_closing_an_eye_is_continuous(name: str) -> None:
    eye = Eye.found(face(name), 0)
    steps = [drawn(face(name).picture, eye.stroke(degree)) for degree in (*np.linspace(0, 1.2, 61), 5)]
    change = [float(np.abs(after - before).mean()) for before, after in pairwise(steps)]
    assert max(change) < 4 * np.mean(change)
    assert np.array_equal(steps[-2], steps[-1])


def test_widening_moves_the_lids_apart_and_paints_nothing() -> None:
    eye = Eye.found(face("mona-lisa"), 0)
    wide = eye.stroke(-0.3)
    assert wide.kept is None
    assert wide.added is None
    assert wide.shift is not None
    assert 0 < np.abs(wide.shift).max() < 0.2 * eye.lids.frame.width
    down = wide.shift @ face("mona-lisa").axes[1]
    assert down.max() == pytest.approx(np.abs(wide.shift).max(), rel=0.01)
    further = eye.stroke(-9.0)
    assert further.shift is not None
    assert np.abs(further.shift).max() < 1.6 * np.abs(wide.shift).max()


@pytest.mark.slow
@pytest.mark.parametrize("degree", [-0.3, 0.2, 0.5, 1.0])
def test_a_mirrored_photo_gives_the_mirrored_result(degree: float) -> None:
    still = face("eileen-collins")
    there, back = closed(still, degree), closed(mirrored(still), degree)[:, ::-1]
    assert np.abs(there - back).max() < 0.05
    assert np.abs(there - back).mean() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("side", [90, 700])
def test_looks_the_same_at_another_resolution(side: int) -> None:
    still = face("eileen-collins")
    here = Image.fromarray((255 * closed(still, 1) + 0.5).astype(np.uint8)).resize(
        (90, 90), Image.Resampling.BOX
    )
    other = closed(resized(still, side), 1)
    there = Image.fromarray((255 * other + 0.5).astype(np.uint8)).resize((90, 90), Image.Resampling.BOX)
    apart = np.abs(np.asarray(here, float) - np.asarray(there, float))
    assert np.quantile(apart, 0.999) < 40
    assert apart.mean() < 4


def test_a_turned_photo_gives_the_turned_result() -> None:
    still = drawn_face()
    side, angle = still.side, np.radians(25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = (side - 1) / 2
    y, x = np.mgrid[:side, :side] - middle

    def turned(picture: Picture) -> Picture:
        source = np.stack([x, y], axis=-1) @ turn
        return sample(picture, source[..., 0] + middle, source[..., 1] + middle, bicubic=True)

    landmarks = (still.landmarks - middle) @ turn.T + middle
    there = closed(Registration(np.clip(turned(still.picture), 0, 1), landmarks, still.matrix), 1)
    assert np.abs(there - turned(closed(still, 1))).mean() < 2e-3


def test_a_gray_photo_stays_gray() -> None:
    still = face("eileen-collins")
    gray = np.repeat(luminance(still.picture)[..., None], 3, axis=-1)
    shut = closed(Registration(gray, still.landmarks, still.matrix), 1)
    assert np.ptp(shut, axis=-1).max() < 1e-3


def test_the_lid_is_as_grainy_as_the_photo() -> None:
    still = drawn_face(grain=0.03)
    lids = Lids.found(still, 0)
    x, y = np.meshgrid(np.linspace(0.3, 0.7, 40), np.linspace(0.05, 0.2, 20))

    def grain(picture: Picture, up: float) -> float:
        points = lids.frame.to_picture(x, y + up)
        part = sample(picture, points[..., 0], points[..., 1])
        return float((part - blur(part, 3.0)).std())

    assert 0.5 < grain(closed(still, 1), 0) / grain(still.picture, -0.7) < 1.5


def test_pixels_above_the_lid_fold_do_not_move() -> None:
    still = face("grace-hopper")  # the frame of her glasses
    eye = Eye.found(still, 0)
    stroke = eye.stroke(1)
    assert stroke.shift is not None
    height, width = stroke.shift.shape[:2]
    y, x = np.mgrid[stroke.top : stroke.top + height, stroke.left : stroke.left + width].astype(float)
    place = eye.lids.frame.to_frame(np.stack([x, y], axis=-1))
    high = place[..., 1] > eye.lids.upper(place[..., 0]) + 0.13
    assert high.any()
    assert np.abs(stroke.shift[high]).max() < 1e-3


def test_an_eye_that_is_shut_in_the_photo_stays_as_it_is() -> None:
    still = drawn_face()
    landmarks = still.landmarks.copy()
    for first in (36, 42):
        landmarks[first + 1 : first + 3, 1] = landmarks[[first + 5, first + 4], 1] - 2
    assert Eye.found(Registration(still.picture, landmarks, still.matrix), 0).stroke(1).size == (0, 0)


@pytest.mark.slow
def test_the_boxs_border_is_untouched() -> None:
    for name in ("mona-lisa", "peter-stuyvesant"):
        for side in (0, 1):
            stroke = Eye.found(face(name), side).stroke(1)
            assert stroke.shift is not None
            assert stroke.kept is not None
            assert stroke.added is not None
            for plane, still in ((stroke.shift, 0), (stroke.kept, 1), (stroke.added, 0)):
                edges = [plane[0], plane[-1], plane[:, 0], plane[:, -1]]
                assert max(np.abs(edge - still).max() for edge in edges) < 1e-6


@pytest.mark.parametrize("where", ["outside", "one point"])
def test_degenerate_eye_landmarks_do_not_fail(where: str) -> None:
    still = drawn_face(200)
    landmarks = np.full((68, 2), 77.0) if where == "one point" else still.landmarks + 500
    shut = closed(Registration(still.picture, landmarks, still.matrix), 1)
    assert np.isfinite(shut).all()
