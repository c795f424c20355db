"""The number of a timeline's frames follows from its decimal seconds, without float rounding."""

from fractions import Fraction

import pytest

from micromotion.motion.timeline_text import parse_timeline


@pytest.mark.slow
@pytest.mark.parametrize("fps", [1, 7, 24, 25, 30, 50, 60])
def test_decimal_seconds_are_counted_exactly(fps: int) -> None:
    """2.2 s at 25 a second end on frame 55, so there are 56, though 2.2 * 25 is more than 55 in floats."""
    wrong = {}
    for hundredths in range(1, 900):
        text = f"{hundredths // 100}.{hundredths % 100:02}"
        steps = -(-Fraction(text) * fps // 1)  # rounded up
        timeline = parse_timeline(f"{text}s smile")
        if timeline.count(fps) != 1 + steps:
            wrong[text] = timeline.count(fps), 1 + steps
    assert not wrong


@pytest.mark.parametrize("repeat", [2, 3])
def test_each_repetition_is_as_long_as_one(repeat: int) -> None:
    once = parse_timeline("2.2s smile").count(25)
    assert once == 56
    assert parse_timeline(f"2.2s smile, repeat {repeat}").count(25) == 1 + repeat * (once - 1)


@pytest.mark.parametrize(("seconds", "fps"), [("2.2", 25), ("1.1", 30), ("4.35", 20), ("0.57", 60)])
def test_only_the_last_frame_shows_the_last_keyframe(seconds: str, fps: int) -> None:
    strengths = parse_timeline(f"{seconds}s smile=0.7").strengths(fps)[:, 0]
    assert strengths[-1] == 0.7
    assert strengths[-2] < 0.7
