"""How long a prediction may take, all stages together: it holds the service's only slot."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import ParamSpec

from micromotion.errors import OptionError, TimeLimitError
from micromotion.runtime.progress import time_left

VARIABLE = "MICROMOTION_SECONDS"
"""Environment variable: seconds that a prediction may take, in place of SECONDS."""

SECONDS = 1800.0
LONGEST = 86400.0

P = ParamSpec("P")


def seconds_allowed() -> float:
    """What `VARIABLE` says, else SECONDS; raises OptionError unless it is within 1 and LONGEST."""
    told = os.environ.get(VARIABLE, "").strip() or str(SECONDS)
    try:
        seconds = float(told)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= LONGEST:
        raise OptionError(f"{VARIABLE} must be seconds from 1 to {LONGEST:.0f}, not {told!r:.40}.")
    return seconds


class Deadline:
    """The moment at which the time that begins now is over.

    It is asked for between two steps of work: what has no steps, such as reading a picture or one pass
    through a network, is bounded by its size.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds, at least 0."""
        return max(0.0, self._end - time.monotonic())

    def check(self, doing: str) -> None:
        """Raise TimeLimitError if the time is over."""
        if not self.left():
            raise TimeLimitError(
                f"The time for a prediction, {time_left(self.seconds)}, was over while {doing}: ask for "
                "fewer frames, a smaller picture, less refinement, or leave out lock_identity."
            )

    def watch(self, doing: str, report: Callable[P, object]) -> Callable[P, None]:
        """The callback, which finds out first whether the time is over."""

        def checked(*told: P.args, **named: P.kwargs) -> None:
            self.check(doing)
            report(*told, **named)

        return checked
