"""The timeline language: parsing, the strengths in each frame, and error messages."""

import re
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micromotion.errors import OptionError
from micromotion.motion.schedule import Motions, schedule
from micromotion.motion.timeline import MAX_KEYFRAMES, MAX_MOTIONS, Keyframe, Timeline
from micromotion.motion.timeline_text import MAX_TEXT, TimelineError, parse_timeline
from micromotion.options import AnimateOptions, check_motion

NAMES = ["smile", "angry", "eyesClose", "a.b-c_9"]
KNOWN = ["aging", "angry", "eyesClose", "headsTurn", "smile"]


def known(name: str) -> None:
    check_motion(name, KNOWN)


# Parsing.


def test_timelines_are_parsed_as_intended() -> None:
    read = parse_timeline("0s smile=0, 1s smile=1 smooth, 1.5s hold, 2s eyesClose=-.5 angry linear, repeat 3")
    assert read == Timeline(
        (
            Keyframe(0.0, {"smile": 0.0}),
            Keyframe(1.0, {"smile": 1.0}, "smooth"),
            Keyframe(1.5),
            Keyframe(2.0, {"eyesClose": -0.5, "angry": 1.0}, "linear"),
        ),
        repeat=3,
    )
    assert read.motions == ("smile", "eyesClose", "angry")


@pytest.mark.parametrize(
    "text",
    [
        "1s smile=1 smooth;2s hold;repeat 2",
        "# a wink\n1s smile smooth  # up\n\n2s hold\n\n repeat 2 \n",
        "\t1.0s smooth smile=+1.,,2.s\thold,\r\nrepeat 2,",
        "1s smile = 1 smooth\u00a0, 2s hold, repeat 2",
    ],
)
def test_white_space_separators_and_comments_do_not_matter(text: str) -> None:
    expected = Timeline((Keyframe(1.0, {"smile": 1.0}, "smooth"), Keyframe(2.0)), 2)
    assert parse_timeline(text, known) == expected


def test_files_can_be_named() -> None:
    assert parse_timeline("1s ./my/grin.safetensors=2").motions == ("./my/grin.safetensors",)


def decimal(number: Fraction) -> str:
    return f"{float(number):.3f}"


thousandths = st.integers(-5000, 5000).map(lambda n: Fraction(n, 1000))
easings = st.sampled_from([None, "linear", "smooth"])
movements = st.dictionaries(st.sampled_from(NAMES), thousandths, max_size=3)
timelines = st.lists(
    st.tuples(st.integers(0, 900), movements, easings), min_size=1, max_size=6, unique_by=lambda k: k[0]
)


def written(keyframes: list[tuple[Fraction, dict[str, Fraction], str | None]], repeat: int) -> str:
    """The text of keyframes: time in seconds, strengths, easing."""
    parts = []
    for time, strengths, easing in keyframes:
        moves = [f"{name}={decimal(strength)}" for name, strength in strengths.items()]
        parts.append(
            " ".join([f"{decimal(time)}s", *(moves or ["hold"]), *([easing] if easing and moves else [])])
        )
    return ", ".join([*parts, f"repeat {repeat}"])


