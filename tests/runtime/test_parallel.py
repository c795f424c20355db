"""Work done ahead on several threads: in order, errors at their position, nothing left running."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from micromotion.runtime.parallel import ahead, read_ahead, uninterrupted


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_order_is_that_of_the_items(threads: int) -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item * item

    assert list(ahead(slow_first, range(20), threads)) == [item * item for item in range(20)]


def test_at_most_this_many_items_are_begun_ahead() -> None:
    begun: list[int] = []
    for done, _ in enumerate(ahead(begun.append, range(30), 3)):
        assert len(begun) <= done + 1 + 3


def test_several_are_worked_on_at_once() -> None:
    together = threading.Barrier(2)
    list(ahead(lambda _: together.wait(timeout=30), range(4), 2))


def test_an_error_is_raised_at_its_position() -> None:
    def work(item: int) -> int:
        if item == 3:
            raise ValueError("the fourth")
        return item

    results = ahead(work, range(9), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the fourth"):
        next(results)


def test_nothing_runs_on_when_the_caller_stops() -> None:
    begun: list[int] = []
    before = set(threading.enumerate())
    frames = ahead(begun.append, range(1000), 2)
    next(frames)
    frames.close()
    assert set(threading.enumerate()) == before
    assert len(begun) <= 4


@pytest.mark.parametrize("threads", [1, 2])
def test_items_are_read_ahead_in_their_order(threads: int) -> None:
    assert list(read_ahead(iter(range(20)), 3, threads)) == list(range(20))
    assert list(read_ahead([], 3, threads)) == []


def test_at_most_this_many_items_are_made_before_they_are_asked_for() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for item in range(30):
            made.append(item)
            yield item

    for taken, item in enumerate(read_ahead(items(), 2, 2), 1):
        assert item == taken - 1
        time.sleep(0.002)
        assert len(made) <= taken + 2


def test_items_are_made_while_the_caller_works() -> None:
    together = threading.Barrier(2)

    def items() -> Iterator[int]:
        yield 0
        together.wait(timeout=30)
        yield 1

    for item in read_ahead(items(), 1, 2):
        if item == 0:
            together.wait(timeout=30)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_item_that_fails_fails_at_its_position(threads: int) -> None:
    def items() -> Iterator[int]:
        yield 0
        yield 1
        raise ValueError("the third")

    read = read_ahead(items(), 2, threads)
    assert [next(read), next(read)] == [0, 1]
    with pytest.raises(ValueError, match="the third"):
        next(read)


@pytest.mark.parametrize("threads", [1, 2])
def test_when_the_caller_stops_the_items_are_closed_and_no_thread_is_left(threads: int) -> None:
    closed: list[bool] = []

    def items() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.append(True)

    before = set(threading.enumerate())
    read = read_ahead(items(), 2, threads)
    next(read)
    read.close()
    assert set(threading.enumerate()) == before
    assert closed == [True]


def test_uninterrupted_work_is_done_in_another_thread_and_its_error_raised_here() -> None:
    assert uninterrupted(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        uninterrupted(lambda: 1 // 0)


def test_a_ctrl_c_waits_for_uninterrupted_work() -> None:
    done: list[int] = []

    def work() -> None:
        signal.raise_signal(signal.SIGINT)
        time.sleep(0.2)
        done.append(1)

    with pytest.raises(KeyboardInterrupt):
        uninterrupted(work)
    assert done == [1]
