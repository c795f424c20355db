"""A cancellation raised in a callback of the interpreter is not lost, and none leaves a thread waiting."""

from __future__ import annotations

import subprocess
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


BARRAGE = """
import ctypes, sys, threading, time
from cog import CancelationException
from micromotion.runtime.parallel import ahead
from micromotion.service.cancellation import start_threads_apart

start_threads_apart()
ended, cancelled = [], []

def started():
    threading.Thread(target=lambda: None).start()

def drawn_ahead():
    for _ in ahead(lambda _: time.sleep(0.0005), range(10), 2):
        pass

def predict():
    while len(ended) + len(cancelled) < 1500 or not ended:
        try:
            WORK()
            ended.append(1)
        except CancelationException:
            cancelled.append(1)

predicting = threading.Thread(target=predict, daemon=True)
predicting.start()
end = time.monotonic() + 100
while predicting.is_alive() and time.monotonic() < end:
    number = ctypes.c_ulong(predicting.ident)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(number, ctypes.py_object(CancelationException))
    time.sleep(0.002)
end = time.monotonic() + 30
while threading.active_count() > 2 and time.monotonic() < end:  # this one, and the one that starts them
    time.sleep(0.01)
print(len(ended), len(cancelled), threading.active_count())
"""


@pytest.mark.slow
@pytest.mark.parametrize("work", ["started", "drawn_ahead"])
def test_no_moment_for_a_cancellation_leaves_a_thread_waiting(work: str) -> None:
    script = BARRAGE.replace("WORK()", f"{work}()")
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=200)
    assert ran.returncode == 0, ran.stderr
    ended, cancelled, threads = map(int, ran.stdout.split())
    assert ended + cancelled >= 1500
    assert ended
    assert cancelled
    assert threads == 2
