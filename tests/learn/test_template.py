"""Templates and degrees: what is filled in, and what is refused with an example of the right form."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from micromotion.errors import OptionError
from micromotion.learn.template import DEFAULT_DEGREES, fill, number_degrees

FORM = '"a person with {degree} smile"'


def test_the_defaults_are_those_of_the_original() -> None:
    words = ["no", "10%", "20%", "30%", "40%", "50%", "60%", "70%", "80%", "90%", "100%"]
    assert [word for word, _ in DEFAULT_DEGREES] == words
    assert [number for _, number in DEFAULT_DEGREES] == pytest.approx([i / 10 for i in range(11)])
    assert number_degrees(words) == DEFAULT_DEGREES


def test_the_degree_replaces_the_placeholder() -> None:
    assert fill("a {degree} angry person", (("no", 0.0), ("50%", 0.5))) == [
        "a no angry person",
        "a 50% angry person",
    ]
    assert fill("  {degree} lächelnd\u00e9 😀 ", (("sehr", 1.0),)) == ["sehr lächelnd\u00e9 😀"]


@pytest.mark.parametrize("degree", ["os.getcwd()", "' + str(1) + '", "%s", "\\", "$HOME"])
def test_nothing_is_evaluated(degree: str) -> None:
    """In Python's string formatting or in a shell each of these would have an effect."""
    assert fill("%s $HOME ' {degree}", ((degree, 0.0),)) == [f"%s $HOME ' {degree}"]


@pytest.mark.parametrize(
    "template",
    [
        "",
        "   ",
        None,
        "a person with a smile",
        "a person with {smile}",
        "a person with {}",
        "a person with {0} smile",
        "a person with { degree } smile",
        "a person with {Degree} smile",
        "a person with {degree!r} smile",
        "a person with {degree.__class__} smile",
        "a person with {degree:>9999999999} smile",
        "{__import__('os').system('id')} {degree}",
        "{{degree}}",
        "a {degree} smile, {degree} teeth",
        "a {degree} smile}",
        "{ a {degree} smile",
        "a {degree} smile\n",
        "a {degree} smile\x00",
        "a {degree} smile\x1b[2J",
        "a {degree} smile \u202e",
        "{degree} " + "very " * 60 + "happy",
    ],
    ids=repr,
)
def test_invalid_templates_are_refused_with_an_example(template: Any) -> None:
    with pytest.raises(OptionError) as caught:
        fill(template, DEFAULT_DEGREES)
    sentence = str(caught.value)
    assert FORM in sentence
    assert sentence.isprintable()
    assert sentence.endswith(".")
    assert len(sentence) < 500


def test_words_without_numbers_are_numbered() -> None:
    assert number_degrees(["no", "25%", "99.5%"]) == (("no", 0.0), ("25%", 0.25), ("99.5%", 0.995))
    assert number_degrees(["-50%", "no", "50%"]) == (("-50%", -0.5), ("no", 0.0), ("50%", 0.5))
    assert number_degrees(["no", "a slight", "a broad"]) == (("no", 0.0), ("a slight", 0.5), ("a broad", 1.0))
    recipe = (("faint", 0.1), ("full", 2.0))
    assert number_degrees(recipe) == recipe


@pytest.mark.parametrize(
    "degrees",
    [
        [],
        ["no"],
        "no",
        ["no", "no"],
        ["50%", "10%"],
        ["no", "0%"],
        [f"{i}%" for i in range(101)],
        ["no", ""],
        ["no", " "],
        ["no", "{degree}"],
        ["no", "a\tb"],
        ["no", "x" * 61],
        [("no", 0.0), ("full", 0.0)],
        [("no", 0.0), ("full", float("nan"))],
        [("no", 0.0), ("full", float("inf"))],
    ],
    ids=lambda degrees: repr(degrees)[:40],
)
def test_invalid_degrees_are_refused(degrees: Any) -> None:
    with pytest.raises(OptionError) as caught:
        number_degrees(degrees)
    assert str(caught.value).endswith(".")
    assert str(caught.value).isprintable()


def test_a_template_is_checked_without_torch() -> None:
    """So that a command refuses a bad template at once."""
    code = "import sys, micromotion.learn.template; sys.exit('torch' in sys.modules)"
    top = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=top).returncode == 0
