"""The time limit of a prediction, over all stages: it occupies the service's only slot."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import ParamSpec

from micromotion.errors import OptionError, TimeLimitError
from micromotion.runtime.progress import time_left

VARIABLE = "MICROMOTION_SECONDS"
"""Environment variable: the time limit of a prediction in seconds, instead of SECONDS."""

SECONDS = 1800.0
LONGEST = 86400.0

P = ParamSpec("P")


def seconds_allowed() -> float:
    """The seconds in `VARIABLE`, else SECONDS; raises OptionError unless within 1 and LONGEST."""
    text = os.environ.get(VARIABLE, "").strip() or str(SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= LONGEST:
        raise OptionError(f"{VARIABLE} must be seconds from 1 to {LONGEST:.0f}, not {text!r:.40}.")
    return seconds


class Deadline:
    """A time limit that starts now.

    It is checked between steps of work: work without steps, such as decoding a picture or one pass through a
    network, is bounded by its size.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left, at least 0."""
        return max(0.0, self._end - time.monotonic())

    def check(self, doing: str) -> None:
        """Raise TimeLimitError if the time is over."""
        if not self.left():
            raise TimeLimitError(
                f"The time for a prediction, {time_left(self.seconds)}, was over while {doing}: ask for "
                "fewer frames, a smaller picture, less refinement, or leave out lock_identity."
            )

    def watch(self, doing: str, report: Callable[P, object]) -> Callable[P, None]:
        """The callback, with a check of the time limit before each call."""

        def checked(*args: P.args, **kwargs: P.kwargs) -> None:
            self.check(doing)
            report(*args, **kwargs)

        return checked
