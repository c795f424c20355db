"""A cancellation that strikes in a callback of the interpreter is not lost."""

from __future__ import annotations

import sys
import time
import weakref

import pytest
from cog import CancelationException

from micromotion.service.cancellation import keep_cancellations


class Loud:
    """Raises where Python ignores it, as a cancellation that strikes there does."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __del__(self) -> None:
        raise self.error


class Quiet:
    """Something that a weak reference can point to."""


def work(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def hook(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is still ignored."""
    ignored: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: ignored.append(unraisable.exc_type))
    return ignored


def test_it_is_raised_again(hook: list[object]) -> None:
    keep_cancellations(lambda: True)

    def predict() -> None:
        loud = Loud(CancelationException)
        del loud
        work(20)

    with pytest.raises(CancelationException):
        predict()
    assert hook == []


def test_in_the_callback_of_a_weak_reference_too(hook: list[object]) -> None:
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


def test_after_the_prediction_it_is_not() -> None:
    keep_cancellations(lambda: False)
    loud = Loud(CancelationException)
    del loud
    work(0.2)


def test_other_errors_go_where_they_went(hook: list[object]) -> None:
    keep_cancellations(lambda: True)
    loud = Loud(ValueError)
    del loud
    work(0.2)
    assert hook == [ValueError]
