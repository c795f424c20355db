"""The deadline of a piece of work, and the progress lines in its log."""

from __future__ import annotations

import pytest

from micromotion.errors import OptionError, TimeLimitError
from micromotion.runtime import progress
from micromotion.runtime.progress import progress_lines
from micromotion.service import deadline
from micromotion.service.deadline import LONGEST, SECONDS, VARIABLE, Deadline, seconds_allowed


class Clock:
    """A stand-in for `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(deadline, "time", clock)
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_work_continues_until_the_deadline(clock: Clock) -> None:
    told: list[tuple[int, float]] = []
    end = Deadline(600)
    report = end.watch("refining", lambda done, loss: told.append((done, loss)))
    report(1, 0.5)
    clock.now += 599
    report(2, loss=0.25)
    assert end.left() == 1
    clock.now += 2
    with pytest.raises(
        TimeLimitError, match=r"^The time for a prediction, 10 min, was over while refining: .*\.$"
    ):
        report(3, 0.1)
    assert told == [(1, 0.5), (2, 0.25)]
    assert end.left() == 0


def test_the_time_limit_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert seconds_allowed() == SECONDS
    for told, seconds in (("", SECONDS), ("90", 90.0), (" 1.5 ", 1.5), (str(LONGEST), LONGEST)):
        monkeypatch.setenv(VARIABLE, told)
        assert seconds_allowed() == seconds


@pytest.mark.parametrize("told", ["0", "-1", "nan", "inf", "1e9", "ten", "1" * 500])
def test_invalid_time_limits_are_refused(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, told)
    with pytest.raises(
        OptionError, match=rf"^{VARIABLE} must be seconds from 1 to 86400, not .*\.$"
    ) as raised:
        seconds_allowed()
    assert len(str(raised.value)) < 150


def test_progress_lines_have_the_progress_and_the_time_left(clock: Clock) -> None:
    lines: list[str] = []
    report = progress_lines("Refined by", "steps", 100, lines.append)
    for done in range(101):
        report(done, 1 - done / 200)
        clock.now += 2
    assert len(lines) == 11
    assert lines[0] == "Refined by 0 of 100 steps, loss 1.0000."
    assert lines[5] == "Refined by 50 of 100 steps, loss 0.7500, 2 min left."
    assert lines[-1] == "Refined by 100 of 100 steps, loss 0.5000."


def test_progress_lines_of_resumed_work_start_there(clock: Clock) -> None:
    lines: list[str] = []
    report = progress_lines("Rendered", "frames", 45, lines.append)
    for done in range(37, 46):
        report(done)
        clock.now += 3
    assert lines == ["Rendered 37 of 45 frames.", "Rendered 40 of 45 frames, 15 s left.",
                     "Rendered 44 of 45 frames, 3 s left.", "Rendered 45 of 45 frames."]  # fmt: skip


def test_short_work_is_reported_too() -> None:
    lines: list[str] = []
    report = progress_lines("Rendered", "frames", 1, lines.append)
    report(1)
    assert lines == ["Rendered 1 of 1 frames."]
    progress_lines("Refined by", "steps", 0, lines.append)(0, 0.5)