def slowly(
    keyframes: list[tuple[Fraction, dict[str, Fraction], str | None]], repeat: int, fps: int
) -> list[dict[str, Fraction]]:
    """The exact strength of each motion in each frame, one frame and one motion at a time."""
    end = keyframes[-1][0]
    frames = -((-end * fps) // 1)
    names = {name for _, strengths, _ in keyframes for name in strengths}

    def at(time: Fraction, name: str) -> Fraction:
        points: list[tuple[Fraction, Fraction, str | None]] = [(Fraction(0), Fraction(0), None)]
        for when, strengths, easing in keyframes:
            points.append((when, strengths.get(name, points[-1][1]), easing))
        for (before, start, _), (after, stop, easing) in pairwise(points):
            if before < time <= after or (time == after == 0):
                way = (time - before) / (after - before) if after > before else Fraction(1)
                if easing == "smooth":
                    way = 3 * way**2 - 2 * way**3
                return start + way * (stop - start)
        return points[0][1]  # before the first keyframe

    once = [{name: at(min(Fraction(i, fps), end), name) for name in names} for i in range(frames + 1)]
    return once + (repeat - 1) * once[1:]


@pytest.mark.slow
@settings(deadline=None)  # a busy machine takes long now and then
@given(timelines, st.integers(1, 3), st.integers(1, 60))
def test_each_frame_agrees_with_the_slow_reference(raw: list, repeat: int, fps: int) -> None:
    keyframes = [
        (Fraction(time, 300), strengths, easing)
        for time, strengths, easing in sorted(raw, key=lambda k: k[0])
    ]
    keyframes = [(Fraction(decimal(time)), strengths, easing) for time, strengths, easing in keyframes]
    timeline = parse_timeline(written(keyframes, repeat))
    expected = slowly(keyframes, repeat, fps)
    got = timeline.strengths(fps)
    assert got.shape == (len(expected), len(timeline.motions)) == (timeline.count(fps), got.shape[1])
    exact = np.array([[float(row[name]) for name in timeline.motions] for row in expected])
    assert np.abs(got - exact.reshape(got.shape)).max(initial=0) < 1e-9


def test_keyframes_on_a_frame_are_exact() -> None:
    strengths = parse_timeline("0.1s smile=0.3, 0.7s smile=-4.9 smooth, 1.1s smile=1").strengths(30)
    assert [strengths[i, 0] for i in (0, 3, 21, 33)] == [0, 0.3, -4.9, 1]
    assert len(strengths) == 34


def test_a_still_face_at_the_start_unless_a_keyframe_says_otherwise() -> None:
    assert parse_timeline("1s smile").strengths(2).tolist() == [[0], [0.5], [1]]
    assert parse_timeline("0s smile, 1s hold").strengths(2).tolist() == [[1], [1], [1]]
    assert parse_timeline("0s smile=2").strengths(30).tolist() == [[2]]
    assert parse_timeline("1s hold").strengths(2).shape == (3, 0)


def test_a_motion_keeps_its_strength_until_it_is_named_again() -> None:
    strengths = parse_timeline("1s smile, 2s eyesClose, 3s smile=0").strengths(2)
    assert strengths.T.tolist() == [[0, 0.5, 1, 1, 1, 0.5, 0], [0, 0, 0, 0.5, 1, 1, 1]]


def test_the_callers_easing_applies_to_keyframes_without_one() -> None:
    text = "1s smile=1, 2s smile=0 linear, 3s smile=1 smooth"
    linear, smooth = (parse_timeline(text).strengths(4, easing)[:, 0] for easing in ("linear", "smooth"))
    assert linear[1] == 0.25
    assert smooth[1] == 3 * 0.25**2 - 2 * 0.25**3
    assert np.array_equal(linear[4:], smooth[4:])
    assert linear[5] == 0.75
    assert linear[9] == smooth[1]


def test_a_repetition_shares_a_frame_with_the_previous_one() -> None:
    once = parse_timeline("1s smile, 2s smile=0").strengths(3)
    thrice = parse_timeline("1s smile, 2s smile=0, repeat 3").strengths(3)
    assert np.array_equal(thrice, np.concatenate([once, once[1:], once[1:]]))


# Errors.


@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        ("1s smile=1, 2s smlie=1", 1, 16, "did you mean 'smile'"),
        ("1s smile\n2s hold\n  3s smile=much", 3, 12, "strength of smile must be a number, not 'much'"),
        ("1s smile=", 1, 4, "must be a number, not ''"),
        ("1s smile=9", 1, 10, "from -5 to 5, not 9"),
        ("1s smile=nan", 1, 10, "not 'nan'"),
        ("1s smile=1e0", 1, 10, "not '1e0'"),
        ("1s smile=" + "9" * 400, 1, 10, "from -5 to 5"),
        ("1s smile smoth", 1, 10, "did you mean 'smooth'"),
        ("1s Hold", 1, 4, "did you mean 'hold'"),
        ("1s smile smooth linear", 1, 17, "one easing"),
        ("1s smooth", 1, 4, "say which motion"),
        ("1s smile smile=0", 1, 10, "already"),
        ("1s smile hold", 1, 10, "must be alone"),
        ("1s", 1, 1, "what happens at 1s"),
        ("1s smile, 1s hold", 1, 11, "1s comes after 1s"),
        ("2s smile, 1s hold", 1, 11, "1s comes after 2s"),
        ("-1s smile", 1, 1, "0s to 600s"),
        ("601s smile", 1, 1, "0s to 600s"),
        ("9" * 400 + "s smile", 1, 1, "0s to 600s"),
        ("1 smile", 1, 1, "write 1s"),
        ("1.5 smile", 1, 1, "write 1.5s"),
        ("smile 1s", 1, 1, "starts with a time"),
        ("1ms smile", 1, 1, "starts with a time"),
        ("1s=2 smile", 1, 1, "starts with a time"),
        ("\u0661s smile", 1, 1, "starts with a time"),
        ("1s smile, = 3", 1, 11, "equals sign"),
        ("1s smile == 3", 1, 11, "equals sign"),
        ("1s smile, repeat", 1, 11, "one whole number"),
        ("1s smile, repeat=2", 1, 11, "one whole number"),
        ("1s smile, repeat two", 1, 18, "one whole number"),
        ("1s smile, repeat 2 3", 1, 20, "one whole number"),
        ("1s smile, repeat 0", 1, 18, "from 1 to 100"),
        ("1s smile, repeat 101", 1, 18, "from 1 to 100"),
        ("1s smile, repeat 2, 3s hold", 1, 21, "nothing can follow"),
        ("1s smile, repeat 2; repeat 3", 1, 21, "nothing can follow"),
        ("1s " + "x" * 256, 1, 4, "256 characters"),
        ("1s ../../etc/passwd", 1, 4, "no micromotion"),
        ("1s smile\0", 1, 4, "no micromotion"),
    ],
)
def test_errors_have_a_line_a_column_and_a_reason(text: str, line: int, column: int, reason: str) -> None:
    with pytest.raises(TimelineError) as caught:
        parse_timeline(text, known)
    sentence = str(caught.value)
    assert sentence.startswith(f"The timeline is wrong at line {line}, column {column}: ")
    assert reason in sentence
    assert sentence.endswith((".", "?"))
    assert "\n" not in sentence
    assert len(sentence) < 400
    (note,) = caught.value.__notes__
    shown, caret = note.split("\n")
    assert caret.strip() == "^"
    assert shown.isprintable()
    assert len(shown) < 70
    place = text.split("\n")[line - 1][column - 1]
    assert shown[caret.index("^")] == place or not place.isprintable()


