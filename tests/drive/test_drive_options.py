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
    ],
)
def test_wrong_values_are_one_sentence(given: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        drive_options_from(given)


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(TypeError, match="did you mean 'mirror'"):
        drive_options_from({"miror": True})


def test_keywords_override_options() -> None:
    base = DriveOptions(strength=0.5, mirror=True)
    assert drive_options_from({"strength": 1.5}, base) == DriveOptions(strength=1.5, mirror=True)
