import numpy as np
import pytest

from micromotion.errors import MotionError
from micromotion.photo.effects import (
    LANDMARKS,
    NAMES,
    Effects,
    Reading,
    Response,
    poses,
    stated_effects,
    states_effects,
)

SMILE, YAW = NAMES.index("smile"), NAMES.index("yaw")


def reading(strengths: np.ndarray) -> Reading:
    """A smile that saturates with the first motion; a turn and a field that grow with the second."""
    effects = np.zeros((len(strengths), len(NAMES)))
    effects[:, SMILE] = np.tanh(strengths[:, 0])
    effects[:, YAW] = 20 * strengths[:, 1]
    field = strengths[:, 1, None, None] * np.linspace(0, 1, 2 * LANDMARKS).reshape(LANDMARKS, 2)
    return Reading(effects, field)


def test_each_motion_is_sampled_alone_up_to_its_largest_strength_of_each_sign() -> None:
    strengths = np.array([[0.0, 0.0, 0.0], [1.0, -0.5, 0.0], [0.4, 0.25, 0.0]])
    rows = poses(strengths)
    assert (np.count_nonzero(rows, axis=1) == 1).all()
    assert sorted(rows[rows[:, 0] != 0][:, 0]) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rows[:, 1].min() == -0.5
    assert rows[:, 1].max() == 0.25
    assert len(poses(np.zeros((4, 3)))) == 0
    assert len(poses(np.zeros((1, 0)))) == 0


def test_measured_effects_interpolate_and_add_up() -> None:
    rows = poses(np.array([[2.0, 1.0], [-1.0, 0.0]]))
    response = Response()
    response.measured(rows, reading(rows))
    for strength in (-0.9, -0.3, 0.15, 0.7, 1.9):
        effects, field = response(np.array([strength, 0.0]))
        assert effects.smile == pytest.approx(np.tanh(strength), abs=0.02)
        assert not field.any()
    effects, field = response(np.array([0.5, 0.3]))
    assert effects.smile == pytest.approx(np.tanh(0.5), abs=0.02)
    assert effects.yaw == pytest.approx(6.0)
    assert field[-1, 1] == pytest.approx(0.3)


def test_effects_are_zero_at_rest_and_continuous() -> None:
    rows = poses(np.array([[1.0, 1.0], [-1.0, -1.0]]))
    response = Response()
    response.measured(rows, reading(rows))
    effects, field = response(np.zeros(2))
    assert effects == Effects()
    assert not field.any()
    smiles = np.array([response(np.array([s, 0.0]))[0].smile for s in np.linspace(-1, 1, 401)])
    assert np.abs(np.diff(smiles, n=2)).max() < 2e-4


def test_stated_effects_survive_a_round_trip() -> None:
    effects = np.zeros((3, len(NAMES)))
    effects[:, SMILE], effects[:, YAW] = [-0.4, 0.5, 1.0], [-10, 12, 25]
    provenance = {"recipe": "smile", **stated_effects([-1.0, 0.5, 1.0], effects)}
    assert states_effects(provenance)
    assert not states_effects({"recipe": "smile"})
    response = Response()
    response.stated(1, provenance)
    for strength, smile, yaw in ((-1.0, -0.4, -10), (0.5, 0.5, 12), (1.0, 1.0, 25)):
        found, field = response(np.array([9.0, strength]))
        assert found.smile == pytest.approx(smile)
        assert found.yaw == pytest.approx(yaw)
        assert not field.any()
    assert "effects.age" not in provenance


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"effects.strengths": "0.5 x"}, "invalid numbers"),
        ({"effects.strengths": ""}, "invalid numbers"),
        ({"effects.strengths": "nan"}, "invalid numbers"),
        ({"effects.strengths": "1e9"}, "invalid numbers"),
        ({"effects.strengths": " ".join(map(str, range(1, 99)))}, "invalid numbers"),
        ({"effects.strengths": "0.5 0.5"}, "twice"),
        ({"effects.strengths": "0 1"}, "strength of 0"),
        ({"effects.strengths": "0.5 1", "effects.smile": "1"}, "different number of strengths"),
        ({"effects.strengths": "0.5 1", "effects.nose": "1 2"}, "'nose'"),
    ],
)
def test_invalid_effects_are_refused_in_one_sentence(entries: dict[str, str], says: str) -> None:
    with pytest.raises(MotionError, match=says) as caught:
        Response().stated(0, entries)
    assert str(caught.value).startswith("The micromotion states")
