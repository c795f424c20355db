"""The options of driving: defaults, limits, and what they say."""

from typing import Any, get_args, get_type_hints

import pytest

from micromotion.drive import trajectory
from micromotion.drive.options import (
    DRIVE_OPTIONS,
    MAX_DRIVING_FRAMES,
    PARTS,
    DriveKeywords,
    DriveOptions,
    Part,
    drive_options_from,
)
from micromotion.errors import OptionError


def test_the_parts_and_limits_are_those_of_a_trajectory() -> None:
    assert trajectory.PARTS == PARTS == get_args(Part)
    assert trajectory.MAX_DRIVING_FRAMES == MAX_DRIVING_FRAMES


def test_keywords_and_options_have_the_same_names() -> None:
    assert set(get_type_hints(DriveKeywords)) == set(DRIVE_OPTIONS)


def test_parts_are_a_text_or_names_in_any_order() -> None:
    for given in ("mouth,eyes", "mouth, eyes", ("mouth", "eyes"), ["eyes", "mouth"], {"eyes", "mouth"}):
        assert drive_options_from({"parts": given}).parts == ("eyes", "mouth")
    assert DriveOptions().parts == PARTS


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"parts": "nose"}, "parts must be some of eyes, mouth, brows, pose, not 'nose'"),
        ({"parts": ""}, "parts must be some of"),
        ({"parts": None}, "parts must be some of"),
        ({"strength": 2.1}, "strength must be a number from 0 to 2, not 2.1"),
        ({"strength": -1}, "strength must be"),
        ({"strength": float("nan")}, "strength must be"),
        ({"strength": "much"}, "strength must be"),
        ({"view": "side"}, "view must be"),
        ({"size": 10}, "size must be a whole number from 64"),
        ({"face": -1}, "face must be"),
        ({"clip_face": 100}, "clip_face must be"),
        ({"rest": 1800}, "rest must be a whole number from 0 to 1799"),
        ({"view": "model", "parts": "eyes"}, "plays the whole face"),
        ({"view": "model", "mirror": True}, "cannot be mirrored"),
        ({"faces": "0=smile"}, "do what the clip's does, and none has a motion of its own"),
        ({"faces": {0: "smile"}}, "do what the clip's does, and none has a motion of its own"),
        ({"faces": "zero"}, "faces must be 'all', or a list"),
        ({"faces": ""}, "faces must be 'all', or a list"),
        ({"faces": "0,0"}, "Face 0 is listed twice"),
        ({"faces": range(17)}, "the number of faces must be a whole number from 1 to 16"),
        ({"faces": "0,1", "face": 1}, "Give faces or face, not both"),
        ({"faces": "all", "view": "face"}, "The view 'face' shows one face: leave out faces"),
        ({"faces": "all", "view": "model"}, "The view 'model' shows one face: leave out faces"),
    ],
)
def test_wrong_values_are_one_sentence(given: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        drive_options_from(given)


def test_faces_are_a_text_or_numbers_in_any_order() -> None:
    for given in ("0,2", "2, 0", (2, 0), [0, 2]):
        selection = DriveOptions(faces=given).selection
        assert selection is not None
        assert selection.numbers == (0, 2)
    assert DriveOptions().selection is None
    everybody = DriveOptions(faces="all", view="photo").selection
    assert everybody is not None
    assert everybody.numbers is None


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(TypeError, match="did you mean 'mirror'"):
        drive_options_from({"miror": True})


def test_keywords_override_options() -> None:
    base = DriveOptions(strength=0.5, mirror=True)
    assert drive_options_from({"strength": 1.5}, base) == DriveOptions(strength=1.5, mirror=True)
