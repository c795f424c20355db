"""Parting lips and the displacement field of an expression, on real faces and on drawn ones."""

from typing import Any

import numpy as np
import pytest
from photo_faces import enlarged, greyed, mirrored, registered

from micromotion.photo.expression import expression_landmarks
from micromotion.photo.lips import Lips, lips_apart
from micromotion.photo.mouth import Mouth
from micromotion.photo.registration import Registration
from micromotion.photo.sampling import luminance
from micromotion.photo.spline import ThinPlate
from micromotion.photo.strokes import drawn

NAMES = ["grace-hopper", "eileen-collins", "mona-lisa", "young-woman-in-mauve"]


def moved(face: Registration, **degrees: Any) -> np.ndarray:
    return drawn(face.picture, Mouth.found(face).stroke(expression_landmarks(face, **degrees)))


def drawn_face(line: float = 0.0, teeth: bool = False) -> Registration:
    """Grace Hopper's landmarks on plain skin with plain lips, and between them teeth or a dark line.

    line: the line's distance below the landmarks' middle, in widths of the mouth."""
    face = registered("grace-hopper")
    frame = Lips.found(face).frame
    y, x = np.mgrid[: face.side, : face.side]
    at = frame.inside(np.stack([x, y], axis=-1).astype(np.float64))
    inner = frame.inside(face.landmarks)[[61, 62, 63, 65, 66, 67]][:, 1].mean() + line
    picture = np.full_like(face.picture, 0.7)
    lips = (np.abs(at[..., 0] - 0.5) < 0.5) & (np.abs(at[..., 1] - inner) < 0.12)
    picture[lips] = (0.6, 0.35, 0.33)
    between = np.abs(at[..., 1] - inner)
    if teeth:
        picture[lips & (between < 0.06)] = 0.95
        landmarks = face.landmarks.copy()
        for marks, side in (([61, 62, 63], -0.06), ([67, 66, 65], 0.06)):
            local = frame.inside(landmarks[marks])
            landmarks[marks] = frame.outside(np.stack([local[:, 0], np.full(3, inner + side)], axis=-1))
        return Registration(picture, landmarks, face.matrix)
    picture[lips & (between < 0.012)] = 0.1
    return Registration(picture, face.landmarks, face.matrix)


@pytest.mark.slow
@pytest.mark.parametrize("line", [-0.06, 0.0, 0.05])
def test_the_lip_line_is_found_where_landmarks_miss_it(line: float) -> None:
    face = drawn_face(line)
    lips = Lips.found(face)
    x = np.linspace(0.2, 0.8, 13)
    truth = lips.frame.inside(face.landmarks)[[61, 62, 63, 65, 66, 67]][:, 1].mean() + line
    np.testing.assert_allclose(lips.upper_edge(x), truth, atol=0.015)
    assert not lips.parted


@pytest.mark.slow
def test_teeth_are_detected_and_thick_lips_are_not_an_open_mouth() -> None:
    assert lips_apart(drawn_face(teeth=True)) == pytest.approx(0.12, abs=0.01)
    assert lips_apart(registered("eileen-collins")) > 0.1
    for name in ("red-jacket", "elizabeth-i", "young-woman-in-mauve", "grace-hopper", "mona-lisa"):
        assert lips_apart(registered(name)) == 0, name


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_no_degree_changes_nothing(name: str) -> None:
    face = registered(name)
    assert Mouth.found(face).stroke(face.landmarks).size == (0, 0)
    assert np.array_equal(moved(face), face.picture)


@pytest.mark.parametrize("name", NAMES)
def test_a_small_degree_changes_little(name: str) -> None:
    face = registered(name)
    assert np.abs(moved(face, smile=1e-4, mouth_open=1e-4) - face.picture).max() < 0.01


@pytest.mark.parametrize("name", NAMES)
def test_the_border_does_not_change(name: str) -> None:
    face = registered(name)
    after = moved(face, smile=1.5, anger=1, mouth_open=1)
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        np.testing.assert_allclose(after[edge], face.picture[edge], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "degrees",
    [{"smile": 2}, {"smile": -2}, {"anger": 2}, {"mouth_open": 1.5, "smile": 1}, {"age": 2}],
    ids=str,
)
@pytest.mark.parametrize("name", [*NAMES, "paul-revere"])
def test_the_field_does_not_fold(name: str, degrees: dict[str, Any]) -> None:
    face = registered(name)
    stroke = Mouth.found(face).stroke(expression_landmarks(face, **degrees))
    assert stroke.shift is not None
    assert stroke.kept is not None
    shift = stroke.shift.astype(np.float64)
    across, down = np.gradient(shift, axis=1), np.gradient(shift, axis=0)
    area = (1 + across[..., 0]) * (1 + down[..., 1]) - across[..., 1] * down[..., 0]
    shown = stroke.kept.min(axis=-1) > 0.99  # the tear itself is painted over
    wide = shown.copy()
    for axis in (0, 1):
        for step in (-2, -1, 1, 2):
            wide &= np.roll(shown, step, axis)
    assert np.quantile(area[wide], 0.002) > 0.1
    assert (area[wide] < 0).mean() < 2e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grace-hopper", "mona-lisa", "geronimo", "paul-revere", "red-jacket"])
