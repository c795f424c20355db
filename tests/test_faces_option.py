"""The option `faces`: one meaning in all notations, and a sentence for everything else."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from micromotion.errors import OptionError
from micromotion.face_selection import MAX_FACES, FaceSelection, parse_faces
from micromotion.options import AnimateOptions


@pytest.mark.parametrize(
    ("given", "own"),
    [
        ("all", None),
        (" all ", None),
        ("0", {0: {}}),
        ("2, 0", {0: {}, 2: {}}),
        ([2, 0], {0: {}, 2: {}}),
        ((np.int64(3),), {3: {}}),
        ("1=angry,0 = smile", {0: {"smile": 1}, 1: {"angry": 1}}),
        ("0=smile=0.5,1,0=eyesClose=-1", {0: {"smile": 0.5, "eyesClose": -1}, 1: {}}),
        ("0=a=b.safetensors", {0: {"a=b.safetensors": 1}}),
        ("0=grin.safetensors=0.5", {0: {"grin.safetensors": 0.5}}),
        ({0: "smile", 1: None, 2: ["smile", "angry"]}, {0: {"smile": 1}, 1: {}, 2: {"smile": 1, "angry": 1}}),
        ({4: {Path("x.safetensors"): 2}}, {4: {Path("x.safetensors"): 2}}),
    ],
)
def test_a_selection_is_parsed_once(given: Any, own: dict[int, dict[Any, float]] | None) -> None:
    options = AnimateOptions(faces=given)
    selection = options.selection
    assert isinstance(selection, FaceSelection)
    assert selection.numbers == (None if own is None else tuple(sorted(own)))
    for number, motions in (own or {}).items():
        assert selection.motions_of(number) == motions
    assert parse_faces(selection) is selection
    assert replace(options, frames=3).selection == selection
    assert hash(selection) == hash(parse_faces(given))


def test_the_order_does_not_matter() -> None:
    assert parse_faces("0=smile,0=angry,2") == parse_faces("2,0=angry,0=smile")
    assert parse_faces({2: None, 0: ["angry", "smile"]}) == parse_faces("0=smile,0=angry,2")
    assert parse_faces("0,1").all_have_own is False
    assert parse_faces("0=smile,1=angry").all_have_own is True
    assert parse_faces("all").all_have_own is False


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("", "^faces must be 'all', or a list such as 0,2 or 0=smile,1=angry=0.5, not ''"),
        ("x", "^faces must be 'all'.*not 'x'"),
        ("0;1", "not '0;1'"),
        ("0,", "not ''"),
        ("all,1", "not 'all'"),
        ("-1", "not '-1'"),
        ("0=", "not '0='"),
        ("0==1", "not '0==1'"),
        ("0=smile=much", "not '0=smile=much'"),
        ("0=smile=9", "strength must be a number from -5 to 5, not 9"),
        ("0=smile=nan", "strength must be"),
        ("0,0", "Face 0 is listed twice in faces"),
        ("0,0=smile", "Face 0 is listed twice"),
        ("0=smile,0", "Face 0 is listed twice"),
        ("0=smile,0=smile=2", "Face 0 is listed twice"),
        ("100", "a number in faces must be a whole number from 0 to 99, not 100"),
        ("9" * 999, "from 0 to 99"),
        ("9" * 1001, "the number of characters of faces must be .* to 1000, not 1001"),
        (",".join(map(str, range(MAX_FACES + 1))), "the number of faces must be .* from 1 to 16, not 17"),
        ([], "the number of faces must be"),
        ({}, "the number of faces must be"),
        ([1.5], "a number in faces"),
        ({"a": "smile"}, "a number in faces"),
        ({0: []}, "The motions of face 0 must be a name"),
        ({0: 3}, "The motions of face 0 must be .* not 3; a timeline plays on all faces"),
        ({0: {"smile": 9}}, "strength must be"),
        (5, "^faces must be 'all'.*not 5"),
    ],
)
def test_what_is_no_selection_is_refused(given: Any, sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        AnimateOptions(faces=given)


def test_faces_apply_to_the_whole_photo_only() -> None:
    for view in ("auto", "photo"):
        assert AnimateOptions(faces="0,1", view=view).selection is not None
    assert AnimateOptions(face=3, aligned=True, compare=True).selection is None
