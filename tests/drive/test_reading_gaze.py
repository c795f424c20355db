"""Irises are found in drawn eyes, and the gaze is quiet where the lids hide them."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from micromotion.drive.gaze import find_irises, gaze_course

WIDTH, HEIGHT = 60, 24  # of an eye, in pixels


def eyes(right: float, down: float = 0.0, height: float = HEIGHT) -> tuple[np.ndarray, np.ndarray]:
    """A face of two eyes whose irises are off their middles by fractions of the eye's width; its landmarks."""
    scale = 4
    picture = Image.new("RGB", (300 * scale, 120 * scale), (200, 160, 140))
    landmarks = np.zeros((68, 2))
    for first, x in ((36, 90), (42, 210)):
        white = Image.new("RGB", picture.size, (235, 230, 225))
        middle, radius = np.array([x + right * WIDTH, 60 + down * WIDTH]), 0.2 * WIDTH
        box = scale * np.concatenate([middle - radius, middle + radius])
        ImageDraw.Draw(white).ellipse(tuple(box), fill=(70, 50, 40))
        away = (
            WIDTH * np.array([-0.5, -0.2, 0.2, 0.5, 0.2, -0.2]),
            height * np.array([0, -0.5, -0.5, 0, 0.5, 0.5]),
        )
        outline = np.stack(away, axis=1) + [x, 60]
        mask = Image.new("L", picture.size)
        ImageDraw.Draw(mask).polygon([tuple(scale * point) for point in outline], fill=255)
        picture.paste(white, mask=mask)
        landmarks[first : first + 6] = outline
    return np.asarray(picture.resize((300, 120), Image.Resampling.BOX)), landmarks - 0.5


@pytest.mark.parametrize("right", [-0.15, -0.08, 0.0, 0.08, 0.15])
def test_an_iris_is_found_to_a_fiftieth_of_the_eye(right: float) -> None:
    np.testing.assert_allclose(find_irises(*eyes(right))[:, 0], right, atol=0.02)


def test_a_shut_eye_has_no_iris() -> None:
    assert np.isnan(find_irises(*eyes(0, height=6))).all()


def test_the_gaze_is_relative_to_rest_and_steady_through_a_blink() -> None:
    rng = np.random.default_rng(0)
    irises = np.repeat(np.array([[0.05, 0.02], [-0.04, 0.02]])[None], 60, axis=0)
    irises[30:, :, 0] += 0.1
    irises += rng.normal(0, 0.004, irises.shape)
    lids = np.zeros((60, 2))
    lids[12:16] = 1
    irises[12:16] = rng.uniform(-0.4, 0.4, (4, 2, 2))
    irises[13] = np.nan
    gaze = gaze_course(irises, lids, np.arange(5), 25.0)
    np.testing.assert_allclose(gaze[:27], 0, atol=0.012)
    np.testing.assert_allclose(gaze[33:, :, 0], 0.1, atol=0.012)


def test_eyes_that_are_never_seen_look_nowhere_else() -> None:
    assert not gaze_course(np.full((9, 2, 2), np.nan), np.ones((9, 2)), np.arange(3), 25.0).any()
