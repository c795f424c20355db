"""Workers for tests of a batch's engines, in place of one that renders: they are sent to other processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from micromotion.batch.outcome import Outcome
from micromotion.batch.rows import Row
from micromotion.batch.storage import Storage
from micromotion.errors import BundleError


@dataclass(frozen=True)
class Noting:
    """Makes workers that note which rows they begin in a folder, a file for each time, and store nothing.

    kills: the name of a row that kills its worker; times: how often it does. seconds: that each row takes.
    """

    folder: Path
    kills: str = ""
    times: int = 10**9
    seconds: float = 0.0

    def __call__(self, index: int) -> Callable[[Row], Outcome]:
        return self.do

    def do(self, row: Row) -> Outcome:
        """Note the row; die if it is the one that kills."""
        begun = self.begun(row.name)
        (self.folder / f"{row.name}.{begun}.{os.getpid()}").touch()
        if row.name == self.kills and begun < self.times:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.seconds)
        return Outcome.done(row, seconds=self.seconds)

    def begun(self, name: str) -> int:
        """How often the row of that name was begun."""
        return len(list(self.folder.glob(f"{name}.*")))


@dataclass(frozen=True)
class Storing(Noting):
    """The same, but each row leaves a file in place of its video at a destination, a folder or a URL."""

    dest: str | Path = ""

    def do(self, row: Row) -> Outcome:
        """Note the row, wait, and store."""
        outcome = super().do(row)
        Storage(str(self.dest)).put(row.id.encode(), row.video)
        return outcome


def broken(index: int) -> Callable[[Row], Outcome]:
    """A worker that cannot start."""
    raise BundleError("The model is damaged.")


def dying(index: int) -> Callable[[Row], Outcome]:
    """A worker that dies when it starts."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def never(index: int) -> Callable[[Row], Outcome]:
    """Work that must not be begun."""
    raise BundleError("A worker was started.")


def row_of(number: int) -> Row:
    """A row of that number."""
    return Row(f"{number:020x}", f"photos/{number}.jpg", f"photo{number}", "1-2", "", {})
