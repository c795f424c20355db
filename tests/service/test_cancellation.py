"""A cancellation raised in a callback of the interpreter is not lost."""

from __future__ import annotations

import sys
import time
import weakref

import pytest
from cog import CancelationException

from micromotion.service.cancellation import keep_cancellations


class Loud:
    """Raises in its finaliser, where Python ignores errors, as a cancellation can."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __del__(self) -> None:
        raise self.error


class Quiet:
    """A target for a weak reference."""


def work(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def hook(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The types of the errors that are still ignored."""
    ignored: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: ignored.append(unraisable.exc_type))
    return ignored


def test_an_ignored_cancellation_is_raised_again(hook: list[object]) -> None:
    keep_cancellations(lambda: True)

    def predict() -> None:
        loud = Loud(CancelationException)
        del loud
        work(20)

    with pytest.raises(CancelationException):
        predict()
    assert hook == []


def test_a_cancellation_in_a_weak_reference_callback_is_raised_again(hook: list[object]) -> None:
    keep_cancellations(lambda: True)

    def struck(_: object) -> None:
        raise CancelationException

    def predict() -> None:
        quiet = Quiet()
        reference = weakref.ref(quiet, struck)
        del quiet
        work(20)
        assert reference is not None

    with pytest.raises(CancelationException):
        predict()


def test_a_cancellation_after_the_prediction_stays_ignored() -> None:
    keep_cancellations(lambda: False)
    loud = Loud(CancelationException)
    del loud
    work(0.2)


def test_other_ignored_errors_still_reach_the_previous_hook(hook: list[object]) -> None:
    keep_cancellations(lambda: True)
    loud = Loud(ValueError)
    del loud
    work(0.2)
    assert hook == [ValueError]
