"""Turning heads: where their pixels move, what stays, and what must hold at every angle."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from micromotion.face.alignment import align
from micromotion.photo.head import MIRROR, canonical_landmarks, fit_head
from micromotion.photo.registration import LARGER, Registration, register
from micromotion.photo.sampling import sample
from micromotion.photo.strokes import Stroke, drawn
from micromotion.photo.turn import Turn, reachable

FACES = Path(__file__).resolve().parents[2] / "docs" / "faces"
UNIT = np.array([[1.0, 0, 0], [0, 1, 0]])


def synthetic(side: int) -> Registration:
    """The mean head's landmarks on a smooth picture, the same at any size."""
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side
    picture = np.dstack(
        [0.5 + 0.4 * np.sin(9 * x), 0.5 + 0.4 * np.sin(7 * y), 0.5 + 0.3 * np.cos(8 * x + 5 * y)]
    )
    landmarks = ((canonical_landmarks() - 0.5) / LARGER + 0.5) * side - 0.5
    return Registration(picture.astype(np.float32), landmarks, UNIT)


def mirrored(registration: Registration) -> Registration:
    landmarks = registration.landmarks[MIRROR] * (-1, 1) + (registration.side - 1, 0)
    return Registration(np.ascontiguousarray(registration.picture[:, ::-1]), landmarks, UNIT)


def turn_of(registration: Registration) -> Turn:
    return Turn.of(registration, fit_head(registration))


def goes_to(stroke: Stroke, point: np.ndarray) -> np.ndarray:
    """Where a point (x, y) of the photo moves: the output pixel sampled nearest to it."""
    assert stroke.shift is not None
    height, width = stroke.shift.shape[:2]
    y, x = np.mgrid[stroke.top : stroke.top + height, stroke.left : stroke.left + width]
    source = np.dstack([x, y]) + stroke.shift
    row, column = np.unravel_index(np.linalg.norm(source - point, axis=-1).argmin(), x.shape)
    return np.array([column + stroke.left, row + stroke.top], float) + point - source[row, column]


@pytest.fixture(scope="module", params=["eileen-collins", "geronimo"])
def real(request: pytest.FixtureRequest) -> Registration:
    photo = Image.open(FACES / f"{request.param}.jpg").convert("RGB")
    return register(photo, align(photo))


@pytest.fixture(scope="module")
def plain() -> Registration:
    return synthetic(256)


def test_a_turn_of_0_gives_an_empty_stroke(real: Registration) -> None:
    stroke = turn_of(real).stroke(0, 0, 0)

    assert stroke.size == (0, 0)
    assert np.array_equal(drawn(real.picture, stroke), real.picture)


def test_a_hardly_turned_head_is_hardly_changed(real: Registration) -> None:
    stroke = turn_of(real).stroke(1e-4)

    assert stroke.shift is not None
    assert stroke.kept is not None
    assert np.abs(stroke.shift).max() < 0.01
    assert np.abs(stroke.kept - 1).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("yaw", [-20, -8, 8, 20])
def test_landmarks_move_to_their_projection_on_the_turned_head(plain: Registration, yaw: float) -> None:
    fit = fit_head(plain)
    stroke = Turn.of(plain, fit).stroke(yaw)

    angle = np.radians(reachable(yaw, fit.yaw))
    for landmark in (27, 30, 36, 39, 42, 45, 51, 57):
        point = plain.landmarks[landmark]
        cell = (point[None, None] + 0.5) / plain.side * len(fit.position) - 0.5
        x, y, z = sample(fit.position, cell[..., 0], cell[..., 1])[0, 0]
        turned = (
            x * np.cos(angle) + (z + 0.15) * np.sin(angle),
            y,
            -x * np.sin(angle) + (z + 0.15) * np.cos(angle) - 0.15,
        )
        wanted = fit.projected(np.array(turned)) * plain.side - 0.5
        assert goes_to(stroke, point) == pytest.approx(wanted, abs=0.6)


def test_the_nose_goes_further_than_the_cheeks_and_the_right_way(real: Registration) -> None:
    turn = turn_of(real)
    for yaw in (-15, 15):
        stroke = turn.stroke(yaw)
        moved = {
            i: (goes_to(stroke, real.landmarks[i]) - real.landmarks[i])[0] * np.sign(yaw)
            for i in (30, 39, 42, 8)
        }
        assert moved[30] > moved[39] > 0
        assert moved[30] > moved[42] > 0
        assert moved[8] > 0
        assert moved[30] / real.eye_distance > 0.3