@pytest.mark.parametrize("at", [0, 5, 40, 100, 300])
def test_the_caret_points_at_the_error_in_a_long_line(at: int) -> None:
    text = f"{'1s hold' + ' ' * at + ','} 2s smile=?{' ' * 200}"
    with pytest.raises(TimelineError) as caught:
        parse_timeline(text)
    shown, caret = caught.value.__notes__[0].split("\n")
    assert shown[caret.index("^")] == "?"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" ,;\n# 1s smile", "empty"),
        ("repeat 3", "empty"),
        ("1s hold," + " " * MAX_TEXT, f"at most {MAX_TEXT} characters"),
    ],
)
def test_invalid_texts_as_a_whole_are_refused(text: str, reason: str) -> None:
    with pytest.raises(TimelineError, match=reason):
        parse_timeline(text)


def test_the_numbers_of_keyframes_and_motions_are_bounded() -> None:
    many = [f"{i}s hold" for i in range(MAX_KEYFRAMES)]
    assert len(parse_timeline("\n".join(many)).keyframes) == MAX_KEYFRAMES
    with pytest.raises(
        TimelineError, match=rf"line {MAX_KEYFRAMES + 1}, column 1: .*{MAX_KEYFRAMES} keyframes"
    ):
        parse_timeline("\n".join([*many, "500s hold"]))
    names = [f"{i + 1}s m{i}" for i in range(MAX_MOTIONS)]
    assert len(parse_timeline("\n".join(names)).motions) == MAX_MOTIONS
    with pytest.raises(TimelineError, match=rf"line {MAX_MOTIONS + 1}, .*motions .* to {MAX_MOTIONS}, not"):
        parse_timeline("\n".join([*names, "99s another"]))


@given(st.text(alphabet="0123456789.s =,;#\n-+smilehodrpatx\0\u00e9\U0001f600", max_size=80))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        timeline = parse_timeline(text, known)
    except TimelineError as error:
        assert str(error).endswith((".", "?"))  # noqa: PT017 (either is right)
    else:
        assert timeline.keyframes
        if timeline.count(5) <= 600:
            assert np.isfinite(timeline.strengths(5)).all()


def test_too_many_frames_are_refused_before_allocation() -> None:
    assert len(parse_timeline("599s smile").strengths(1)) == 600
    for text, fps in (("600s smile", 1), ("600s smile, repeat 100", 60), ("20s smile", 30)):
        with pytest.raises(OptionError, match=r"timeline has \d+ frames .*the limit is 600"):
            parse_timeline(text).strengths(fps)


@pytest.mark.parametrize(
    ("keyframes", "repeat"),
    [
        ((), 1),
        ((Keyframe(1.0), Keyframe(1.0)), 1),
        ((Keyframe(-1.0),), 1),
        ((Keyframe(float("nan")),), 1),
        ((Keyframe("1s"),), 1),  # type: ignore[arg-type]  # wrong on purpose
        ((Keyframe(1.0, {"smile": 6.0}),), 1),
        ((Keyframe(1.0, {"smile": 1.0}, "bouncy"),), 1),  # type: ignore[arg-type]  # wrong on purpose
        ((Keyframe(1.0),), 0),
        ((Keyframe(1.0),), 2.5),
        (tuple(Keyframe(i) for i in range(MAX_KEYFRAMES + 1)), 1),
        ((Keyframe(1.0, {str(i): 1.0 for i in range(MAX_MOTIONS + 1)}),), 1),
    ],
)
def test_timelines_made_in_code_are_checked_too(keyframes: tuple, repeat: int) -> None:
    with pytest.raises(OptionError):
        Timeline(keyframes, repeat)


