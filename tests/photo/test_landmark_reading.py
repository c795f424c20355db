"""Effects measured from landmarks alone, on rendered heads whose effects are known."""

import numpy as np
import pytest
import torch

from avatar.renderer.factors import Z_DIM, factors_from_z
from avatar.renderer.pose import MAX_YAW
from avatar.renderer.render import render
from micromotion.photo.effects import NAMES
from micromotion.photo.landmark_reading import LandmarkReader
from micromotion.types import Frame


@torch.inference_mode()
def head(**degrees: float) -> Frame:
    """A plain head of 256² pixels with these factors; its other motions are at rest."""
    factors = factors_from_z(torch.zeros(1, Z_DIM))
    for name, value in degrees.items():
        factors[name] = torch.full((1, 1), value)
    picture = render(factors, 256)[0]
    return ((picture.movedim(0, -1) + 1) * 127.5).round().byte().numpy()


@pytest.fixture(scope="module")
def read() -> dict[str, dict[str, float]]:
    """By factor, the effects measured on a head that shows it."""
    shown = {
        "yaw": head(yaw=np.radians(15) / MAX_YAW),
        "other way": head(yaw=-np.radians(15) / MAX_YAW),
        "eyes_closed": head(eyes_closed=1.0),
        "mouth_open": head(mouth_open=1.0),
        "smile": head(smile=1.0),
        "rest": head(),
    }
    reading = LandmarkReader()(head(), list(shown.values()))
    found = {}
    for factor, effects, field in zip(shown, reading.effects, reading.field, strict=True):
        found[factor] = dict(zip(NAMES, effects.tolist(), strict=True)) | {
            "gap": float((field[[67, 66, 65], 1] - field[[61, 62, 63], 1]).mean()),
            "corners": float(-field[[48, 54], 1].mean()),
            "wider": float(field[54, 0] - field[48, 0]),
            "all": float(np.abs(field).max()),
        }
    return found


@pytest.mark.slow
def test_the_same_frame_shows_nothing(read: dict[str, dict[str, float]]) -> None:
    assert all(abs(value) < 1e-6 for value in read["rest"].values())


@pytest.mark.slow
def test_a_turn_is_measured_in_signed_degrees_and_not_as_an_expression(
    read: dict[str, dict[str, float]],
) -> None:
    assert read["yaw"]["yaw"] == pytest.approx(15, abs=4)
    assert read["other way"]["yaw"] == pytest.approx(-15, abs=4)
    for way in ("yaw", "other way"):
        assert abs(read[way]["pitch"]) < 5
        assert abs(read[way]["roll"]) < 4  # dlib's temples tilt on a turned head
        assert abs(read[way]["gap"]) < 0.04


@pytest.mark.slow
def test_only_closed_eyes_are_read_as_closed(read: dict[str, dict[str, float]]) -> None:
    for eye in ("left_eye", "right_eye"):
        assert read["eyes_closed"][eye] > 0.5
        for other in ("yaw", "other way", "mouth_open"):
            assert read[other][eye] < 0.35, other
    assert abs(read["eyes_closed"]["yaw"]) < 3


@pytest.mark.slow
def test_an_open_mouth_and_a_smile_are_measured_as_a_field(read: dict[str, dict[str, float]]) -> None:
    assert read["mouth_open"]["gap"] > 0.1
    assert read["smile"]["wider"] > 0.05
    assert read["smile"]["corners"] > 0.02
    assert abs(read["mouth_open"]["yaw"]) < 4
    assert abs(read["smile"]["yaw"]) < 4