def test_a_nod_goes_down_and_a_roll_leans(plain: Registration) -> None:
    turn = turn_of(plain)
    nose, brow = plain.landmarks[30], plain.landmarks[27]

    assert (goes_to(turn.stroke(0, 10), nose) - nose)[1] > 3
    assert (goes_to(turn.stroke(0, -10), nose) - nose)[1] < -3
    assert (goes_to(turn.stroke(0, 0, 10), brow) - brow)[0] < -3
    assert (goes_to(turn.stroke(0, 0, -10), brow) - brow)[0] > 3


def test_pixels_far_from_the_head_stay_bit_identical(real: Registration) -> None:
    result = drawn(real.picture, turn_of(real).stroke(25, 8, 8))

    edge = real.side // 200
    for rows, columns in (
        (slice(None), slice(0, edge)),
        (slice(0, edge), slice(None)),
        (slice(-edge, None), slice(None)),
    ):
        assert np.array_equal(result[rows, columns], real.picture[rows, columns])


def test_the_map_does_not_fold_where_nothing_is_occluded(plain: Registration) -> None:
    stroke = turn_of(plain).stroke(6)

    assert stroke.shift is not None
    across = 1 + np.diff(stroke.shift[..., 0], axis=1)
    assert across.min() > -0.05


@pytest.mark.slow
def test_a_mirrored_photo_turns_the_other_way(real: Registration) -> None:
    result = drawn(real.picture, turn_of(real).stroke(12, 4, 5))
    other = drawn(mirrored(real).picture, turn_of(mirrored(real)).stroke(-12, 4, -5))

    assert np.abs(other[:, ::-1] - result).mean() < 0.004
    assert np.quantile(np.abs(other[:, ::-1] - result), 0.99) < 0.06


def test_the_result_does_not_depend_on_size() -> None:
    small, large = (drawn(r.picture, turn_of(r).stroke(18, 3, 4)) for r in (synthetic(240), synthetic(720)))

    shrunk = np.dstack(
        [
            np.asarray(Image.fromarray(c).resize((240, 240), Image.Resampling.BOX))
            for c in np.moveaxis(large, -1, 0)
        ]
    )
    assert np.abs(shrunk - small).mean() < 0.004
    assert np.quantile(np.abs(shrunk - small), 0.99) < 0.05


@pytest.mark.slow
def test_steps_of_a_tenth_of_a_degree_are_smooth(real: Registration) -> None:
    turn = turn_of(real)
    for yaw, quantile, most in ((6.0, 0.99, 0.1), (20.0, 0.995, 1.0)):
        before, now, after = (turn.stroke(yaw + step).shift for step in (-0.1, 0, 0.1))
        assert before is not None
        assert now is not None
        assert after is not None
        second = np.linalg.norm(before + after - 2 * now, axis=-1) * 696 / real.side
        assert np.quantile(second, quantile) < most


def test_grey_stays_grey_and_light_follows_the_surface() -> None:
    fit = fit_head(synthetic(256))
    shade = np.exp(-1 + 0.6 * fit.normal[..., 0])
    lit = Registration(
        np.repeat(shade[..., None], 3, axis=2).astype(np.float32), synthetic(256).landmarks, UNIT
    )

    stroke = turn_of(lit).stroke(20)
    result = drawn(lit.picture, stroke)

    assert np.ptp(result, axis=-1).max() < 1e-6
    nose = np.round(goes_to(stroke, lit.landmarks[29])).astype(int)
    assert stroke.kept is not None
    assert stroke.kept[nose[1] - stroke.top, nose[0] - stroke.left, 0] > 1.04  # it turns towards the light


def test_a_turn_ends_smoothly() -> None:
    asked = np.linspace(-90, 90, 721)
    for own in (-40, -25, 0, 12, 33):
        turned = np.array([reachable(a, own) for a in asked])
        assert np.all(np.diff(turned) > 0)
        assert np.abs(np.diff(turned, n=2)).max() < 0.15
        assert np.abs(own + turned[[0, -1]]).max() < max(35.1, abs(own) + 3.1)
        assert reachable(0, own) == 0
    assert reachable(20, 0) == pytest.approx(20, abs=0.2)
    assert reachable(-20, 25) == pytest.approx(-20, abs=0.1)
    assert reachable(20, 25) < 10


@pytest.mark.slow
def test_any_angle_can_be_drawn(real: Registration) -> None:
    turn = turn_of(real)
    for angles in ((400, 0, 0), (-400, 90, -90), (35, 20, 30)):
        assert np.isfinite(drawn(real.picture, turn.stroke(*angles))).all()