# Schedules.


def test_one_motion_goes_in_equal_steps() -> None:
    names, strengths = schedule("smile", AnimateOptions(strength=-0.7, frames=90))
    assert names == ("smile",)
    assert strengths[:, 0].tolist() == [-0.7 * (i / 89) for i in range(90)]
    assert schedule("smile", AnimateOptions(strength=3, frames=1))[1].tolist() == [[3]]


def test_several_motions_play_together() -> None:
    names, strengths = schedule({"smile": 1, "eyesClose": 0.5}, AnimateOptions(strength=2, frames=3))
    assert names == ("smile", "eyesClose")
    assert strengths.tolist() == [[0, 0], [1, 0.5], [2, 1]]
    assert schedule(["smile", "angry"], AnimateOptions(frames=2))[1].tolist() == [[0, 0], [1, 1]]


def test_smooth_easing_is_gentle_at_both_ends_and_symmetric() -> None:
    way = schedule("smile", AnimateOptions(frames=101, easing="smooth"))[1][:, 0]
    steps = np.diff(way)
    assert (way[0], way[50], way[100]) == (0, 0.5, 1)
    assert (steps > 0).all()
    assert steps[0] < 0.05 * steps[50]
    assert np.allclose(steps, steps[::-1])


def test_loops() -> None:
    for motion, once in (("smile", [0, 0.5, 1]), (parse_timeline("0s smile=2, 2s smile=0"), [2, 1, 0])):
        assert schedule(motion, AnimateOptions(frames=3, fps=1))[1][:, 0].tolist() == once
        there_and_back = schedule(motion, AnimateOptions(frames=3, fps=1, loop="pingpong"))[1][:, 0].tolist()
        assert there_and_back == [*once, once[1], once[0]]
        assert schedule(motion, AnimateOptions(frames=3, fps=1, loop="hold"))[1][:, 0].tolist() == [
            *once,
            once[-1],
            once[-1],
        ]
    for loop in ("pingpong", "hold"):
        assert schedule("smile", AnimateOptions(frames=1, loop=loop))[1].tolist() == [[1]]
        assert len(schedule("smile", AnimateOptions(frames=300, loop=loop))[1]) == 599
        with pytest.raises(OptionError, match="601 frames of 301"):
            schedule("smile", AnimateOptions(frames=301, loop=loop))


def test_strength_multiplies_a_timeline() -> None:
    timeline = parse_timeline("1s smile=2 smooth, 2s angry=-1")
    assert np.array_equal(
        schedule(timeline, AnimateOptions(strength=-1.5, fps=7))[1], -1.5 * timeline.strengths(7)
    )


@pytest.mark.parametrize(
    ("motion", "options", "reason"),
    [
        ([], {}, "number of motions"),
        ({}, {}, "number of motions"),
        ({str(i): 1 for i in range(17)}, {}, "number of motions"),
        (["smile", "angry", "smile"], {}, "smile is listed twice"),
        ({"smile": float("nan")}, {}, "strength"),
        ({"smile": 2}, {"strength": 3}, "from -5 to 5, not 6"),
        (parse_timeline("1s smile=-3"), {"strength": 2}, "from -5 to 5, not -6"),
        ("smile", {"loop": "bounce"}, "loop must be once, pingpong or hold"),
        ("smile", {"easing": "bouncy"}, "easing must be linear or smooth"),
        (parse_timeline("1s smile"), {"easing": "bouncy"}, "easing must be linear or smooth"),
    ],
)
def test_invalid_schedules_are_refused(motion: Motions, options: dict, reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        schedule(motion, AnimateOptions(**options))


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("0,1s smile", 1, "write 0.1s"),
        ("0,25s smile=0.5, 1s hold", 1, "write 0.25s"),
        ("1s smile; 1,5s hold", 11, "write 1.5s"),
        ("0,1 smile", 1, "write 0.1s"),
        ("1s smile=0,5", 12, "write 0.5"),
        ("1s smile=-1,25 eyesClose=1", 13, "write -1.25"),
        ("1s smile, 5 hold", 11, "write 5s"),
        ("1s smile,2,5s hold", 10, "write 2.5s"),
    ],
)
def test_a_decimal_comma_is_recognised(text: str, column: int, said: str) -> None:
    with pytest.raises(TimelineError, match=re.escape(said)) as caught:
        parse_timeline(text)
    assert f"column {column}:" in str(caught.value)
    assert ("decimals have a point" in str(caught.value)) == (said != "write 5s")


def test_a_comma_between_digits_may_end_a_keyframe() -> None:
    times = [keyframe.time for keyframe in parse_timeline("1s smile=1,2s smile=0,5s smile").keyframes]
    assert times == [1, 2, 5]