def test_a_smile_shows_teeth(name: str) -> None:
    face = registered(name)
    mouth = Mouth.found(face)
    stroke = mouth.stroke(expression_landmarks(face, smile=1))
    assert stroke.kept is not None
    inside = stroke.kept.max(axis=-1) < 0.3
    box = slice(stroke.top, stroke.bottom), slice(stroke.left, stroke.right)
    lit = luminance(drawn(face.picture, stroke))[box][inside]
    middle = face.landmarks[29:31].astype(int).mean(axis=0).astype(int)
    reach = int(face.eye_distance / 3)
    skin = luminance(face.picture)[
        middle[1] - reach : middle[1] + reach, middle[0] - reach : middle[0] + reach
    ]
    assert inside.sum() > 0.01 * face.eye_distance**2
    assert (lit > 0.6 * np.median(skin)).mean() > 0.3


def test_teeth_in_the_photo_are_preserved() -> None:
    face = registered("eileen-collins")
    stroke = Mouth.found(face).stroke(expression_landmarks(face, smile=1))
    assert stroke.kept is not None
    assert stroke.kept.min() > 0.9, "nothing is painted over her own teeth"


def test_a_frown_and_anger_paint_nothing() -> None:
    for name in NAMES:
        face = registered(name)
        frowns: list[dict[str, Any]] = [{"smile": -1}, {"anger": 1}]
        for degrees in frowns:
            strokes = Mouth.found(face).strokes(expression_landmarks(face, **degrees))
            assert all(stroke.kept is None or stroke.kept.min() > 0.95 for stroke in strokes), (name, degrees)


@pytest.mark.parametrize("degrees", [{"smile": 1}, {"mouth_open": 1}], ids=str)
def test_a_grey_photo_stays_grey(degrees: dict[str, Any]) -> None:
    after = moved(greyed(registered("grace-hopper")), **degrees)
    assert np.ptp(after, axis=-1).max() < 1e-3


@pytest.mark.parametrize("name", ["grace-hopper", "eileen-collins"])
def test_a_mirrored_photo_smiles_mirrored(name: str) -> None:
    face = registered(name)
    here, there = moved(face, smile=1), moved(mirrored(face), smile=1)
    apart = np.abs(here - there[:, ::-1])
    assert apart.mean() < 0.002
    assert np.quantile(apart, 0.999) < 0.12


def test_looks_the_same_at_any_resolution() -> None:
    small = registered("grace-hopper")
    after, before = moved(enlarged(small, 2), smile=1), moved(small, smile=1)
    halved = after.reshape(small.side, 2, small.side, 2, 3).mean(axis=(1, 3))
    assert np.abs(halved - before).mean() < 0.012


@pytest.mark.slow
def test_a_smile_grows_evenly() -> None:
    face = registered("grace-hopper")
    mouth = Mouth.found(face)
    frames = np.array(
        [
            drawn(face.picture, mouth.stroke(expression_landmarks(face, smile=s)))
            for s in np.linspace(0, 1, 31)
        ]
    )
    steps = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    assert steps.max() < 2.2 * np.median(steps)
    assert np.abs(np.diff(frames, axis=0)).max() < 0.7


def test_a_spline_goes_through_its_anchors() -> None:
    rng = np.random.default_rng(0)
    anchors, values = rng.random((30, 2)), rng.normal(size=(30, 2))
    np.testing.assert_allclose(ThinPlate(anchors, values)(anchors), values, atol=1e-4)
    plain = ThinPlate(anchors, anchors @ np.array([[2.0, 1.0], [0.0, 3.0]]) + 1)
    at = rng.random((4, 5, 2))
    np.testing.assert_allclose(plain(at), at @ np.array([[2.0, 1.0], [0.0, 3.0]]) + 1, atol=1e-5)
